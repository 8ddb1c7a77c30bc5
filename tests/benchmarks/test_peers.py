"""The table of other packages is made of calls whose outcomes repeat."""

import pytest

from benchmarks.peers import CHECKS, calls, outcomes
from benchmarks.record import load_result
from benchmarks.tables import TABLES, _outcome


@pytest.mark.parametrize("check", ["PIL image, RGBA", "gradient of a float tensor"])
def test_this_package_does_what_the_table_says(check):
    rows = load_result("peers")["rows"]
    (stated,) = [r for r in rows if (r["package"], r["check"]) == ("learned_augment", check)]
    name = "learned_augment"
    assert outcomes(calls()[name], CHECKS[check](name)) == stated["outcomes"]


def test_outcomes_in_words():
    assert _outcome({"changed": 44, "unchanged": 6}) == "yes"
    assert _outcome({"OSError": 33, "changed": 12, "unchanged": 5}) == "33 of 50 raise"
    assert _outcome({"TypeError": 50}) == "no: `TypeError`"
    assert _outcome({"6": 21, "3": 29}) == "3 to 6"
    assert _outcome({"1": 50}) == "1"
    assert _outcome({"none": 26, "gradient": 24}) == "26 of 50 have none"
    assert "peers" in TABLES
