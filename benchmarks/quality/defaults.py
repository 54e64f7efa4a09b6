"""What `velodrome new` chooses, swept as it stands, beside three times the trials without a pruner.

    python -m benchmarks.quality.defaults                       # the built-in sources
    python -m benchmarks.quality.defaults wine csv:houses.csv=price  # tables of scikit-learn, any source

For each source: `new`, `sweep`, `confirm` unchanged under one name; then another sweep of the same file with
`budget.trials` times three and `search.pruner: none`. Regret is what the first lacks of the second on the
validation part, in shares of the distance between always guessing the same and the second; negative where the
first is better. The test part is read once, by the first's `confirm`. Times count everything but Ray's start.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import yaml

import velodrome
from benchmarks.quality.tables import TABLES, write_table

SOURCES = ("builtin:cancer", "builtin:diabetes", "builtin:digits", "builtin:photos", *TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The best value on the validation part, and how long the sweep took, s."""

    best: float
    seconds: float


def main() -> None:
    """Prints a line a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="*", help=", ".join(SOURCES))
    for source in parser.parse_args().sources or SOURCES:
        with TemporaryDirectory() as folder:
            os.environ["VELODROME_HOME"] = str(Path(folder) / "home")
            print(_compare(source, Path(folder)), flush=True)


def _compare(source: str, folder: Path) -> str:
    source, _, target = source.partition("=")
    where = f"csv:{write_table(folder, source)}" if source in TABLES else source
    file = folder / "first.yaml"
    written = velodrome.new(where, target=target or None, output=file)
    trivial = written.look.guess.scores[written.metric] if written.look.guess and written.metric else None
    first = _sweep(file, ())
    (confirmed, *_) = velodrome.confirm(str(file)).rows
    document = yaml.safe_load(file.read_text())
    trials = 3 * document["budget"]["trials"]
    whole = _sweep(file, ("name=whole", f"budget.trials={trials}", "search.pruner=none"))
    away = None if trivial is None or trivial == whole.best else abs(trivial - whole.best)
    regret = (whole.best - first.best) if (trivial or 0.0) < whole.best else (first.best - whole.best)
    said = "-" if away is None else f"{regret / away:+.1%}"
    return (
        f"{source:30.30} {written.metric}: {first.best:.5g} in {first.seconds:.0f} s, "
        f"whole {whole.best:.5g} in {whole.seconds:.0f} s; regret {said}, "
        f"{first.seconds / whole.seconds:.0%} of the time; test {fmean(confirmed.test.values):.5g}"
    )


def _sweep(file: Path, overrides: tuple[str, ...]) -> Swept:
    start = time.perf_counter()
    status = velodrome.sweep(file, overrides=overrides)
    assert status.best is not None
    return Swept(best=status.best.values[0], seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
