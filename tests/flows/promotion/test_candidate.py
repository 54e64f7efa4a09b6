"""Which of a sweep's models is promoted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.promotion.judging.candidate import _advise_keeping, candidate_of_sweep
from infra.errors import WrongInput
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec, SweepSpec
from tests.flows.ledger_sweeps import trial_of, write_sweep
from tests.flows.promotion import models
from tests.flows.promotion.conftest import ACCURACY, SOURCE, Shop
from trainers.registry import COMMAND


def confirmation_of(number: int, value: float, *, of: int, seed_index: int) -> TrialRow:
    """A complete confirmation with a model."""
    row = trial_of("plain", number, "complete", value, params={}, model=f"s/confirm-{number}")
    return replace(row, role="confirm", origin={"number": of, "seed_index": seed_index})


def write_candidates(shop: Shop, *more: TrialRow) -> str:
    """A sweep of two trials, the second the better, only it with a model; and confirmations."""
    family = FamilySpec(name="plain", reference=f"{models.HERE}:predict")
    spec = SweepSpec(name="s", data=SOURCE, objectives=(ACCURACY,), families=(family,), model="shop")
    first = trial_of("plain", 0, "complete", 0.8, params={})
    best = trial_of("plain", 1, "complete", 0.9, params={}, model="s/best")
    for place, trial in enumerate((best, *more)):
        models.save(shop.home.storage / str(trial.model), shop.dataset, seed=place, skill=0.9)
    facts = {"base": str(shop.rows.parent)}
    write_sweep(
        shop.home, spec, trials=(first, best, *more), facts=facts, fingerprint=shop.dataset.fingerprint
    )
    return "s"


def test_candidate_is_the_median_confirmed_run_of_the_winner(shop: Shop) -> None:
    values = ((0, 0.91), (1, 0.97), (2, 0.93))
    again = [confirmation_of(n, value, of=1, seed_index=n) for n, value in values]
    worse = [confirmation_of(3 + n, 0.5, of=0, seed_index=n) for n, _ in values]
    name = write_candidates(shop, *again, *worse)
    found = candidate_of_sweep(name, shop.home, trial=None, family=None, model=None)
    assert found.label == f"s, plain #1, seed {again[2].seed}"
    assert shop.promote(name).outcome == "moved"
    assert candidate_of_sweep(name, shop.home, trial=0, family=None, model=None).label.startswith(
        "s, plain #0, seed"
    )


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("mlp", "keep: {models: all}"),
        ("mymodule:train", "by trial.model"),
        ("__main__:train", "into a file"),
        (COMMAND, "keep: and predict:"),
    ],
)
def test_trial_without_a_model_is_told_what_keeps_one(reference: str, said: str) -> None:
    assert said in _advise_keeping(reference)


def test_candidate_unconfirmed_is_best_trial_and_needs_a_model(shop: Shop) -> None:
    name = write_candidates(shop)
    assert candidate_of_sweep(name, shop.home, trial=None, family=None, model="other").model == "other"
    assert candidate_of_sweep(name, shop.home, trial=1, family="plain", model=None).label == "s, plain #1"
    for trial, family, must in (
        (0, None, "must have a model"),
        (7, None, "one trial"),
        (None, "x", "--family"),
    ):
        with pytest.raises(WrongInput, match=must):
            candidate_of_sweep(name, shop.home, trial=trial, family=family, model=None)
