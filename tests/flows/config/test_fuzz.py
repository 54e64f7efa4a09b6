"""Sweep files changed at random, in their text and in their values: each ends in a specification that a sweep
can begin with, or in exit status 2 with the file's name; never in a traceback or a hang.

`FUZZ_EXAMPLES` runs it for longer, and elsewhere each time.
"""

from __future__ import annotations

import copy
import functools
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_sweep
from infra.errors import WrongInput
from infra.search.pruners import deciding_reports, make_pruner
from infra.search.samplers import make_sampler, starting_point
from infra.spec import SweepSpec

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 20  # for one file
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)

WHOLE = """\
name: whole
seed: 7
data: {source: builtin:digits, split: {train: 0.8, validation: 0.1, test: 0.1, by: content}}
objective: {metric: accuracy, direction: maximize, at: last}
budget: {trials: 12, epochs: 9, patience: 2, min_delta: 0.1, trial_minutes: 1, minutes: 5, cost: 3.5}
prices: {gpu_hour: 2, cpu_hour: 0.1}
search:
  sampler: {name: tpe, n_startup_trials: 4}
  pruner: {name: asha, min_epochs: 1, reduction: 3}
  warm_start: [old@2]
families:
  image_cnn:
    options: {preset: mnist}
    space:
      extends: image_cnn
      learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}
      optimizer: {type: categorical, choices: [sgd, adam, rmsprop]}
      momentum: {type: float, low: 0.0, high: 0.99, step: 0.01, when: {optimizer: [sgd, rmsprop]}}
      batch_size: {type: int, low: 16, high: 256, log: true}
    trials: 6
    resources: {gpus: 0.5}
    start_with: [{learning_rate: 1e-3, optimizer: adam}]
  text_cnn:
    budget: {steps: 100, report_every: 30}
    pruner: {name: percentile, percentile: 25.0, startup: 2}
    space: {learning_rate: {type: float, low: 0.001, high: 0.1, points: 3}, l1: 0.0}
    sampler: grid
resources: {lanes: 2, workers: 1, cpus: 1, memory: 4GiB, labels: {zone: eu}}
checkpoint: {every: 30s, keep: 2}
keep: {models: {top: 3}}
limits: {stall: 1m, start: 1h, lease: 5s}
tracking: {uri: 'http://${HOST}:5000', experiment: x}
model: champion
"""
FILES = [WHOLE, *(path.read_text() for path in sorted((ROOT / "benchmarks" / "quality").glob("*.yaml")))]

# -- text --------------------------------------------------------------------------------------------------

TOKENS = [
    "{", "}", "[", "]", ":", ": ", "- ", ",", "#", "'", '"', "&a", "*a", "!!str", "|", ">", "\n", "  ", "\t",
    "---", "null", "true", "-1", "0", "1e400", ".nan", "012", "99999999999999999999", "é", "\x00", "\ufeff",
    "${X}", "..",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A valid file after some edits."""
    text = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        lines = text.splitlines(keepends=True) or [""]
        match draw(st.sampled_from(["cut", "put", "swap", "double", "indent"])):
            case "cut":
                text = text[:start] + text[end:]
            case "put":
                text = text[:start] + draw(st.sampled_from(TOKENS)) + text[end:]
            case "swap":
                one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[one], lines[other] = lines[other], lines[one]
                text = "".join(lines)
            case "double":
                number = draw(st.integers(0, len(lines) - 1))
                text = "".join([*lines[: number + 1], lines[number], *lines[number + 1 :]])
            case "indent":
                number = draw(st.integers(0, len(lines) - 1))
                lines[number] = " " * draw(st.integers(0, 9)) + lines[number].lstrip()
                text = "".join(lines)
    return text.encode("utf-8", "surrogatepass")


@fuzz
@given(st.one_of(texts(), st.binary(max_size=300), texts().flatmap(lambda t: st.just(t[: len(t) // 2]))))
def test_sweep_file_of_any_text_resolves_or_is_wrong_input(content: bytes) -> None:
    check(content)


# -- values ------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-3, 3), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 1e-300, 1e300, 0.5]),
)  # fmt: skip
WORDS = [
    "", "tpe", "grid", "gp", "qmc", "random", "asha", "hyperband", "median", "percentile", "none", "auto",
    "best", "all", "30s", "5 epochs", "0s", "4GiB", "mse", "val/x", "linear_regression", "rnn", "os:system",
    "a.b:c", "..", "builtin:diabetes", "csv:", "sgd", "minimize", "${", "x" * 300, "\n", "\u202e", "$(x)",
]  # fmt: skip
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(WORDS), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "type", "low", "high", "when", "choices", "top", "x"]), inner
        ),
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and index below a value."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A valid file's document after some changes of keys and values."""
    document = copy.deepcopy(draw(st.sampled_from([_parse_yaml(text) for text in FILES])))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=repr) or [()]))
        if not path:
            return draw(values)
        inside = document
        for key in path[:-1]:
            inside = inside[key]
        match draw(st.sampled_from(["value", "value", "drop", "rename", "more"])):
            case "value":
                inside[path[-1]] = draw(values)
            case "drop":
                del inside[path[-1]]
            case "rename" if isinstance(inside, dict):
                inside[f"{path[-1]}{draw(st.sampled_from(['x', 's', ' ', '']))}"] = inside.pop(path[-1])
            case _ if isinstance(inside, dict):
                inside[draw(st.sampled_from([*WORDS, "trials", "space", "steps"]))] = draw(values)
    return document


@functools.cache
def _parse_yaml(text: str) -> Any:
    return yaml.safe_load(text.replace("1e-", "1.0e-"))  # PyYAML takes 1e-3 for text


@fuzz
@given(documents())
def test_sweep_file_of_any_values_resolves_or_is_wrong_input(document: Any) -> None:
    check(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass"))


# -- what must come of it ----------------------------------------------------------------------------------


def check(content: bytes) -> None:
    """Loads, resolves, and makes what a sweep makes first."""
    with tempfile.TemporaryDirectory() as folder, within(LIMIT_S):
        path = Path(folder) / "fuzzed.yaml"
        path.write_bytes(content)
        try:
            found = resolve_sweep(load_sweep(path), default_metric="accuracy")
        except WrongInput as error:
            said, status = str(error), error.exit_code
        else:
            said, status = "", 0
    if status:
        assert status == 2
        assert ".yaml" in said, said
        return
    assert SweepSpec.from_json(found.to_json()) == found
    for family in found.families:
        make_sampler(family.sampler, 0)
        make_pruner(family.pruner, family.budget.reports)
        deciding_reports(family.pruner, family.budget.reports)
        starting_point(family, found.seed, 0, lanes=1)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Ends what hangs."""

    def over(number: int, frame: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_fuzz_base_documents_are_valid_sweeps(tmp_path: Path) -> None:
    """Else all that follows would be refused for another reason."""
    for number, text in enumerate(FILES):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        assert resolve_sweep(load_sweep(path), default_metric="accuracy").families


def test_fuzz_time_limit_raises_on_a_hang() -> None:
    with pytest.raises(TimeoutError), within(1):
        while True:
            pass
