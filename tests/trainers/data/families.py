"""Small families that encode what the tests need; none of them trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from trainers.data import images
from trainers.data.dataset import Dataset, Kind, Task
from trainers.data.prepare import fit_table
from trainers.data.tables import apply_table, write_table
from trainers.family import Family
from trainers.hyperparameters import Hyperparameter
from trainers.inputs.targets import write_target
from trainers.options import Options
from trainers.types import ArrayWriter


class Recorder(Family):
    """Appends a line to `options.log` each time that it encodes."""

    kinds: ClassVar[tuple[Kind, ...]] = ("table", "image")
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    encoding: ClassVar[tuple[str, ...]] = ("width",)
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "width": Hyperparameter(default=1, types=(int,), doc="of what is encoded")
    }

    class Options(Options):
        """Where to write."""

        log: str = ""

    def encode(self, dataset: Dataset, params: Mapping[str, Any], writer: ArrayWriter) -> dict[str, Any]:
        with Path(self.options.log).open("a") as log:  # type: ignore[attr-defined]
            log.write("encoded\n")
        state = fit_table(dataset)
        write_table(dataset, state, writer)
        return {**state, **write_target(dataset, writer)}

    def build(self, state: dict[str, Any], params: Mapping[str, Any]) -> Any:
        raise AssertionError("nothing is built here")

    def from_user(self, rows: Any, state: dict[str, Any]) -> dict[str, Any]:
        numbers, categories = apply_table(state, rows)
        return {"numbers": numbers, "categories": categories}


class Pixels(Recorder):
    """Images at 16x16."""

    def encode(self, dataset: Dataset, params: Mapping[str, Any], writer: ArrayWriter) -> dict[str, Any]:
        images.decode_images(dataset.columns["image"], writer, size=(16, 16), channels=3)
        return {"task": dataset.task}

    def from_user(self, rows: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": images.decode_user_images(rows["image"], size=(16, 16), channels=3)}
