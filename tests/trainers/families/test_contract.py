"""What holds for every family: one class, run over all of them."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.families.cases import CASES, GAN, RARE, TREES, Case, Memory
from trainers.bundle.bundle import load_bundle, read_bundle, save_bundle
from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.registry import BUILT_IN, load_reference
from trainers.storage.atomic_folders import MANIFEST, DamagedFolder

STEPS = 30


class FamilyBench:
    """A family with its encoded data, on which a few steps can be trained."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.dataset: Dataset = case.dataset()
        self.family = family_of(case)
        self.params = self.family.complete(case.params)
        memory = Memory()
        self.state = json.loads(json.dumps(self.family.encode(self.dataset, self.params, memory)))
        self.arrays = {name: np.asarray(values) for name, values in memory.arrays.items()}

    def batch(self, rows: Any) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values[rows].copy()) for name, values in self.arrays.items()}

    @functools.cached_property
    def trained(self) -> tuple[torch.nn.Module, list[float]]:
        """Trained once, for all tests that change nothing of it."""
        return self.train()

    def train(self, seed: int = 0, steps: int = STEPS) -> tuple[torch.nn.Module, list[float]]:
        torch.manual_seed(seed)
        module = self.family.build(self.state, self.params)
        batch = self.batch(self.dataset.splits["train"])
        if type(self.family).train_step is not Family.train_step:
            return module, self._own_steps(module, batch, seed, steps)
        optimizer = torch.optim.Adam(module.parameters(), self.params["learning_rate"])
        losses = []
        for _ in range(steps):
            outputs = self.family.outputs(module, batch)
            loss = self.family.loss(outputs, batch, self.params, self.state)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return module, losses

    def _own_steps(self, module: torch.nn.Module, batch: Any, seed: int, steps: int) -> list[float]:
        """The sums of what each of a family's own steps shows."""
        players = self.family.players(module)
        step: Any = SimpleNamespace(
            params=self.params,
            state=self.state,
            generator=torch.Generator().manual_seed(seed),
            optimizers={name: torch.optim.Adam(part.parameters()) for name, part in players.items()},
            backward=lambda loss: loss.backward(),
        )
        shown = [self.family.train_step(module, batch, step) for _ in range(steps)]
        return [sum(numbers.values()) for numbers in shown if numbers is not None]

    def save(self, folder: Path) -> torch.nn.Module:
        module, _ = self.trained
        save_bundle(
            folder,
            family_reference=self.case.name,
            options=self.case.options,
            params=self.case.params,
            state=self.state,
            weights=module.state_dict(),
            facts={"metrics": {"val/loss": 0.5}, "fingerprint": self.dataset.fingerprint},
            example_rows=self.family.example(self.dataset),
            row_hashes_of_train=self.dataset.row_hashes[self.dataset.splits["train"]],
        )
        return module.eval()


def family_of(case: Case, **options: Any) -> Family:
    found = load_reference(case.name)
    assert isinstance(found, type)
    made: Family = found({**case.options, **options})
    return made


def case_id(case: Case) -> str:
    return case.name + ("-" + "-".join(map(str, case.options.values())))


WEIGHTS = pytest.mark.parametrize("case", [*CASES, GAN], ids=case_id)  # trees have none


@pytest.fixture(params=(*CASES, GAN, TREES), ids=case_id)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


_BENCHES: dict[int, FamilyBench] = {}


def bench_of(case: Case) -> FamilyBench:
    """One for all tests of a case; two cases may have one name."""
    return _BENCHES.get(id(case)) or _BENCHES.setdefault(id(case), FamilyBench(case))


@pytest.fixture
def fitted(case: Case) -> FamilyBench:
    return bench_of(case)


@pytest.fixture(params=CASES, ids=case_id)
def judged(request: pytest.FixtureRequest) -> FamilyBench:
    """What learns from one loss, of the rows that a person has."""
    return bench_of(request.param)


def raw_rows(fitted: FamilyBench, count: int) -> Any:
    from trainers.data.examples import example_rows

    dataset = fitted.dataset
    everything = replace(dataset, splits={"train": np.arange(dataset.rows)})
    rows = example_rows(everything, count)
    past = fitted.state.get("past")
    if past is not None and dataset.target is not None:
        rows[past] = dataset.target.values[:count]
    return rows


def test_built_in_families_all_have_a_contract_case() -> None:
    assert {case.name for case in (*CASES, GAN, TREES)} == BUILT_IN.keys()


