"""A loaded model: raw rows in, predictions in a person's terms out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from trainers.bundle.frames import Rows, as_frame
from trainers.code.exits import blame_code
from trainers.code.references import check_unchanged, resolve_reference
from trainers.errors import InputError
from trainers.flops import count_flops
from trainers.inputs.clips import CLIP
from trainers.kept.files import load_kept
from trainers.registry import BUILT_IN, load_reference

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.bundle.contents import Bundle, BundleDocument
    from trainers.family import Family
    from trainers.kept.description import KeptDocument
    from trainers.types import Array, Cell, State

BATCH_ROWS = 256
Predictions: TypeAlias = "pd.DataFrame | torch.Tensor | Array | Mapping[str, Sequence[Cell]] | Sequence[Cell]"
PredictFunction: TypeAlias = "Callable[[torch.nn.Module, pd.DataFrame], Predictions]"


class ModelRunner(Protocol):
    """How one kind of model answers a batch of named rows."""

    module: torch.nn.Module
    whole: bool  # whether all rows must be read in one piece

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One prediction a row."""


class Predictor:
    """A model ready for use; safe to call from several threads on CPU, for it changes nothing.

    Attributes:
        document: the bundle's `model.json`: what it is and where it came from.
        example: a few raw rows as `predict` takes them.
        train_rows: content hashes of the rows that it was trained on, uint64, ascending.
    """

    def __init__(self, bundle: Bundle, answers: ModelRunner, *, device: str) -> None:
        self.document = bundle.document
        self.example = bundle.example
        self.train_rows = bundle.train_rows
        self._stored_bytes = bundle.stored_bytes
        self.device = device
        self._answers = answers
        self._answers.module.to(device).eval()

    @property
    def module(self) -> torch.nn.Module:
        """What computes, in evaluation mode."""
        return self._answers.module

    @property
    def runner(self) -> ModelRunner:
        """What answers a batch of rows."""
        return self._answers

    @property
    def columns(self) -> list[str]:
        """The columns that rows must have."""
        return [str(name) for name in self.example.columns]

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(parameter.numel() for parameter in self._answers.module.parameters())

    @property
    def size_bytes(self) -> int:
        """What its weights and buffers take: in memory, of a compressed model as they are stored."""
        if self._stored_bytes is not None:
            return self._stored_bytes
        state = self._answers.module.state_dict().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in state)

    @property
    def flops(self) -> float | None:
        """Floating-point operations of one answer, that of the first example; None where uncountable."""
        return None if self.example.empty else count_flops(lambda: self.predict(self.example[:1]))

    def predict(self, rows: Rows, *, batch_size: int = BATCH_ROWS) -> pd.DataFrame:
        """Predictions for raw rows, in their order and with a frame's own index.

        Classification: `label` and `p_<class>` for each class. Regression: `prediction`. People's own
        functions: what they return, as a frame.

        Args:
            rows: see `trainers.bundle.frames.as_frame`: a frame, texts, images, rows of a table.
            batch_size: rows computed at once.
        """
        import pandas as pd
        import torch

        state = self.document.get("state", {})
        frame = as_frame(rows, self.columns, None if CLIP in state else state.get("shape"))
        if frame.empty:
            return self._predict_batch(self.example[:1]).iloc[:0]
        if self._answers.whole:
            batch_size = len(frame)
        with torch.inference_mode():
            parts = [
                self._predict_batch(frame.iloc[i : i + batch_size]) for i in range(0, len(frame), batch_size)
            ]
        answers = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        answers.index = frame.index
        return answers

    def count_unseen(self, rows: Rows) -> dict[str, int]:
        """Column of categories → how many of its values training never saw; nothing for other models.

        Args:
            rows: as `predict` takes them.
        """
        from trainers.data.tables import count_unseen

        table = self.document.get("state", {}).get("table")
        return {} if table is None else count_unseen(table, as_frame(rows, self.columns))

    def _predict_batch(self, rows: pd.DataFrame) -> pd.DataFrame:
        return self._answers(rows)


