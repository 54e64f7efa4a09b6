"""What a notebook shows: results as tables, progress as one block that changes in place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

import velodrome
from flows.terminal.html_console import renderable_html
from flows.terminal.live_progress import LiveProgress
from infra.errors import WrongInput
from infra.home import Home
from tests.flows.finished_sweeps import finish_sweep
from tests.flows.ledger_sweeps import spec_of
from tests.flows.terminal.test_screens import snapshot


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    finish_sweep(found, fail=(3,))
    return found


def test_results_of_commands_are_tables_in_a_notebook(home: Home) -> None:
    results = {
        "status": velodrome.status("digits", home=home),
        "overview": velodrome.status(home=home),
        "trial": velodrome.show("digits", trial=0, family="rnn", home=home),
        "comparison": velodrome.compare("digits", home=home, latency=False),
        "families": velodrome.families(),
        "family": velodrome.families("mlp"),
    }
    for name, result in results.items():
        shown = result._repr_html_()
        assert "<table>" in shown, name
        assert shown.count("<tr>") > 1, name
    assert "<th style='text-align:right'>accuracy</th>" in results["status"]._repr_html_()
    assert "gradient_boosting" in results["families"]._repr_html_()
    assert "dropout" in results["family"]._repr_html_()


def test_text_of_people_is_escaped_in_a_notebook(home: Home) -> None:
    shown = velodrome.show("digits", trial=3, family="rnn", home=home)._repr_html_()
    assert "&lt;b&gt;boom" in shown
    assert "<b>boom" not in shown


def test_frame_of_a_sweep_has_a_row_for_each_trial(home: Home) -> None:
    status = velodrome.status("digits", home=home)
    frame = status.frame()
    assert len(frame) == len(status.trials) == 32
    assert {"family", "number", "state", "accuracy", "param.learning_rate"} <= set(frame.columns)
    assert status.best is not None
    best = frame[(frame["family"] == status.best.family) & (frame["number"] == status.best.number)].iloc[0]
    assert best["accuracy"] == status.best.values[0] == frame["accuracy"].max()
    assert status.best.params["learning_rate"] == best["param.learning_rate"]


def test_frames_of_a_trial_and_a_comparison_are_its_curve_and_its_rows(home: Home) -> None:
    curve = velodrome.show("digits", trial=0, family="rnn", home=home).frame()
    assert "val/accuracy" in curve.columns
    assert list(curve.index) == list(range(1, len(curve) + 1))
    rows = velodrome.compare("digits", home=home, latency=False).frame()
    assert set(rows["family"]) == {"image_cnn", "rnn"}


def test_model_of_a_sweep_that_kept_none_is_refused_by_name(home: Home) -> None:
    with pytest.raises(WrongInput, match="must have kept a model"):
        velodrome.status("digits", home=home).model()


class Kernel:
    """IPython's display, which notes what it shows."""

    def __init__(self) -> None:
        self.blocks: list[list[str]] = []

    def display(self, shown: Any, *, display_id: bool) -> Any:
        assert display_id
        block = [shown]
        self.blocks.append(block)
        return SimpleNamespace(update=block.append)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    package, shown = ModuleType("IPython"), ModuleType("IPython.display")
    vars(package)["get_ipython"] = lambda: SimpleNamespace(kernel=object())
    vars(shown).update(HTML=str, display=made.display)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return made


def test_progress_in_a_notebook_is_one_block_that_changes_in_place(
    kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveProgress(spec_of()) as progress:
        progress.update(snapshot())
        progress.update(snapshot(state="finished"))
    (block,) = kernel.blocks
    assert len(block) == 2
    assert "<td style='text-align:right'>3/4</td>" in block[0]
    assert "finished" in block[1]
    assert capsys.readouterr().err == ""


def test_bold_row_and_headings_of_a_table_are_kept_on_a_page() -> None:
    table = Table()
    table.add_column("a<b", justify="right")
    table.add_row(Text("1 < 2"), style="bold")
    shown = renderable_html(table)
    assert "<th style='text-align:right'>a&lt;b</th>" in shown
    assert "font-weight:bold'>1 &lt; 2</td>" in shown
