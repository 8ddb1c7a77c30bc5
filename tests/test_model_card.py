import re

from learned_augment import Policy
from learned_augment.model_card import model_card, provenance

HOSTILE = "<b>x</b> [a](b) `c` | d\n# e \\ {f}"


def card(about, ops=None):
    return model_card("me/policies", "mine.safetensors", about, ops or {"Flip": [1.0]})


def test_a_card_says_how_to_load_the_file_and_names_its_ops():
    policy = Policy.load("dada-cifar10")
    ops = {name: layers.tolist() for name, layers in policy.op_shares().items()}
    text = card(policy.about, ops)
    assert text.startswith("---\nlibrary_name: learned-augment\ntags: [")
    assert "# dada-cifar10\n" in text
    assert 'LearnedAugment("hf://me/policies/mine.safetensors")' in text
    assert "It comes after the base augmentation" in text
    assert "| Rotate | 7.0 | 3.5 |" in text
    assert "arXiv:2003.03780" in text


def test_ops_that_are_never_drawn_are_left_out_and_the_likeliest_is_first():
    text = card({}, {"Flip": [0.25, 0.0], "Rotate": [0.0, 0.0], "Color": [0.75, 1.0]})
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == [
        "| op | layer 1 | layer 2 |",
        "| --- | --: | --: |",
        "| Color | 75.0 | 100.0 |",
        "| Flip | 25.0 | 0.0 |",
    ]


def test_texts_of_a_policy_are_no_markup():
    text = card({"name": HOSTILE, "paper": HOSTILE, "method": HOSTILE, "dataset": HOSTILE})
    assert not re.search(r"(?<!\\)<b", text)
    assert not re.search(r"(?<!\\)\[a", text)
    assert "\n# e" not in text
    assert r"\<b\>x\</b\> \[a\](b) \`c\` \| d \# e \\ {f}" in text


def test_a_card_without_provenance_says_so():
    assert "Nothing is stated." in card({})
    assert "# unnamed" in card({})


def test_provenance_is_as_far_as_stated():
    assert provenance({}) == {}
    about = {"paper": "P", "source": {"repository": "R", "file": "F"}, "licence": "MIT"}
    assert provenance(about) == {"Paper": "P", "Source": "R F", "License": "MIT"}
    assert provenance({"license": "CC0"}) == {"License": "CC0"}
    assert provenance({"source": "a book"}) == {"Source": "a book"}
