import dataclasses
from itertools import pairwise

import pytest

from learned_augment.reporting.html import policy_page, result_page
from tests.reporting.browser import CHROMIUM, open_browser
from tests.reporting.test_html import HOSTILE, MEASURED, curved, measured_page

PHONE, DESKTOP = 390, 1280
OUTSIDE = "document.querySelectorAll('script, link, iframe').length"
SHOWN = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 0)"
IMAGES = "[...document.images].filter(e => e.complete && e.naturalWidth > 0).length"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with open_browser() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "policy.html").write_text(measured_page(), encoding="utf-8")
    comparison = result_page(curved(), HOSTILE)
    (folder / "comparison.html").write_bytes(comparison.encode(errors="replace"))
    return folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize(("name", "figures", "images"), [("policy", 2, 24), ("comparison", 3, 0)])
def test_a_page_shows_all_figures_without_errors_or_sideways_scrolling(
    browser, pages, name, figures, images, width, dark
):
    browser.open((pages / f"{name}.html").as_uri(), width, dark)
    assert browser.console() == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(f"{SHOWN}.length") == figures
    assert browser.evaluate(IMAGES) == images
    assert browser.evaluate(OUTSIDE) == 0
    overflow = f"{SHOWN}.filter(e => e.getBoundingClientRect().right > {width}).length"
    assert browser.evaluate(overflow) == 0


LONG = "found (a base augmentation of the user with a long name, then an op for half of the images)"
HIDDEN = """[...document.querySelectorAll('table')].filter(table => {
    const first = table.querySelector('thead th.number').getBoundingClientRect();
    return first.right > table.closest('.scroll').getBoundingClientRect().right;
}).map(table => table.textContent.trim().slice(0, 60))"""


def raced_policy():
    """A policy that was chosen in a race of policies with names of many ops."""
    race = [
        {"name": name, "found": name == LONG, "errors": {"0": 0.02, "1": 0.03}}
        for name in ("none", "crop, then RandAugment", LONG)
    ]
    return dataclasses.replace(MEASURED, about={**MEASURED.about, "race": race, "chosen": "none"})


def long_names():
    """A comparison with a policy of a long name."""
    result = curved()
    name = list(result.placements)[-1]
    placements = {LONG if n == name else n: place for n, place in result.placements.items()}
    runs = tuple(
        dataclasses.replace(run, policy=LONG) if run.policy == name else run for run in result.runs
    )
    return dataclasses.replace(result, placements=placements, runs=runs, policies={})


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize(
    ("make", "tables"),
    [(lambda: policy_page(raced_policy()), 2), (lambda: result_page(long_names()), 1)],
    ids=["policy", "comparison"],
)
def test_long_names_leave_the_first_numbers_of_a_table_on_the_screen(
    browser, tmp_path, make, tables, width
):
    (tmp_path / "page.html").write_text(make(), encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri(), width)
    assert browser.evaluate("document.querySelectorAll('table').length") == tables
    assert browser.evaluate(HIDDEN) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["policy", "comparison"])
def test_light_and_dark_differ_in_paper_and_ink(browser, pages, name):
    def brightness(element, attribute):
        color = browser.evaluate(f"getComputedStyle({element}).{attribute}")
        return sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(",")))

    ink = "document.querySelector('svg text')"
    seen = {}
    for dark in (False, True):
        browser.open((pages / f"{name}.html").as_uri(), DESKTOP, dark)
        seen[dark] = brightness("document.body", "backgroundColor"), brightness(ink, "fill")
    assert seen[False][0] > 700
    assert seen[False][1] < 400
    assert seen[True][0] < 150
    assert seen[True][1] > 400


def test_headings_have_no_gaps_and_images_have_alternative_texts(browser, pages):
    for name in ("policy", "comparison"):
        browser.open((pages / f"{name}.html").as_uri(), DESKTOP)
        levels = browser.evaluate(
            "[...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        without = "document.querySelectorAll('img:not([alt]), svg:not([aria-label])').length"
        assert browser.evaluate(without) == 0


def test_the_console_would_show_errors_and_blocked_resources(browser, pages, tmp_path):
    page = (pages / "policy.html").read_text(encoding="utf-8")
    for name, broken in {
        "script": "<script>frob()</script>",
        "outside": '<img alt="" src="http://127.0.0.1:9/x.png">',
    }.items():
        path = tmp_path / f"{name}.html"
        path.write_text(page.replace("<main>", f"<main>{broken}"), encoding="utf-8")
        browser.open(path.as_uri(), DESKTOP)
        assert browser.console(), name
