"""Every metric that Velodrome knows by name: where it should go, and which is a task's usual objective.

Names have no prefix here (`accuracy`, not `val/accuracy`). Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from trainers.data.dataset import Task

Direction = Literal["minimize", "maximize"]

PER_TASK: Mapping[Task, tuple[str, ...]] = {
    "classification": (
        "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "loss", "accuracy_gap",
    ),
    "regression": ("mse", "rmse", "mae", "r2", "loss"),
    "language-model": ("loss", "perplexity", "bits_per_character"),
    "masked-words": ("loss", "perplexity", "accuracy"),
    "seq2seq": ("loss", "exact_match", "bleu", "chrf", "rouge1", "rougeL"),
    "question-answering": ("f1", "exact_match", "loss"),
    "reconstruction": ("mse", "loss"),
    "generation": ("distance",),
    "recommendation": ("ndcg_10", "recall_10", "ndcg_10_gain"),
}  # fmt: skip
"""Names that a task's rules can report, the usual objective first."""

HELD = ("train_seconds", "gpu_seconds", "cpu_seconds", "price", "energy_joules")
"""What time in training and evaluation comes to, whoever trains; the last two where they are known."""

SPENT = (*HELD, "train_flops", "epsilon")
"""What a whole training took, whichever epoch is kept; `epsilon` of what was trained privately."""

FOR_ALL: tuple[str, ...] = (
    "parameters", "size_bytes", "flops", "latency_ms", "peak_memory_bytes", *SPENT,
)  # fmt: skip
"""Known for every model, whatever its task."""

USUAL: Mapping[Task, str] = {task: names[0] for task, names in PER_TASK.items()}

_LARGER_IS_BETTER = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "auc",
    "r2",
    "exact_match",
    "bleu",
    "chrf",
    "rouge1",
    "rougeL",
    "ndcg_10",
    "recall_10",
    "ndcg_10_gain",
)
GAP = "accuracy_gap"
"""The largest difference of accuracy between groups of a sensitive column; of several columns the largest."""

_SMALLER_IS_BETTER = (
    "loss", "mse", "rmse", "mae", GAP, "perplexity", "bits_per_character", "distance", *FOR_ALL,
)  # fmt: skip

DIRECTIONS: Mapping[str, Direction] = {
    **dict.fromkeys(_LARGER_IS_BETTER, "maximize"),
    **dict.fromkeys(_SMALLER_IS_BETTER, "minimize"),
}

OF_A_GROUP = ("accuracy", "mae", "rmse")  # then the column's name and the group's
_OF_A_CLASS = ("precision_", "recall_", "f1_")  # then the class's name


def full_name(name: str) -> str:
    """The name with its prefix: `val/` where none is written."""
    return name if "/" in name else f"val/{name}"


def names_of_classes(names: Iterable[str]) -> set[str]:
    """Those of the names, with a prefix, that are a class's: its precision, recall and F1 come together."""
    known = set(names)
    places = [name.rpartition("/") for name in known]
    found = {
        (prefix, rest[len(start) :])
        for prefix, _, rest in places
        for start in _OF_A_CLASS
        if rest.startswith(start)
    }
    together = [{f"{prefix}/{start}{label}" for start in _OF_A_CLASS} for prefix, label in found]
    return {name for group in together if group <= known for name in group}


def group_metric(metric: str, column: str, group: str) -> str:
    """The name of a metric of one group: `accuracy_gender=female`."""
    return f"{metric}_{column}={group}"


def names_of_groups(names: Iterable[str]) -> set[str]:
    """Those of the names, with or without a prefix, that are a group's."""
    return {name for name in names if _of_a_group(name) is not None}


def _of_a_group(name: str) -> str | None:
    rest = name.removeprefix("val/").removeprefix("test/")
    start, equals, _ = rest.partition("=")
    return next((of for of in OF_A_GROUP if equals and start.startswith(f"{of}_")), None)


def may_be_of_a_class(name: str) -> bool:
    """Whether a metric's name, with or without a prefix, is as that of a class's metric begins."""
    return name.rpartition("/")[2].startswith(_OF_A_CLASS)


def direction_of(name: str) -> Direction | None:
    """Where a metric should go, with or without a prefix; None for a name that is not ours."""
    if (of := _of_a_group(name)) is not None:
        return DIRECTIONS[of]
    prefix, slash, rest = name.partition("/")
    if not slash:
        prefix, rest = "", name
    if prefix not in ("", "val", "train", "test"):
        return None
    return "maximize" if rest.startswith(_OF_A_CLASS) else DIRECTIONS.get(rest)
