"""`velodrome policy`: what a registered model's next champion must show, kept in the chain of its moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from flows.config.errors import dotted_path, redacted_repr, validation_issues
from flows.config.policy import Policy, to_document
from flows.promotion.gates.scoring import judged_metrics
from flows.promotion.judging.notification import check_webhook
from flows.promotion.registry_access import check_reason, open_mover
from flows.terminal.json_results import PlainResult
from infra.errors import WrongInput, join_errors
from infra.home import Home
from search_spaces.errors import YamlError
from search_spaces.nearest import advice
from search_spaces.strict_yaml import Document, read_file
from trainers.data.sources.schemes import PATHS
from trainers.errors import InputError
from trainers.metric_names import FOR_ALL, GAP
from trainers.types import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy(PlainResult):
    """A model's policy. `source`: `chain`, or `defaults` where none was ever set; `entry`: its record."""

    model: str
    source: str
    policy: JsonObject
    entry: int | None = None
    who: str | None = None
    at: float | None = None


def policy(
    model: str,
    *,
    set: str | None = None,
    reason: str = "",
    registry: str | None = None,
    home: Home | None = None,
) -> ModelPolicy:
    """A registered model's policy, or a new one for it.

    Args:
        model: its name; one that is not registered yet may get a policy too.
        set: a YAML file; the fingerprint of its evaluation data is taken now and held at every promotion.
        reason: kept in the history.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: the file, with line and key; or no such model.
        Unavailable: the registry does not answer.
    """
    check_reason(reason)
    place = home or Home.from_environment()
    written = None if set is None else _with_fingerprint(load_policy(Path(set)), Path(set), place)
    mover = open_mover(model, place, registry, known=set is None)
    if written is not None:
        content = mover.records.store_document(to_document(written))
        mover.append_note("policy", content=content, reason=reason or f"set from {Path(str(set)).name}")
    chain = mover.records.read_chain()
    newest = chain.last_policy
    if newest is None or newest.policy is None:
        return ModelPolicy(model=model, source="defaults", policy=to_document(Policy()))
    return ModelPolicy(
        model=model, source="chain", policy=mover.records.read_document(newest.policy), entry=newest.number,
        who=newest.who, at=newest.at,
    )  # fmt: skip


def load_policy(path: Path) -> Policy:
    """The policy in a file."""
    document = _read_document(path)
    value = document.value
    if value is None:
        do = "write {} where the defaults are meant"
        raise WrongInput(f"{document.name}: a policy must have a key", "an empty file", do)
    if not isinstance(value, dict):
        raise WrongInput(
            f"{document.name}, line 1: a policy must be a mapping",
            redacted_repr(value),
            "begin with metrics:",
        )
    try:
        found = Policy.model_validate(value)
    except ValidationError as error:
        raise _schema_errors(error, document, value) from error
    if unmet := _find_unmeetable(found):
        keys, must, what, do = unmet
        place = f"{document.name}, line {document.line(keys)}: {dotted_path(keys)}"
        raise WrongInput(f"{place} must {must}", what, do)
    if found.notify is not None and found.notify.webhook is not None:
        try:
            check_webhook(found.notify.webhook)
        except WrongInput as error:
            place = f"{document.name}, line {document.line(('notify', 'webhook'))}"
            raise WrongInput(f"{place}: notify.webhook: {error.must}", error.found, error.do) from error
    return found


def _find_unmeetable(policy: Policy) -> tuple[tuple[str, ...], str, str, str] | None:
    """What no model could ever pass: its keys, what must hold, what was found, what to do.

    Of a new policy alone: one that a chain has already is left as it is.
    """
    judged = {name: ("metrics", name) for name in policy.metrics}
    compared = policy.compare.metric
    named = {**judged, **({} if compared is None else {compared: ("compare", "metric")})}
    for name, path in named.items():
        known = [*judged_metrics(), *([GAP] if name in judged else [])]
        if (plain := name.rpartition("/")[2]) not in known:
            costs = "compare.smaller or limits" if plain in FOR_ALL else ""
            return path, "name a metric of predictions", repr(name), costs or advice(plain, known)
    for name, bound in policy.metrics.items():
        if bound.at_least is not None and bound.at_most is not None and bound.at_least > bound.at_most:
            return judged[name], "have at_least below at_most", f"{bound.at_least} and {bound.at_most}", ""
    rule = policy.approval
    if rule is not None and rule.by is not None and rule.count > len(set(rule.by)):
        found = f"{rule.count} of {len(set(rule.by))} names"
        return ("approval", "count"), "be met by the names of approval.by", found, "name more, or ask fewer"
    return None


def _read_document(path: Path) -> Document:
    try:
        return read_file(path)
    except YamlError as error:
        where = f"{error.file or path}, line {error.line}" if error.line else f"{error.file or path}"
        raise WrongInput(f"{where}: {error.must}", error.found, error.do) from error


def _schema_errors(error: ValidationError, document: Document, value: Mapping[str, Json]) -> WrongInput:
    found = validation_issues(error, value, Policy.model_json_schema(mode="validation"))
    return join_errors([
        WrongInput(
            f"{document.name}, line {document.line(issue.path)}: {dotted_path(issue.path)} must {issue.must}",
            issue.found, issue.do,
        )
        for issue in sorted(found, key=lambda issue: document.line(issue.path))
    ])  # fmt: skip


def _with_fingerprint(policy: Policy, path: Path, home: Home) -> Policy:
    """The policy with its evaluation data found from anywhere, and known by its fingerprint."""
    wanted = policy.evaluation
    if wanted is None:
        return policy
    from flows.promotion.judging.examples import open_evaluation_data
    from trainers.data.disk.paths import locate_source

    scheme, _, rest = wanted.data.source.partition(":")
    source = wanted.data.source
    if scheme in PATHS:
        source = f"{scheme}:{locate_source(path.resolve().parent, rest).resolve()}"
    data = wanted.data.model_copy(update={"source": source})
    try:
        dataset = open_evaluation_data(
            data.model_dump(mode="json", exclude_none=True),
            path.resolve().parent,
            home.cache,
            wanted.fingerprint,
        )
    except InputError as error:
        raise WrongInput(f"{path}: evaluation.data: {error.must}", error.found, error.do) from error
    if wanted.fingerprint is not None and wanted.fingerprint != dataset.fingerprint:
        raise WrongInput(
            f"{path}: evaluation.fingerprint must be the data's",
            wanted.fingerprint,
            f"it is {dataset.fingerprint}",
        )
    update = {"data": data, "fingerprint": dataset.fingerprint}
    return policy.model_copy(update={"evaluation": wanted.model_copy(update=update)})
