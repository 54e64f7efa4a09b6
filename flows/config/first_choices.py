"""What a first sweep file says of its search, by what the data is, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainers.metric_names import USUAL

if TYPE_CHECKING:
    from trainers.data_profile import DataProfile

BATCH = 64  # about what spaces draw
ROUND = (8, 10, 15, 20, 30, 40, 60, 80, 100)
STEPS_OF_TABLES, STEPS_OF_OTHERS = 4000, 1500  # of an optimizer, in a whole trial
LONGEST_OF_OTHERS = 40
FEW_TRIALS, MANY_TRIALS = 20, 40  # many where a trial takes seconds, as those of tables do
UNBALANCED = 0.8  # the share of the commonest class from which on accuracy says little
_CLIP_SPACES = {
    "image_cnn": (
        "space:   # stretches of time and of frequency are left out, in training alone",
        "  extends: image_cnn",
        "  augment: {type: categorical, choices: [null, {time_mask: 0.2, frequency_mask: 0.2}]}",
    )
}
MANY_ROWS, WIDE_ROWS = 20_000, 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChoices:
    """The search of a first sweep file.

    Attributes:
        metric: the objective; None where there is no task.
        rung: the first epoch at which a trial may be stopped.
        spaces: family → lines that change its space.
        reasons: key → why.
    """

    metric: str | None
    trials: int
    epochs: int
    patience: int
    rung: int
    spaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The file's keys `objective`, `budget` and `search`."""
        lines = []
        if self.metric:
            lines.append(f"objective: {{metric: {self.metric}}}   # {self.reasons['metric']}")
        return [
            *lines,
            "budget:   # minutes: 30 sets a limit",
            f"  trials: {self.trials}   # {self.reasons['trials']}",
            f"  epochs: {self.epochs}   # {self.reasons['epochs']}",
            f"  patience: {self.patience}   # epochs without an improvement that end a trial",
            "search:",
            "  sampler: tpe   # or random, qmc, gp, grid",
            f"  pruner: {{name: asha, min_epochs: {self.rung}}}   # {self.reasons['rung']}",
        ]


def first_choices(seen: DataProfile, families: Sequence[str]) -> FirstChoices:
    """What suits the data.

    Args:
        families: that will be searched.
    """
    from search_spaces.files import open_space

    rows = max(1, seen.parts.get("train", 0))
    table = seen.kind == "table"
    steps = STEPS_OF_TABLES if table else STEPS_OF_OTHERS
    wanted = steps * BATCH / rows
    epochs = next((n for n in ROUND if n >= wanted and (table or n <= LONGEST_OF_OTHERS)), 0)
    epochs = epochs or (ROUND[-1] if table else LONGEST_OF_OTHERS)
    parameters = max(len(open_space(name, None, ()).mapping()) for name in families)
    trials = min(MANY_TRIALS, max(FEW_TRIALS, 4 * parameters)) if table else FEW_TRIALS
    why_trials = f"a family; the largest space has {parameters} parameters"
    if not table:
        why_trials = f"a family, of {epochs * max(1, round(rows / BATCH)):,} steps each; `plan` says how long"
    metric, why = _objective(seen)
    rung = max(2, epochs // 4)
    return FirstChoices(
        metric=metric,
        trials=trials,
        epochs=epochs,
        patience=max(4, epochs // 4),
        rung=rung,
        spaces=_spaces(rows, families) if table else _CLIP_SPACES if seen.kind == "audio" else {},
        reasons={
            "metric": why,
            "trials": why_trials,
            "epochs": f"of {rows:,} rows, about {max(1, round(rows / BATCH)):,} steps each",
            "rung": "earlier a curve tells little; or median, hyperband, none",
        },
    )


def _objective(seen: DataProfile) -> tuple[str | None, str]:
    metric = next((name for task, name in USUAL.items() if task == seen.task), None)
    if seen.task == "classification" and seen.classes:
        label, most = max(seen.classes.items(), key=lambda entry: entry[1])
        share = most / sum(seen.classes.values())
        if share >= UNBALANCED:
            said = label if label.isprintable() and len(label) <= 40 else ascii(label[:40])
            why = f"on the validation split; {share:.0%} are {said}: accuracy would hardly see the others"
            return "balanced_accuracy", why
    return metric, "on the validation split"


def _spaces(rows: int, families: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Larger batches and wider layers for more rows; boosted trees have neither."""
    changes = []
    if rows >= MANY_ROWS:
        changes.append("batch_size: {type: int, low: 64, high: 512, log: true}")
    found = {
        name: tuple(changes) for name in families if name in ("linear_regression", "logistic_regression")
    }
    if rows >= WIDE_ROWS:
        changes.append("hidden: {type: categorical, choices: [[64], [128], [256], [128, 64], [256, 128]]}")
    found |= {name: tuple(changes) for name in families if name == "mlp"}
    return {name: _space_lines(name, own, rows) for name, own in found.items() if own}


def _space_lines(family: str, changes: Sequence[str], rows: int) -> tuple[str, ...]:
    inner = tuple(f"  {change}" for change in changes)
    return (f"space:   # for {rows:,} rows", f"  extends: {family}", *inner)
