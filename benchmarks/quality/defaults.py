"""What `velodrome new` chooses, swept as it stands, beside three times the trials without a pruner.

    python -m benchmarks.quality.defaults                       # the built-in sources
    python -m benchmarks.quality.defaults wine csv:houses.csv=price  # tables of scikit-learn, any source
    python -m benchmarks.quality.defaults csv:trec --trials 8   # so many a family, not what `new` writes
    python -m benchmarks.quality.defaults csv:mr.csv --rows 1500     # of a source that is too large for here
    python -m benchmarks.quality.defaults csv:power.csv=load --set data.columns.time=hour
        --set data.split.by=time --set 'families={rnn: {options: {window: 40, horizon: 1}}}'
        --set budget.epochs=30 --set 'search.pruner={name: asha, min_epochs: 7}'   # a family's own would stay

For each source: `new`, `sweep`, `confirm` unchanged under one name; then another sweep of the same file with
`budget.trials` times three, `budget.minutes` too where `new` wrote them, and `search.pruner: none`. Regret is
what the first lacks of the second on the validation part, in shares of the distance between always guessing
the same and the second; negative where the first is better. Of pairs of texts, whose objective is the loss
of a family's own tokens, the guess is each token as often as in training. The test part is read once, by the
first's `confirm`.

Times are the trials' own, all lanes together, and epochs are theirs, so that neither a start of Ray nor
waiting for a lane is counted. A lane's first trial imports what it needs, in both sweeps alike and whatever
is swept: what it took beyond training and evaluation, above the median of later ones, is left out of both,
and said ("started in").

`--rows N` leaves at most N rows for training and a fifth of that in each part that the source brings (of a
source without parts N altogether), drawn once by a fixed seed, in their order; the line says so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import numpy as np
import yaml

import velodrome
from benchmarks.quality.fewer_rows import write_fewer_rows
from benchmarks.quality.tables import TABLES, write_table
from flows.config.lookup import open_sweep
from flows.sweeps.new import NewFile
from flows.sweeps.preparation import prepare_sweep
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import AttemptRow, TrialRow
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.registry import is_function, load_reference
from trainers.tasks import rules_for

SOURCES = ("builtin:cancer", "builtin:diabetes", "builtin:digits", "builtin:photos", *TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep came to.

    Attributes:
        best: the best value on the validation part.
        family: whose it is.
        seconds: of all trials, without `started`.
        started: seconds that the lanes' first trials took to import what they need.
        trained: seconds of training and evaluation.
        ended: trials that did, of how many.
    """

    best: float
    family: str
    seconds: float
    started: float
    trained: float
    epochs: int
    ended: str


