import base64
import importlib
import json
import re
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from learned_augment import LearnedAugment, Policy, hub

pytest.importorskip("huggingface_hub", reason="needs the hub extra")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandIn(BaseHTTPRequestHandler):
    """The part of the Hub that a download and an upload speak to; `files` is its content."""

    files: ClassVar[dict] = {}
    asked: ClassVar[list] = []
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._file(send=False)

    def do_GET(self):
        repository, found, _ = self.path.partition("/revision/")
        if found:  # asked before an upload by versions before 1.0
            self._answer(200, {"id": repository.removeprefix("/api/models/"), "sha": COMMIT})
        else:
            self._file(send=True)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.command, self.path))
        if self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != "Bearer right":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self._answer(
                200, {"url": f"http://{self.headers['Host']}/me/{json.loads(body)['name']}"}
            )
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif "/commit/" in self.path:
            repository = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[f"{repository}/resolve/main/{line['value']['path']}"] = content
            url = f"http://{self.headers['Host']}/{repository}/commit/{COMMIT}"
            self._answer(200, {"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self._answer(404, {"error": "no such address"})

    def log_message(self, *arguments):
        pass

    def _file(self, send):
        self.asked.append((self.command, self.path))
        data = self.files.get(self.path.lstrip("/"))
        if data is None:
            self._answer(404, {}, {"X-Error-Code": "EntryNotFound"}, send)
            return
        headers = {"ETag": '"abc"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(data))}
        self._send(200, headers, data if send else b"")

    def _answer(self, status, document, headers=(), send=True):
        data = json.dumps(document).encode()
        sized = {"Content-Length": str(len(data)), "Content-Type": "application/json"}
        self._send(status, {**sized, **dict(headers)}, data if send else b"")

    def _send(self, status, headers, data):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def speak_to(address, monkeypatch, tmp_path):
    """Let the client speak to another Hub, as HF_ENDPOINT does before it is imported."""
    constants = importlib.import_module("huggingface_hub.constants")
    files = address + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    downloads = importlib.import_module("huggingface_hub.file_download")
    for module in (constants, downloads):  # the second has a copy in versions before 1.0
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", files, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """A Hub on the loopback interface, and a client with an empty cache that speaks to it."""
    handler = type("Handler", (StandIn,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    speak_to(address, monkeypatch, tmp_path)
    yield handler
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(stand_in):
    stand_in.files["me/policies/resolve/main/sub/mine.safetensors"] = b"policy"
    path = hub.download("hf://me/policies/sub/mine.safetensors")
    assert path.read_bytes() == b"policy"
    assert path.name == "mine.safetensors"
    assert hub.download("hf://me/policies/sub/mine.safetensors") == path
    file = "/me/policies/resolve/main/sub/mine.safetensors"
    assert stand_in.asked.count(("GET", file)) == 1


def test_a_revision_is_asked_for(stand_in):
    stand_in.files["me/policies/resolve/v1.0/mine.safetensors"] = b"first"
    assert hub.download("hf://me/policies@v1.0/mine.safetensors").read_bytes() == b"first"


def test_a_missing_file_is_named(stand_in):
    with pytest.raises(ValueError, match=r"^hf://me/policies/no.safetensors cannot be downloaded"):
        hub.download("hf://me/policies/no.safetensors")


def test_a_hub_that_does_not_answer_is_an_error_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's tries
    speak_to("http://127.0.0.1:9", monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="cannot be downloaded: "):
        hub.download("hf://me/policies/mine.safetensors")
    with pytest.raises(ValueError, match=r"^me/policies cannot be written: "):
        hub.upload("me/policies", {"a.txt": b""}, message="one", token="hf_none")


@pytest.mark.parametrize(
    "address",
    [
        "hf://me/mine.safetensors",
        "hf://me/policies/mine.bin",
        "hf://me/policies/../mine.safetensors",
        "hf://me/policies@/mine.safetensors",
        "hf://me/policies@a/",
        "hf:///policies/mine.safetensors",
        "https://me/policies/mine.safetensors",
        "hf://me/pol icies/mine.safetensors",
    ],
)
def test_other_addresses_are_refused_before_anything_is_asked(stand_in, address):
    with pytest.raises(ValueError, match=r"Expected hf://OWNER/REPO/FILE\.safetensors"):
        hub.download(address)
    assert stand_in.asked == []


def test_files_are_uploaded_in_one_commit_and_can_be_downloaded(stand_in):
    files = {"mine.safetensors": b"\x00policy", "README.md": b"# mine"}
    url = hub.upload("me/policies", files, message="Add mine", token="right")
    assert url.endswith(f"/me/policies/commit/{COMMIT}")
    assert sum("/commit/" in path for _, path in stand_in.asked) == 1
    assert hub.download("hf://me/policies/mine.safetensors").read_bytes() == b"\x00policy"
    assert hub.PREFIX == "hf://"


def test_a_refused_upload_says_how_to_log_in(stand_in):
    with pytest.raises(ValueError, match=r"me/policies cannot be written: .*hf auth login"):
        hub.upload("me/policies", {"a": b""}, message="Add", token="wrong")


@pytest.mark.parametrize("name", ["policies", "me/", "/policies", "me/policies/more", "me/a b"])
def test_other_names_of_repositories_are_refused(stand_in, name):
    with pytest.raises(ValueError, match="Expected a repository as OWNER/REPO"):
        hub.upload(name, {"a": b""}, message="Add", token="right")
    assert stand_in.asked == []


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "learned-augment\[hub\]"'):
        hub.download("hf://me/policies/mine.safetensors")


def test_a_policy_is_pushed_with_a_model_card_and_loaded_by_its_address(stand_in):
    policy = Policy.load("dada-cifar10")
    policy.push_to_hub("me/policies", token="right")
    assert Policy.load("hf://me/policies/dada-cifar10.safetensors") == policy
    augment = LearnedAugment("hf://me/policies/dada-cifar10.safetensors")
    assert augment.policy == policy
    card = stand_in.files["me/policies/resolve/main/README.md"].decode()
    assert 'LearnedAugment("hf://me/policies/dada-cifar10.safetensors")' in card
    assert "| Rotate |" in card


def test_the_commands_of_the_guide_share_a_policy(stand_in, tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[1] / "docs" / "guides" / "share.md"
    push, load = re.findall(r'^python -c "(.*)"$', page.read_text(encoding="utf-8"), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "right")  # as after `hf auth login`
    policy = replace(Policy.load("dada-svhn"), about={"name": "screening-photos"})
    policy.save("mine.safetensors")
    exec(push)
    exec(load)
    assert "screening-photos" in capsys.readouterr().out


def test_a_file_of_the_hub_that_is_no_policy_is_refused(stand_in):
    stand_in.files["me/policies/resolve/main/mine.safetensors"] = b"no policy"
    with pytest.raises(ValueError, match="not a safetensors file"):
        Policy.load("hf://me/policies/mine.safetensors")


def test_the_file_of_a_pushed_policy_can_be_named(stand_in):
    policy = replace(Policy.load("dada-svhn"), about={"name": "../a b/<c>"})
    policy.push_to_hub("me/policies", token="right")
    assert "me/policies/resolve/main/..-a-b-c-.safetensors" in stand_in.files
    policy.push_to_hub("me/policies", file="sub/mine.safetensors", token="right")
    assert Policy.load("hf://me/policies/sub/mine.safetensors") == policy


@pytest.mark.parametrize("file", ["mine.bin", "../mine.safetensors", ".safetensors/"])
def test_a_policy_is_not_pushed_under_a_name_that_cannot_be_loaded(stand_in, file):
    with pytest.raises(ValueError, match="Expected hf://OWNER/REPO/FILE"):
        Policy.load("dada-svhn").push_to_hub("me/policies", file=file, token="right")
    assert stand_in.asked == []
