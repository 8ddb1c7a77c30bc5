"""The public names of the package use the words of the glossary."""

import contextlib
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import learned_augment

ROOT = Path(learned_augment.__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(learned_augment.__path__, "learned_augment.")
    if not name.endswith("__main__")
]
GLOSSARY = ROOT / "docs" / "concepts" / "glossary.md"
TERMS = re.findall(r"^`([^`]+)`\n:   ", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
DESIGN = (
    "op",
    "magnitude",
    "search space",
    "candidate",
    "layer",
    "sub-policy",
    "policy",
    "plan",
    "backend",
    "instruction",
    "base augmentation",
    "placement",
    "search method",
    "comparison",
    "result",
    "probability",
    "train/validation split",
    "callback",
    "kind",
    "identity value",
    "screening",
    "trial",
    "design",
    "factor",
    "effect",
    "race",
    "entrant",
)
OTHER_WORDS = dict(
    re.findall(
        r"^\| ([a-z]+) \| ([a-z -]+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE
    )
)
"""Words that the glossary has another word for; plurals count as well."""
# Words that are no terms of their own: spellings, a class, and parts of terms.
PLAIN = {"after", "behavior", "center", "color", "gray", "initialize", "license", "named policy"}
PLAIN |= {"neighbor", "normalize", "optimize", "split"}


def test_the_glossary_defines_the_words_of_the_package():
    assert set(DESIGN) <= set(TERMS)
    assert len(set(TERMS)) == len(TERMS)


def test_a_word_that_is_not_used_has_a_word_of_the_glossary_in_its_place():
    assert len(OTHER_WORDS) > 30
    assert set(OTHER_WORDS.values()) <= set(TERMS) | PLAIN
    assert not set(OTHER_WORDS) & set(TERMS)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_in_use(term):
    words = re.escape(term).replace(r"\ ", r"[\s_-]+")
    pages = [page for page in PAGES if page != GLOSSARY]
    sources = [*pages, *(ROOT / "learned_augment").rglob("*.py")]
    used = (path.read_text(encoding="utf-8") for path in sources)
    assert any(re.search(rf"\b{words}s?\b", text, re.IGNORECASE) for text in used)


@pytest.mark.parametrize("module", MODULES)
def test_public_names_use_the_words_of_the_glossary(module):
    try:
        public = importlib.import_module(module)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs the optional package {error.name}")
    for name in [*module.split("."), *public_names(public)]:
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name):
            other = OTHER_WORDS.get(singular(word.lower()))
            assert other is None, f"{module}: {name!r} says {word!r}; the word is {other!r}."


def public_names(module):
    """Return the public names of a module, of their parameters and of their fields."""
    for name in getattr(module, "__all__", ()):
        yield name
        thing = getattr(module, name)
        yield from (key for key in getattr(thing, "__annotations__", ()) if key[0] != "_")
        members = vars(thing).items() if isinstance(thing, type) else ()
        functions = [value for key, value in members if inspect.isfunction(value) and key[0] != "_"]
        yield from (function.__name__ for function in functions)
        for function in [thing, *functions]:
            with contextlib.suppress(TypeError, ValueError):
                yield from inspect.signature(function).parameters


def singular(word):
    """Return a word of ``OTHER_WORDS`` for itself and for its plural."""
    forms = (word, word.removesuffix("s"), word.removesuffix("ves") + "f")
    return next((form for form in forms if form in OTHER_WORDS), word)


def test_the_command_line_uses_the_words_of_the_glossary():
    from learned_augment.cli import build_parser

    groups = build_parser()._subparsers._group_actions[0].choices
    for command, parser in groups.items():
        for option in [command, *(text for a in parser._actions for text in a.option_strings)]:
            for word in re.findall(r"[a-z]+", option):
                other = OTHER_WORDS.get(singular(word))
                assert other is None, f"{command} {option}; the word is {other!r}."
