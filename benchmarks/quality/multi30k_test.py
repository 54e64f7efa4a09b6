"""BLEU of a trained model in use on a file of pairs: what `velodrome predict` answers beside the references.

    python benchmarks/quality/multi30k_test.py MODEL /path/to/multi30k_en_de/test.csv

MODEL is what `velodrome predict` takes: a sweep (its best), runs:/…, models:/…. BLEU is torchmetrics', over
words without smoothing, as on validation; the source alone is shown to the model.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from torchmetrics.text import BLEUScore

import velodrome


def main(model: str, pairs: str) -> None:
    """Prints the score and three of the answers."""
    with Path(pairs).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with TemporaryDirectory() as name:
        asked = Path(name) / "asked.jsonl"
        asked.write_text("".join(json.dumps({"source": row["source"]}) + "\n" for row in rows))
        lines = Path(velodrome.predict(model, asked).output).read_text().splitlines()
    answers = [json.loads(line)["output"] for line in lines]
    score = BLEUScore()(answers, [[row["target"]] for row in rows])
    print(f"BLEU {100 * float(score):.2f} over {len(rows)} pairs")
    for row, answer in list(zip(rows, answers, strict=True))[:3]:
        print(f"  {row['source']}\n    written: {row['target']}\n    model:   {answer}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