class TestFamily:
    def test_refuses_an_unknown_option_and_names_the_nearest(self, case: Case) -> None:
        with pytest.raises(InputError, match=r"did you mean 'pretrained'") as error:
            family_of(case, pretraind="x")
        assert error.value.key == ("options", "pretraind")

    def test_refuses_an_unknown_preset_and_lists_its_own(self, case: Case) -> None:
        with pytest.raises(InputError, match="preset must be one of"):
            family_of(case, preset="nothing")

    def test_hyperparameter_given_as_option_is_taken_and_checked(self, case: Case) -> None:
        assert family_of(case, learning_rate=0.5).complete({})["learning_rate"] == 0.5
        with pytest.raises(InputError) as error:
            family_of(case, learning_rate=-1.0)
        assert error.value.key == ("options", "learning_rate")

    def test_refuses_a_hyperparameter_that_nothing_reads(self, case: Case) -> None:
        with pytest.raises(InputError, match="one that the family reads"):
            family_of(case).complete({"learning_rat": 0.1})

    def test_refuses_data_of_another_kind(self, case: Case) -> None:
        other = replace(case.dataset(), kind="none")
        with pytest.raises(InputError, match="reads data of kind"):
            family_of(case).check(other)

    def test_presets_have_exactly_their_number_of_weights(self, case: Case) -> None:
        for name, (state, weights) in case.presets.items():
            family = family_of(case, preset=name)
            module = family.build(state, family.complete({}))
            assert sum(p.numel() for p in module.parameters()) == weights, name

    def test_fits_on_the_training_split_alone(self, case: Case, fitted: FamilyBench) -> None:
        changed = _with_other_held_out_rows(fitted.dataset)
        state = fitted.family.encode(changed, fitted.params, Memory())
        assert json.loads(json.dumps(state)) == fitted.state
        assert RARE not in json.dumps(fitted.state)

    def test_writes_every_row_and_a_state_of_plain_json(self, fitted: FamilyBench) -> None:
        assert {len(values) for values in fitted.arrays.values()} == {fitted.dataset.rows}
        assert ("target" in fitted.arrays) == (fitted.dataset.task not in ("reconstruction", "generation"))
        assert fitted.state["task"] == fitted.dataset.task
        assert fitted.state.get("classes", []) == list(fitted.dataset.classes)

    def test_outputs_one_row_an_example_whatever_the_batch(self, fitted: FamilyBench) -> None:
        module = fitted.family.build(fitted.state, fitted.params).eval()
        width = len(fitted.dataset.classes) or 1
        for count in (1, 2, 7):
            batch = fitted.batch(np.arange(count))
            outputs = fitted.family.outputs(module, batch)
            if fitted.state["task"] in ("classification", "regression"):
                assert outputs.shape == (count, width)
            elif fitted.state["task"] in ("reconstruction", "generation"):
                assert outputs.shape == batch["inputs"].shape
            else:
                assert len(outputs) == count

    def test_training_with_same_seed_gives_the_same_losses(self, fitted: FamilyBench) -> None:
        losses = fitted.train(seed=3, steps=8)[1]
        assert fitted.train(seed=3, steps=8)[1] == losses
        assert fitted.train(seed=4, steps=8)[1] != losses

    def test_a_missing_column_is_refused(self, fitted: FamilyBench) -> None:
        import pandas as pd

        with pytest.raises(InputError, match="column"):
            fitted.family.from_user(pd.DataFrame({"other": [1]}), fitted.state)

    @WEIGHTS
    def test_freezing_keeps_weights_out_of_training(self, case: Case, fitted: FamilyBench) -> None:
        names = [name for name, _ in fitted.family.build(fitted.state, fitted.params).named_parameters()]
        frozen = family_of(case, freeze=(names[0],))
        module = frozen.build(fitted.state, fitted.params)
        frozen.start(module)
        assert [n for n, p in module.named_parameters() if not p.requires_grad] == [names[0]]

    @WEIGHTS
    def test_pretrained_weights_are_loaded_and_their_hash_checked(
        self, case: Case, fitted: FamilyBench, tmp_path: Path
    ) -> None:
        from safetensors.torch import save_file

        trained, _ = fitted.trained
        save_file(
            {n: t.contiguous().clone() for n, t in trained.state_dict().items()}, tmp_path / "w.safetensors"
        )
        path = tmp_path / "w.safetensors"
        family = family_of(case, pretrained=str(path), sha256=sha256(path.read_bytes()).hexdigest())
        module = family.build(fitted.state, fitted.params)
        other = family_of(case, pretrained=str(path), sha256="0" * 64)
        with pytest.raises(InputError, match=r"must have the hash options\.sha256"):
            other.start(module)
        family.start(module)
        for name, tensor in trained.state_dict().items():
            assert torch.equal(module.state_dict()[name], tensor), name

    def test_a_bundle_knows_its_rows_facts_and_code(self, fitted: FamilyBench, tmp_path: Path) -> None:
        fitted.save(tmp_path / "bundle")
        bundle = read_bundle(tmp_path / "bundle")
        hashes = np.sort(fitted.dataset.row_hashes[fitted.dataset.splits["train"]])
        np.testing.assert_array_equal(bundle.train_rows, hashes)
        assert bundle.document["facts"]["metrics"] == {"val/loss": 0.5}
        assert bundle.document["params"] == fitted.params
        assert bundle.document["versions"]["torch"] == torch.__version__
        assert {path.suffix for path in (tmp_path / "bundle").iterdir()} == {".json", ".safetensors", ".bin"}

    def test_a_flipped_bit_is_found_in_every_file(self, fitted: FamilyBench, tmp_path: Path) -> None:
        fitted.save(tmp_path / "bundle")
        for path in sorted((tmp_path / "bundle").iterdir()):
            whole = path.read_bytes()
            at = len(whole) // 2
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(DamagedFolder) as error:
                load_bundle(tmp_path / "bundle")
            assert path.name in str(error.value) or path.name == MANIFEST
            path.write_bytes(whole)
        load_bundle(tmp_path / "bundle")

    def test_augmentation_keeps_shape_and_type(self, fitted: FamilyBench) -> None:
        changes: dict[str, Any] = {
            "image": {"shift": 0.2, "noise": 0.1},
            "audio": "time_mask",
            "text": "word_dropout",
        }
        change = changes.get(fitted.dataset.kind)
        batch = fitted.batch(np.arange(8))
        generator = torch.Generator().manual_seed(0)
        made = fitted.family.augment(batch, {**fitted.params, "augment": change}, generator)
        for name, tensor in batch.items():
            assert (made[name].shape, made[name].dtype) == (tensor.shape, tensor.dtype)
        if change is not None:
            assert not torch.equal(made["inputs"], batch["inputs"])


