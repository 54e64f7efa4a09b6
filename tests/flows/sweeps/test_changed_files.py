"""`sweep` again with a file, code or data that is not what the ledger says any more: refused before Ray
starts, with the difference, and nothing is written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.sweeps.preparation import prepare_sweep
from flows.sweeps.sweep import _register_sweep
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger

CODE = "from beside import SCORE\n\n\ndef train(trial):\n    trial.report(score=SCORE)\n"
FILE = """
name: begun
data: {source: csv:rows.csv, columns: {target: b}}
objective: {metric: score, direction: maximize}
budget: {trials: 4, epochs: 2}
search: {sampler: random, pruner: none}
families:
  changing:train:
    space: {a: {type: categorical, choices: [1, 2]}}
code: {root: code}
"""


def forget_code() -> None:
    for name in ("changing", "beside"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def rewrite(path: str, before: str, now: str) -> None:
    text = Path(path).read_text()
    assert before in text
    Path(path).write_text(text.replace(before, now, 1))


@pytest.fixture
def begin(home: Home) -> Iterator[Callable[..., SweepRow]]:
    """Registers the file as `sweep` does; the first time its search has begun when it returns."""
    Path("code").mkdir()
    Path("code/changing.py").write_text(CODE)
    Path("code/beside.py").write_text("SCORE = 0.5\n")
    Path("begun.yaml").write_text(FILE)
    Path("rows.csv").write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    ledger = Ledger(home.ledger_url, create=True)

    def register(**options: bool) -> SweepRow:
        forget_code()
        asked = {"new": False, "accept_code_change": False, **options}
        row = _register_sweep(ledger, prepare_sweep("begun.yaml", (), home), **asked)
        if not views.has_journal(ledger, row.id):
            ledger.add_events(row.id, WriteBatch(journal=["{}"]))
        return views.sweep_by_id(ledger, row.id)

    yield register
    ledger.close()
    forget_code()


@pytest.mark.parametrize(
    ("path", "before", "now", "said"),
    [
        ("begun.yaml", "[1, 2]", "[1, 2, 3]", r"space\.a\.choices: \[1, 2\] → \[1, 2, 3\]"),
        ("begun.yaml", "[1, 2]", "[1, true]", r"choices: \[1, 2\] → \[1, true\]"),
        ("begun.yaml", "direction: maximize", "direction: maximize, at: last", "objective.at: best → last"),
        ("begun.yaml", "target: b}", "target: b}, split: {salt: 1}", r'data\.split: absent → {"salt": 1}'),
        ("begun.yaml", "epochs: 2", "epochs: 3", r"changing\.train\.budget\.epochs: 2 → 3"),
        ("begun.yaml", "code: {", "resources: {workers: 2}\ncode: {", r"resources\.workers: 1 → 2"),
        ("rows.csv", "7,1", "7,0", r"data: fingerprint [0-9a-f]{12} → [0-9a-f]{12}"),
        ("code/beside.py", "0.5", "0.25", "another source of changing.train"),
    ],
)
def test_sweep_of_what_is_another_sweep_is_refused_and_writes_nothing(
    begin: Callable[..., SweepRow], path: str, before: str, now: str, said: str
) -> None:
    known = begin()
    assert begin() == known
    rewrite(path, before, now)
    with pytest.raises(WrongInput, match=said):
        begin()
    rewrite(path, now, before)
    assert begin() == known


def test_sweep_of_changed_code_goes_on_where_it_is_accepted_or_begins_anew(
    begin: Callable[..., SweepRow],
) -> None:
    known = begin()
    rewrite("code/beside.py", "0.5", "0.25")
    assert begin(accept_code_change=True).facts["code_changed"] == ["changing.train"]
    rewrite("begun.yaml", "[1, 2]", "[1, 2, 3]")
    assert begin(new=True).label == f"{known.label}@2"
