"""Simulated promotions on known truth: how often the champion moves to a model that is no better, or is.

    python -m benchmarks.promotions --promotions 400 --examples 2000 --gain 0.03

Answers are drawn, not trained: each of ten classes has the same share, and the two models share part of their
luck, as models of one data set do. Half of the promotions are of a model exactly as good as the champion (the
hardest case for false moves), half of one that is better by the gain. All gates of the default policy judge.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.config.policy import Policy
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import judge
from flows.promotion.gates.predictions import TaskPredictions, Truth

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CLASSES = tuple("0123456789")
SHARED = 0.5  # of the luck


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of promotions that moved the champion."""

    false_moves: float
    true_moves: float
    promotions: int


def simulate(*, promotions: int, examples: int, gain: float, skill: float = 0.88, seed: int = 0) -> Rates:
    """The rates over so many promotions.

    Args:
        skill: the champion's true accuracy.
        gain: what the better half has more.
    """
    generator = np.random.default_rng(seed)
    moved = {0.0: 0, gain: 0}
    for number in range(promotions):
        more = 0.0 if number % 2 else gain
        moved[more] += judge(Policy(), _case(generator, examples, skill, skill + more)).has_passed
    half = promotions / 2
    return Rates(false_moves=moved[0.0] / half, true_moves=moved[gain] / half, promotions=promotions)


def _case(generator: np.random.Generator, examples: int, champion: float, challenger: float) -> GateInputs:
    truth = generator.integers(0, len(CLASSES), examples)
    shared = generator.random(examples)
    together = generator.random(examples) < SHARED
    answers = [_answers(generator, truth, shared, together, skill) for skill in (challenger, champion)]
    return GateInputs(
        metric="accuracy",
        truth=Truth(task="classification", values=truth, classes=CLASSES),
        challenger=answers[0],
        champion=answers[1],
        signature=(),
    )


def _answers(
    generator: np.random.Generator, truth: Ints, shared: Floats, together: Bools, skill: float
) -> TaskPredictions:
    luck = np.where(together, shared, generator.random(len(truth)))
    wrong = (truth + generator.integers(1, len(CLASSES), len(truth))) % len(CLASSES)
    return TaskPredictions(values=np.where(luck < skill, truth, wrong))


def main() -> None:
    """Prints the rates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--promotions", type=int, default=400)
    parser.add_argument("--examples", type=int, default=2_000)
    parser.add_argument("--gain", type=float, default=0.03)
    parser.add_argument("--skill", type=float, default=0.88)
    parser.add_argument("--seed", type=int, default=0)
    found = simulate(**vars(parser.parse_args()))
    rates = f"moved for no gain {found.false_moves:.1%}, for the gain {found.true_moves:.1%}"
    print(f"{found.promotions} promotions: {rates}")


if __name__ == "__main__":
    main()
