"""The notebook among the examples: its cells one after another as a kernel runs them, with Ray; without it
those up to the sweep, which is planned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOK = ROOT / "docs/examples/notebook.ipynb"
# Each cell's last expression is shown as a notebook would show it.
RUN = """
import ast, json, sys
for place, cell in enumerate(json.load(open(sys.argv[1]))["cells"]):
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"<cell {place}>", "exec"), globals())
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), f"<cell {place}>", "eval"), globals())
        html = getattr(shown, "_repr_html_", lambda: repr(shown))()
        print("shown:", json.dumps(html))
"""


@pytest.mark.ray
@pytest.mark.long
def test_notebook_example_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VELODROME_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(NOTEBOOK)], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("shown: ")]
    outcome, result, best, frame, answers, comparison = (json.loads(line[7:]) for line in lines)
    assert outcome.startswith("(0.")
    assert "forest is finished: 3 of 3 trials done (3 complete" in result
    assert set(eval(best)) == {"trees", "depth"}
    assert "param.trees" in frame
    assert "p_0" in answers
    assert "<table>" in comparison
    assert not list(tmp_path.glob("*.yaml"))


def test_notebook_example_tries_its_function_and_plans_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same cells, of which the third says `plan` for `sweep`."""
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    cells = [c["source"] for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    first, second, third = ("".join(source) for source in cells[:3])
    assert third.startswith("result = velodrome.sweep(")
    known: dict[str, Any] = {"__name__": "__main__"}
    for cell in (first, second, third.replace(".sweep(", ".plan(")):
        exec(cell, known)
    assert 0.8 < known["outcome"].values[0] < 1
    assert known["result"].trials == 3
