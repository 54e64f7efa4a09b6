"""What is found of a candidate beside the champion: files, data, and answers to the same examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.comparison.groups import GroupScore, GroupTable, score_mean, score_share
from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, not_tried
from flows.promotion.gates.gate import GateInputs, JudgedData
from flows.promotion.gates.judging import Judgement, check_gates
from flows.promotion.gates.predictions import Rows, TaskPredictions, UnreadablePredictions, parse_predictions
from flows.promotion.gates.scoring import compute_metrics, correct_scores, example_scores
from flows.promotion.gates.signatures import signature_differences
from flows.promotion.judging.answer_record import record_answers
from flows.promotion.judging.candidate import Candidate
from flows.promotion.judging.decisions import champion_failure, find_weak_champion, select_metric
from flows.promotion.judging.evaluation import EvaluationSource, record_test_read, resolve_evaluation_source
from flows.promotion.judging.examples import (
    Examples,
    TrainingRows,
    describe_changes,
    describe_foreign_data,
    gather_examples,
    open_evaluation_data,
)
from flows.promotion.judging.outcome import Evidence
from infra.home import Home
from infra.registry.artifacts import FetchedFiles, fetch_version
from infra.registry.chain import Chain
from infra.registry.contents import loading_objection, read_mlmodel
from infra.registry.integrity import version_mismatch
from infra.registry.isolated_predict import IsolatedPredict, IsolatedPredictions, UnusableModel
from infra.registry.store import ModelVersion, Registry
from trainers.data.dataset import Dataset
from trainers.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """A model whose files were checked: where they are, and what is known of its training."""

    whose: str
    files: FetchedFiles
    mlmodel: Mapping[str, Json]
    trained: TrainingRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """One candidate's, by one policy.

    Attributes:
        target: the registry that has the champion.
        use: asks a model for predictions.
        judged: the gates that need both models' answers.
    """

    home: Home
    target: Registry
    policy: Policy
    candidate: Candidate
    use: IsolatedPredict
    judged: Callable[[Policy, GateInputs], Judgement]

    def gather_evidence(
        self, champion: ModelVersion | None, chain: Chain, files: FetchedFiles, early: list[GateFinding],
        place: Path,
    ) -> Evidence:  # fmt: skip
        """What is found of the candidate beside the champion.

        Args:
            files: the candidate's.
            early: what the gates found that come before anything is loaded.
            place: a folder for the champion's files.
        """
        policy = self.policy
        if any(finding.is_refused for finding in early):
            return Evidence(findings=(*early, not_tried("the rest", "the model is not loaded")))
        models = [_read_model("challenger", files)]
        if champion is not None:
            there = fetch_version(self.target, champion, place / "champion")
            changed = version_mismatch(chain, champion, there)
            broken = [f for f in check_files(there, changed, policy) if f.is_refused]
            if broken:
                return Evidence(findings=(*early, champion_failure(f"{broken[0].gate}: {broken[0].found}")))
            models.append(_read_model("champion", there))
        source = resolve_evaluation_source(policy, self.candidate, champion, self.home)
        dataset = open_evaluation_data(source.spec, source.base, self.home.cache, source.recorded)
        examples = gather_examples(dataset, source.part, [model.trained for model in models], policy)
        reads = 0
        if policy.evaluation is None:
            reads = record_test_read(source.sweep, self.home, len(examples.hashes))
        data = _describe_data(source, dataset, examples, models)
        first = [*early, *check_gates(policy, GateInputs(data=data), "data")]
        if any(finding.is_refused for finding in first):
            undecided = (*first, not_tried("the rest", "no decision on these examples"))
            return Evidence(findings=undecided, examples=examples, test_reads=reads)
        metric = select_metric(policy, source, examples.truth)
        found = self._judge_predictions(metric, models, examples, first, source.paths)
        return replace(found, test_reads=reads)

    def _judge_predictions(
        self, metric: str, models: Sequence[CheckedModel], examples: Examples, first: list[GateFinding],
        paths: Sequence[str],
    ) -> Evidence:  # fmt: skip
        policy = self.policy
        answers: dict[str, TaskPredictions] = {}
        facts: dict[str, Mapping[str, float]] = {}
        for model in models:
            try:
                used: IsolatedPredictions = self.use(model.files.folder, examples.frame, paths=paths)
                answers[model.whose] = parse_predictions(used.predictions, examples.truth)
            except (UnusableModel, UnreadablePredictions) as error:
                failed = (
                    [champion_failure(str(error))]
                    if model.whose == "champion"
                    else check_gates(policy, GateInputs(failure=str(error)), "loaded")
                )
                return Evidence(findings=(*first, *failed), examples=examples)
            facts[model.whose] = used.facts
        changed = signature_differences(models[0].mlmodel, models[1].mlmodel) if len(models) > 1 else None
        case = GateInputs(
            metric=metric, truth=examples.truth, challenger=answers["challenger"],
            champion=answers.get("champion"), facts=facts["challenger"],
            champion_facts=facts.get("champion", {}), slices=examples.slices, groups=examples.groups,
            sensitive=examples.sensitive, signature=changed,
        )  # fmt: skip
        first += check_gates(policy, case, "loaded")
        judgement = self.judged(policy, case)
        metrics = {whose: compute_metrics(examples.truth, given) for whose, given in answers.items()}
        return Evidence(
            findings=(*first, *judgement.findings),
            metrics=metrics,
            comparison=judgement.comparison,
            examples=examples,
            answers=record_answers(case, examples.hashes),
            groups=tables_of_answers(case),
            notes=find_weak_champion(metric, judgement.findings, metrics),
        )


def check_files(files: FetchedFiles, mismatch: str, policy: Policy) -> list[GateFinding]:
    """The gates that come before anything is loaded."""
    objection = loading_objection(files.folder, policy.loaders)
    return check_gates(policy, GateInputs(objection=objection, mismatch=mismatch), "files")


def _read_model(whose: str, files: FetchedFiles) -> CheckedModel:
    from trainers.bundle.bundle import read_description

    trained = TrainingRows(whose=whose)
    if files.bundle is not None:
        known = read_description(files.bundle)
        if len(known.train_rows):
            columns = frozenset(map(str, known.example.columns))
            trained = TrainingRows(
                whose=whose, rows=known.train_rows, columns=columns, by=known.train_rows_by,
                seen=known.seen, fingerprint=known.fingerprint,
            )  # fmt: skip
    return CheckedModel(whose=whose, files=files, mlmodel=read_mlmodel(files.folder), trained=trained)


def _describe_data(
    source: EvaluationSource, dataset: Dataset, examples: Examples, models: Sequence[CheckedModel]
) -> JudgedData:
    """What the gates of the data ask: a sweep's own must be what its models were trained beside."""
    challenger, *champion = (model.trained for model in models)
    recorded = (source.recorded or "") if source.sweep else ""
    return JudgedData(
        count=len(examples.hashes), left_out=examples.left_out, copies=examples.copies,
        problems=examples.problems, unselected=examples.unselected, fingerprint=examples.fingerprint,
        wanted=source.fingerprint, changed=describe_changes(dataset, challenger, recorded),
        foreign=describe_foreign_data(dataset, champion[0]) if source.sweep and champion else None,
    )  # fmt: skip


def tables_of_answers(case: GateInputs) -> tuple[GroupTable, ...]:
    """One table a column, of the groups that were judged on at all: right answers, or the absolute error."""
    metric = {"classification": "accuracy", "regression": "mae"}.get(case.truth.task, "exact_match")
    tables = []
    for column, groups in case.groups.items():
        scores = tuple(_score(case, name, rows) for name, rows in groups.items() if rows.any())
        tables.append(GroupTable(column=column, metric=metric, scores=scores))
    return tuple(tables)


def _score(case: GateInputs, group: str, rows: Rows) -> GroupScore:
    right = correct_scores(case.truth, case.challenger)
    if right is not None:
        return score_share(group, float(right[rows].mean()), int(rows.sum()))
    errors = example_scores("mae", case.truth, case.challenger)
    assert errors is not None
    return score_mean(group, float(-errors[rows].mean()), float(errors[rows].std()), int(rows.sum()))
