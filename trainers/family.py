"""A family: one kind of model, from raw data to predictions. One class in one file.

A family says what it reads and what can be tuned (known without importing torch), encodes a data set into
arrays (fitted on the training split alone), builds a module, computes a loss, and answers people with
predictions in their own terms. `trainers.loop.training` does everything in between.

Shape legend: B examples of a batch, N rows of a data set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from trainers.data.augment import AUDIO, IMAGES, TEXT, augment_batch, refuse_changes
from trainers.data.dataset import Dataset, Kind, Task
from trainers.errors import InputError
from trainers.hyperparameters import OPTIONAL, PRIVACY, TEACHING, TRAINING, Hyperparameter, fill_defaults
from trainers.options import Options, read_options
from trainers.types import Array, ArrayWriter, Batch, Json, JsonObject, Outputs, Params, State, TrainStep

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd
    import torch

    from trainers.tasks import MetricSink, TaskRules
    from trainers.types import ExampleSource, Sample


class Family(ABC):
    """One kind of model.

    Class attributes:
        name: as written in a sweep file; empty for people's own classes.
        summary: one line for `velodrome families`.
        kinds: kinds of data set it reads, best first.
        tasks: what it can learn.
        Options: the pydantic model of its fixed structure.
        uses: names of `trainers.hyperparameters.OPTIONAL` that have a meaning here.
        hyperparameters: its own; may also give a training hyper-parameter another default.
        presets: name → values for options and hyper-parameters alike (they share one namespace).
        encoding: names of hyper-parameters that change what `encode` writes.
        reads_only: options and hyper-parameters that have a meaning beside some of its kinds of data → those
            kinds.
        samples_at: when `samples` is asked: at the `end` of a kept trial, or at each `report` too.
        chosen: options that a space may search too, as choices.
        fixed: training hyper-parameters that it decides: the loop takes these, nobody sets them.
        one_process: trained by one process on CPUs; several workers and GPUs are refused.
        stackable: whether many configurations may be trained as one stacked program: forward pass and loss
            are then called under `torch.func.vmap`.
        unstackable: why they cannot, where they cannot.
        libraries: distributions that its models import to answer, beside what every model and its kind of
            data need.
        heavy: meant to start from pretrained weights; `velodrome new` does not propose it.

    Attributes:
        decided: hyper-parameters that the options have decided, beside those that they name: not searched.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = ("table",)
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    Options: ClassVar[type[Options]] = Options
    uses: ClassVar[tuple[str, ...]] = ()
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}
    presets: ClassVar[Mapping[str, Params]] = {}
    encoding: ClassVar[tuple[str, ...]] = ()
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {}
    samples_at: ClassVar[Literal["end", "report"]] = "end"
    chosen: ClassVar[tuple[str, ...]] = ()
    fixed: ClassVar[Params] = {}
    one_process: ClassVar[bool] = False
    stackable: ClassVar[bool] = False
    unstackable: ClassVar[str] = ""
    libraries: ClassVar[tuple[str, ...]] = ()
    heavy: ClassVar[bool] = False

    def __init__(self, options: Params | None = None) -> None:
        """Checks the options.

        Args:
            options: as in the sweep file, `preset` among them. A hyper-parameter's name here sets its
                default, as a preset does.

        Raises:
            InputError: an unknown preset or option, or a value that does not fit.
        """
        self.decided: frozenset[str] = frozenset()
        self._given = dict(options or {})
        given = dict(self._given)
        self.preset = given.pop("preset", None)
        self._options_given = tuple(given)
        values = {**self._preset_values(self.preset), **given}
        tunable = self._tunable().keys() - self.Options.model_fields.keys()
        structure = {name: value for name, value in values.items() if name not in tunable}
        self.options = read_options(self.Options, structure, beside=tunable)
        self._defaults = {name: value for name, value in values.items() if name in tunable}
        self._check_defaults()

    def _check_defaults(self) -> None:
        entries = self._tunable()
        for name, value in self._defaults.items():
            try:
                entries[name].check(name, value)
            except InputError as error:
                raise InputError(error.must, error.found, error.do, key=("options", name))

    def _preset_values(self, preset: Json) -> Params:
        if preset is None:
            return {}
        if not isinstance(preset, str) or preset not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise InputError(
                f"preset must be one of this family's ({known})", repr(preset), key=("options", "preset")
            )
        return self.presets[preset]

    def _tunable(self) -> dict[str, Hyperparameter]:
        training = {name: entry for name, entry in TRAINING.items() if name not in self.fixed}
        return {**training, **{name: OPTIONAL[name] for name in self.uses}, **self.hyperparameters}

    @property
    def unread(self) -> frozenset[str]:
        """Hyper-parameters of the family that have no meaning with these options."""
        return frozenset(self._tunable().keys() - self.list_hyperparameters().keys())

    def list_hyperparameters(self) -> dict[str, Hyperparameter]:
        """Every hyper-parameter that this family reads, with its default here (preset, options)."""
        entries = self._tunable()
        changed = {name: replace(entries[name], default=value) for name, value in self._defaults.items()}
        return {**entries, **changed, **self._of_options()}

    def _of_options(self) -> dict[str, Hyperparameter]:
        """What a teacher and private training bring, with the options' values."""
        given: dict[str, float] = {}
        if (teacher := self.options.teacher) is not None:
            given |= {"teacher_temperature": teacher.temperature, "teacher_weight": teacher.weight}
        if (privacy := self.options.privacy) is not None:
            given |= {"privacy_noise": privacy.noise, "privacy_clip": privacy.clip}
        entries = {**TEACHING, **PRIVACY}
        return {name: replace(entries[name], default=value) for name, value in given.items()}

    def complete(self, params: Params) -> JsonObject:
        """The sampled hyper-parameters with defaults for the rest, but not what `of_trial` takes; refuses
        what cannot be used."""
        return fill_defaults(
            self.list_hyperparameters(),
            {n: v for n, v in params.items() if n not in self.chosen},
            self._defaults,
        )

    def of_trial(self, params: Params) -> Self:
        """The family with the options that a trial's sampled values choose."""
        own = {name: params[name] for name in self.chosen if name in params}
        return type(self)({**self._given, **own}) if own else self

    def check(self, dataset: Dataset) -> None:
        """Refuses a data set that this family cannot learn from, before anything is spent.

        Raises:
            InputError: says what kinds and tasks the family takes and what the data set is, or names an
                option that such data has no use for.
        """
        if dataset.kind not in self.kinds:
            raise InputError(
                f"{self.name or type(self).__name__} reads data of kind {' or '.join(self.kinds)}",
                f"kind {dataset.kind} from {dataset.source}",
                "choose another family or name the columns under data.columns",
            )
        if dataset.task not in self.tasks:
            raise InputError(
                f"{self.name or type(self).__name__} learns {' or '.join(self.tasks)}",
                f"task {dataset.task}",
                "choose another family or set data.task",
            )
        given = {name: [self._defaults.get(name)] for name in self._options_given}
        self.check_searched(dataset, given, under="options")

    def check_searched(
        self, dataset: Dataset, values: Mapping[str, Sequence[Json]], *, under: str = "space"
    ) -> None:
        """Refuses what would be searched or set for nothing beside such data.

        Args:
            values: of hyper-parameters and options, by their names.
            under: the key of the family's entry below which they stand.

        Raises:
            InputError: a name that has no meaning there, or a value of `augment` that has none.
        """
        for name in values:
            kinds = self.reads_only.get(name, (dataset.kind,))
            if dataset.kind not in kinds:
                raise InputError(
                    f"{name} must stand beside data of kind {' or '.join(kinds)}",
                    f"data of kind {dataset.kind}", "leave it out", key=(under, name),
                )  # fmt: skip
        squares = dataset.task in ("regression", "reconstruction") and type(self).loss is Family.loss
        if "label_smoothing" in values and squares:
            raise InputError(
                "label_smoothing must stand beside a cross-entropy", f"task {dataset.task}", "leave it out",
                key=(under, "label_smoothing"),
            )  # fmt: skip
        for value in values.get("augment", ()):
            refuse_changes(value, self.changes(dataset.kind), f"data of kind {dataset.kind}", under)

    def changes(self, kind: Kind) -> Collection[str]:
        """What `augment` may name beside such data."""
        return {"image": IMAGES, "audio": AUDIO, "text": TEXT}.get(kind, ())

    @abstractmethod
    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """Writes the arrays that training reads and returns the fitted state.

        Whatever is fitted (vocabulary, scaling) is fitted on `dataset.splits["train"]` alone. All N rows are
        written, in the data set's order. The state is JSON-able and holds all that `build`, `from_user` and
        `to_user` need, `task` and (for classification) `classes` among them.
        """

    @abstractmethod
    def build(self, state: State, params: Params) -> torch.nn.Module:
        """A module with freshly drawn weights (the loop has seeded torch's generator)."""

    def start(self, module: torch.nn.Module) -> None:
        """Called once on a fresh module, after `init` and before a checkpoint is loaded: takes pretrained
        weights and freezes parts. Not called where a finished model is loaded for use.

        Raises:
            InputError: the file's names or shapes are not the module's, or a pattern matches nothing.
        """
        from trainers.pretrained.weights import freeze, load_pretrained

        if self.options.pretrained is not None:
            load_pretrained(module, Path(self.options.pretrained), sha256=self.options.sha256)
        freeze(module, self.options.freeze)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> Outputs:
        """The module's raw outputs for a batch (for classification: logits [B, classes])."""
        found: Outputs = module(batch["inputs"])
        return found

    def judge(self, module: torch.nn.Module, batch: Batch, metrics: MetricSink) -> None:
        """Adds a batch of validation to the metrics; by default from the outputs that the loss sees. A family
        that writes text adds what it writes here."""
        metrics.update(self.outputs(module, batch), batch)

    def answers(self, module: torch.nn.Module, batch: Batch, state: State) -> Outputs:
        """What `to_user` makes predictions of, for a batch without targets; by default the outputs."""
        return self.outputs(module, batch)

    def loss(self, outputs: Outputs, batch: Batch, params: Params, state: State) -> torch.Tensor:
        """The mean loss of a batch; by default the task's usual one."""
        return self.rules(state).loss(outputs, batch, params)

    def train_step(self, module: torch.nn.Module, batch: Batch, step: TrainStep) -> dict[str, float] | None:
        """None: the loop does forward, loss, backward and one optimizer's step. A family that needs more
        (two players, say) does it here through `step` and returns the numbers to show."""
        return None

    def players(self, module: torch.nn.Module) -> Mapping[str, torch.nn.Module]:
        """The parts of the module that have an optimizer each, by the name that `TrainStep.optimizers` has;
        more than one only beside a `train_step` of the family's own."""
        return {"model": module}

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """The batch with random changes, in training only; by default what `params["augment"]` says for
        arrays named `inputs` that are images."""
        given = params.get("augment")
        return batch if given is None else augment_batch(batch, given, generator)

    def rules(self, state: State) -> TaskRules:
        """Loss, metrics and answers of the task that the state was made for."""
        from trainers.tasks import rules_for

        return rules_for(state)

    @abstractmethod
    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """What a person has (columns of a table, a column `text`, a column `image` of arrays or file paths)
        as the arrays of a batch, without targets.

        Raises:
            InputError: a column is missing or holds what cannot be read.
        """

    def needs_neighbours(self, state: State) -> bool:
        """Whether a row's answer depends on the rows before it, which must then come in one piece."""
        return False

    def to_user(self, outputs: Outputs, state: State) -> pd.DataFrame:
        """Predictions in a person's terms, one row an example; by default the task's usual columns."""
        return self.rules(state).to_user(outputs)

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """Pictures and texts that show what the module does, by name; they end in the trial's run in MLflow.

        Called without gradients, the module in evaluation mode, on one rank alone; chance is seeded, and
        training goes on with its own. By default a confusion matrix and a table by class where the task is
        classification, and nothing elsewhere.

        Args:
            source: the validation split: `source.gather(torch.arange(8))` is a batch.

        Returns:
            Texts, and pictures as uint8 [H, W] or [H, W, 3] (`trainers.samples.pictures.grid` puts many into
            one).
        """
        from trainers.tasks.confusion import confusion_samples

        def judge(batch: Batch, metrics: MetricSink) -> None:
            self.judge(module, batch, metrics)

        return confusion_samples(self.rules(state), judge, source, state)

    def example(self, dataset: Dataset, rows: int = 2) -> pd.DataFrame:
        """A few raw rows as `from_user` takes them, for the model's input example and signature."""
        from trainers.data.examples import example_rows

        return example_rows(dataset, rows)


def first_missing(rows: pd.DataFrame, names: Iterable[str]) -> str | None:
    """The first of the names that is not a column of the frame, or None."""
    return next((name for name in names if name not in rows.columns), None)
