"""Policies on disk: golden bytes, round trips, and every refusal."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from learned_augment.builders import deep_trivial_augment, from_layers
from learned_augment.policy import Policy
from learned_augment.serialization import KEY, list_policies


def simple():
    return from_layers(
        [[("Rotate", 0.25, -20.0), ("Identity", 0.75, 0.0)]], {"name": "golden", "n": 1}
    )


def forged(header, tail=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tail


def reheaded(change, policy=None):
    """The golden file, or a policy's, with its JSON document changed."""
    policy = policy or simple()
    document = {
        "format": 2,
        "ops": [{"name": "Identity", "unit": ""}, {"name": "Rotate", "unit": ROTATE_UNIT}],
        "about": {},
    }
    change(document)
    tensors = {n: getattr(policy, n) for n in ("mixture", "weights", "op", "value")}
    return safetensors.torch.save(tensors, {KEY: json.dumps(document)})


def nested(depth):
    return '{"format": 2, "about": ' + '{"a": ' * depth + "1" + "}" * depth + "}"


ROTATE_UNIT = "degrees, counter-clockwise"
OLD_UNIT = "chance of mirroring left-right"


# Changes only with the format: then raise its version, and keep reading the old one.
GOLDEN = "2eb72904420a9b7e0dd266deb40fe3e25beeff7deb0b31fd841071cf75d35494"


def test_golden_bytes():
    data = simple().encode()
    assert hashlib.sha256(data).hexdigest() == GOLDEN
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    document = json.loads(header["__metadata__"][KEY])
    assert list(header["__metadata__"]) == [KEY]
    assert document["ops"][1] == {"name": "Rotate", "unit": ROTATE_UNIT}
    # The last tensor bytes are the weights or values as little-endian doubles.
    assert struct.pack("<d", -20.0) in data
    assert struct.pack("<d", 0.25) in data


def test_a_file_of_format_1_is_read_in_the_words_of_today():
    old = Policy.load(Path(__file__).parent / "golden" / "format-1.safetensors")
    new = Policy.load("dada-svhn")
    assert old == new
    assert new.about["placement"] == "after"


def test_an_op_unit_of_format_1_is_read():
    def change(document):
        document["format"] = 1
        document["ops"] = [{"name": "Identity", "unit": ""}, {"name": "Flip", "unit": OLD_UNIT}]

    policy = from_layers([[("Flip", 0.25, 0.5), ("Identity", 0.75, 0.0)]])
    assert Policy.decode(reheaded(change, policy)) == policy


def test_equal_policies_give_equal_bytes_whatever_the_order_of_about():
    one = from_layers([[("Invert", 1, 0)]], {"a": 1, "b": {"c": 2, "d": 3}})
    two = from_layers([[("Invert", 1, 0)]], {"b": {"d": 3, "c": 2}, "a": 1})
    assert one.encode() == two.encode()


def test_equal_policies_give_equal_bytes_whatever_the_sign_of_zero():
    one, two = (from_layers([[("Rotate", 1, zero)]]) for zero in (0.0, -0.0))
    assert one == two
    assert one.encode() == two.encode()


@pytest.mark.parametrize("policy", [simple(), deep_trivial_augment(3)], ids=["small", "deep"])
def test_round_trip(policy, tmp_path):
    path = policy.save(tmp_path / "p.safetensors")
    assert (
        Policy.load(path)
        == Policy.load(str(path))
        == Policy.load(path)
        == Policy.decode(policy.encode())
        == policy
    )
    assert policy.save(tmp_path / "q.safetensors").read_bytes() == path.read_bytes()


