"""Policy files on the Hugging Face Hub (the ``hub`` extra)."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from learned_augment._text import first_line

__all__ = ["PREFIX", "check_address", "download", "upload"]

PREFIX = "hf://"

_PART = r"[A-Za-z0-9][\w.-]*"
_REPOSITORY = re.compile(f"{_PART}/{_PART}", re.ASCII)
_ADDRESS = re.compile(
    rf"hf://(?P<repository>{_PART}/{_PART})(@(?P<revision>[^/]+))?/(?P<file>.+\.safetensors)",
    re.ASCII,
)


def download(address: str) -> Path:
    """Return the path of the local copy of a policy file of the Hub; download it if there is none.

    Args:
        address: ``hf://OWNER/REPO/FILE.safetensors``, with ``@REVISION`` after REPO for a branch,
            a tag or a commit.

    Raises:
        ValueError: If the address has another form, or the file cannot be downloaded.
        ModuleNotFoundError: If huggingface_hub is not installed.
    """
    repository, revision, file = check_address(address)
    client = _client()
    try:
        path = client.hf_hub_download(repository, file, revision=revision)
    except Exception as error:  # among them those of the client's own transport
        raise ValueError(f"{address} cannot be downloaded: {first_line(error)}.") from error
    return Path(path)


def upload(
    repository: str,
    files: Mapping[str, bytes],
    *,
    message: str,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Write files to a repository of the Hub in one commit; return the commit's address.

    The repository is created if there is none.

    Args:
        repository: OWNER/REPO.
        files: Contents by file name.
        message: The commit's message.
        private: Whether a new repository is private; None is the owner's default.
        token: An access token; None is the one that ``hf auth login`` keeps.

    Raises:
        ValueError: If the repository's name is of another form, or the Hub refuses.
        ModuleNotFoundError: If huggingface_hub is not installed.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"Expected a repository as OWNER/REPO, got {repository!r}.")
    client = _client()
    api = client.HfApi(token=token)
    operations = [client.CommitOperationAdd(name, data) for name, data in files.items()]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.create_commit(repository, operations, commit_message=message)
    except Exception as error:  # among them those of the client's own transport
        status = getattr(getattr(error, "response", None), "status_code", None)
        way_out = " Log in with: hf auth login." if status in (401, 403) else ""
        raise ValueError(
            f"{repository} cannot be written: {first_line(error)}.{way_out}"
        ) from error
    return str(commit.commit_url)


def check_address(address: str) -> tuple[str, str | None, str]:
    """Return repository, revision (None is the main branch) and file of a policy's address.

    Raises:
        ValueError: If the address is of another form.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or ".." in found["file"].split("/"):
        raise ValueError(
            "Expected hf://OWNER/REPO/FILE.safetensors or hf://OWNER/REPO@REVISION/"
            f"FILE.safetensors, got {address!r}."
        )
    return found["repository"], found["revision"], found["file"]


def _client() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'Policies on the Hub need huggingface_hub: pip install "learned-augment[hub]".'
        ) from None
    return huggingface_hub