class FamilyRunner:
    """A family's module and the state that its rows are read with."""

    def __init__(self, family: Family, module: torch.nn.Module, state: State, device: str) -> None:
        self.family = family
        self.module = module
        self.state = state
        self.device = device
        self.whole = family.needs_neighbours(state)

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """As `ModelRunner`; rows that are read in one piece are still computed batch by batch."""
        import pandas as pd

        arrays = self.family.from_user(rows, self.state)
        if not self.whole:
            return self._answer_batch(arrays)
        starts = range(0, len(rows), BATCH_ROWS)
        parts = [{name: a[at : at + BATCH_ROWS] for name, a in arrays.items()} for at in starts]
        return pd.concat([self._answer_batch(part) for part in parts], ignore_index=True)

    def _answer_batch(self, arrays: Mapping[str, Array]) -> pd.DataFrame:
        import torch

        batch = {
            name: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for name, a in arrays.items()
        }
        return self.family.to_user(self.family.answers(self.module, batch, self.state), self.state)


class FunctionRunner:
    """People's own `predict(module, rows)`."""

    def __init__(self, name: str, predict: PredictFunction, module: torch.nn.Module) -> None:
        self.name = name
        self.predict = predict
        self.module = module
        self.whole = False

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """As `ModelRunner`; an array or list becomes the column `prediction`."""
        import pandas as pd
        import torch

        with blame_code(f"{self.name} must answer these rows"):
            found = self.predict(self.module, rows)
        if isinstance(found, torch.Tensor):
            found = found.detach().cpu().numpy()
        frame = found if isinstance(found, pd.DataFrame) else _as_columns(found)
        if len(frame) != len(rows):
            raise InputError("predict must give one prediction a row", f"{len(frame)} for {len(rows)} rows")
        return frame.reset_index(drop=True)


def _as_columns(found: Predictions) -> pd.DataFrame:
    import pandas as pd

    if isinstance(found, Mapping):
        return pd.DataFrame(found)
    array = np.asarray(found)
    if array.ndim == 2 and array.shape[1] > 1:
        return pd.DataFrame({f"prediction_{i}": array[:, i] for i in range(array.shape[1])})
    return pd.DataFrame({"prediction": array.reshape(len(array), -1)[:, 0] if array.ndim else array[None]})


def make_predictor(bundle: Bundle, *, device: str, accept_code_change: bool) -> Predictor:
    """The bundle's module with its weights, and who answers with it."""
    document = bundle.document
    if not accept_code_change:
        check_unchanged(document["code"])
    if "kept" in document:
        return Predictor(bundle, _kept_runner(document["kept"], bundle.kept), device=device)
    answers = _function_runner(document) if "build" in document else _family_runner(document, device)
    _load_weights(answers.module, bundle.weights)
    return Predictor(bundle, answers, device=device)


def _kept_runner(document: KeptDocument, files: Mapping[str, bytes]) -> FunctionRunner:
    loaded = load_kept(document, files)
    return FunctionRunner(loaded.name, lambda _, rows: loaded.ask(rows), loaded.module)


def _function_runner(document: BundleDocument) -> FunctionRunner:
    build = resolve_reference(document["build"])
    name = document["predict"]
    predict = resolve_reference(name) if name is not None else _module_outputs
    made = _build_module(lambda: build(**document["params"]))
    return FunctionRunner(name or f"the module of {document['build']}", predict, made)


def _module_outputs(module: torch.nn.Module, rows: pd.DataFrame) -> torch.Tensor:
    """The module's own outputs for the rows' numbers."""
    import torch

    try:
        numbers = rows.to_numpy(dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            "rows must be numbers for a model without a predict function",
            str(error),
            "name one that reads them: trial.model(module, build=…, predict='package.module:predict')",
        ) from error
    outputs: torch.Tensor = module(torch.tensor(numbers))
    return outputs


def _family_runner(document: BundleDocument, device: str) -> FamilyRunner:
    reference, state = document["family"], dict(document["state"])
    if reference not in BUILT_IN:
        resolve_reference(reference)
    found = load_reference(reference)
    if not isinstance(found, type):
        raise InputError("a bundle's family must be a Family class", reference)
    family = found(document["options"])
    params = family.complete(document["params"])
    return FamilyRunner(family, _build_module(lambda: family.build(state, params)), state, device)


def _build_module(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """A module whose first weights, soon replaced, were drawn without touching the caller's generator."""
    import torch

    with torch.random.fork_rng(devices=[]):
        module: torch.nn.Module = build()
    return module


def _load_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    try:
        module.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise InputError(
            "a bundle's weights must fit the module that is built here",
            str(error).splitlines()[-1].strip(),
            "load it with the version of the code that its model.json names",
        ) from error
