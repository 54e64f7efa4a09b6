"""The machine's energy, by made folders of RAPL and a made NVML, and what it and time come to in a trial."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.trainers import tiny
from tests.trainers.tiny import Recorder
from trainers.errors import InputError
from trainers.functions.job import FunctionJob
from trainers.functions.run import dry_run_function, run_function
from trainers.functions.trial import Trial
from trainers.loop import energy
from trainers.loop.energy import EnergyCounter, require_energy
from trainers.loop.training import train
from trainers.stacking import training as stacking
from trainers.stacking.training import Member, train_stack
from trainers.types import Goal, Length

RATES = {"cpu_seconds": 2.0, "gpu_seconds": 0.5, "price": 0.25}
LOSS = Goal(metric="val/loss", maximize=False)


def _write_zone(powercap: Path, number: str, name: str, joules: float, span: float = 262_143.0) -> None:
    zone = powercap / f"intel-rapl:{number}"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (zone / "max_energy_range_uj").write_text(f"{round(span * 1e6)}\n")


def _goals(*names: str) -> tuple[Goal, ...]:
    return (LOSS, *(Goal(metric=name, maximize=False) for name in names))


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that uses 10 joules between two looks at it."""
    used = iter(range(0, 10**6, 10))
    monkeypatch.setattr(energy, "_counter", lambda: _Told(used))


class _Told:
    def __init__(self, used: Any) -> None:
        self._used = used

    def joules(self) -> float:
        return float(next(self._used))


# -- counters ---------------------------------------------------------------------------------------------


def test_packages_are_added_and_neither_their_parts_nor_the_platform_count(tmp_path: Path) -> None:
    zones = {"0": "package-0", "1": "package-1", "0:0": "core", "2": "psys"}
    for number, name in zones.items():
        _write_zone(tmp_path, number, name, 100.0)
    counter = EnergyCounter(tmp_path, dict)
    assert counter.joules() == 0.0
    for number, name in zones.items():
        _write_zone(tmp_path, number, name, 107.5)
    assert counter.joules() == pytest.approx(15.0)
    assert counter.joules() == pytest.approx(15.0)


def test_counter_that_begins_anew_goes_on_counting(tmp_path: Path) -> None:
    _write_zone(tmp_path, "0", "package-0", 998.0, span=1000.0)
    counter = EnergyCounter(tmp_path, dict)
    for joules, wanted in ((999.5, 1.5), (0.5, 2.5), (3.0, 5.0), (1.0, 1003.0)):
        _write_zone(tmp_path, "0", "package-0", joules, span=1000.0)
        assert counter.joules() == pytest.approx(wanted)


def test_gpus_are_added_and_one_that_is_reset_takes_nothing_back(tmp_path: Path) -> None:
    _write_zone(tmp_path, "0", "package-0", 5.0)
    gpus = {"GPU-a": 50.0, "GPU-b": 70.0}
    counter = EnergyCounter(tmp_path, lambda: dict(gpus))
    _write_zone(tmp_path, "0", "package-0", 6.0)
    gpus |= {"GPU-a": 52.0, "GPU-b": 0.5}  # its driver was loaded anew
    assert counter.joules() == pytest.approx(3.0)
    gpus["GPU-b"] = 1.5
    assert counter.joules() == pytest.approx(4.0)


@pytest.mark.parametrize("content", [None, "", "not a number"])
def test_machine_without_a_readable_counter_tells_nothing(tmp_path: Path, content: str | None) -> None:
    assert EnergyCounter(tmp_path / "none", dict).joules() is None
    if content is not None:
        _write_zone(tmp_path, "0", "package-0", 1.0)
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text(content)
    assert EnergyCounter(tmp_path, dict).joules() is None


def test_zones_that_tell_no_name_span_or_joules_are_left_out(tmp_path: Path) -> None:
    for number in range(4):
        _write_zone(tmp_path, f"{number}", "package-0", 1.0)
    for number, missing in enumerate(("name", "max_energy_range_uj", "energy_uj")):
        (tmp_path / f"intel-rapl:{number}" / missing).unlink()
    counter = EnergyCounter(tmp_path, dict)
    for number in range(4):
        _write_zone(tmp_path, f"{number}", "package-0", 3.5)
    assert counter.joules() == 2.5
    (tmp_path / "intel-rapl:3" / "energy_uj").unlink()  # not told for a while: what it was is remembered
    assert counter.joules() == 2.5
    _write_zone(tmp_path, "3", "package-0", 4.0)
    assert counter.joules() == 3.0


def test_gpu_that_comes_later_counts_from_its_first_reading(tmp_path: Path) -> None:
    gpus = {"GPU-a": 5.0}
    counter = EnergyCounter(tmp_path, lambda: dict(gpus))
    gpus |= {"GPU-a": 6.0, "GPU-b": 900.0}
    assert counter.joules() == 1.0
    gpus["GPU-b"] = 902.0
    assert counter.joules() == 3.0


