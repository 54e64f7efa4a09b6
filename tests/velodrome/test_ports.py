"""How many lines of well-known scripts change, and that they run as the page says."""

from __future__ import annotations

import difflib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from trainers.try_out import try_out

HERE = Path(__file__).parent / "ports"
BARS = [
    ("mnist", "mnist_trial", 11),
    ("trainer", "trainer_trial", 2),
    ("lightning_module", "lightning_module_trial", 2),
    ("lightning_module", "lightning_module_served", 3),
    ("objectives", "objectives_trial", 7),
]
COMMANDS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str], float]] = {
    "mnist": (
        {"command": "${args} --epochs ${epochs}", "metrics": {"accuracy": r"Accuracy: \d+/\d+ \((\d+)%"}},
        {"lr": 0.5}, ("accuracy", "maximize"), 93.0,
    ),
    "vae": (
        {"command": "${args} --epochs ${epochs}", "metrics": {"loss": r"Test set loss: ([\d.]+)"}},
        {"batch-size": 64}, ("loss", "minimize"), 126.5,
    ),
    "word_language_model": (
        {
            "command": "${args} --epochs ${epochs}",
            "metrics": {"perplexity": r"valid ppl +([\d.]+)", "loss": r"valid loss +([\d.]+)"},
        },
        {"lr": 5.0, "tied": True}, ("loss", "minimize"), 3.0,
    ),
    "nanogpt": (
        {
            "command": "${args} --max_iters=500 --out_dir=${directory}", "args": "equals",
            "metrics": {"loss": r"step \d+: .*val loss ([\d.]+)"},
        },
        {"learning_rate": 1e-3}, ("loss", "minimize"), 3.6,
    ),
}  # fmt: skip


def changed_lines(before: str, after: str) -> list[str]:
    """The lines of a port, its heading aside, that the script does not have."""
    texts = [
        [line.strip() for line in (HERE / f"{name}.py").read_text().splitlines()[1:]]
        for name in (before, after)
    ]
    return [line[2:] for line in difflib.ndiff(*texts) if line.startswith("+ ") and line[2:]]


@pytest.mark.parametrize(("before", "after", "most"), BARS)
def test_port_changes_no_more_lines_than_the_page_says(before: str, after: str, most: int) -> None:
    assert 0 < len(changed_lines(before, after)) <= most


@pytest.mark.parametrize("script", COMMANDS)
def test_script_is_swept_as_a_command_without_a_change(script: str) -> None:
    options, params, (objective, direction), value = COMMANDS[script]
    command = f"python {HERE / 'scripts.py'} {script} {options['command']}"
    outcome = try_out(
        {**options, "command": command}, params, epochs=3, objective=objective, direction=direction  # type: ignore[arg-type]
    )  # fmt: skip
    assert (outcome.values, outcome.epochs) == ((value,), 3)


def test_nanogpt_goes_on_from_its_own_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its flag to resume names no file."""
    call = f"python {HERE}/nanogpt.py ${{args}} --out_dir=${{directory}} --max_iters="
    for iterations in (50, 100):
        try_out(
            {
                "command": f"{call}{iterations}",
                "args": "equals", "metrics": {"loss": r"step \d+: .*val loss ([\d.]+)"},
                "resume": "--init_from=resume", "resume_from": "ckpt.pt",
            },
            {"learning_rate": 1e-3, "bias": False}, epochs=4, objective="loss", directory=tmp_path,
        )  # fmt: skip
        said = capfd.readouterr().out
    assert f"Resuming training from {tmp_path}" in said
    assert re.findall(r"^step (\d+):", said, re.MULTILINE) == ["50", "100"]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sklearn_simple", {"classifier": "RandomForest", "rf_max_depth": 4.0}),
        ("lightgbm_simple", {"num_leaves": 8, "lambda_l1": 0.1}),
        ("xgboost_simple", {"booster": "gbtree", "max_depth": 5}),
        ("pytorch_simple", {"n_units": 8, "optimizer": "Adam", "lr": 1e-2}),
    ],
)
def test_objective_is_swept_without_a_change(name: str, params: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = try_out(
            f"tests.velodrome.ports.objectives:{name}", params, epochs=3, objective="accuracy", show=len
        )
    assert 0.3 < outcome.values[0] <= 1.0


@pytest.mark.parametrize(
    ("name", "params", "objective"),
    [
        ("mnist_trial:main", {"lr": 0.5}, "accuracy"),
        ("trainer_trial:objective", {"learning_rate": 1e-2}, "loss"),
        ("lightning_module_trial:objective", {"width": 8, "lr": 0.01}, "accuracy"),
        ("lightning_module_served:objective", {"width": 8, "lr": 0.01}, "accuracy"),
    ],
)
def test_port_reports_each_epoch_and_keeps_its_model(
    name: str, params: dict[str, Any], objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = try_out(
            f"tests.velodrome.ports.{name}", params, epochs=2, objective=objective, show=len,
            directory=tmp_path / "trial",
        )  # fmt: skip
    assert outcome.epochs == 2
    assert outcome.has_model or outcome.keep
