"""People's code that is changed while its sweep runs: no trial is made with another one, unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.sweeps.preparation import prepare_sweep, sweep_facts
from flows.sweeps.session import make_drive_job
from infra.coordinator.messages import Assignment
from infra.home import Home
from infra.lanes.attempt import AttemptRunner
from infra.lanes.code_check import CodeCheck
from infra.lanes.settings import LaneSettings
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.spec import FamilySpec, Objective, Resources, SweepSpec
from tests.trainers.tiny import Recorder
from trainers.commands.options import script_digest
from trainers.errors import InputError
from trainers.registry import COMMAND, source_hash
from trainers.types import Ranks

CALL = {"command": "python run.py --data rows.csv ${args}", "metrics": {"accuracy": "acc=([0-9.]+)"}}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of people's own, from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "changing.py").write_text("import beside\n\ndef train(trial):\n    trial.report(a=1)\n")
    (tmp_path / "beside.py").write_text("x = 1\n")
    (tmp_path / "run.py").write_text("import beside\nprint('acc=0.5')\n")
    (tmp_path / "rows.csv").write_text("a\n1\n")
    yield tmp_path
    forget_modules()


def forget_modules() -> None:
    """As a new process knows none."""
    for name in ("changing", "beside"):
        sys.modules.pop(name, None)


def settings_of(code: Path, family: FamilySpec, **changes: object) -> LaneSettings:
    spec = SweepSpec(
        name="s", version=1, data={"source": "none"}, families=(family,),
        objectives=(Objective(metric="val/a", direction="maximize"),),
    )  # fmt: skip
    return LaneSettings(
        run="r", shape="", resources=Resources(), spec=spec.to_json(), base=str(code),
        storage=str(code / "storage"), cache=str(code / "cache"), logs=str(code / "logs"),
        sys_path=(str(code),), **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def lane(code: Path, family: FamilySpec, **settings: object) -> CodeCheck:
    return CodeCheck(settings_of(code, family, **settings))


def function_family(**changes: object) -> FamilySpec:
    found = source_hash("changing:train")
    return FamilySpec(
        name="changing.train",
        reference="changing:train",
        trials=1,
        **{"source_hash": found, **changes},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("changed", ["changing.py", "beside.py"])
def test_process_that_begins_after_a_change_makes_no_trial(code: Path, changed: str) -> None:
    """A lane that starts anew would train on with the other code, without a word."""
    family = function_family()
    first = lane(code, family)
    first.check(family)
    (code / changed).write_text((code / changed).read_text() + "\ny = 2\n")
    first.check(family)  # it has the former one
    forget_modules()
    with pytest.raises(InputError, match=r"must be what the sweep began with.*--accept-code-change"):
        lane(code, family).check(family)


def test_change_of_a_comment_alone_is_none(code: Path) -> None:
    family = function_family()
    (code / "changing.py").write_text("# of no effect\n" + (code / "changing.py").read_text())
    forget_modules()
    lane(code, family).check(family)


def test_family_without_a_hash_and_one_of_ours_are_not_looked_at(code: Path) -> None:
    for family in (
        function_family(source_hash=""),
        FamilySpec(name="mlp", reference="mlp", trials=1, source_hash="of another version"),
    ):
        lane(code, family).check(family)


@pytest.mark.parametrize(("changed", "refused"), [("run.py", True), ("beside.py", True), ("rows.csv", False)])
def test_command_whose_script_is_changed_is_not_called_again(code: Path, changed: str, refused: bool) -> None:
    """It would be read anew by the next trial. What it names and may write to itself is not its code."""
    family = FamilySpec(name="run", reference=COMMAND, options=CALL, trials=1)
    check = lane(code, family, scripts={"run": script_digest(CALL, code)})
    check.check(family)
    (code / changed).write_text((code / changed).read_text() + "y = 2\n")
    if refused:
        with pytest.raises(InputError, match="the code of run must be what"):
            check.check(family)
    else:
        check.check(family)


@pytest.mark.parametrize("kind", ["function", "family", "command"])
def test_attempt_with_changed_code_fails_before_it_trains(code: Path, kind: str) -> None:
    (code / "changing.py").write_text(
        "from trainers.families.mlp import MLP\n\n"
        "class Own(MLP):\n    pass\n\n"
        "def train(trial):\n    trial.report(a=1)\n"
    )
    settings: dict[str, object] = {}
    family = function_family(source_hash="of what it was")
    if kind == "family":
        family = replace(family, reference="changing:Own")
    if kind == "command":
        family = FamilySpec(name="changing.train", reference=COMMAND, options=CALL, trials=1)
        settings = {"scripts": {family.name: "of what it was"}}
    runner = AttemptRunner(settings_of(code, family, **settings), device="cpu", ranks=Ranks())
    hooks, asked = Recorder(), {"family": family.name, "number": 0, "ordinal": 1, "params": {}, "seed": 1}
    ended = runner.run(Assignment(attempt="1", role="search", **asked), hooks)  # type: ignore[arg-type]
    assert (ended.outcome, ended.reason) == ("failed", "error")
    assert "the code of changing.train must be what the sweep began with" in ended.detail
    assert hooks.reports == []


def test_lanes_of_commands_are_told_what_their_scripts_were(code: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    families = {"run": {**CALL, "space": {"x": {"type": "float", "low": 0, "high": 1}}}}
    file = {
        "name": "told", "data": {"source": "none"}, "families": families, "code": {"root": str(code)},
        "objective": {"metric": "accuracy"}, "budget": {"trials": 1, "epochs": 1},
    }  # fmt: skip
    prepared = prepare_sweep(file, (), home)  # type: ignore[arg-type]
    ledger = Ledger(home.ledger_url, create=True)
    made = ledger.create_sweep(prepared.spec, fingerprint="none", facts=sweep_facts(prepared), at=1.0)
    job = make_drive_job(views.sweep_by_id(ledger, made), home, "token", "search", own_ray=True)
    ledger.close()
    assert job.lanes.scripts == {"run": script_digest(CALL, code)}
