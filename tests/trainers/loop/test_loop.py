from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers import tiny
from tests.trainers.tiny import MLP, Frozen, Noisy, Normed, Recorder, TwoPlayers
from trainers.data.dataset import EncodedDataset
from trainers.errors import InputError, NotFinite, OutOfMemory, TrialError
from trainers.family import Family
from trainers.job import Outcome
from trainers.loop.randomness import seed_all
from trainers.loop.stepper import Stepper
from trainers.loop.training import train
from trainers.types import Batch, Goal, Length, Params, State


def _run(
    family: Family | None = None, encoded: EncodedDataset | None = None, **settings: Any
) -> tuple[Outcome, Recorder]:
    hooks = settings.pop("hooks", None) or Recorder()
    return train(tiny.job(family, **settings), encoded or tiny.data(), hooks), hooks


def _equal_weights(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _largest_difference(a: Any, b: Any) -> float:
    """The largest difference of any weight."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def _absolute(outcome: Outcome) -> float:
    return sum(float(tensor.abs().sum()) for tensor in outcome.weights.values())


def test_global_generators_are_seeded() -> None:
    drawn = []
    for _ in range(2):
        seed_all(7)
        drawn.append((random.random(), float(np.random.random()), float(torch.rand(1))))
    assert drawn[0] == drawn[1]


# -- what is learned and told -----------------------------------------------------------------------------


def test_loop_learns_and_reports_every_epoch() -> None:
    outcome, hooks = _run(epochs=12, learning_rate=0.03)
    assert outcome.status == "complete"
    assert hooks.epochs == list(range(1, 13))
    assert outcome.epochs == 12
    assert outcome.values[0] > 0.85
    assert hooks.reports[-1]["train/loss"] < 0.5 * hooks.reports[0]["train/loss"]
    names = {
        "train/loss",
        "train/learning_rate",
        "train/epoch_seconds",
        "train/examples_per_second",
        "val/loss",
    }
    assert names | {"val/loss"} <= hooks.reports[0].keys()
    assert hooks.ticks == list(range(1, len(hooks.ticks) + 1))
    assert len(hooks.ticks) == 12 * (4 + 1)
    assert outcome.facts["parameters"] == 6 * 16 + 16 + 16 * 3 + 3
    assert outcome.facts["size_bytes"] == 4 * outcome.facts["parameters"]
    assert outcome.facts["train_seconds"] > 0
    assert outcome.facts["latency_ms"] > 0


def test_learning_rate_of_1e_9_learns_nothing() -> None:
    outcome, hooks = _run(epochs=5, learning_rate=1e-9, optimizer="sgd")
    losses = [report["val/loss"] for report in hooks.reports]
    assert max(losses) - min(losses) < 1e-5
    fresh, _ = _run(epochs=1, learning_rate=1e-12, optimizer="sgd")
    assert _largest_difference(outcome.weights, fresh.weights) <= 1e-6


def test_the_schedule_reaches_the_optimizer() -> None:
    _, hooks = _run(epochs=8, learning_rate=1e-2, schedule="step")
    rates = [report["train/learning_rate"] for report in hooks.reports]
    assert rates == pytest.approx([1e-2] * 4 + [1e-3] * 2 + [1e-4] * 2)


def test_loop_equals_one_written_by_hand() -> None:
    encoded = tiny.data(64)
    family = Normed()
    job = tiny.job(
        family, epochs=3, batch_size=16, optimizer="sgd", momentum=0.9, learning_rate=0.1, at="last"
    )
    outcome = train(job, encoded, Recorder())

    from trainers.data.batches import Batches
    from trainers.loop.randomness import fix_torch_flags

    batches = Batches(encoded, "train", "cpu")
    with fix_torch_flags(job.threads):  # sums over another number of threads round otherwise
        torch.manual_seed(job.seed)
        module = family.build(encoded.state, job.params)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(3):
            for positions in batches.order(epoch, job.seed, 16):
                batch = batches.gather(positions)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(module(batch["inputs"]), batch["target"]).backward()
                optimizer.step()
    assert _equal_weights(outcome.weights, module.state_dict())


def test_optional_training_settings_each_change_the_weights() -> None:
    plain = _run()[0].weights
    for name, value in {
        "l1": 0.1,
        "weight_decay": 0.1,
        "gradient_clip": 0.01,
        "weight_clip": 0.05,
        "label_smoothing": 0.3,
        "dropout": 0.5,
        "init": "orthogonal",
        "precision": "bf16",
        "batch_size": 16,
        "warmup": 0.5,
    }.items():
        assert not _equal_weights(plain, _run(**{name: value})[0].weights), name


def test_l1_makes_weights_small_and_weight_clip_bounds_them() -> None:
    plain, sparse = _run(epochs=20)[0], _run(epochs=20, l1=0.05)[0]
    assert _absolute(sparse) < 0.8 * _absolute(plain)
    clipped, _ = _run(epochs=5, weight_clip=0.05)
    assert max(float(t.abs().max()) for t in clipped.weights.values()) < 0.050001


def test_frozen_parameters_stay_unchanged() -> None:
    outcome, _ = _run(Frozen(), epochs=2, weight_decay=0.1, weight_clip=0.01, l1=0.1)
    torch.manual_seed(1)
    fresh = Frozen().build({}, Frozen().complete({}))
    assert torch.equal(outcome.weights["0.weight"], fresh.get_parameter("0.weight"))
    assert not torch.equal(outcome.weights["3.weight"], fresh.get_parameter("3.weight"))


@pytest.mark.parametrize("rows", [96, 100])
def test_accumulating_two_batches_equals_one_of_twice_the_size(rows: int) -> None:
    encoded = tiny.data(rows)
    two, _ = _run(encoded=encoded, batch_size=8, accumulate=2, optimizer="sgd", learning_rate=0.1)
    one, _ = _run(encoded=encoded, batch_size=16, optimizer="sgd", learning_rate=0.1)
    assert _largest_difference(two.weights, one.weights) <= 1e-6


def test_full_batch_is_one_step_an_epoch_on_all_examples() -> None:
    whole, hooks = _run(batch_size="all", optimizer="sgd", learning_rate=0.1, epochs=2)
    assert len(hooks.ticks) == 2 * (1 + 1)
    as_number, _ = _run(batch_size=100, optimizer="sgd", learning_rate=0.1, epochs=2)
    beyond, _ = _run(batch_size=1000, optimizer="sgd", learning_rate=0.1, epochs=2)
    assert _largest_difference(whole.weights, as_number.weights) <= 1e-6
    assert _largest_difference(whole.weights, beyond.weights) <= 1e-6


def test_a_family_with_two_players_trains_both() -> None:
    outcome, hooks = _run(TwoPlayers(), epochs=8, learning_rate=0.05)
    assert hooks.reports[-1]["train/loss"] < hooks.reports[0]["train/loss"]
    assert abs(hooks.reports[-1]["train/miss"]) < abs(hooks.reports[0]["train/miss"])
    assert outcome.values[0] > 0.6
    with pytest.raises(NotFinite, match=r"step \d+"):
        _run(TwoPlayers(), learning_rate=1e30, optimizer="sgd", epochs=30)


# -- length -----------------------------------------------------------------------------------------------


def test_a_budget_in_steps_reports_every_so_many_and_at_the_end() -> None:
    _, hooks = _run(length=Length(steps=11, report_every=4))
    assert hooks.epochs == [1, 2, 3]
    assert len(hooks.ticks) == 11 + 3
    _, hooks = _run(length=Length(steps=5))
    assert hooks.epochs == [1]


def test_epochs_and_as_many_steps_give_the_same_weights() -> None:
    epochs, _ = _run(epochs=3, at="last")
    steps, _ = _run(length=Length(steps=12, report_every=5), at="last")
    assert _equal_weights(epochs.weights, steps.weights)


class ScriptedFamily(MLP):
    """Its validation accuracy is what a script says, epoch after epoch."""

    script: Iterator[float] = iter(())

    def rules(self, state: State) -> Any:
        return ScriptedRules(super().rules(state), self.script)


class ScriptedRules:
    """The task's loss, and metrics from a script."""

    def __init__(self, real: Any, script: Iterator[float]) -> None:
        self.loss, self._script = real.loss, script

    def metric_set(self, device: Any, *, scores: bool = True) -> Any:
        return self

    def update(self, outputs: Any, batch: Batch) -> None:
        pass

    def compute(self) -> dict[str, float]:
        return {"accuracy": next(self._script), "odd": float("nan")}


def _train_scripted(values: list[float], maximize: bool = True, **settings: Any) -> tuple[Outcome, Recorder]:
    family = ScriptedFamily()
    family.script = iter(values)
    goals = (Goal(metric="accuracy", maximize=maximize),)
    settings.setdefault("length", Length(epochs=len(values)))
    return _run(family, goals=goals, **settings)


def test_loop_keeps_best_or_last_epoch_as_asked() -> None:
    values = [0.1, 0.5, 0.3, 0.5, 0.2]
    best, _ = _train_scripted(values)
    last, _ = _train_scripted(values, at="last")
    least, _ = _train_scripted(values, maximize=False)
    second, _ = _train_scripted(values[:2], at="last")
    assert (best.epoch, best.values) == (2, (0.5,))
    assert (last.epoch, last.values) == (5, (0.2,))
    assert (least.epoch, least.values) == (1, (0.1,))
    assert _equal_weights(best.weights, second.weights)
    assert not _equal_weights(best.weights, last.weights)


def test_patience_counts_reports_without_an_improvement_by_min_delta() -> None:
    values = [0.1, 0.5, 0.51, 0.52, 0.53, 0.9]
    outcome, _ = _train_scripted(values, length=Length(epochs=6, patience=2, min_delta=0.05))
    assert (outcome.status, outcome.epochs) == ("complete", 4)
    assert (outcome.epoch, outcome.values) == (4, (0.52,))
    outcome, _ = _train_scripted(values, length=Length(epochs=6, patience=2))
    assert outcome.epochs == 6


def test_undefined_metric_is_left_out_and_undefined_goal_is_refused() -> None:
    _, hooks = _train_scripted([0.1])
    assert "val/odd" not in hooks.reports[0]
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(NotFinite, match="val/accuracy must be a finite number"):
            _train_scripted([0.1, value])
    with pytest.raises(InputError, match="one that the trial reports") as caught:
        _run(goals=(Goal(metric="val/acuracy", maximize=True),))
    assert "val/accuracy" in str(caught.value)


def test_goals_may_be_metrics_and_facts_together() -> None:
    goals = tuple(
        Goal(metric=name, maximize=name == "val/f1")
        for name in ("val/f1", "loss", "parameters", "latency_ms", "train_seconds", "flops")
    )
    outcome, hooks = _run(goals=goals)
    assert len(outcome.values) == 6
    assert (outcome.values[2], outcome.values[5]) == (outcome.facts["parameters"], outcome.facts["flops"])
    assert hooks.reports[0].keys() >= {"parameters", "latency_ms", "train_seconds", "flops"}
    assert not hooks.reports[0].keys() & {"size_bytes", "train_flops", "price"}


def test_loop_ends_at_its_time_limit() -> None:
    outcome, _ = _run(length=Length(epochs=1000, seconds=0.0))
    assert (outcome.status, outcome.epochs) == ("complete", 1)
    assert outcome.values


def test_loop_ends_where_the_pruner_says() -> None:
    outcome, hooks = _run(epochs=9, hooks=Recorder(prune_at=2))
    assert (outcome.status, outcome.epochs) == ("pruned", 2)
    assert hooks.epochs == [1, 2]
    assert outcome.weights == {}
    assert len(outcome.values) == 1


# -- test data --------------------------------------------------------------------------------------------


def test_test_part_is_read_only_when_asked_with_the_kept_weights() -> None:
    encoded = tiny.data()
    hidden = dataclasses.replace(encoded, splits={**encoded.splits, "test": np.array([10**9])})
    outcome, _ = _run(encoded=hidden, epochs=2)
    assert not [name for name in outcome.metrics if name.startswith("test/")]
    outcome, _ = _run(encoded=encoded, epochs=4, read_test=True, learning_rate=0.1)
    module = MLP().build({}, MLP().complete({}))
    module.load_state_dict(dict(outcome.weights))
    module.eval()
    rows = encoded.splits["test"]
    guess = module(torch.from_numpy(encoded.arrays["inputs"][rows])).argmax(1).numpy()
    right = guess == encoded.arrays["target"][rows]
    assert outcome.metrics["test/accuracy"] == pytest.approx(right.mean())
    assert outcome.test_scores["accuracy"].tolist() == right.astype(float).tolist()


# -- not finite -------------------------------------------------------------------------------------------


def test_diverging_trial_is_not_finite() -> None:
    with pytest.raises(NotFinite, match=r"(nan|inf) at epoch \d+, step \d+"):
        _run(optimizer="sgd", learning_rate=1e38, epochs=5)


# -- memory -----------------------------------------------------------------------------------------------


class Huge(MLP):
    def build(self, state: State, params: Params) -> torch.nn.Module:
        return torch.nn.Linear(2**24, 2**24)


class Careless(MLP):
    def build(self, state: State, params: Params) -> torch.nn.Module:
        raise RuntimeError("a defect of its own")


def test_loop_out_of_memory_is_classed_and_other_errors_are_raised() -> None:
    with pytest.raises(OutOfMemory, match="room for this configuration") as caught:
        _run(Huge())
    assert caught.value.reason == "out-of-memory"
    with pytest.raises(RuntimeError, match="a defect of its own") as other:
        _run(Careless())
    assert not isinstance(other.value, TrialError)


# -- the same bits ----------------------------------------------------------------------------------------


def test_trial_does_not_depend_on_earlier_trials_but_on_its_seed() -> None:
    def noisy(seed: int = 1) -> tuple[Outcome, Recorder]:
        return _run(Noisy(), dropout=0.3, seed=seed)

    first, hooks = noisy()
    for other in (MLP(), Normed(), TwoPlayers(), Noisy(), MLP()):
        _run(other, seed=random.randrange(1000), dropout=0.1, optimizer="rmsprop")
        torch.rand(random.randrange(1, 50))
    again, hooks_again = noisy()
    assert _equal_weights(first.weights, again.weights)
    assert hooks.losses() == hooks_again.losses()
    assert not _equal_weights(first.weights, noisy(seed=2)[0].weights)


def test_loop_restores_the_random_state_and_flags_of_the_process() -> None:
    def state() -> tuple[Any, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.backends.cudnn.deterministic,
            torch.get_float32_matmul_precision(),
        )

    before = state()
    _run(Noisy(), dropout=0.3)
    assert state() == before
    with pytest.raises(NotFinite):
        _run(optimizer="sgd", learning_rate=1e38)
    assert state() == before


def test_loop_bits_do_not_depend_on_process_flags() -> None:
    plain, _ = _run(Noisy(), dropout=0.3)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            other, _ = _run(Noisy(), dropout=0.3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert _equal_weights(plain.weights, other.weights)


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are kept as tensors until the one look at the device, as away from the CPU."""

    def note(self: Stepper, loss: torch.Tensor) -> None:
        self._losses.append(loss.detach().reshape(1).float())

    monkeypatch.setattr(Stepper, "_note_loss", note)


def test_losses_read_once_per_epoch_from_device_are_the_same(request: pytest.FixtureRequest) -> None:
    settings = {"accumulate": 2, "batch_size": 16, "gradient_clip": 0.5}
    here, there = Recorder(), Recorder()
    train(tiny.job(**settings), tiny.data(), here)
    request.getfixturevalue("as_on_a_device")
    train(tiny.job(**settings), tiny.data(), there)
    assert here.losses() == pytest.approx(there.losses(), rel=1e-6)


@pytest.mark.usefixtures("as_on_a_device")
def test_not_finite_loss_is_found_by_one_look_at_the_device() -> None:
    with pytest.raises(NotFinite, match=r"(nan|inf) at epoch \d+, step \d+"):
        _run(optimizer="sgd", learning_rate=1e38, epochs=5)


def test_module_is_gone_after_training_without_gc() -> None:
    import gc
    import weakref

    made: list[weakref.ref[torch.nn.Module]] = []

    class Watched(MLP):
        def build(self, state: State, params: Params) -> torch.nn.Module:
            module = super().build(state, params)
            made.append(weakref.ref(module))
            return module

    _run(Watched(), epochs=1)  # what is imported at a first run may hold on to it
    gc.collect()
    gc.disable()
    try:
        _run(Watched(), epochs=1)
        assert made[-1]() is None
    finally:
        gc.enable()
