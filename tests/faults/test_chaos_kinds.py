"""Own code of each kind under kills, and that what is looked for there would be found."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.faults import chaos_kinds, kinds
from velodrome import try_out

PARAMS = {"rate": 0.1, "shift": 2}
REPORTS = [kinds.score(PARAMS, epoch) for epoch in range(1, kinds.EPOCHS + 1)]


@pytest.mark.parametrize(
    ("reports", "value", "said"),
    [
        (REPORTS, max(REPORTS), ""),
        (REPORTS[:2], max(REPORTS[:2]), ""),
        ([*REPORTS[:3], REPORTS[2], REPORTS[3]], max(REPORTS[:4]), ""),
        ([REPORTS[0], *REPORTS[2:]], REPORTS[-1], "lost"),
        (REPORTS, REPORTS[-1], "not the best"),
        ([], None, "not the best"),
        ([0.123], 0.123, "no epoch made"),
    ],
)
def test_report_that_is_lost_or_forgotten_is_found(
    reports: list[float], value: float | None, said: str
) -> None:
    found = kinds.explain_damage(PARAMS, reports, value, kinds.EPOCHS)
    assert said in found
    assert bool(found) is bool(said)


@pytest.mark.parametrize("kind", [kind for kind in kinds.NAMES if kind != "command"])
def test_code_of_each_kind_trains_where_nothing_is_killed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_pause", lambda: None)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        outcome = try_out(
            getattr(kinds, f"train_{kind}"), PARAMS, epochs=kinds.EPOCHS, objective="accuracy", show=len,
            directory=tmp_path / "trial",
        )  # fmt: skip
    told = REPORTS[:1] if kind == "sklearn" else REPORTS
    assert (outcome.epochs, outcome.values) == (len(told), pytest.approx((max(told),), abs=1e-6))


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_own_code_of_each_kind_outlives_its_lane_driver_and_command() -> None:
    for package in ("transformers", "lightning", "lightgbm", "xgboost"):
        pytest.importorskip(package)
    assert chaos_kinds.main(["--together", "--trials", "3", "--minutes", "3"]) == 0
