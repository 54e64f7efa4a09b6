"""People's code that is changed while its sweep runs: no trial is made with another one, unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.lanes.code_check import CodeCheck
from infra.lanes.settings import LaneSettings
from infra.spec import FamilySpec, Objective, Resources, SweepSpec
from trainers.commands.options import script_digest
from trainers.errors import InputError
from trainers.registry import COMMAND, source_hash

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


def lane(code: Path, family: FamilySpec, **settings: object) -> CodeCheck:
    spec = SweepSpec(
        name="s", version=1, data={"source": "none"}, families=(family,),
        objectives=(Objective(metric="val/a", direction="maximize"),),
    )  # fmt: skip
    return CodeCheck(
        LaneSettings(
            run="r", shape="", resources=Resources(), spec=spec.to_json(), base=str(code), storage="",
            cache="", logs="", sys_path=(str(code),), **settings,  # type: ignore[arg-type]
        )
    )  # fmt: skip


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
