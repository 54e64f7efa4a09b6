"""`velodrome confirm --folds K`: out-of-fold probabilities that `inspect` reads, kept fold by fold."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import velodrome
from flows.cli.app import app
from flows.inspection import folds as fold_training
from flows.inspection.kept_folds import FoldStore
from flows.inspection.sources import open_fold_source
from infra.errors import StorageUnavailable, WrongInput
from infra.home import Home
from tests.flows.real_trials import change_facts, train_and_write
from trainers.families.logistic_regression import LogisticRegression

FILE = """
name: cancer
data: {source: builtin:cancer}
budget: {trials: 1, epochs: 4}
checkpoint: {every: 1 epochs}
families: {logistic_regression: {space: {learning_rate: 0.01}}}
"""


class OnlyLabels(LogisticRegression):
    """Answers without probabilities."""

    name = ""

    def to_user(self, outputs, state):
        return super().to_user(outputs, state)[["label"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a finished sweep of one trial."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "cancer.yaml").write_text(FILE)
    train_and_write(Home(folder / "home"), folder / "cancer.yaml", {"learning_rate": 0.01})
    return folder / "home"


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Home:
    """A copy of it."""
    return Home(Path(shutil.copytree(finished, tmp_path / "home")))


def chances_of(home: Home, folds: int) -> np.ndarray:
    source = open_fold_source("cancer", trial=None, family=None, folds=folds, home=home, say=print)
    return source.train(print)[0]


@pytest.fixture(scope="module")
def whole(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The probabilities of three folds that nothing disturbed."""
    return chances_of(Home(Path(shutil.copytree(finished, tmp_path_factory.mktemp("whole") / "home"))), 3)


def test_inspect_after_confirm_reads_its_folds_and_trains_none(home: Home, tmp_path: Path) -> None:
    told: list[str] = []
    confirmed = velodrome.confirm("cancer", folds=3, home=home, say=told.append)
    assert confirmed.folds is not None
    assert (confirmed.folds.count, confirmed.folds.trained) == (3, 3)
    assert [text.partition(":")[0] for text in told] == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3"]
    assert Path(confirmed.folds.out).is_relative_to(home.storage / "cancer")  # `remove` takes it along
    found = velodrome.inspect("cancer", home=home, out=tmp_path / "found")
    assert (len(found.accuracy), found.trained) == (3, 0)
    assert found.accuracy == confirmed.rows[0].validation.values
    alone = velodrome.inspect("cancer", folds=2, home=home, out=tmp_path / "alone")
    assert (len(alone.accuracy), alone.trained) == (2, 2)


def test_inspect_without_folds_of_before_trains_five(home: Home, tmp_path: Path) -> None:
    found = velodrome.inspect("cancer", home=home, out=tmp_path / "found")
    assert (len(found.accuracy), found.trained) == (5, 5)


def test_confirm_folds_twice_trains_nothing_again(home: Home) -> None:
    first = velodrome.confirm("cancer", folds=3, home=home)
    again = velodrome.confirm("cancer", folds=3, home=home)
    assert again.folds is not None
    assert again.folds.trained == 0
    assert again.rows == first.rows


def test_confirm_folds_stopped_between_folds_carries_on(home: Home, whole: np.ndarray) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        velodrome.confirm("cancer", folds=3, home=home, say=stop)
    carried = velodrome.confirm("cancer", folds=3, home=home)
    assert carried.folds is not None
    assert carried.folds.trained == 2
    assert np.array_equal(chances_of(home, 3), whole)


