"""Models of other libraries: kept without a pickle, loaded again, and asked in a person's terms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from infra.lanes.attempt_models import save_bundle
from infra.spec import FamilySpec
from infra.storage.paths import FILES
from tests.trainers.functions.test_functions import Recorder
from trainers.bundle.bundle import EXAMPLE, MODEL, load_bundle, read_description
from trainers.bundle.predictor import Predictor
from trainers.bundle.requirements import required_distributions
from trainers.errors import InputError, TrainerError, TrialError
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.kept.estimators import load_skops
from trainers.kept.files import LaidOutFiles
from trainers.storage.atomic_folders import as_json, read_folder, write_folder
from trainers.types import Goal, Length

ROWS = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0] * 6, "b": [1.0, 0.0, 1.0, 0.0] * 6})
CLASSES = ["high" if a > 1 else "low" for a in ROWS["a"]]
OWN = """
from sklearn.base import BaseEstimator, TransformerMixin

class Twice(TransformerMixin, BaseEstimator):
    def fit(self, rows, target=None):
        self.fitted_ = True
        return self

    def transform(self, rows):
        return rows * 2

def load(path):
    return float(path.read_text())

def predict(factor, rows):
    return rows["a"] * factor

def read(path, rows):
    return rows["a"] * float(path.read_text())
