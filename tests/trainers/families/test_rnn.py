"""What recurrent networks do beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.trainers.families.cases import Memory, classes, series, table, texts
from trainers.bundle.bundle import load_bundle, save_bundle
from trainers.data.dataset import Column, Dataset
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.families.rnn import RNN
from trainers.inputs.series import cut_windows
from trainers.modules.recurrent import Recurrence, RecurrentShape, SequenceConvolution

SHAPE = RecurrentShape(
    cell="gru", hidden=5, layers=2, direction="both", state="last", pooling="max", activation="tanh",
    dropout=0.0,
)  # fmt: skip


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize(("state", "pooling"), [("last", "max"), ("pooled", "max"), ("pooled", "average")])
@pytest.mark.parametrize("filters", [None, 4])
def test_rnn_padding_changes_no_output(
    cell: str, direction: str, state: str, pooling: str, filters: int | None
) -> None:
    torch.manual_seed(0)
    front = SequenceConvolution(3, filters, 3, "relu") if filters else nn.Identity()
    shape = replace(SHAPE, cell=cell, direction=direction, state=state, pooling=pooling)
    net = Recurrence(filters or 3, shape)
    lengths = torch.tensor([7, 1, 4])
    x = torch.randn(3, 7, 3)
    for row, length in enumerate(lengths):
        x[row, length:] = 0.0
    together = net(front(x), lengths)
    padded = net(front(torch.cat([x, torch.zeros(3, 5, 3)], dim=1)), lengths)
    torch.testing.assert_close(padded, together)
    for row, length in enumerate(lengths):
        alone = net(front(x[row : row + 1, :length]), None)
        torch.testing.assert_close(alone[0], together[row])


def test_rnn_ignores_values_behind_the_end() -> None:
    for direction in ("forward", "both"):
        torch.manual_seed(0)
        net = Recurrence(3, replace(SHAPE, direction=direction))
        x, lengths = torch.randn(2, 6, 3), torch.tensor([6, 2])
        other = x.clone()
        other[1, 2:] = 9.0
        assert torch.equal(net(x, lengths)[1], net(other, lengths)[1])


def test_rnn_last_state_equals_torchs() -> None:
    torch.manual_seed(0)
    net = Recurrence(3, SHAPE)
    x = torch.randn(4, 6, 3)
    _, h = net.cells(x)
    torch.testing.assert_close(net(x, None), torch.cat([h[-2], h[-1]], dim=1))


def test_rnn_reads_hyperparameters_of_earlier_models() -> None:
    family = RNN()
    assert family.complete({"embedding": None, "vocabulary": None, "hidden": 8}) == family.complete(
        {"hidden": 8}
    )


def encode_series(dataset: Dataset, **options: Any) -> tuple[RNN, Any, Memory]:
    family, memory = RNN(options), Memory()
    family.check(dataset)
    return family, family.encode(dataset, family.complete({}), memory), memory


def test_series_window_ends_a_horizon_before_its_row() -> None:
    rows = np.arange(1, 11, dtype=np.float32)[:, None]
    state = {"window": 3, "step": 2, "horizon": 1}
    made, lengths = cut_windows(rows, np.array([9, 3, 1, 0]), state)
    assert made[:, :, 0].tolist() == [[5, 7, 9], [1, 3, 0], [1, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 2, 1, 1]


def test_series_window_holds_no_target_or_later_row() -> None:
    dataset = series()
    values = np.array(dataset.target.values)  # type: ignore[union-attr]
    values[50:] += 1000.0
    changed = replace(dataset, target=Column(name="wave", kind="number", values=values))
    _, state, _ = encode_series(changed, window=8, horizon=2)
    scale = 1000.0 / state["target_std"]
    assert scale > 1
    family = RNN({"window": 8, "horizon": 2})
    frame = pd.DataFrame({"hum": dataset.columns["hum"].values, "wave": dataset.target.values})  # type: ignore[union-attr]
    later = frame.assign(wave=values)
    before, after = (family.from_user(rows, state)["inputs"] for rows in (frame, later))
    np.testing.assert_array_equal(before[:52], after[:52])
    assert (before[52] != after[52]).any()


def test_forecast_from_its_own_past_alone_works() -> None:
    dataset = replace(series(), columns={})
    family, state, memory = encode_series(dataset, window=8, horizon=3)
    assert (state["channels"], state["past"], state["table"]) == (1, "wave", None)
    ahead = pd.DataFrame({"wave": [*np.asarray(dataset.target.values)[:20], None, None, None]})  # type: ignore[union-attr]
    made = family.from_user(ahead, state)
    np.testing.assert_array_equal(made["inputs"], memory.arrays["inputs"][:23])
    with pytest.raises(InputError, match="no 'wave'"):
        family.from_user(pd.DataFrame({"other": [1.0]}), state)


def test_series_from_file_of_times_and_values_opens(tmp_path: Path) -> None:
    lines = [f"{n},{np.sin(n / 5):.5f}" for n in range(200)]
    (tmp_path / "sine.csv").write_text("\n".join(["hour,level", *lines]) + "\n")
    spec = {"source": "csv:sine.csv", "columns": {"target": "level", "time": "hour"}, "split": {"by": "time"}}
    dataset = open_dataset(spec, base=tmp_path, cache=tmp_path)
    family = RNN({"window": 10, "horizon": 2})
    family.check(dataset)
    state = family.encode(dataset, family.complete({}), Memory())
    assert (state["channels"], state["past"]) == (1, "level")
    assert list(family.example(dataset).columns) == ["level"]


def test_a_series_may_have_classes_and_categories() -> None:
    family, state, memory = encode_series(classes(), window=4)
    assert state["past"] is None
    assert memory.arrays["inputs"].shape == (90, 4, 4)  # a, b, and one column a colour
    net = family.build(state, family.complete({"filters": 6}))
    batch = {name: torch.from_numpy(np.asarray(values))[:5] for name, values in memory.arrays.items()}
    assert family.outputs(net, batch).shape == (5, 3)


def test_table_without_window_is_refused_as_series() -> None:
    with pytest.raises(InputError, match="window") as error:
        RNN().check(table())
    assert error.value.key == ("options", "window")
    with pytest.raises(InputError, match="beside data of kind table"):
        RNN({"window": 3}).check(texts())


def test_series_with_parts_mixed_in_time_is_refused() -> None:
    dataset = series()
    mixed = {"train": np.arange(0, 90, 2), "validation": np.arange(1, 90, 2)}
    with pytest.raises(InputError, match="by: time") as error:
        RNN({"window": 3}).check(replace(dataset, splits=mixed))
    assert error.value.key == ("data", "split", "by")


def test_a_saved_series_model_reads_long_tables_in_one_piece(tmp_path: Path) -> None:
    dataset = series()
    family, state, _ = encode_series(dataset, window=12, horizon=2)
    torch.manual_seed(0)
    net = family.build(state, family.complete({}))
    save_bundle(
        tmp_path / "bundle",
        family_reference="rnn",
        options={"window": 12, "horizon": 2},
        params={},
        state=state,
        weights=net.state_dict(),
        facts={},
        example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes,
    )
    predictor = load_bundle(tmp_path / "bundle")
    assert predictor.columns == ["hum", "wave"]
    assert len(predictor.example) == 2 + 11 + 1
    frame = pd.DataFrame({"hum": dataset.columns["hum"].values, "wave": dataset.target.values})  # type: ignore[union-attr]
    long = pd.concat([frame] * 4, ignore_index=True)
    whole = predictor.predict(long)["prediction"].to_numpy()
    tail = predictor.predict(long[250:])["prediction"].to_numpy()
    np.testing.assert_allclose(whole[263:], tail[13:], rtol=1e-5)