def main() -> None:
    """Prints a line a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="*", help=", ".join(SOURCES))
    parser.add_argument("--trials", type=int, help="of each family; then `confirm` is of the best alone")
    parser.add_argument("--rows", type=int, help="at most so many to train on, drawn once")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `sweep` takes it")
    asked = parser.parse_args()
    for source in asked.sources or SOURCES:
        with TemporaryDirectory() as folder:
            os.environ["VELODROME_HOME"] = str(Path(folder) / "home")
            print(_compare(source, Path(folder), asked), flush=True)


def _compare(source: str, folder: Path, asked: argparse.Namespace) -> str:
    source, _, target = source.partition("=")
    where = f"csv:{write_table(folder, source)}" if source in TABLES else source
    if asked.rows:
        where = write_fewer_rows(where, asked.rows, folder)
    file = folder / "first.yaml"
    written = velodrome.new(where, target=target or None, output=file)
    budget = yaml.safe_load(file.read_text())["budget"]
    trials = asked.trials or int(budget["trials"])
    first = _sweep(file, (*asked.set, f"budget.trials={trials}"))
    few = bool(asked.trials)
    (confirmed, *_) = velodrome.confirm(written.name, top=1 if few else None, seeds=2 if few else 5).rows
    longer = (f"budget.minutes={3 * budget['minutes']}",) if "minutes" in budget else ()
    larger = (f"budget.trials={3 * trials}", *longer, "search.pruner=none")
    whole = _sweep(file, (*asked.set, "name=whole", *larger))
    trivial = trivial_value(file, asked.set, written)
    away = None if trivial is None or trivial == whole.best else abs(trivial - whole.best)
    regret = (whole.best - first.best) if (trivial or 0.0) < whole.best else (first.best - whole.best)
    said = "-" if away is None else f"{regret / away:+.1%}"
    drawn = f", of {asked.rows} rows" if asked.rows else ""
    return (
        f"{source:30.30}{drawn} {written.metric}: {_describe(first)}; whole {_describe(whole)}; "
        f"regret {said}, {first.seconds / whole.seconds:.0%} of the time "
        f"({first.trained / whole.trained:.0%} of that in epochs, {first.epochs / whole.epochs:.0%} of the "
        f"epochs); guess {trivial}; test "
        f"{fmean(confirmed.test.values):.5g}; {trials} trials a family"
    )


def trivial_value(file: Path, overrides: Sequence[str], written: NewFile) -> float | None:
    """What always guessing the same scores on validation; None where the task has no such guess."""
    guess = written.look.guess if written.look else None
    if guess is not None and written.metric:
        return guess.scores[written.metric]
    home = Home.from_environment()
    prepared = prepare_sweep(file, overrides, home)
    dataset, code = prepared.dataset, load_reference(prepared.spec.families[0].reference)
    if dataset is None or dataset.task != "seq2seq" or is_function(code):
        return None
    family = code(prepared.spec.families[0].options)  # each has the same tokens of the same texts
    encoded = encode_dataset(family, dataset, family.complete({}), home.cache)
    parts = (np.asarray(encoded.arrays["target"])[encoded.splits[part]] for part in ("train", "validation"))
    return rules_for(encoded.state).trivial(*parts)["loss"]


def _describe(swept: Swept) -> str:
    return (
        f"{swept.best:.5g} ({swept.family}) in {swept.seconds:.0f} s ({swept.trained:.0f} in epochs; "
        f"started in {swept.started:.0f}; {swept.ended} trials)"
    )


def _sweep(file: Path, overrides: tuple[str, ...]) -> Swept:
    status = velodrome.sweep(file, overrides=overrides)
    assert status.best is not None
    ledger, row = open_sweep(status.sweep, Home.from_environment())
    with closing(ledger):
        trials, attempts = views.trials(ledger, row.id), views.attempts(ledger, row.id)
    started = lane_starts_s(trials, [attempt for attempt in attempts if attempt.role == "search"])
    return Swept(
        best=status.best.values[0],
        family=status.best.family,
        seconds=sum(trial.seconds for trial in trials) - started,
        started=started,
        trained=sum(map(_trained_s, trials)),
        epochs=sum(trial.epochs for trial in status.trials),
        ended=f"{sum(trial.has_ended for trial in trials)} of {len(trials)}",
    )


def lane_starts_s(trials: Sequence[TrialRow], attempts: Sequence[AttemptRow]) -> float:
    """Seconds that lanes' first trials took beyond training and evaluation, above the median of later ones.

    Args:
        attempts: in the order in which they started.
    """
    by_key = {trial.key: trial for trial in trials}
    first: dict[str, float] = {}
    later: list[float] = []
    for attempt in attempts:
        trial = by_key[attempt.role, attempt.family, attempt.number]
        beyond = trial.seconds - _trained_s(trial)
        if attempt.lane in first:
            later.append(beyond)
        else:
            first[attempt.lane] = beyond
    usual = median(later) if later else 0.0
    return sum(max(0.0, beyond - usual) for beyond in first.values())


def _trained_s(trial: TrialRow) -> float:
    return float(trial.facts.get("train_seconds", 0.0))


if __name__ == "__main__":
    main()