def test_names_are_listed_and_loaded():
    assert list_policies() == sorted(list_policies())
    assert len(list_policies()) == 11
    assert Policy.load("dada-cifar10").name == "dada-cifar10"


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(
        ValueError, match=r"No pretrained policy named 'deepa'. Available: dada-cif"
    ):
        Policy.load("deepa")
    with pytest.raises(
        ValueError, match=r"No policy file at '.*missing.safetensors'. Shipped .* a str: dada"
    ):
        Policy.load(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match=r"mm.safetensors: cannot be read: .*File name too long"):
        Policy.load("m" * 300 + ".safetensors")
    with pytest.raises(ValueError, match="Available"):
        Policy.load("../pretrained_policies/dada-cifar10")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a safetensors file, or a truncated one"),
        (b"short", "truncated"),
        (b"\x80\x04\x95pickle, not a policy at all", "truncated"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated"),
        (forged(b"\xff\xfe"), "header is not JSON"),
        (forged(b"[" * 100_000), "header is not JSON"),
        (forged([1]), "mapping of mappings"),
        (forged({"x": 3}), "mapping of mappings"),
        (forged({}), "but not a policy"),
        (forged({"__metadata__": {KEY: "no json"}}), "JSON document"),
        (forged({"__metadata__": {KEY: "[]"}}), "JSON document"),
        (forged({"__metadata__": {KEY: "[" * 100_000}}), "nested too deeply"),
        (forged({"__metadata__": {KEY: nested(100_000)}}), "nested too deeply"),
        (forged({"__metadata__": {KEY: nested(500)}}), "nested at most 100 levels"),
        (forged({"__metadata__": {KEY: '{"format": 1}'}}), "JSON document"),
        (forged({"__metadata__": {KEY: '{"format": 9, "about": {}}'}}), "version 1 to 2, got 9"),
        (forged({"__metadata__": {KEY: '{"format": 1, "about": []}'}}), "mapping, got list"),
        (forged({"__metadata__": {KEY: '{"format": 2, "about": {}}'}}), "expected tensors"),
        (simple().encode()[:-5], "whole safetensors file"),
        (simple().encode() + b"x", "whole safetensors file"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(data, message, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        Policy.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_forged_header_allocates_nothing(tmp_path):
    shape = [2**40, 1, 1]
    rows = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 2**43]}
        for name, dtype in {"mixture": "F64", "weights": "F64", "op": "I64", "value": "F64"}.items()
    }
    document = {"format": 1, "ops": [{"name": "Identity", "unit": ""}], "about": {}}
    path = tmp_path / "forged.safetensors"
    path.write_bytes(forged({"__metadata__": {KEY: json.dumps(document)}, **rows}))
    with pytest.raises(ValueError, match="whole safetensors file"):
        Policy.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["ops"].__setitem__(0, {"name": "Warp", "unit": ""}),
            "unknown op 'Warp'. Known",
        ),
        (lambda d: d["ops"][1].update(unit="radians"), "Rotate is in 'radians' there"),
        (lambda d: d.update(ops=[{"name": "Identity"}]), "names and units"),
        (lambda d: d.update(ops=3), "names and units"),
        (lambda d: d["ops"].insert(0, d["ops"][0]), "list every op once"),
        (lambda d: d["ops"].pop(), "positions in ops, 0 to 0"),
        (lambda d: d.update(format="1"), "format version 1"),
    ],
)
def test_changed_documents_are_refused(change, message):
    assert Policy.decode(reheaded(lambda d: None)).ops == ("Identity", "Rotate")
    with pytest.raises(ValueError, match=message):
        Policy.decode(reheaded(change))


def test_what_is_nested_too_deeply_to_be_read_is_not_written(tmp_path):
    about = json.loads(nested(99))["about"]
    path = from_layers([[("Invert", 1, 0)]], about).save(tmp_path / "p.safetensors")
    assert Policy.load(path).about == about
    with pytest.raises(ValueError, match="nested at most 100 levels"):
        from_layers([[("Invert", 1, 0)]], {"a": about, "b": 1}).save(path)


def test_a_document_of_format_1_is_refused_in_the_same_words():
    for change in (
        lambda d: d.pop("ops"),
        lambda d: d.update(ops=[{"name": "Identity", "unit": ["x"]}]),
        lambda d: d.update(ops=[["name", "unit"]]),
    ):
        with pytest.raises(ValueError, match=r"names and units|is in"):
            Policy.decode(reheaded(lambda d, change=change: (d.update(format=1), change(d))))


def test_about_is_plain_json_in_any_script():
    policy = from_layers([[("Invert", 1, 0)]], {"name": "漢字 \ud800"})
    assert Policy.decode(policy.encode()) == policy
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Expected plain JSON data in about"):
            from_layers([[("Invert", 1, 0)]], {"loss": number})


def test_wrong_figures_in_a_file_are_refused():
    policy = simple()
    for name, tensor, message in [
        ("weights", policy.weights * 2, "weights to sum to 1"),
        ("value", policy.value + torch.nan, "Expected a value"),
        ("value", policy.value.float(), "expected tensors"),
        ("mixture", torch.ones(3).double() / 3, "mixture of shape"),
    ]:
        tensors = {n: getattr(policy, n) for n in ("mixture", "weights", "op", "value")}
        document = {
            "format": 2,
            "ops": [{"name": "Identity", "unit": ""}, {"name": "Rotate", "unit": ROTATE_UNIT}],
            "about": {},
        }
        data = safetensors.torch.save({**tensors, name: tensor}, {KEY: json.dumps(document)})
        with pytest.raises(ValueError, match=message):
            Policy.decode(data)


def test_saving_checks_its_path_first(tmp_path):
    with pytest.raises(ValueError, match=r"ending in .safetensors"):
        simple().save(tmp_path / "policy.pt")
    with pytest.raises(ValueError, match="No folder"):
        simple().save(tmp_path / "no" / "p.safetensors")
    assert list(tmp_path.iterdir()) == []
