"""Short commands, one after another: each ends with its status and document, whatever Ray does as it goes.

Two rounds of a sweep and its confirmation, with `EVERY_WRITE` a hundred: what is rare comes up by repeating.
`SHORT_COMMANDS` gives the number of rounds itself.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.faults.harness import Stage, left_behind, until

ROUNDS = int(os.environ.get("SHORT_COMMANDS", "100" if "EVERY_WRITE" in os.environ else "2"))
TRIALS = 20  # of each of two families: some hundred events are not sent yet when training ends
FILE = """
name: round-{number}
data: {{source: "csv:rows.csv", columns: {{target: price}}, task: regression}}
objective: {{metric: mse}}
budget: {{trials: {trials}, epochs: 60}}
search: {{sampler: random, pruner: {{name: asha, min_epochs: 2, reduction: 2}}}}
families: {{linear_regression: {{}}, mlp: {{}}}}
"""


def write_rows(stage: Stage) -> None:
    """A table of 550 rows whose target is a line through two columns, with noise."""
    chance, lines = random.Random(1), ["area,rooms,price"]
    for _ in range(550):
        area, rooms = chance.uniform(20, 200), chance.randint(1, 6)
        lines.append(f"{area:.1f},{rooms},{3 * area + 10 * rooms + chance.gauss(0, 5):.2f}")
    stage.write("rows.csv", "\n".join(lines) + "\n")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(120 * ROUNDS + 300)
def test_short_commands_end_with_their_status_and_document(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    write_rows(stage)
    for number in range(ROUNDS):
        name = f"round-{number}"
        stage.write(f"{name}.yaml", FILE.format(number=number, trials=TRIALS))
        for words in (
            ("sweep", f"{name}.yaml", "--json"),
            ("confirm", name, "--each-family", "--seeds", "2", "--json"),
        ):
            done = stage.run(*words)
            assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stderr}"
            assert json.loads(done.stdout)["sweep"] == name
            assert "core worker" not in done.stderr.lower()
        assert len(stage.trials(name, role="confirm")) == 4
        check_tracking_of_round(stage, name)
    until(lambda: not left_behind(tmp_path), 90)


def check_tracking_of_round(stage: Stage, name: str) -> None:
    """All of it arrived: no run is RUNNING."""
    runs = stage.tracking_runs(name)
    assert len(runs) == 1 + 2 * TRIALS + 4
    assert all(run.status != "RUNNING" for run in runs)
