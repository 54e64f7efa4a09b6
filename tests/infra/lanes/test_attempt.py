"""An attempt as a lane runs it, in this process: what it leaves beside its model."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.coordinator.messages import Assignment, AttemptResult
from infra.coordinator.process_faults import ProcessFault
from infra.lanes.attempt import AttemptRunner
from infra.lanes.settings import LaneSettings
from infra.spec import Budget, FamilySpec, Objective, Resources, SweepSpec
from tests.trainers.tiny import Recorder
from trainers.bundle.bundle import load_bundle
from trainers.bundle.latency import model_figures
from trainers.errors import TrialError
from trainers.families.image_cnn import ImageCNN
from trainers.types import Ranks

DIGITS, TEXTS = {"source": "builtin:digits"}, {"source": "builtin:docstrings"}
CODES, CORPUS, PAIRS = ({**DIGITS, "task": "reconstruction"}, {**TEXTS, "task": "language-model"},
                        {**TEXTS, "task": "seq2seq"})  # fmt: skip
SMALL = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32}
SHOWN = [
    ("image_cnn", DIGITS, "accuracy", {"channels": [4]}, {}, ["classes.txt", "confusion.png"]),
    ("autoencoder", CODES, "mse", {"channels": [4]}, {}, ["reconstructions.png"]),
    ("transformer", CORPUS, "loss", SMALL, {}, ["continuations.txt"]),
    ("t5", PAIRS, "loss", {**SMALL, "vocabulary": 300}, {"max_tokens": 8}, ["texts.txt"]),
]


def attempt(
    folder: Path, family: str, data: Any, metric: str, params: Any, options: Any, **more: Any
) -> tuple[AttemptResult, list[str]]:
    """How one of two steps ended, and the files of its samples."""
    spec = SweepSpec(
        name="shown", version=1, data=data, keep_models="all", prices={"cpu_hour": 3600.0},
        objectives=(Objective(metric=f"val/{metric}", direction="minimize"),),
        families=(
            FamilySpec(
                name=family, reference=family, options=options, trials=1,
                budget=Budget(epochs=None, steps=2, report_every=2),
            ),
        ),
    )  # fmt: skip
    settings = LaneSettings(
        run="test", shape="", resources=Resources(), spec=spec.to_json(), base=str(folder),
        storage=str(folder / "storage"), cache=str(folder / "cache"), logs=str(folder / "logs"),
        fingerprint="",
    )  # fmt: skip
    asked = Assignment(
        attempt="1", role="search", family=family, number=0, ordinal=1, params=params, seed=1, **more
    )
    ended = AttemptRunner(settings, device="cpu", ranks=Ranks()).run(asked, Recorder())
    samples = folder / "storage" / "shown" / family / "search-0000" / "samples"
    return ended, sorted(path.name for path in samples.rglob("*"))


@pytest.mark.parametrize(
    ("family", "data", "metric", "params", "options", "shown"), SHOWN, ids=lambda value: str(value)[:12]
)
def test_attempt_with_kept_model_writes_samples(
    tmp_path: Path, family: str, data: Any, metric: str, params: Any, options: Any, shown: list[str]
) -> None:
    ended, samples = attempt(tmp_path, family, data, metric, params, options)
    assert (ended.outcome, ended.detail) == ("complete", "")
    assert ended.model is not None
    assert samples == shown


def test_attempt_costs_what_it_held_and_its_model_says_so(tmp_path: Path) -> None:
    ended, _ = attempt(tmp_path, *SHOWN[0][:5])
    facts: Any = ended.facts
    assert facts["price"] == facts["cpu_seconds"] == facts["train_seconds"] > 0
    assert facts["gpu_seconds"] == 0.0
    bundle = load_bundle(tmp_path / "storage" / str(ended.model))
    assert model_figures(bundle)["price"] == facts["price"]


def test_attempt_without_kept_model_writes_no_samples(tmp_path: Path) -> None:
    ended, samples = attempt(tmp_path, *SHOWN[0][:5], keep_above=1e9)
    assert (ended.outcome, ended.model, samples) == ("complete", None, [])


def test_attempt_that_meets_a_full_disk_says_that_its_process_is_spoilt(tmp_path: Path) -> None:
    ended, _ = attempt(
        tmp_path, "image_cnn", {"source": "npz:x", "task": "classification"}, "accuracy", {}, {}
    )
    assert (ended.outcome, ended.fault) == ("failed", None)
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AttemptRunner, "_train", lambda *_: (_ for _ in ()).throw(full))
        ended, _ = attempt(tmp_path, "image_cnn", DIGITS, "accuracy", {}, {})
    assert (ended.reason, ended.fault) == ("error", ProcessFault.DISK)


class Leaving(ImageCNN):
    """A family of people's own whose `build` sets what the whole process has."""

    def build(self, *given: Any, **named: Any) -> Any:
        """As its parent."""
        os.environ["LEFT_BY_A_TRIAL"] = "1"
        np.seterr(all="raise")
        return super().build(*given, **named)


def test_own_family_leaves_its_process_as_it_was(tmp_path: Path) -> None:
    """As a function does, each of the trials of a lane."""
    before = np.geterr()
    ended, _ = attempt(tmp_path, f"{__name__}:Leaving", *SHOWN[0][1:5], keep_above=1e9)
    assert ended.outcome == "complete", ended.detail
    assert (os.environ.get("LEFT_BY_A_TRIAL"), np.geterr()) == (None, before)


class Mute(Exception):
    """Raises when it is asked what it says."""

    def __str__(self) -> str:
        raise OSError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Mute(), "Mute: its text cannot be read (OSError)\n"),
        (ValueError("x" * 10**7), f"ValueError: {'x' * 488} … (10000012 characters)\n"),
        (
            TrialError("its command must end", "y" * 900, "look"),
            f"its command must end; but got {'y' * 900}; look\n",
        ),
    ],
    ids=["mute", "long", "ours"],
)
def test_failure_has_a_line_whatever_its_error_says(tmp_path: Path, error: Exception, said: str) -> None:
    """One whose text cannot be read took the lane with it; one of ten megabytes went to the ledger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AttemptRunner, "_train", lambda *_: (_ for _ in ()).throw(error))
        ended, _ = attempt(tmp_path, "image_cnn", DIGITS, "accuracy", {}, {})
    assert (ended.outcome, ended.reason) == ("failed", "error")
    assert ended.detail.startswith(said)
    assert len(ended.detail) < 50_000
