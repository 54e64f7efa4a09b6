from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.cases.numerics import storing_hooks
from tests.trainers import tiny
from tests.trainers.tiny import MLP, Noisy, Normed, Recorder
from trainers.errors import InputError
from trainers.loop.checkpoint import (
    checkpoint_identity,
    differences,
    pack_model,
    refuse_other,
    strip_prefix,
    unpack_model,
)
from trainers.loop.training import train
from trainers.types import Ranks


def test_a_checkpoint_is_written_between_reports_and_resumed_within_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.loop.attempt._LOOK_S", 0.0)
    hooks = storing_hooks(tmp_path)
    whole = train(tiny.job(Noisy(), epochs=3, dropout=0.3, checkpoint_seconds=0.0), tiny.data(), hooks)
    steps = [document["progress"]["step"] for _, document in hooks.saved]
    assert steps == list(range(1, 12))  # after every step but the last, 4 an epoch
    for start in hooks.saved:
        again = Recorder(start=start)
        outcome = train(tiny.job(Noisy(), epochs=3, dropout=0.3), tiny.data(), again)
        assert again.losses() == hooks.losses()[2 * start[1]["progress"]["reports"] :]
        assert all(torch.equal(outcome.weights[name], whole.weights[name]) for name in whole.weights)


def test_checkpoints_by_epochs_skip_short_trials() -> None:
    hooks = Recorder()
    train(tiny.job(epochs=7, checkpoint_epochs=2), tiny.data(), hooks)
    assert [document["progress"]["reports"] for _, document in hooks.saved] == [2, 4, 6]
    for settings in ({"checkpoint_seconds": 30.0}, {"checkpoint_epochs": 5}, {}):
        hooks = Recorder()
        train(tiny.job(epochs=3, **settings), tiny.data(), hooks)
        assert hooks.saved == []


def test_stopped_trial_writes_one_checkpoint_and_leaves(tmp_path: Path) -> None:
    hooks = Recorder(stop_at_tick=1)
    outcome = train(tiny.job(epochs=5), tiny.data(), hooks)
    assert (outcome.status, outcome.epochs) == ("stopped", 1)
    assert len(hooks.saved) == 1
    assert len(outcome.values) == 1
    finishing = Recorder(stop_at_tick=1)
    assert train(tiny.job(epochs=1), tiny.data(), finishing).status == "complete"
    assert finishing.saved == []


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 2}, "seed is 1 instead of 2"),
        ({"learning_rate": 0.5}, "params.learning_rate is 0.001 instead of 0.5"),
        ({"epochs": 4}, "steps is 12 instead of 16"),
        ({"family": Normed()}, "weights.0.weight is"),
    ],
)
def test_checkpoint_of_another_configuration_is_refused(settings: dict[str, Any], difference: str) -> None:
    hooks = Recorder(stop_at_tick=1)
    train(tiny.job(epochs=3), tiny.data(), hooks)
    with pytest.raises(InputError) as caught:
        train(tiny.job(**{"epochs": 3, **settings}), tiny.data(), Recorder(start=hooks.saved[-1]))
    assert difference in str(caught.value)


def test_checkpoint_of_another_data_set_is_refused() -> None:
    import dataclasses

    hooks = Recorder(stop_at_tick=1)
    train(tiny.job(epochs=3), tiny.data(), hooks)
    other = dataclasses.replace(tiny.data(), fingerprint="0" * 32)
    with pytest.raises(InputError, match="data is 'ffff"):
        train(tiny.job(epochs=3), other, Recorder(start=hooks.saved[-1]))


def test_checkpoint_differences_name_missing_unexpected_and_other() -> None:
    wanted = {"a": 1, "b": {"x": [1, 2], "y": 3}, "c": None}
    found = {"a": 1, "b": {"x": [1, 3], "z": 4}}
    assert differences(wanted, found) == [
        "b.x is [1, 3] instead of [1, 2]",
        "b.y is missing",
        "c is missing",
        "b.z is unexpected",
    ]
    assert differences(wanted, json.loads(json.dumps(wanted))) == []


