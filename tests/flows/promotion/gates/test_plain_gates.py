"""Gates that ask no model: files, data, who agreed, signatures, bounds of metrics; each from both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.config.policy import Policy
from flows.promotion.gates import champion_gates
from flows.promotion.gates.answer_gates import check_costs, check_interpreter, check_metrics
from flows.promotion.gates.data_gates import (
    check_evaluation_data,
    check_examples,
    check_same_data,
    check_training_rows,
    check_unchanged_data,
)
from flows.promotion.gates.file_gates import check_approval, check_contents, check_hashes
from flows.promotion.gates.findings import GateFinding, gate_finding, not_tried, without_champion
from flows.promotion.gates.gate import GateInputs, JudgedData
from flows.promotion.gates.judging import GATES, Judgement, check_gates
from flows.promotion.gates.predictions import (
    TaskPredictions,
    Truth,
    UnreadablePredictions,
    parse_predictions,
    select_predictions,
    select_truth,
)
from flows.promotion.gates.scoring import compute_metric, example_scores
from flows.promotion.gates.signatures import check_signature, signature_columns, signature_differences

KNOWN = Truth(task="classification", values=np.array([0, 1, 1, 0]), classes=("a", "b"))
RIGHT = TaskPredictions(values=np.array([0, 1, 1, 0]))
HALF = TaskPredictions(values=np.array([0, 1, 0, 1]))


def policy(**keys: Any) -> Policy:
    return Policy.model_validate(keys)


def data(**changes: Any) -> GateInputs:
    return GateInputs(data=replace(JudgedData(count=100), **changes))


@pytest.mark.parametrize(
    ("gate", "good", "bad", "said"),
    [
        (check_contents, GateInputs(), GateInputs(objection="a pickle"), "a pickle"),
        (check_hashes, GateInputs(), GateInputs(mismatch="model.json differs"), "model.json differs"),
        (check_interpreter, GateInputs(), GateInputs(failure="no module"), "no module"),
        (check_signature, GateInputs(), GateInputs(signature=["needs age", "no b"]), "needs age; no b"),
        (check_training_rows, data(), data(problems=("nobody knows",)), "nobody knows"),
        (check_evaluation_data, data(wanted="f" * 32, fingerprint="f" * 32), data(wanted="f" * 32), "finger"),
        (check_same_data, data(foreign=""), data(foreign="another file"), "another file"),
        (check_examples, data(count=30), data(count=29), "29"),
    ],
)
def test_gate_passes_what_is_right_and_says_what_is_not(
    gate: Any, good: GateInputs, bad: GateInputs, said: str
) -> None:
    (passed,), (refused,) = gate(Policy(), good), gate(Policy(), bad)
    assert (passed.verdict, passed.do, passed.is_refused) == ("passed", "", False)
    assert (refused.verdict, refused.is_refused) == ("refused", True)
    assert said in refused.found
    assert refused.do


def test_loading_is_said_with_its_seconds() -> None:
    (plain,) = check_interpreter(Policy(), GateInputs())
    (timed,) = check_interpreter(Policy(), GateInputs(facts={"load_seconds": 1.5}))
    assert (plain.found, timed.found) == ("yes", "yes, loaded in 1.5 s")


@pytest.mark.parametrize(
    ("gate", "case", "key"),
    [
        (check_training_rows, data(problems=("nobody knows",)), {"training_rows": "unknown"}),
        (check_unchanged_data, data(changed="12 rows more"), {"changed_data": "judged"}),
        (check_same_data, data(foreign="another file"), {"other_data": "judged"}),
    ],
)
def test_policy_may_allow_what_a_gate_of_the_data_refuses(
    gate: Any, case: GateInputs, key: dict[str, str]
) -> None:
    (refused,), (allowed,) = gate(Policy(), case), gate(policy(**key), case)
    assert (refused.verdict, allowed.verdict) == ("refused", "passed")
    assert "allows it" not in refused.found
    assert allowed.found == f"{refused.found} (the policy allows it)"


def test_gates_of_the_data_have_nothing_to_say_where_nothing_is_asked() -> None:
    assert list(check_evaluation_data(Policy(), data(fingerprint="f"))) == []
    assert list(check_unchanged_data(Policy(), data())) == []
    assert list(check_same_data(Policy(), data(foreign=None))) == []
    (known,) = check_training_rows(Policy(), data(unselected=("champion",)))
    assert known.found == "known; not those that the champion was selected by"
    assert known.verdict == "passed"


@pytest.mark.parametrize(
    ("count", "by", "needed"), [(29, "1 too few", 30), (30, "0 more", None), (35, "5 more", None)]
)
def test_gate_of_examples_says_how_many_are_missing_or_over(count: int, by: str, needed: int | None) -> None:
    (found,) = check_examples(Policy(), data(count=count, left_out=7, copies=2))
    assert (found.by, found.needed, found.value, found.bound) == (by, needed, float(count), 30.0)
    assert found.found == f"{count}, 7 left out that one was trained on, 2 copies of others counted once"
    (plain,) = check_examples(Policy(), data(count=count))
    assert plain.found == str(count)


@pytest.mark.parametrize(
    ("asked", "approvers", "verdict", "found"),
    [
        ({"count": 1}, ("eve",), "passed", "eve"),
        ({"count": 1}, ("promoter",), "refused", "none"),
        ({"count": 2}, ("eve", "eve"), "refused", "eve"),
        ({"count": 2}, ("joe", "eve"), "passed", "eve, joe"),
        ({"by": ["joe"]}, ("eve",), "refused", "none"),
        ({"by": ["joe"]}, ("joe", "eve"), "passed", "joe"),
        ({"by": ["promoter"]}, ("promoter",), "refused", "none"),
    ],
)
def test_approval_counts_people_who_may_agree_and_are_not_the_promoter(
    asked: dict[str, Any], approvers: tuple[str, ...], verdict: str, found: str
) -> None:
    case = GateInputs(approvers=approvers, promoter="promoter")
    (finding,) = check_approval(policy(approval=asked), case)
    assert (finding.verdict, finding.found) == (verdict, found)
    assert list(check_approval(Policy(), case)) == []


@pytest.mark.parametrize(
    ("bound", "answers", "verdict", "by"),
    [
        ({"at_least": 0.5}, HALF, "passed", "0"),
        ({"at_least": 0.6}, HALF, "refused", "0.1"),
        ({"at_most": 0.5}, HALF, "passed", "0"),
        ({"at_most": 0.4}, HALF, "refused", "0.1"),
        ({"at_least": 0.75}, RIGHT, "passed", "0.25"),
    ],
)
def test_bound_of_a_metric_holds_up_to_itself(
    bound: Mapping[str, float], answers: TaskPredictions, verdict: str, by: str
) -> None:
    case = GateInputs(metric="accuracy", truth=KNOWN, challenger=answers)
    (found,) = check_metrics(policy(metrics={"accuracy": bound}), case)
    assert (found.verdict, found.by) == (verdict, by)
    both = policy(metrics={"accuracy": {"at_least": 0.1, "at_most": 1.0}})
    assert [one.verdict for one in check_metrics(both, case)] == ["passed", "passed"]
    (undefined,) = check_metrics(policy(metrics={"loss": {"at_most": 1.0}}), case)
    assert (undefined.verdict, undefined.found) == ("refused", "not defined for these predictions")


def test_costs_without_a_limit_are_not_asked_and_gaps_are_said() -> None:
    case = GateInputs(facts={"parameters": 12.0, "latency_ms": 5.0})
    assert list(check_costs(Policy(), case)) == []
    (over,) = check_costs(policy(limits={"parameters": 10}), case)
    assert (over.by, over.do, over.value, over.bound) == ("2", "2 less", 12.0, 10.0)


def test_gates_are_asked_by_what_they_need_and_without_a_champion_say_so() -> None:
    case = GateInputs(objection="a pickle", truth=KNOWN, challenger=RIGHT, metric="accuracy")
    assert [one.gate for one in check_gates(Policy(), case, "files")] == ["contents", "hashes"]
    champion = check_gates(Policy(), case, "champion")
    assert {one.gate for one in champion} == {"better", "classes", "signature"}
    assert {one.found for one in champion} == {"no champion yet"}
    assert not any(one.is_refused for one in champion)
    assert len({gate.name for gate in GATES}) == len(GATES)


def test_judgement_passes_where_no_gate_refuses() -> None:
    good, bad = gate_finding("a", True, do="x"), gate_finding("b", False, do="x")
    assert Judgement(findings=(good, without_champion("c"), not_tried("d", "why"))).has_passed
    assert not Judgement(findings=(good, bad)).has_passed
    assert GateFinding.from_json(bad.to_json()) == bad


def mlmodel(inputs: Any, outputs: Any = None) -> dict[str, Any]:
    given = {"inputs": inputs, "outputs": outputs or [{"name": "label", "type": "string"}]}
    return {"signature": {name: json.dumps(value) for name, value in given.items()}}


AGE = {"name": "age", "type": "double"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([AGE], [AGE], []),
        ([AGE], [AGE, {"name": "sex", "type": "string"}], ["needs sex (string)"]),
        ([AGE], [AGE, {"name": "sex", "type": "string", "required": False}], []),
        ([AGE], [], []),
        ([AGE], [{"name": "age", "type": "long"}], ["takes age as long, not double"]),
        ([AGE], [{"name": "age", "type": "any"}], []),
        ([AGE], [{**AGE, "required": False}], []),
        ([{**AGE, "required": False}], [AGE], []),
        ([{"type": "double"}], [{"type": "long"}], ["takes 0 as long, not double"]),
        (
            [{"tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}],
            [{"tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}],
            ["takes 0 as float32[-1, 3], not float32[-1, 2]"],
        ),
    ],
)
def test_signature_differences_are_what_would_break_for_a_user(
    before: Any, after: Any, said: list[str]
) -> None:
    assert signature_differences(mlmodel(after), mlmodel(before)) == said


def test_signature_of_outputs_may_grow_and_not_shrink_or_change() -> None:
    label, chance = {"name": "label", "type": "string"}, {"name": "p", "type": "double"}
    few, many = mlmodel([AGE], [label]), mlmodel([AGE], [label, chance])
    assert signature_differences(many, few) == []
    assert signature_differences(few, many) == ["no longer gives p"]
    assert signature_differences(mlmodel([AGE], [{**label, "type": "long"}]), few) == [
        "gives label as long, not string"
    ]
    assert signature_differences({}, few) == ["the challenger has no signature"]
    assert signature_differences(few, {}) == ["the champion has no signature"]
    assert signature_differences({}, {}) == []
    assert signature_columns({"signature": {"inputs": "{not json"}}, "inputs") is None


def test_predictions_of_numbers_and_texts_are_read_or_refused() -> None:
    numbers = Truth(task="regression", values=np.array([1.0, 2.0]))
    assert parse_predictions(pd.DataFrame({"y": [1, 2]}), numbers).values.tolist() == [1.0, 2.0]
    with pytest.raises(UnreadablePredictions, match="no numbers"):
        parse_predictions(pd.DataFrame({"prediction": ["one", "two"]}), numbers)
    with pytest.raises(UnreadablePredictions, match="1 predictions that are not finite"):
        parse_predictions(pd.DataFrame({"prediction": [np.inf, 1.0]}), numbers)
    texts = Truth(task="seq2seq", values=("a", "b"))
    assert parse_predictions(pd.DataFrame({"output": ["a", 3]}), texts).values == ["a", "3"]


def test_predictions_of_classes_are_read_by_the_names_of_the_data() -> None:
    numbered = Truth(task="classification", values=np.array([0, 1]), classes=("0", "1"))
    frame = pd.DataFrame({"label": [0.0, 1.5], "p_0": [1.0, 0.5], "p_1": [0.0, 0.5]})
    found = parse_predictions(frame, numbered)
    assert found.values.tolist() == [0, -1]
    assert found.chances is not None
    assert found.chances.tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert parse_predictions(frame[["label"]], numbered).chances is None
    with pytest.raises(UnreadablePredictions, match="not finite"):
        parse_predictions(frame.assign(p_1=[np.nan, 0.5]), numbered)


def test_some_examples_are_chosen_with_their_answers() -> None:
    rows = np.array([True, False, True, False])
    chances = np.arange(8.0).reshape(4, 2)
    some = select_predictions(TaskPredictions(values=RIGHT.values, chances=chances), rows)
    assert (select_truth(KNOWN, rows).values.tolist(), some.values.tolist()) == ([0, 1], [0, 1])
    assert some.chances is not None
    assert some.chances.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert select_predictions(RIGHT, rows).chances is None
    texts = Truth(task="seq2seq", values=["a", "b", "c"])
    assert select_truth(texts, np.array([2, 2, 0])).values == ["c", "c", "a"]
    assert len(select_truth(texts, np.array([True, False, False]))) == 1


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "recall"])
def test_scores_of_examples_have_their_metric_as_mean_in_unequal_classes(name: str) -> None:
    known = replace(KNOWN, values=np.array([0, 0, 0, 0, 1, 1]))
    answers = TaskPredictions(values=np.array([0, 0, 1, 1, 1, 0]))
    scores = example_scores(name, known, answers)
    assert scores is not None
    assert scores.mean() == pytest.approx(compute_metric(name, known, answers))


def test_class_that_has_not_fallen_costs_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(champion_gates, "compare_f1", lambda *_, **__: pytest.fail("nothing has fallen"))
    case = GateInputs(metric="accuracy", truth=KNOWN, challenger=RIGHT, champion=HALF)
    assert [one.verdict for one in champion_gates.check_classes(Policy(), case)] == ["passed", "passed"]
