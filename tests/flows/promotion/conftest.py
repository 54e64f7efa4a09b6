"""A home with an MLflow store, sweeps with models of known skill, a promoter that asks them here."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.promotion.judging.candidate import Candidate, candidate_of_sweep, candidate_of_uri
from flows.promotion.judging.outcome import Promotion
from flows.promotion.judging.promoter import Promoter
from flows.promotion.promote import conclude
from infra.home import Home
from infra.ledger.rows import TrialRow
from infra.registry.isolated_predict import IsolatedPredictions, UnusableModel
from infra.registry.moves import Mover
from infra.registry.store import Registry
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from infra.tracking.client import TrackingStore
from tests.flows.ledger_sweeps import trial_of, write_sweep
from tests.flows.promotion import models
from tests.tracking_stores import copy_home, fill_home
from trainers.errors import TrainerError

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = Objective(metric="val/accuracy", direction="maximize")
SOURCE = {"source": "csv:rows.csv", "columns": {"target": "label"}, "task": "classification"}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of every sweep here."""
    return models.write_csv(tmp_path_factory.mktemp("rows") / "rows.csv")


@pytest.fixture(scope="session")
def dataset(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, opened."""
    from trainers.data.sources.opening import open_dataset

    return open_dataset(SOURCE, base=rows.parent, cache=tmp_path_factory.mktemp("cache"))


def ask_here(folder: Path, frame: pd.DataFrame, *, paths: Sequence[str] = ()) -> IsolatedPredictions:
    """As `infra.registry.isolated_predict.use`, in this process."""
    from infra.registry.artifacts import find_bundle
    from trainers.bundle.bundle import load_bundle
    from trainers.bundle.latency import measure_latency

    bundle = find_bundle(folder)
    assert bundle is not None
    try:
        predictor = load_bundle(bundle)
        predictions = predictor.predict(frame, batch_size=100_000)
        facts = measure_latency(predictor, predictor.example, budget_s=0.02)
    except (TrainerError, RuntimeError) as error:
        raise UnusableModel(str(error)) from error
    return IsolatedPredictions(predictions=predictions, facts=facts)


@dataclass
class Shop:
    """What a test does with one home."""

    home: Home
    rows: Path
    dataset: Any
    asked: list[Any] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=lambda: SOURCE)
    kept: Path | None = None

    def sweep(
        self, name: str, *, gates: dict[str, Any] | None = None, bundle: Path | None = None, **model: Any
    ) -> str:
        """A finished sweep whose best trial has a model of those settings."""
        trained, card = model.pop("trained_on", None), model.pop("card", {})
        folder = self.home.storage / name / "model"
        folder.parent.mkdir(parents=True, exist_ok=True)
        if bundle is not None:
            shutil.copytree(bundle, folder)
        else:
            models.save(folder, self.dataset, trained, **{"seed": 1, "skill": 0.9, **model})
        family = FamilySpec(name="plain", reference=f"{models.HERE}:predict", budget=Budget(epochs=5))
        spec = SweepSpec(
            name=name,
            data=self.source,
            objectives=(ACCURACY,),
            families=(family,),
            model="shop",
            gates=gates or {},
            card=card,
        )
        trial: TrialRow = trial_of("plain", 0, "complete", 0.9, params={}, model=f"{name}/model")
        write_sweep(
            self.home, spec, trials=(trial,), facts={"base": str(self.rows.parent)},
            fingerprint=self.dataset.fingerprint,
        )  # fmt: skip
        return name

    def candidate(self, name: str, connect: Any = None) -> Candidate:
        """The sweep's winner, logged in MLflow."""
        more = {} if connect is None else {"connect": connect}
        if ":" in name:
            return candidate_of_uri(name, self.registry, model="shop")
        return candidate_of_sweep(name, self.home, trial=None, family=None, model=None, **more)

    @property
    def registry(self) -> Registry:
        """The embedded one."""
        return Registry.open(self.home.mlflow_uri, self.home)

    @property
    def mover(self) -> Mover:
        """The chain and the alias of the only model here."""
        return Mover(self.registry, "shop", sleep=lambda seconds: None)

    def promoter(self, client: Any = None, **more: Any) -> Promoter:
        """Asks models here, through another client if one is given."""
        registry = self.registry
        if client is not None:
            registry = Registry(TrackingStore(self.home.mlflow_uri, client), self.home.artifacts)
        given = {"source": registry, "target": registry, "use": self.ask, **more}
        return Promoter(home=self.home, mover=_quick, **given)

    def ask(self, folder: Path, frame: pd.DataFrame, *, paths: Sequence[str] = ()) -> IsolatedPredictions:
        """As `ask_here`, and notes the rows."""
        self.asked.append(frame)
        return ask_here(folder, frame)

    def promote(self, name: str, *, dry_run: bool = False, reason: str = "") -> Promotion:
        """As the command does."""
        return conclude(self.promoter(), self.candidate(name), reason=reason, dry_run=dry_run)

    def begin(self, **sweeps: dict[str, Any]) -> None:
        """In an empty home, promotes sweeps with those models one after another.

        A promotion takes most of a second of processor time: a home that another test began with is copied.
        """
        assert self.kept is not None
        promoted = [f"{self.rows}"]
        for name, model in sweeps.items():
            promoted.append(f"{name} {model!r}")
            kept = self.kept / hashlib.sha256("\n".join(promoted).encode()).hexdigest()[:16]
            if kept.is_dir():
                fill_home(kept, self.home.path)
            else:
                self.promote(self.sweep(name, **model))
                copy_home(self.home.path, kept)

    @property
    def champion(self) -> int | None:
        """Where the alias points."""
        return self.registry.alias_target("shop", "champion")


def _quick(registry: Registry, model: str) -> Mover:
    return Mover(registry, model, sleep=lambda seconds: None)


@pytest.fixture(scope="session")
def kept_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where homes are kept that tests begin with."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture
def shop(home: Home, empty_store: Path, rows: Path, dataset: Any, kept_homes: Path) -> Shop:
    """A home with an empty MLflow store."""
    home.path.mkdir(parents=True)
    shutil.copyfile(empty_store, home.path / "mlflow.db")
    return Shop(home=home, rows=rows, dataset=dataset, kept=kept_homes)


Promote = Callable[..., Promotion]
