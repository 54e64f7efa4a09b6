"""Runs cases of the fault catalogue and prints what came of them.

python tests/faults/run.py                          all of them, in their full length
python tests/faults/run.py --fast                   those of each change, waits scaled down
python tests/faults/run.py F07 F11 --repeat 5 --json out.json
python tests/faults/run.py --markdown docs/faults.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.catalogue import Result, catalogue, run_case, run_here
from tests.faults.outcome import Case, Pace
from tests.faults.rendering import as_text, into_page


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 where everything held, 1 where something did not, 2 for an unknown id."""
    asked = _parser().parse_args(words)
    known = catalogue()
    if unknown := [name for name in asked.ids if name not in known]:
        print(f"no case {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in asked.ids] or [c for c in known.values() if c.fast or not asked.fast]
    if asked.list:
        print("\n".join(_describe_case(case) for case in chosen))
        return 0
    if asked.into is not None:
        run_here(chosen[0], Pace(fast=asked.fast), asked.into)
        return 0
    results: list[Result] = []
    for result in _run(chosen, asked.repeat, Pace(fast=asked.fast)):
        results.append(result)
        _keep(results, asked)
    print(as_text(results))
    return 0 if all(result.passed for result in results) else 1


def _keep(results: Sequence[Result], asked: argparse.Namespace) -> None:
    """Writes what there is so far: a run that is ended in its midst has not been for nothing."""
    if asked.json is not None:
        document = [{**asdict(result), "passed": result.passed} for result in results]
        asked.json.write_text(json.dumps(document, indent=1) + "\n")
    if asked.markdown is not None:
        into_page(asked.markdown, results)


def _run(chosen: Sequence[Case], repeat: int, pace: Pace) -> Iterator[Result]:
    for case in chosen:
        for _ in range(repeat):
            result = run_case(case, pace)
            verdict = "holds" if result.passed else f"FAILED {result.broken}"
            print(f"{case.id} {verdict} ({result.seconds:.0f} s)", file=sys.stderr, flush=True)
            yield result


def _describe_case(case: Case) -> str:
    marks = [name for name, so in (("fast", case.fast), ("ray", case.ray)) if so]
    return f"{case.id}  {case.title}" + (f"  ({', '.join(marks)})" if marks else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs cases of the fault catalogue.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="F01 … F55; all where none is named")
    parser.add_argument("--fast", action="store_true", help="cases of each change alone, waits scaled by 20")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="each so often")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="put the table into a page")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # one case, here, for another process
    return parser


if __name__ == "__main__":
    sys.exit(main())
