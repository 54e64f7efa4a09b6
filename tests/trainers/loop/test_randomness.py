"""Seeds, flags and the state of every generator: set, captured, given back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from trainers.loop.randomness import capture_state, derive_seed, fix_torch_flags, restore_state, seed_all


def draws(generator: torch.Generator) -> list[float]:
    """One of each generator, of normal numbers too, which Python and NumPy make in pairs."""
    return [
        random.random(), random.gauss(0, 1), float(np.random.random()), float(np.random.normal()),
        float(torch.rand(1)), float(torch.rand(1, generator=generator)),
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def as_before() -> object:
    with fix_torch_flags(None):
        yield


def test_derived_seeds_are_their_own_and_stay_what_they_are() -> None:
    """Written down once: a checkpoint of an earlier version must be carried on with the same order."""
    seeds = [
        derive_seed(1),
        derive_seed(1, 1, 0),
        derive_seed(1, 2, 0),
        derive_seed(2, 1, 0),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    words = np.random.SeedSequence([1, 2, 3]).generate_state(2, np.uint32)
    assert derive_seed(1, 2, 3) == int(words[0]) * 2**31 ^ int(words[1])


@pytest.mark.parametrize("seed", [0, 7, 2**32, 2**62 + 5])
def test_seeds_decide_what_all_generators_draw(seed: int) -> None:
    generator = torch.Generator()
    first = second = draws(generator)
    for made in (first, second):
        seed_all(seed)
        made[:] = draws(generator.manual_seed(0))
    assert first == second
    seed_all(seed)
    assert torch.initial_seed() == seed
    assert random.random() == random.Random(seed).random()
    assert np.random.random() == np.random.RandomState(seed % 2**32).random()


@pytest.mark.parametrize("drawn", [0, 1, 2])
def test_captured_state_draws_the_same_again_in_the_middle_of_a_pair_too(drawn: int) -> None:
    generator = torch.Generator().manual_seed(3)
    seed_all(5)
    for _ in range(drawn):
        draws(generator)
    state = capture_state(generator)
    rows = {
        name: torch.stack([vector, vector])[1] for name, vector in state.items()
    }  # as a checkpoint has them
    wanted = [draws(generator) for _ in range(3)]
    seed_all(6)
    random.gauss(0, 1)
    np.random.normal()
    restore_state(rows, generator.manual_seed(9))
    assert [draws(generator) for _ in range(3)] == wanted


def test_state_of_a_device_that_is_not_here_is_left_aside() -> None:
    generator = torch.Generator().manual_seed(3)
    state = capture_state(generator)
    state["augmentation"] = torch.zeros(16, dtype=torch.uint8)  # as a GPU's
    state["cuda"] = torch.zeros(16, dtype=torch.uint8)
    before = generator.get_state()
    restore_state(state, generator)
    assert torch.equal(generator.get_state(), before)


def flags() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision(),
        cudnn.benchmark, cudnn.deterministic,
    )  # fmt: skip


def test_flags_are_fixed_within_and_as_they_were_afterwards() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.set_default_dtype(torch.float64)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    before, threads = flags(), torch.get_num_threads()
    with torch.no_grad():
        for asked, wanted in ((None, threads), (threads + 1, threads + 1)):
            with pytest.raises(KeyError), fix_torch_flags(asked):
                assert flags() == (wanted, torch.float32, "highest", False, True)
                assert torch.is_grad_enabled()
                raise KeyError
            assert flags() == before
            assert not torch.is_grad_enabled()


def test_generators_of_the_process_are_given_back() -> None:
    generator = torch.Generator()
    seed_all(1)
    wanted = draws(generator.manual_seed(0))
    seed_all(1)
    with fix_torch_flags(1):
        seed_all(2)
        draws(generator)
    assert draws(generator.manual_seed(0)) == wanted


@pytest.mark.parametrize("here", [True, False])
def test_generators_of_devices_are_seeded_and_kept_where_there_are_any(
    here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with two GPUs, by name: nothing of CUDA is started where this process does not use it."""
    seeds: list[int] = []
    forked: list[list[int]] = []
    given: list[torch.Tensor] = []

    @contextmanager
    def note_fork(devices: list[int]) -> Iterator[None]:
        forked.append(devices)
        yield

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: here)
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: here)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", given.append)
    monkeypatch.setattr(torch.random, "fork_rng", note_fork)
    with fix_torch_flags(1):
        seed_all(5)
        generator = torch.Generator()
        state = capture_state(generator)
        restore_state({**state, "cuda": torch.tensor([7])}, generator)
        restore_state({name: one for name, one in state.items() if name != "cuda"}, generator)
    assert forked == [[0, 1] if here else []]
    assert seeds == ([5] if here else [])
    assert ("cuda" in state) is here
    assert [one.tolist() for one in given] == ([[7]] if here else [])
