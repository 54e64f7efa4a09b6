"""Generated questions about what a few sentences say: what a box holds, where it stands, who owns it.

    python benchmarks/quality/boxes.py boxes.csv
    velodrome sweep benchmarks/quality/boxes.yaml --set data.source=csv:$PWD/boxes.csv

A context tells of four boxes, a question asks for one fact of one of them. Who answers with the right kind of
fact, but of any box, is right in one of four.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

ROWS, BOXES = 4000, 4
COLORS = ("red", "blue", "green", "yellow", "black", "white", "brown", "silver")
ROOMS = ("kitchen", "cellar", "attic", "garden", "hall", "study", "garage", "nursery")
OWNERS = ("Anna", "Bert", "Clara", "David", "Emma", "Frank", "Greta", "Henry")
QUESTIONS = (  # of as many words: whoever reads by place alone has fewer places to learn
    "How many coins has the {color} box?",
    "In which room is the {color} box?",
    "Who of them owns the {color} box?",
)


def main() -> None:
    """Writes the questions where the first argument says."""
    chance = np.random.default_rng(0)
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "answer"])
        writer.writerows(_row(chance) for _ in range(ROWS))


def _row(chance: np.random.Generator) -> tuple[str, str, str]:
    colors, rooms, owners = (chance.permutation(words)[:BOXES] for words in (COLORS, ROOMS, OWNERS))
    counts = chance.choice(np.arange(10, 100), BOXES, replace=False)
    facts = list(zip(colors, counts.tolist(), rooms, owners, strict=True))
    told = [f"The {c} box of {owner} in the {room} holds {n} coins." for c, n, room, owner in facts]
    asked, kind = int(chance.integers(BOXES)), int(chance.integers(len(QUESTIONS)))
    color, *answers = facts[asked]
    return QUESTIONS[kind].format(color=color), " ".join(told), str(answers[kind])


if __name__ == "__main__":
    main()