"""


@pytest.fixture(autouse=True)
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "kept_code.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("kept_code", None)


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[Callable[[Any], object]], Predictor]:
    """Runs a function and loads the bundle of what it named, as a lane writes it."""

    def run(function: Callable[[Any], object]) -> Predictor:
        directory = tmp_path / "trial" / FILES
        directory.mkdir(parents=True)
        job = FunctionJob(
            function=function, params={"depth": 2}, seed=0, length=Length(epochs=1),
            goals=(Goal(metric="val/accuracy", maximize=True),), directory=directory,
        )  # fmt: skip
        outcome = run_function(job, Recorder())
        assert outcome.has_model
        folder = directory.parent / "model-1"
        spec = FamilySpec.__new__(FamilySpec)  # of a function nothing is read
        save_bundle(folder, spec, None, None, job.params, outcome, {"sweep": "s"}, tmp_path)
        return load_bundle(folder)

    return run


def keeping(model: Callable[[], object], **how: Any) -> Callable[[Any], None]:
    def train(trial: Any) -> None:
        trial.report(accuracy=1.0)
        trial.model(model(), **how)

    return train


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(5, random_state=0).fit(ROWS, CLASSES)


def ridge_of_arrays() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge().fit(ROWS.to_numpy(), ROWS["a"])


def texts() -> Any:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    return make_pipeline(CountVectorizer(), LinearSVC()).fit(["good film", "bad film"] * 4, [1, 0] * 4)


def light(objective: str) -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    target = [name == "high" for name in CLASSES] if objective == "binary" else ROWS["a"]
    settings = {"objective": objective, "verbose": -1, "min_data_in_leaf": 1, "num_threads": 1}
    return lightgbm.train(settings, lightgbm.Dataset(ROWS, target), 3)


def extreme(objective: str, **more: Any) -> Any:
    xgboost = pytest.importorskip("xgboost")
    settings = {"objective": objective, "nthread": 1, **more}
    return xgboost.train(settings, xgboost.DMatrix(ROWS, ROWS["a"] > 1), 3)


@pytest.mark.parametrize(
    ("model", "example", "columns"),
    [
        (forest, ROWS, ["label", "p_high", "p_low"]),
        (ridge_of_arrays, ROWS.to_numpy(), ["prediction"]),
        (texts, ["good film"], ["label"]),
        (lambda: light("binary"), ROWS, ["label", "p_0", "p_1"]),
        (lambda: light("regression"), ROWS, ["prediction"]),
        (lambda: extreme("binary:logistic"), ROWS, ["label", "p_0", "p_1"]),
        (lambda: extreme("multi:softmax", num_class=2), ROWS, ["label"]),
    ],
)
def test_kept_model_answers_as_it_did_when_it_was_trained(
    keep: Callable[..., Predictor], model: Callable[[], Any], example: Any, columns: list[str]
) -> None:
    loaded = keep(keeping(model, example=example))
    answers = loaded.predict(example)
    assert list(answers.columns) == columns
    trained = model()
    if hasattr(trained, "fit"):
        wanted = trained.predict(example)
        assert [str(value) for value in answers.iloc[:, 0]] == [str(value) for value in wanted]
    elif columns[0] == "label":
        assert list(answers["label"]) == [str(int(name == "high")) for name in CLASSES]
    assert loaded.size_bytes > 0
    assert loaded.example.shape[0] <= 5


def test_bundle_of_an_estimator_has_a_signature_and_names_its_libraries(
    keep: Callable[..., Predictor], tmp_path: Path
) -> None:
    document = keep(keeping(forest, example=ROWS)).document
    signature = read_description(tmp_path / "trial/model-1").signature
    assert signature is not None
    assert [column.name for column in signature.inputs] == ["a", "b"]
    assert [column.type for column in signature.outputs] == ["string", "double", "double"]
    needed = required_distributions(document)
    assert needed is not None
    assert {"scikit-learn", "skops"} <= needed
    assert "sklearn.tree._tree.Tree" in document["kept"]["trusted"]


def test_model_without_an_example_takes_rows_without_names(keep: Callable[..., Predictor]) -> None:
    loaded = keep(keeping(ridge_of_arrays))
    assert len(loaded.predict(ROWS.to_numpy())) == len(ROWS)
    assert len(loaded.predict([[1.0, 2.0]])) == 1


def test_wrapped_boosters_are_kept_as_estimators(keep: Callable[..., Predictor]) -> None:
    xgboost = pytest.importorskip("xgboost")
    loaded = keep(keeping(lambda: xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(ROWS, ROWS["a"] > 1)))
    assert list(loaded.predict(ROWS)["label"]) == [str(int(name == "high")) for name in CLASSES]
    assert {"xgboost", "scikit-learn"} <= (required_distributions(loaded.document) or frozenset())


def with_own_step() -> Any:
    from kept_code import Twice  # type: ignore[import-not-found]
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(Twice(), LogisticRegression()).fit(ROWS, CLASSES)


def test_class_of_ones_own_is_kept_where_it_is_named(keep: Callable[..., Predictor]) -> None:
    loaded = keep(keeping(with_own_step, trusted=["kept_code.Twice"]))
    assert list(loaded.predict(ROWS)["label"]) == CLASSES
    assert "kept_code:Twice" in loaded.document["code"]


def with_lambda() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(lambda rows: rows), LogisticRegression()).fit(ROWS, CLASSES)


def without_predict() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(ROWS)


@pytest.mark.parametrize(
    ("model", "how", "said"),
    [
        (with_own_step, {}, "trusted=['kept_code.Twice']"),
        (with_lambda, {}, "must be scikit-learn's, or be named"),
        (without_predict, {}, "must predict"),
        (object, {}, "without pickle"),
        (dict, {}, "trial.keep(path, predict="),
        (lambda: torch.nn.Linear(1, 1), {}, "who builds the module"),
        (forest, {"predict": "kept_code:nothing"}, "must be importable"),
        (forest, {"example": ROWS[["a"]]}, "must have the columns"),
        (forest, {"example": 3}, "must be rows"),
    ],
)
def test_model_that_cannot_be_kept_is_refused_in_its_trial(
    keep: Callable[..., Predictor], model: Callable[[], Any], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        keep(keeping(model, **how))
    assert said in str(caught.value)


def test_forged_bundle_cannot_have_the_standard_library_trusted() -> None:
    import skops.io

    data = skops.io.dumps(forest())
    with pytest.raises(InputError, match="people's own package"):
        load_skops(data, ["sklearn.tree._tree.Tree", "os.system"])
    with pytest.raises(InputError, match="by skops"):
        load_skops(data, [])


def test_files_of_a_forged_bundle_cannot_leave_their_folder() -> None:
    with pytest.raises(InputError, match="its own folder"):
        LaidOutFiles({"../../elsewhere": b""})


@pytest.mark.parametrize(
    "how", [{"predict": "kept_code:read"}, {"predict": "kept_code:predict", "load": "kept_code:load"}]
)
def test_kept_file_with_predict_is_a_model(keep: Callable[..., Predictor], how: dict[str, str]) -> None:
    def train(trial: Any) -> None:
        trial.report(accuracy=1.0)
        (trial.directory / "factor.txt").write_text("3")
        trial.keep("factor.txt", **how, example=ROWS)

    loaded = keep(train)
    assert list(loaded.predict(ROWS)["prediction"]) == list(ROWS["a"] * 3)


def test_kept_pickle_is_an_artifact_and_never_a_model(keep: Callable[..., Predictor]) -> None:
    def train(trial: Any) -> None:
        trial.report(accuracy=1.0)
        torch.save({"w": torch.ones(1)}, trial.directory / "last.ckpt")
        trial.keep("last.ckpt")
        trial.keep("last.ckpt", predict="kept_code:read")

    with pytest.raises(TrialError, match="must hold no pickle"):
        keep(train)


def test_folder_of_a_text_classifier_takes_texts(keep: Callable[..., Predictor]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    def train(trial: Any) -> None:
        words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}, unk_token="[UNK]"))
        words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
        config = BertConfig(
            vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
            id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
        )  # fmt: skip
        trial.report(accuracy=1.0)
        for part in (BertForSequenceClassification(config), tokenizer):
            part.save_pretrained(trial.directory / "best")
        trial.keep("best")

    loaded = keep(train)
    answers = loaded.predict(["good", "bad good"])
    assert list(answers.columns) == ["label", "p_no", "p_yes"]
    assert np.allclose(answers[["p_no", "p_yes"]].sum(axis=1), 1)
    assert loaded.columns == ["text"]
    assert loaded.parameters > 0


def test_bundle_of_an_estimator_is_refused_by_versions_of_before(
    keep: Callable[..., Predictor], tmp_path: Path
) -> None:
    """Its format is one that they do not know; a changed one is damaged here."""
    document = keep(keeping(forest)).document
    assert document["format"] == 3
    files = read_folder(tmp_path / "trial/model-1")
    write_folder(tmp_path / "older", {**files, MODEL: as_json({**document, "format": 1})})
    with pytest.raises(InputError, match="another library's model"):
        load_bundle(tmp_path / "older")
    assert EXAMPLE in files


def test_kept_model_of_rank_one_is_nothing(tmp_path: Path) -> None:
    from trainers.functions.own_model import OwnModel

    own = OwnModel(tmp_path, writes=False)
    assert own.name_estimator(forest(), None, ()) is None
    assert list(tmp_path.glob("estimator*")) == []
