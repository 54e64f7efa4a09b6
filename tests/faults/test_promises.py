"""The script that tries the page's promises again: what it reads, and when it says that one is broken."""

from __future__ import annotations

import pytest

from tests.faults.catalogue import catalogue
from tests.faults.promises import PAGE, Promise, Reports, judge_promise, read_promises

ONE = Promise(text="it holds", tests=("tests/a.py::test_a", "tests/a.py::test_b"), cases=("two_drivers",))


def test_promise_of_the_page_names_a_test_that_shows_it() -> None:
    promises = read_promises(PAGE.read_text())
    assert len(promises) >= 22
    unshown = [promise.text for promise in promises if not promise.tests and not promise.cases]
    assert not unshown
    known = {case.run.__name__ for case in catalogue().values()}
    assert {name for promise in promises for name in promise.cases} <= known


@pytest.mark.parametrize(
    ("ran", "failed", "broken", "with_cases", "verdict"),
    [
        (ONE.tests, (), (), True, "holds: 3 shown"),
        (ONE.tests[:1], (), (), False, "holds: 1 shown, 2 not run"),
        ((), (), (), False, "not tried: 0 shown, 3 not run"),
        (ONE.tests, ONE.tests[1:], (), False, "BROKEN: tests/a.py::test_b"),
        (ONE.tests, (), ("two_drivers",), True, "BROKEN: two_drivers"),
    ],
)
def test_promise_holds_only_where_something_ran_and_nothing_failed(
    ran: tuple[str, ...], failed: tuple[str, ...], broken: tuple[str, ...], with_cases: bool, verdict: str
) -> None:
    reports = Reports(ran=set(ran), failed=set(failed))
    assert judge_promise(ONE, reports, broken, with_cases=with_cases) == verdict