class _Nvml:
    """Two GPUs, the second without a counter."""

    class NVMLError(Exception): ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{'ab'[handle]}1f"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return 1_500


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [(None, {"GPU-a1f": 1.5}), ("0,1", {"GPU-a1f": 1.5}), ("GPU-a1", {"GPU-a1f": 1.5}), ("1", {}), ("", {})],
)
def test_gpus_are_those_that_the_process_may_see(
    visible: str | None, wanted: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_open_nvml", _Nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert energy._read_gpus() == wanted


# -- objectives -------------------------------------------------------------------------------------------


def test_energy_objective_is_refused_where_nothing_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_counter", lambda: EnergyCounter(tmp_path, dict))
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    require_energy(["val/loss", "price"])
    with pytest.raises(InputError, match=r"no counter in .*choose cpu_seconds or price") as refused:
        require_energy(["val/loss", "energy_joules"])
    assert refused.value.key == ("objective", "metric")
    _write_zone(tmp_path, "0", "package-0", 1.0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")  # nothing that this user could read
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be read; let this user read energy_uj"):
        require_energy(["energy_joules"])
    with pytest.raises(InputError, match="energy_joules"):
        train(tiny.job(goals=_goals("energy_joules")), tiny.data(), Recorder())


@pytest.mark.usefixtures("telling")
def test_costs_of_a_trial_are_those_of_its_whole_training_whichever_epoch_is_kept() -> None:
    names = ("price", "cpu_seconds", "gpu_seconds", "energy_joules", "train_flops", "train_seconds")
    job = tiny.job(goals=_goals(*names), epochs=4, learning_rate=3.0, per_second=RATES)
    hooks = Recorder()
    outcome = train(job, tiny.data(), hooks)
    facts = outcome.facts
    assert outcome.epoch < outcome.epochs  # so large a rate is worse in the end
    assert outcome.values[1:] == tuple(facts[name] for name in names)
    assert facts["price"] == pytest.approx(0.25 * facts["train_seconds"])
    assert facts["cpu_seconds"] == pytest.approx(2 * facts["train_seconds"])
    assert facts["energy_joules"] > hooks.reports[-1]["energy_joules"] > hooks.reports[0]["energy_joules"]
    told = [report["train_flops"] for report in hooks.reports]
    assert told == pytest.approx([share * facts["train_flops"] / 4 for share in (1, 2, 3, 4)])


@pytest.mark.usefixtures("telling")
def test_resumed_trial_goes_on_with_the_joules_it_has() -> None:
    job = tiny.job(goals=_goals("energy_joules"), epochs=4)
    first = Recorder(stop_at_tick=3)
    assert train(job, tiny.data(), first).status == "stopped"
    second = Recorder(start=first.saved[-1])
    train(job, tiny.data(), second)
    told = [report["energy_joules"] for report in (*first.reports, *second.reports)]
    assert len(told) == 4
    assert 0 < told[0] < told[1] < told[2] < told[3]


@pytest.mark.usefixtures("telling")
def test_members_of_a_stack_share_the_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []
    real = stacking.read_energy
    monkeypatch.setattr(stacking, "read_energy", lambda: used.append(real() or 0.0) or used[-1])
    ended: list[Any] = []
    job = tiny.job(goals=_goals("energy_joules"), epochs=2)
    members = [Member(job=job, hooks=Recorder()) for _ in range(2)]
    train_stack(
        members, tiny.data(), refill=lambda: None, ended=lambda _, how: ended.append(how), width=2
    )  # fmt: skip
    told = [outcome.facts["energy_joules"] for outcome in ended]
    assert all(joules > 0 for joules in told)
    assert sum(told) <= used[-1] - used[0]


# -- functions of people's own ----------------------------------------------------------------------------


def _report_thrice(trial: Trial) -> None:
    for epoch in trial.epochs():
        trial.report(loss=1.0 + epoch)


def _report_own_price(trial: Trial) -> None:
    for epoch in trial.epochs():
        trial.report(loss=1.0 + epoch, price=7.0)


def _function_job(function: Any, folder: Path) -> FunctionJob:
    return FunctionJob(
        function=function, params={}, seed=1, length=Length(epochs=3), directory=folder, threads=1,
        goals=_goals("price", "energy_joules"), per_second=RATES,
    )  # fmt: skip


@pytest.mark.usefixtures("telling")
def test_function_need_not_report_what_it_costs(tmp_path: Path) -> None:
    job = _function_job(_report_thrice, tmp_path)
    assert dry_run_function(job).reported.keys() == {"val/loss"}
    outcome = run_function(job, Recorder())
    assert outcome.epoch == 1
    assert outcome.values[1] == pytest.approx(0.25 * outcome.facts["train_seconds"], abs=0.01)
    assert outcome.values[2] > 0


@pytest.mark.usefixtures("telling")
def test_price_that_a_function_reports_itself_stands(tmp_path: Path) -> None:
    outcome = run_function(_function_job(_report_own_price, tmp_path), Recorder())
    assert outcome.values[1] == 7.0
