"""A model in a new interpreter: loaded as a pyfunc without pickles, and asked for predictions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from infra.registry.artifacts import find_bundle
from infra.secrets import redact
from infra.tracking.mlflow_environment import DEFAULTS
from trainers.storage.atomic_folders import folder_key
from trainers.storage.encryption import FILE_VARIABLE, VARIABLE

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Document

LIMIT_S = 300.0
LATENCY_S = 1.0
END_S = 5.0
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)


class UnusableModel(Exception):
    """The model does not load or predict in a new interpreter; the text says how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedPredictions:
    """What a model did.

    Attributes:
        predictions: one row for each given, in their order.
        facts: `latency_ms`, `latency_p99_ms`, `load_seconds`; of our own models `parameters`,
            `size_bytes`, and `flops` where countable.
    """

    predictions: pd.DataFrame
    facts: Mapping[str, float] = field(default_factory=dict)


class IsolatedPredict(Protocol):
    """How a model is asked; tests have others."""

    def __call__(self, folder: Path, rows: pd.DataFrame, *, paths: Sequence[str] = ()) -> IsolatedPredictions:
        """As `predict_isolated`; raises `UnusableModel`."""


def predict_isolated(
    folder: Path, rows: pd.DataFrame, *, paths: Sequence[str] = (), limit_s: float = LIMIT_S
) -> IsolatedPredictions:
    """Loads MLflow's folder of a model in a new interpreter and predicts the rows there.

    Nothing is unpickled (`MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`), and no secret of this process's
    environment is there, but for the key of an encrypted bundle.

    Args:
        folder: with `MLmodel`; its contents were checked before.
        rows: raw rows, at least one.
        paths: folders of people's own code that the model needs.
        limit_s: after this long the interpreter is ended.

    Raises:
        UnusableModel: it did not load, did not predict, or took too long.
    """
    from trainers.bundle.frames import frame_from_json, frame_to_json

    with tempfile.TemporaryDirectory(prefix="velodrome-use-") as aside:
        place = Path(aside)
        (place / "rows.json").write_text(json.dumps(frame_to_json(rows)))
        request = {"model": str(folder), "rows": str(place / "rows.json"), "latency_seconds": LATENCY_S}
        (place / "request.json").write_text(json.dumps(request))
        _run_interpreter(place, limit_s, _child_environment(paths, encrypted=_is_encrypted(folder)))
        try:
            answer: Document = json.loads((place / "answer.json").read_text())
            predictions = frame_from_json(answer.pop("predictions"))
        except (OSError, ValueError, KeyError) as error:
            raise UnusableModel(f"no answer ({type(error).__name__})") from error
    if len(predictions) != len(rows):
        raise UnusableModel(f"{len(predictions)} predictions for {len(rows)} rows")
    return IsolatedPredictions(
        predictions=predictions, facts={name: float(value) for name, value in answer.items()}
    )


def _is_encrypted(folder: Path) -> bool:
    bundle = find_bundle(folder)
    return bundle is not None and folder_key(bundle) is not None


def _run_interpreter(place: Path, limit_s: float, environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "infra.registry.trial_use", "request.json", "answer.json"]
    with (place / "printed").open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=printed,
            stderr=printed, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise UnusableModel(f"no end within {limit_s:g} s") from None
        finally:
            _kill_process_group(process)
    if status:
        raise UnusableModel(_last_line((place / "printed").read_bytes()) or f"exit status {status}")


def _child_environment(own: Sequence[str], *, encrypted: bool) -> dict[str, str]:
    names = (*_KEPT, VARIABLE, FILE_VARIABLE) if encrypted else _KEPT
    kept = {name: os.environ[name] for name in names if name in os.environ}
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *own, *(str(Path(entry).resolve()) for entry in sys.path if entry)]
    return {**kept, **DEFAULTS, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*paths, os.getcwd()]))}


def _kill_process_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the interpreter and whatever it started, which is a process group of its own."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_S)


def _last_line(printed: bytes) -> str:
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines() if line.strip()]
    return redact(lines[-1])[:300] if lines else ""
