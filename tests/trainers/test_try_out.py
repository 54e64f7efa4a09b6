"""One configuration tried in a test or a notebook, a function and a family alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.errors import InputError
from trainers.functions.trial import Trial
from trainers.try_out import try_out


def steps(trial: Trial) -> None:
    (trial.directory / "note.txt").write_text("seen")
    for epoch in trial.epochs():
        trial.report(score=trial.params["gain"] * (epoch + 1))


def test_try_out_runs_a_function_and_shows_epochs(tmp_path: Path) -> None:
    lines: list[str] = []
    outcome = try_out(steps, {"gain": 2.0}, epochs=3, directory=tmp_path / "new", show=lines.append)
    assert lines == ["epoch 1  val/score 2", "epoch 2  val/score 4", "epoch 3  val/score 6"]
    assert (outcome.metrics, outcome.values) == ({"val/score": 6.0}, ())
    assert (tmp_path / "new" / "note.txt").exists()


def test_try_out_finds_function_by_name_and_judges_if_asked() -> None:
    name = f"{__name__}:steps"
    outcome = try_out(name, {"gain": -1.0}, epochs=3, objective="score", direction="maximize", show=len)
    assert (outcome.values, outcome.epoch) == ((-1.0,), 1)
    with pytest.raises(InputError, match="direction"):
        try_out(name, {"gain": 1.0}, objective="score", show=len)


def test_try_out_gives_a_function_the_data_it_asks_for() -> None:
    def rows(trial: Trial) -> None:
        trial.report(rows=trial.data.rows)

    assert try_out(rows, data="builtin:digits", show=len).metrics == {"val/rows": 1797.0}


def test_try_out_trains_a_family() -> None:
    outcome = try_out(
        "linear_regression", {"learning_rate": 0.01}, epochs=2, data="builtin:diabetes", show=len
    )
    assert outcome.epochs == 2
    assert outcome.values == (outcome.metrics["val/mse"],)


def test_try_out_of_family_without_data_is_refused() -> None:
    with pytest.raises(InputError, match="must be given data"):
        try_out("linear_regression")


def fitted(trial: Trial) -> None:
    from sklearn.linear_model import Ridge

    trial.report(score=1.0)
    trial.model(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), example=trial.params["rows"])


def test_try_out_keeps_the_model_of_a_function_and_asks_it(tmp_path: Path) -> None:
    outcome = try_out(fitted, {"rows": [{"x": 1.0}]}, directory=tmp_path, show=len)
    assert outcome.has_model
    assert (tmp_path / "estimator.skops").is_file()
    with pytest.raises(InputError, match=r"must answer its own example|must be numbers"):
        try_out(fitted, {"rows": [{"x": "no number", "y": 2}]}, show=len)


def test_try_out_in_a_folder_named_from_here_gives_its_trial_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(trial: Trial) -> None:
        (trial.directory / "best").mkdir()
        trial.report(accuracy=1.0)
        trial.keep(trial.directory / "best")

    monkeypatch.chdir(tmp_path)
    assert try_out(train, directory="own", show=len).keep == "best"
