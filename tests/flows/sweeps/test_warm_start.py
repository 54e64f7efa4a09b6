"""What a search may learn from: an earlier sweep of the same objective, data and space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.sweeps.preparation import prepare_sweep
from flows.sweeps.sweep import _register_sweep
from flows.sweeps.warm_start import check_warm_start
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.search.teaching import LEARNS_FROM
from tests.flows.ledger_sweeps import trial_of, write_sweep

CODE = """
def train(trial):
    for epoch in range(1, 3):
        trial.report(epoch=epoch, score=1.0, cost=2.0)
"""


def write_file(
    name: str,
    *,
    goal: str = "{metric: score, direction: maximize}",
    high: int = 9,
    learns: str = "",
    more: str = "",
    sampler: str = "tpe",
    epochs: int = 2,
) -> str:
    Path("code").mkdir(exist_ok=True)
    Path("code/quick.py").write_text(CODE)
    path = Path(f"{name}.yaml")
    path.write_text(f"""
name: {name}
data: {{source: none}}
objective: {goal}
budget: {{trials: 4, epochs: {epochs}}}
search: {{sampler: {sampler}, pruner: none{learns}}}
families:
  quick:train:
    space: {{rate: {{type: int, low: 1, high: {high}}}{more}}}
code: {{root: code}}
""")
    return str(path)


@pytest.fixture
def earlier(home: Home) -> Home:
    """A finished sweep `first` with rates 2, 4 and 8, and one trial that failed."""
    spec = prepare_sweep(write_file("first"), (), home).spec
    family = spec.families[0].name
    trials = tuple(
        trial_of(family, number, state, 0.5, params={"rate": rate})
        for number, (state, rate) in enumerate(
            [("complete", 2), ("complete", 4), ("complete", 8), ("failed", 1)]
        )
    )
    write_sweep(home, spec, trials=trials, fingerprint="none")
    return home


def check(home: Home, **written: Any) -> list[str]:
    """What is said of a second sweep that learns from the first."""
    prepared = prepare_sweep(write_file("second", **{"learns": ", warm_start: [first]", **written}), (), home)
    ledger = Ledger(home.ledger_url)
    try:
        return check_warm_start(ledger, prepared)
    finally:
        ledger.close()


def test_warm_start_tells_how_many_trials_fit(earlier: Home) -> None:
    assert check(earlier) == ["search.warm_start: 3 of first's 3 complete trials fit"]
    (line,) = check(earlier, high=5)
    assert line.startswith("search.warm_start: 2 of first's 3 complete trials fit; among the others: ")
    assert line.endswith("#2: rate must fit its space: it must be from 1 to 5, found 8")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"sampler": "random"}, "sampler random learns from none"),
        ({"epochs": 9}, "had 2 epochs a trial then"),
    ],
)
def test_warm_start_says_what_is_not_as_it_was(earlier: Home, written: dict[str, Any], said: str) -> None:
    (line,) = check(earlier, **written)
    assert line.startswith("search.warm_start: 3 of first's 3 complete trials fit; ")
    assert said in line


def test_new_version_learns_from_the_one_before_it_and_not_from_itself(earlier: Home) -> None:
    """Both bear the name; the sweep that asks is the newest when its search begins."""
    prepared = prepare_sweep(write_file("first", learns=", warm_start: [first]"), (), earlier)
    ledger = Ledger(earlier.ledger_url)
    before = views.find_sweep(ledger, "first")
    for new in (True, False):  # the second is refused before its search began, and is written anew
        row = _register_sweep(ledger, prepared, new=new, accept_code_change=False)
        assert before is not None
        assert (row.label, row.facts[LEARNS_FROM]) == ("first@2", [before.id])
    ledger.close()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            {"goal": "{metric: score, direction: minimize}"},
            r"first is judged by val/score \(maximize, at best\)",
        ),
        ({"goal": "{metric: cost, direction: minimize}"}, r"by val/cost \(minimize, at best\)"),
        ({"goal": "{metric: score, direction: maximize, at: last}"}, r"by val/score \(maximize, at last\)"),
        (
            {"goal": "[{metric: score, direction: maximize}, {metric: cost, direction: minimize}]"},
            "score.*cost",
        ),
        ({"high": 1}, "3 complete trials, all outside the space of .*rate must fit its space"),
        ({"more": ", width: {type: int, low: 1, high: 2}"}, "a configuration must have width"),
        ({"more": ", width: 2"}, "a configuration must have width"),
        ({"learns": ", warm_start: [first, first@1]"}, "name each sweep once.*first twice"),
        ({"learns": ", warm_start: [frist]"}, "name sweeps of this ledger.*did you mean first"),
    ],
)
def test_warm_start_from_what_does_not_fit_is_refused_with_the_difference(
    earlier: Home, written: dict[str, Any], said: str
) -> None:
    """Else scores are learnt as losses, and two objectives end the coordinator after Ray was started."""
    with pytest.raises(WrongInput, match=rf"second\.yaml, line 6: search\.warm_start must .*{said}"):
        check(earlier, **written)


def test_warm_start_from_other_data_is_refused(home: Home) -> None:
    spec = prepare_sweep(write_file("first"), (), home).spec
    write_sweep(home, spec, trials=(trial_of("x", 0, "complete", 0.5),), fingerprint="a" * 32)
    with pytest.raises(WrongInput, match=r"same data.*fingerprint aaaaaaaaaaaa, the file none"):
        check(home)


def test_warm_start_is_checked_by_plan_and_sweep(earlier: Home, velodrome: Any, capsys: Any) -> None:
    wrong = write_file("second", learns=", warm_start: [frist]")
    ended = velodrome("plan", wrong)
    assert (ended.status, "did you mean first" in ended.err) == (2, True)
    right = write_file("third", learns=", warm_start: [first]")
    assert "3 of first's 3 complete trials" in velodrome("plan", right, "--json").out
    ledger = Ledger(earlier.ledger_url)
    for path in (wrong, right):
        prepared = prepare_sweep(path, (), earlier)
        if path == wrong:
            with pytest.raises(WrongInput):
                _register_sweep(ledger, prepared, new=False, accept_code_change=False)
        else:
            _register_sweep(ledger, prepared, new=False, accept_code_change=False)
    assert {row.label for row in views.sweeps(ledger)} == {"first", "third"}
    ledger.close()
    assert "3 of first's 3 complete trials fit" in capsys.readouterr().err


def test_warm_start_planned_without_a_ledger_is_refused(home: Home, velodrome: Any) -> None:
    ended = velodrome("plan", write_file("second", learns=", warm_start: [first]"))
    assert (ended.status, "name sweeps of this ledger" in ended.err) == (2, True)
