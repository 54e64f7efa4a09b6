"""What an explanation must keep: it adds up, it is exact where that is known, and it follows the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.trainers.explaining.trained import predictor_of, rows_of
from tests.trainers.families import cases
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.explaining.explainer import Explainer


def test_linear_model_importances_equal_weights_times_distance_from_the_mean(tmp_path: Path) -> None:
    dataset = cases.table()
    predictor = predictor_of("linear_regression", dataset, tmp_path, learning_rate=0.1, epochs=30)
    rows = rows_of(dataset)
    made = Explainer(predictor).explain(rows)
    module: Any = predictor.module
    state = predictor.document["state"]
    read = predictor.runner.family.from_user(rows, state)  # type: ignore[attr-defined]
    weights = module.linear.weight[0].detach().numpy() * state["target_std"]
    assert made.importances[:, :2] == pytest.approx(read["numbers"] * weights, abs=1e-5)
    colors = module.categories[0].weight[:, 0].detach().numpy() * state["target_std"]
    assert made.importances[:, 2] == pytest.approx(colors[read["categories"][:, 0]], abs=1e-5)
    assert made.scores == pytest.approx(predictor.predict(rows)["prediction"], abs=1e-4)
    assert np.abs(made.importances).max() > 1


def test_linear_model_integrated_and_occluded_importances_agree(tmp_path: Path) -> None:
    dataset = cases.table()
    predictor = predictor_of("linear_regression", dataset, tmp_path, learning_rate=0.1, epochs=10)
    integrated, occluded = (
        Explainer(predictor, method=method).explain(rows_of(dataset)).importances
        for method in ("integrated-gradients", "occlusion")
    )
    assert integrated == pytest.approx(occluded, abs=1e-4)
    assert np.abs(integrated).max() > 1


LEARNS: Any = {"learning_rate": 1e-2, "batch_size": 10}
CASES: Any = {
    "logistic_regression": (cases.classes, {}, {}),
    "mlp": (cases.classes, {}, {"batch_norm": True}),
    "gradient_boosting": (cases.classes, {"rounds": 3}, {"num_leaves": 5, "min_child_samples": 3}),
    "image_cnn": (cases.images, {}, {"channels": [4], "dense": [16]}),
    "rnn": (cases.images, {}, {"hidden": 8}),
    "text_cnn": (cases.texts, {}, {"embedding": 16, "filters": 8}),
    "transformer": (cases.texts, {}, {"width": 16, "heads": 2, "layers": 1, "feed_forward": 16}),
    "bert": (
        cases.texts,
        {},
        {"width": 16, "heads": 2, "layers": 1, "feed_forward": 16, "vocabulary": 300, **LEARNS},
    ),
}
SMALL: Any = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 16, "vocabulary": 300, **LEARNS}
WRITING: Any = {
    "t5": (cases.pairs, {"prefix": "twice "}, SMALL),
    "transformer": (cases.pairs, {"unit": "characters"}, SMALL),
    "bert": (cases.questions, {"max_tokens": 24, "stride": 5}, SMALL),
}


@pytest.mark.parametrize("reference", WRITING)
def test_written_and_found_answers_are_explained_by_their_words(reference: str, tmp_path: Path) -> None:
    """A context is read in several windows: a word counts in each."""
    make, options, params = WRITING[reference]
    dataset = make()
    predictor = predictor_of(reference, dataset, tmp_path, options=options, **params)
    rows = rows_of(dataset).drop(index=2)  # of pairs the one without a word
    made, told = Explainer(predictor).explain(rows), predictor.predict(rows)
    assert made.gaps is not None
    assert made.gaps.max() < 0.01
    distance = made.scores - made.baseline_scores
    totals = [float(np.sum(row)) for row in made.importances]
    assert totals == pytest.approx(list(distance), abs=0.011 * float(np.abs(made.scores).max()))
    assert np.abs(distance).max() > 1e-3
    if reference == "bert":
        assert np.exp(made.scores) == pytest.approx(told["score"], abs=1e-6)
        read = [f"{q}\n{c}" for q, c in zip(rows["question"], rows["context"], strict=True)]
        assert made.answers == told["answer"].tolist()
    else:
        read = [options.get("prefix", "") + text for text in rows["input"]]
        assert made.answers == told["output"].tolist()
        alone = [Explainer(predictor).explain(rows.iloc[[at]]).scores[0] for at in range(4)]
        assert alone == pytest.approx(list(made.scores[:4]), abs=1e-4)  # nothing behind an end counts
    assert made.texts == read
    assert made.words is not None
    for text, words, parts in zip(read, made.words, made.importances, strict=True):
        assert len(words) == len(parts)
        assert "".join(text[word.start : word.end] for word in words) == "".join(text.split())


def test_letter_that_is_doubled_has_the_largest_importance(tmp_path: Path) -> None:
    params = {**SMALL, "width": 32, "dropout": 0.0}
    options = {"unit": "characters"}
    predictor = predictor_of("transformer", cases.pairs(), tmp_path, epochs=40, options=options, **params)
    rows = rows_of(cases.pairs(), 12).drop(index=2)
    methods: Any = ("integrated-gradients", "occlusion")
    for method in methods:
        made = Explainer(predictor, method=method).explain(rows)
        right = [int(np.argmax(parts)) == len(parts) - 1 for parts in made.importances]
        assert sum(right) >= 9, method


@pytest.mark.parametrize("reference", CASES)
def test_importances_add_up_to_within_one_percent_of_the_score(reference: str, tmp_path: Path) -> None:
    make, options, params = CASES[reference]
    dataset = make()
    predictor = predictor_of(reference, dataset, tmp_path, options=options, **params)
    rows = rows_of(dataset).drop(index=2)  # of texts the one without a word
    made = Explainer(predictor).explain(rows)
    assert made.gaps is not None
    assert made.gaps.max() < 0.01
    totals = [float(np.sum(row)) for row in made.importances]
    distance = made.scores - made.baseline_scores
    assert totals == pytest.approx(list(distance), abs=0.011 * float(np.abs(made.scores).max()))
    assert np.abs(distance).max() > 1e-5
    assert made.answers == predictor.predict(rows)["label"].tolist()


def test_onehot_categories_are_explained_as_one_column(tmp_path: Path) -> None:
    dataset = cases.replace(cases.table(), prepare={"categories": "onehot", "scale": "minmax"})
    predictor = predictor_of("linear_regression", dataset, tmp_path, learning_rate=0.1, epochs=10)
    made = Explainer(predictor).explain(rows_of(dataset))
    assert np.asarray(made.importances).shape == (12, 3)
    assert made.gaps is not None
    assert made.gaps.max() < 0.01
    blue = [color == "blue" for color in dataset.columns["color"].values[:12]]
    parts = np.asarray(made.importances)[:, 2]
    assert parts[blue].min() > parts[[not at for at in blue]].max() + 1


def test_trees_answers_equal_those_of_shap_for_a_named_class(tmp_path: Path) -> None:
    make, options, params = CASES["gradient_boosting"]
    predictor = predictor_of("gradient_boosting", make(), tmp_path, options=options, **params)
    rows = rows_of(make())
    made = Explainer(predictor, answer="small").explain(rows)
    numbers, ids = (torch.from_numpy(a) for a in predictor.runner.family.from_user(  # type: ignore[attr-defined]
        rows, predictor.document["state"]).values())  # fmt: skip
    with torch.no_grad():
        logits = predictor.module(numbers, ids)[:, 2]
    assert made.scores == pytest.approx(logits.numpy(), abs=1e-9)
    assert Explainer(predictor).method == "shap"


def test_words_that_decide_have_the_largest_importances(tmp_path: Path) -> None:
    dataset = cases.texts()
    predictor = predictor_of(
        "text_cnn", dataset, tmp_path, epochs=15, **LEARNS, embedding=16, filters=8, dropout=0.0
    )
    rows = rows_of(dataset)
    texts = rows["text"].tolist()
    for method in ("integrated-gradients", "occlusion"):
        made = Explainer(predictor, method=method).explain(rows)
        assert made.words is not None
        found = 0
        for text, words, parts in zip(texts, made.words, made.importances, strict=True):
            assert [text[word.start : word.end] for word in words] == text.split()
            found += bool(text) and text.split()[int(np.argmax(parts))] == text.split()[-1]
        assert found >= 10


def test_bright_square_is_what_its_class_comes_from(tmp_path: Path) -> None:
    dataset = cases.images()
    predictor = predictor_of("image_cnn", dataset, tmp_path, epochs=15, **LEARNS, channels=[4], dense=[16])
    made = Explainer(predictor, method="occlusion").explain(rows_of(dataset, 3))
    for place, parts in enumerate(np.asarray(made.importances)):
        at = slice(place * 4, place * 4 + 4)
        assert parts[at, at].mean() > 2 * np.abs(parts).mean()


def test_maps_of_random_weights_are_others(tmp_path: Path) -> None:
    dataset = open_dataset({"source": "builtin:digits"}, base=tmp_path, cache=tmp_path)
    trained, random = (
        Explainer(predictor_of("mlp", dataset, tmp_path, epochs=epochs), answer="3") for epochs in (8, 0)
    )
    rows = rows_of(dataset)
    both = [
        np.asarray(explainer.explain(rows).importances).reshape(12, -1) for explainer in (trained, random)
    ]
    alike = [float(spearmanr(one, other).statistic) for one, other in zip(*both, strict=True)]
    assert np.mean(alike) < 0.3


@pytest.mark.parametrize(
    ("reference", "make", "said"),
    [("autoencoder", cases.unlabelled_images, "written texts"), ("rnn", cases.series, "one by one")],
)
def test_models_that_are_not_explained_are_refused(
    reference: str, make: Any, said: str, tmp_path: Path
) -> None:
    options = {"window": 8} if reference == "rnn" else {}
    predictor = predictor_of(reference, make(), tmp_path, epochs=0, options=options)
    with pytest.raises(InputError, match=said):
        Explainer(predictor)


def test_unknown_answers_and_methods_are_refused(tmp_path: Path) -> None:
    predictor = predictor_of("logistic_regression", cases.classes(), tmp_path, epochs=0)
    with pytest.raises(InputError, match="one that the model gives"):
        Explainer(predictor, answer="huge")
    with pytest.raises(InputError, match="integrated-gradients or occlusion"):
        Explainer(predictor, method="shap")