class TestOneLoss:
    """A GAN has two, and answers seeds: see its own tests."""

    def test_output_of_an_example_does_not_depend_on_its_batch(self, judged: FamilyBench) -> None:
        module = judged.family.build(judged.state, judged.params).eval()
        together = judged.family.outputs(module, judged.batch(np.arange(20)))
        alone = [judged.family.outputs(module, judged.batch(np.array([i]))) for i in range(20)]
        torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)

    def test_loss_is_finite_and_falls(self, judged: FamilyBench) -> None:
        _, losses = judged.trained
        assert np.isfinite(losses).all()
        assert losses[-1] < 0.7 * losses[0]

    def test_loss_gives_every_weight_a_gradient(self, judged: FamilyBench) -> None:
        module = judged.family.build(judged.state, judged.params).eval()
        batch = judged.batch(judged.dataset.splits["train"])
        outputs = judged.family.outputs(module, batch)
        judged.family.loss(outputs, batch, judged.params, judged.state).backward()
        without = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
        assert without == []

    def test_user_rows_encode_to_the_arrays_of_training(self, judged: FamilyBench) -> None:
        rows = raw_rows(judged, judged.dataset.rows)
        made = judged.family.from_user(rows, judged.state)
        assert made.keys() == judged.arrays.keys() - {"target"}
        for name, values in made.items():
            assert values.dtype == judged.arrays[name].dtype
            np.testing.assert_array_equal(values, judged.arrays[name], err_msg=name)

    def test_a_bundle_predicts_what_the_module_did(self, judged: FamilyBench, tmp_path: Path) -> None:
        module = judged.save(tmp_path / "bundle")
        rows = raw_rows(judged, 20)
        with torch.inference_mode():
            answers = judged.family.answers(module, judged.batch(np.arange(20)), judged.state)
            expected = judged.family.to_user(answers, judged.state)
        found = load_bundle(tmp_path / "bundle").predict(rows)
        assert list(found.columns) == list(expected.columns)
        for name in expected.columns:
            assert (found[name] == expected[name]).all(), name


def _with_other_held_out_rows(dataset: Dataset) -> Dataset:
    """The same training rows; other values everywhere else."""
    train = set(dataset.splits["train"].tolist())
    columns = {}
    for name, column in dataset.columns.items():
        values = column.values.copy() if isinstance(column.values, np.ndarray) else list(column.values)
        for row in range(dataset.rows):
            if row not in train:
                elsewhere = values[min(train)] if column.kind == "audio" else "elsewhere"
                values[row] = values[row] * 0 + 9 if column.kind in ("number", "image") else elsewhere
        columns[name] = replace(column, values=values)
    return replace(dataset, columns=columns)
