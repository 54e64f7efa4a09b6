"""What `velodrome new` chooses, swept as it stands, beside three times the trials without a pruner.

    python -m benchmarks.quality.defaults                       # the built-in sources
    python -m benchmarks.quality.defaults wine csv:houses.csv=price  # tables of scikit-learn, any source
    python -m benchmarks.quality.defaults csv:trec --trials 8   # so many a family, not what `new` writes
    python -m benchmarks.quality.defaults csv:power.csv=load --set data.columns.time=hour
        --set 'families={rnn: {options: {window: 40, horizon: 1}}}'

For each source: `new`, `sweep`, `confirm` unchanged under one name; then another sweep of the same file with
`budget.trials` times three and `search.pruner: none`. Regret is what the first lacks of the second on the
validation part, in shares of the distance between always guessing the same and the second; negative where the
first is better. The test part is read once, by the first's `confirm`. Times are the trials' own, all lanes
together, and epochs are theirs, so that neither a start of Ray nor waiting for a lane is counted. A lane's
first trial imports what it needs, in both sweeps alike: the seconds of training and evaluation stand beside.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import yaml

import velodrome
from benchmarks.quality.tables import TABLES, write_table
from flows.config.lookup import open_sweep
from infra.home import Home
from infra.ledger import views

SOURCES = ("builtin:cancer", "builtin:diabetes", "builtin:digits", "builtin:photos", *TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The best value on the validation part and whose it is, and the seconds and epochs of all trials;
    `trained`: the seconds of training and evaluation among them."""

    best: float
    family: str
    seconds: float
    trained: float
    epochs: int


def main() -> None:
    """Prints a line a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="*", help=", ".join(SOURCES))
    parser.add_argument("--trials", type=int, help="of each family; then `confirm` is of the best alone")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `sweep` takes it")
    asked = parser.parse_args()
    for source in asked.sources or SOURCES:
        with TemporaryDirectory() as folder:
            os.environ["VELODROME_HOME"] = str(Path(folder) / "home")
            print(_compare(source, Path(folder), asked.set, asked.trials), flush=True)


def _compare(source: str, folder: Path, changes: Sequence[str], asked_trials: int | None) -> str:
    source, _, target = source.partition("=")
    where = f"csv:{write_table(folder, source)}" if source in TABLES else source
    file = folder / "first.yaml"
    written = velodrome.new(where, target=target or None, output=file)
    guess = written.look.guess if written.look else None
    trivial = guess.scores[written.metric] if guess and written.metric else None
    trials = asked_trials or int(yaml.safe_load(file.read_text())["budget"]["trials"])
    first = _sweep(file, (*changes, f"budget.trials={trials}"))
    one = bool(asked_trials)
    (confirmed, *_) = velodrome.confirm(written.name, top=1 if one else None, seeds=2 if one else 5).rows
    whole = _sweep(file, (*changes, "name=whole", f"budget.trials={3 * trials}", "search.pruner=none"))
    away = None if trivial is None or trivial == whole.best else abs(trivial - whole.best)
    regret = (whole.best - first.best) if (trivial or 0.0) < whole.best else (first.best - whole.best)
    said = "-" if away is None else f"{regret / away:+.1%}"
    return (
        f"{source:30.30} {written.metric}: {first.best:.5g} ({first.family}) in {first.seconds:.0f} s "
        f"({first.trained:.0f} in epochs), whole {whole.best:.5g} ({whole.family}) in {whole.seconds:.0f} s "
        f"({whole.trained:.0f}); regret {said}, {first.seconds / whole.seconds:.0%} of the time, "
        f"{first.trained / whole.trained:.0%} of that in epochs, {first.epochs / whole.epochs:.0%} of "
        f"the epochs; guess {trivial}; test {fmean(confirmed.test.values):.5g}; {trials} trials a family"
    )


def _sweep(file: Path, overrides: tuple[str, ...]) -> Swept:
    status = velodrome.sweep(file, overrides=overrides)
    assert status.best is not None
    ledger, row = open_sweep(status.sweep, Home.from_environment())
    with closing(ledger):
        facts = [trial.facts for trial in views.trials(ledger, row.id)]
    return Swept(
        best=status.best.values[0],
        family=status.best.family,
        seconds=sum(trial.seconds for trial in status.trials),
        trained=sum(float(known.get("train_seconds", 0.0)) for known in facts),
        epochs=sum(trial.epochs for trial in status.trials),
    )


if __name__ == "__main__":
    main()