def _train_in_process(queue: Any) -> None:
    hooks = Recorder()
    outcome = train(tiny.job(Noisy(), dropout=0.3), tiny.data(), hooks)
    queue.put((hooks.losses(), {name: tensor.numpy() for name, tensor in outcome.weights.items()}))


def test_training_in_a_fresh_process_gives_same_bits() -> None:
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=_train_in_process, args=(queue,))
    process.start()
    losses, weights = queue.get(timeout=600)
    process.join(30)
    for other in (MLP(), Normed()):
        train(tiny.job(other, dropout=0.2), tiny.data(), Recorder())
    hooks = Recorder()
    outcome = train(tiny.job(Noisy(), dropout=0.3), tiny.data(), hooks)
    assert losses == hooks.losses()
    assert all((outcome.weights[name].numpy() == weights[name]).all() for name in weights)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (10, ""), (11, " and 1 more"), (14, " and 4 more")])
def test_refusal_of_a_checkpoint_lists_ten_differences(count: int, more: str) -> None:
    refuse_other({"a": 1}, {"a": 1})
    with pytest.raises(InputError) as caught:
        refuse_other({f"k{i}": 1 for i in range(count)}, {})
    listed = "; ".join(f"k{i} is missing" for i in range(min(count, 10)))
    assert caught.value.found == listed + more


def test_identity_of_a_checkpoint_is_plain_and_names_all_that_must_be_equal() -> None:
    job = tiny.job(seed=4, ranks=Ranks(rank=1, world_size=3), batch_size=16)
    module = torch.nn.Linear(2, 3)
    found = checkpoint_identity(job, module, "f" * 32, 12)
    assert found["format"] == 1
    assert found["family"] == "tests.trainers.tiny:MLP"
    assert (found["seed"], found["steps"], found["world_size"], found["data"]) == (4, 12, 3, "f" * 32)
    assert found["weights"] == {"weight": ["torch.float32", 3, 2], "bias": ["torch.float32", 3]}
    assert found["params"]["batch_size"] == 16  # type: ignore[index, call-overload]
    assert json.loads(json.dumps(found)) == found


def made_model() -> tuple[torch.nn.Module, dict[str, torch.optim.Optimizer]]:
    """A layer with batch norm, and two optimizers that have made two steps."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizers: dict[str, torch.optim.Optimizer] = {
        "one": torch.optim.Adam(module[0].parameters(), lr=0.1),
        "two": torch.optim.SGD(module[1].parameters(), lr=0.1, momentum=0.9),
    }
    for _ in range(2):
        module(torch.randn(4, 2)).square().sum().backward()
        for optimizer in optimizers.values():
            optimizer.step()
    return module, optimizers


def test_packed_model_comes_back_with_its_optimizers_and_kept_weights() -> None:
    module, optimizers = made_model()
    optimizers["two"].state[next(module[1].parameters())]["note"] = 3  # type: ignore[index]
    kept = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    tensors, rest = pack_model(module, kept, optimizers, keep=True)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    assert rest == {"one": [], "two": [(0, "note", 3)]}
    other, others = made_model()
    found = unpack_model(other, others, tensors, json.loads(json.dumps(rest)))
    assert found.keys() == kept.keys()
    assert all(torch.equal(found[name], kept[name]) for name in kept)
    for name, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    for name, optimizer in optimizers.items():
        ours, theirs = optimizer.state_dict(), others[name].state_dict()
        assert ours["param_groups"] == theirs["param_groups"]
        assert ours["state"].keys() == theirs["state"].keys()
        for index, entries in ours["state"].items():
            for key, value in entries.items():
                again = theirs["state"][index][key]
                assert torch.equal(again, value) if isinstance(value, torch.Tensor) else again == value
    assert pack_model(module, kept, optimizers, keep=False)[0] == {}


def test_names_are_stripped_of_their_own_prefix_alone() -> None:
    one = torch.zeros(1)
    named = {"model/a": one, "model/model/b": one, "models/c": one, "kept/model/d": one, "model": one}
    assert list(strip_prefix("model", named)) == ["a", "model/b"]