def test_confirm_folds_killed_within_a_fold_goes_on_from_its_checkpoint(
    home: Home, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save, load = [], fold_training.FoldHooks.save, fold_training.FoldHooks.load

    def die_at_the_second(self, tensors, document) -> None:
        save(self, tensors, document)
        saved.append(document)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fold_training.FoldHooks, "save", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        velodrome.confirm("cancer", folds=3, home=home)
    monkeypatch.undo()
    loaded = []

    def load_and_tell(self):
        loaded.append(load(self) is not None)
        return load(self)

    monkeypatch.setattr(fold_training.FoldHooks, "load", load_and_tell)
    carried = velodrome.confirm("cancer", folds=3, home=home)
    assert carried.folds is not None
    assert loaded == [True, False, False]
    assert np.array_equal(chances_of(home, 3), whole)
    assert not list(Path(carried.folds.out).glob("*checkpoints"))


def test_damaged_fold_is_said_and_trained_again(home: Home, whole: np.ndarray) -> None:
    confirmed = velodrome.confirm("cancer", folds=3, home=home)
    assert confirmed.folds is not None
    file = Path(confirmed.folds.out) / "fold-1" / "probabilities.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    told: list[str] = []
    again = velodrome.confirm("cancer", folds=3, home=home, say=told.append)
    assert again.folds is not None
    assert again.folds.trained == 1
    assert any(text.startswith("fold 2 of 3 is trained again: ") for text in told)
    assert np.array_equal(chances_of(home, 3), whole)


def test_folds_of_other_rows_are_not_read(tmp_path: Path) -> None:
    store = FoldStore(folder=tmp_path / "folds", say=print)
    rows, chances = np.array([1, 2], np.uint64), np.array([[0.5, 0.5], [0.1, 0.9]])
    store.write(2, 0, rows, chances, {})
    assert np.array_equal(store.read(2, 0, rows), chances)
    assert store.read(2, 0, rows[::-1].copy()) is None
    assert store.kept_counts() == []  # of two folds one is there
    store.write(2, 1, rows, chances, {})
    assert store.kept_counts() == [2]


def test_confirm_folds_without_the_key_of_before_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_KEY", base64.b64encode(bytes(range(32))).decode())
    kept = velodrome.confirm("cancer", folds=2, home=home)
    assert kept.folds is not None
    stored = (Path(kept.folds.out) / "fold-0" / "probabilities.safetensors").read_bytes()
    assert b"probabilities" not in stored
    monkeypatch.delenv("VELODROME_KEY")
    with pytest.raises(StorageUnavailable, match="key"):
        velodrome.confirm("cancer", folds=2, home=home)
    change_facts(home, "cancer", storage_key="0123456789abcdef")
    with pytest.raises(WrongInput, match="must be carried on with its key"):
        velodrome.confirm("cancer", folds=3, home=home)


@pytest.fixture
def shell(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line beside that home."""
    monkeypatch.setenv("VELODROME_HOME", str(home.path))
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_confirm_folds_document_has_the_shape_of_a_confirmation(shell: CliRunner) -> None:
    done = shell.invoke(app, ["confirm", "cancer", "--folds", "2", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {"sweep", "metric", "rows", "test_reads"} <= document.keys()
    assert (document["sweep"], document["metric"], document["test_reads"]) == ("cancer", "val/accuracy", 0)
    (row,) = document["rows"]
    assert (row["family"], row["number"], row["test"]["values"]) == ("logistic_regression", 0, [])
    assert len(row["validation"]["values"]) == 2
    assert (document["folds"]["count"], document["folds"]["trained"]) == (2, 2)
    shown = shell.invoke(app, ["confirm", "cancer", "--folds", "2"])
    assert "2 models that did not see it; 2 of them are from before" in shown.stdout
    assert "velodrome inspect cancer --family logistic_regression --trial 0 --folds 2" in shown.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "--folds must be from 2 to 50"),
        (["--folds", "51"], "--folds must be from 2 to 50"),
        (["--folds", "3", "--top", "2"], "--folds must stand without --top"),
        (["--folds", "3", "--each-family"], "--folds must stand without --each-family"),
        (["--folds", "3", "--seeds", "2"], "--folds must stand without --seeds"),
        (["--folds", "3", "--address", "auto"], "--folds must stand without --address"),
        (["--folds", "3", "--trial", "7"], "folds need a complete trial"),
        (["--trial", "0"], "--trial and --family must stand beside --folds"),
        (["--family", "mlp"], "--trial and --family must stand beside --folds"),
    ],
)
def test_confirm_folds_refuses_wrong_options_with_status_2(
    shell: CliRunner, home: Home, words: list[str], message: str
) -> None:
    done = shell.invoke(app, ["confirm", "cancer", *words])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not list(home.storage.glob("cancer/.out-of-fold/*"))


def write_sweep(folder: Path, family: str, data: str) -> Home:
    file = folder / "other.yaml"
    file.write_text(
        f"name: other\ndata: {data}\nbudget: {{trials: 1, epochs: 1}}\n"
        f"families: {{'{family}': {{space: {{learning_rate: 0.01}}}}}}\n"
    )
    train_and_write(Home(folder / "home"), file, {"learning_rate": 0.01})
    return Home(folder / "home")


def test_confirm_folds_of_a_task_without_classes_is_refused(tmp_path: Path) -> None:
    home = write_sweep(tmp_path, "linear_regression", "{source: builtin:diabetes}")
    with pytest.raises(WrongInput, match="where classes are learned"):
        velodrome.confirm("other", folds=2, home=home)


def test_confirm_folds_of_a_family_without_probabilities_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_sweep(tmp_path, f"{__name__}:OnlyLabels", "{source: builtin:cancer}")
    monkeypatch.setattr(fold_training, "_train_fold", lambda *args: pytest.fail("a fold was trained"))
    with pytest.raises(WrongInput, match="must hold the probability of each class") as caught:
        velodrome.confirm("other", folds=2, home=home)
    assert "OnlyLabels answers label, without p_benign, p_malignant" in caught.value.found


def test_confirm_folds_of_a_taught_family_is_refused_in_its_own_words(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(home.path))
    file = tmp_path / "taught.yaml"
    file.write_text(
        "name: taught\ndata: {source: builtin:cancer}\nbudget: {trials: 1, epochs: 1}\n"
        "families: {logistic_regression: {options: {teacher: {model: sweep:cancer}}, "
        "space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(home, file, {"learning_rate": 0.01})
    with pytest.raises(WrongInput, match="trained without a teacher") as caught:
        velodrome.confirm("taught", folds=2, home=home)
    assert caught.value.do == "name another with --family"


def report_one(trial) -> None:
    for _ in trial.epochs():
        trial.report(accuracy=0.5)


def test_confirm_folds_of_a_plain_function_is_refused(tmp_path: Path) -> None:
    home = write_sweep(tmp_path, f"{__name__}:report_one", "{source: builtin:cancer}")
    with pytest.raises(WrongInput, match="folds need a family") as caught:
        velodrome.confirm("other", folds=2, home=home)
    assert "a plain function" in caught.value.found


def test_more_folds_than_rows_fill_are_refused(tmp_path: Path) -> None:
    table = "".join(f"{i},{i % 2}\n" for i in range(24))
    (tmp_path / "few.csv").write_text("a,b\n" + table)
    data = "{source: csv:few.csv, columns: {target: b, types: {b: category}}}"
    home = write_sweep(tmp_path, "logistic_regression", data)
    with pytest.raises(WrongInput, match="each of --folds must leave rows out") as caught:
        velodrome.confirm("other", folds=40, home=home)
    assert "40 folds of" in caught.value.found
