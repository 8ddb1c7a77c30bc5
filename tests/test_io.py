"""Files are written whole or not at all, whatever fails; contents are compared by hash."""

import stat

import pytest
import torch
from torch import nn

from learned_augment import _io
from learned_augment._io import check_output_path, content_hash, module_hash, write_atomically


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


class TornFile:
    """A file that takes one byte and then finds the disk full."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[:1])
        refuse()


def tear(monkeypatch):
    plain = _io.Path.open
    monkeypatch.setattr(_io.Path, "open", lambda path, mode: TornFile(plain(path, mode)))


FAULTS = {
    "open": lambda monkeypatch: monkeypatch.setattr(_io.Path, "open", refuse),
    "write": tear,
    "fsync": lambda monkeypatch: monkeypatch.setattr(_io, "fsync", refuse),
    "replace": lambda monkeypatch: monkeypatch.setattr(_io.Path, "replace", refuse),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, fault, before):
    path = tmp_path / "p.safetensors"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        FAULTS[fault](patch)
        with pytest.raises(OSError, match=r"No space left on device: .*p\.safetensors"):
            write_atomically(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before] * (before is not None)


def test_a_folder_that_takes_no_files_is_named_with_the_file(tmp_path, monkeypatch):
    def closed(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(_io.Path, "open", closed)
    with pytest.raises(PermissionError) as caught:
        write_atomically(tmp_path / "x.bin", b"1")
    assert caught.value.filename == str(tmp_path / "x.bin")


@pytest.mark.parametrize("function", [check_output_path, lambda path: write_atomically(path, b"1")])
def test_a_folder_is_no_file_to_write(tmp_path, function):
    with pytest.raises(ValueError, match="Expected a file to write, got the folder"):
        function(tmp_path)
    with pytest.raises(ValueError, match="No folder"):
        function(tmp_path / "no" / "x")


def test_an_output_path_is_tried_without_a_trace(tmp_path, monkeypatch):
    path = tmp_path / "x"
    assert check_output_path(path) == path
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    check_output_path(path)
    assert path.read_bytes() == b"old"
    monkeypatch.setattr(_io.Path, "touch", refuse)
    with pytest.raises(ValueError, match=r"No file can be written .*No space left.* for 'x'"):
        check_output_path(path)


def test_written_files_have_ordinary_permissions(tmp_path):
    path = write_atomically(tmp_path / "x", b"1")
    plain = tmp_path / "y"
    plain.write_bytes(b"1")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_name_may_be_as_long_as_a_file_system_allows(tmp_path):
    assert write_atomically(tmp_path / ("x" * 255), b"1").read_bytes() == b"1"


def test_content_hashes_tell_order_type_shape_and_bits_apart():
    zeros = torch.zeros(2, 3)
    parts = [
        [zeros],
        [zeros.T],
        [zeros.int()],
        [-zeros],
        [zeros, zeros],
        ["a", zeros],
        [zeros, "a"],
        ["a", "b"],
        ["ab"],
    ]
    assert len({content_hash(each) for each in parts}) == len(parts)
    assert content_hash([zeros.T]) == content_hash([zeros.T.contiguous()])


def test_module_hashes_tell_structure_and_weights_apart():
    torch.manual_seed(0)
    plain = nn.Linear(2, 2)
    others = [nn.Sequential(plain), nn.Linear(2, 2), nn.Linear(2, 2, bias=False)]
    assert len({module_hash(each) for each in [plain, *others]}) == 4
