"""Files of metrics as scripts write them: grown, written anew, cut off, and of many a form."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.commands.written_metrics import WrittenMetrics

ODD_FILES = {
    "comments.csv": "# made by hand\nepoch,accuracy\n1,0.2\n# half\n2,0.4\n",
    "savetxt.csv": "# epoch,accuracy\n1,0.2\n2,0.4\n",
    "semicolons.csv": "epoch;accuracy\n1;0,2\n2;0,4\n",
    "percent.csv": "epoch,accuracy\n1,0.2%\n2,0.4 %\n",
    "tabs.csv": "epoch\taccuracy\n1\t0.2\n2\t0.4\n",
    "marked.csv": "\ufeffaccuracy,epoch\n0.2,1\n0.4,2\n",
    "header_again.csv": "epoch,accuracy\n1,0.2\nepoch,accuracy\n2,0.4\n",
    "texts.jsonl": '{"accuracy": "0.2"}\n{"accuracy": "tensor(0.4)", "note": "x"}\n',
    "marked.jsonl": '\ufeff{"accuracy": 0.2}\n{"accuracy": 0.4}\n',
    "nested.jsonl": '{"val": {"accuracy": 0.2}}\n{"val": {"accuracy": 0.4, "best": {"epoch": 1}}}\n',
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_file_is_read_as_scripts_write_it(tmp_path: Path, name: str) -> None:
    written = WrittenMetrics(tmp_path / name, resumed=False)
    (tmp_path / name).write_text(ODD_FILES[name])
    rows = list(written.read_new(ended=True))
    assert [row.get("accuracy", row.get("val/accuracy")) for row in rows] == [0.2, 0.4]


@pytest.mark.parametrize("resumed", [False, True])
def test_file_that_is_written_anew_with_more_columns_gives_each_row_once(
    tmp_path: Path, resumed: bool
) -> None:
    """As Lightning's CSVLogger does, and pandas' `to_csv` at each epoch."""
    path = tmp_path / "metrics.csv"
    first = "epoch,loss\n0,1.5\n"
    if resumed:
        path.write_text(first)
    written = WrittenMetrics(path, resumed=resumed)
    path.write_text(first)
    assert list(written.read_new()) == ([] if resumed else [{"epoch": 0, "loss": 1.5}])
    path.write_text("")  # as it is seen in the midst of writing
    assert list(written.read_new()) == []
    path.write_text("epoch,loss,accuracy\n0,1.5,\n0,,0.2\n")
    assert list(written.read_new()) == [{"epoch": 0, "accuracy": 0.2}]
    path.write_text("epoch,loss,accuracy\n0,1.5,\n0,,0.2\n1,nan,0.3\n")
    assert [row["accuracy"] for row in written.read_new()] == [0.3]
    path.write_text("accuracy\n0.7\n")
    assert list(written.read_new()) == [{"accuracy": 0.7}]


def test_line_that_a_kill_cut_off_spoils_no_later_attempt(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"accuracy": 0.1}\n{"accu')
    written = WrittenMetrics(path, resumed=True)
    with path.open("a") as file:
        file.write('{"accuracy": 0.2}\n')
    assert list(written.read_new()) == [{"accuracy": 0.2}]


@pytest.mark.parametrize(
    ("text", "found", "do"),
    [
        (
            None,
            "no metrics.csv there",
            "have the command write it below ${directory}, which it has to be given",
        ),
        ("epoch,Accuracy\n1,0.5\n", "metrics.csv without accuracy", "did you mean 'Accuracy'?"),
        ("[1, 2]\n", "no numbers by name in metrics.csv", "write one object a line, or CSV with a header"),
        (
            "epoch,top\n1,1\n",
            "metrics.csv without accuracy",
            "name one of its own in the objective: epoch, top",
        ),
    ],
)
def test_missing_objective_is_explained_by_what_the_file_has(
    tmp_path: Path, text: str | None, found: str, do: str
) -> None:
    written = WrittenMetrics(tmp_path / "metrics.csv", resumed=False)
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    list(written.read_new())
    assert written.explain_missing(["val/accuracy"]) == (found, do)
