"""A model's card: what it is for, on what it was trained and judged, and how to get it again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.statistics.shares import wilson_interval
from flows.terminal.formatting import number
from trainers.metric_names import names_of_classes, names_of_groups
from trainers.types import Document, Json

_OF_A_CLASS = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card is made of.

    Attributes:
        label: the version, as `digits/3`.
        written: `purpose`, `limits`, `licence` and `data` of the sweep's file; what is missing is said.
        family, params: what was trained, with which hyper-parameters; of own functions their names.
        facts: of the bundle: sweep, trial, metrics of the kept epoch, fingerprint.
        versions: of the packages that it was trained with.
        evidence: the newest document of the model's history about this version; empty where there is none.
        outcome: what became of it there.
    """

    label: str
    written: Mapping[str, Json] = field(default_factory=dict)
    family: str
    params: Mapping[str, Json]
    facts: Mapping[str, Json]
    versions: Mapping[str, str]
    evidence: Mapping[str, Json] = field(default_factory=dict)
    outcome: str = ""


def write_card(known: CardFacts) -> str:
    """The card in Markdown, with the header that the Hugging Face Hub reads."""
    from huggingface_hub import ModelCard, ModelCardData

    licence = known.written.get("licence")
    header = ModelCardData(
        license=str(licence) if licence else None, library_name="velodrome", model_name=known.label,
        tags=[known.family.rpartition(":")[2]],
    )  # fmt: skip
    return str(ModelCard(f"---\n{header.to_yaml()}\n---\n\n{card_body(known)}"))


def card_body(known: CardFacts, *, listed: bool = False) -> str:
    """The card without its header.

    Args:
        listed: as MLflow's page of a version has it, which names the version itself: its list of versions
            shows the first line alone, and no Markdown.
    """
    sections = [
        card_head(known, listed=True) if listed else f"# {known.label}\n\n{card_head(known)}",
        _purpose(known),
        _data(known),
        _metrics(known),
        _classes(known),
        _groups(known),
        _gates(known),
        _environment(known),
        _again(known),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def card_head(known: CardFacts, *, listed: bool = False) -> str:
    """The first lines: what it is for, and how good it is, which stands first, and plain, where listed."""
    judged = _judged_metrics(known)
    name = next(iter(judged), None)
    purpose = str(known.written.get("purpose") or "").strip()
    lines = [purpose] if purpose else []
    data = _mapping(known.evidence.get("data"))
    if name is not None and data:
        value = _interval_text(name, judged[name], int(data["examples"]))
        which = "the test split of " if data.get("part") == "test" else ""
        where = f"on {data['examples']} examples of {which}"
        if listed:
            lines = [f"{name} {value} {where}{data['source']}", *lines]
        else:
            lines.append(f"**{name} {value}** {where}`{data['source']}`.")
    if known.outcome:
        lines.append(known.outcome)
    return "\n\n".join(lines) or f"A model of the family {known.family}, not judged yet."


def _purpose(known: CardFacts) -> str:
    missing = "Not said: `card:` in the sweep's file has no"
    said = {name: str(known.written.get(name) or f"{missing} `{name}`.") for name in ("purpose", "limits")}
    licence = known.written.get("licence") or "not said"
    return f"## Purpose\n\n{said['purpose']}\n\n## Limits\n\n{said['limits']}\n\n## Licence\n\n{licence}"


def _data(known: CardFacts) -> str:
    data = _mapping(known.written.get("data"))
    lines = [f"- source: `{data.get('source', 'not known')}`"]
    lines.append(f"- fingerprint of training's data: `{known.facts.get('fingerprint') or 'not known'}`")
    if split := data.get("split"):
        lines.append(f"- split: `{split}`")
    judged = _mapping(known.evidence.get("data"))
    if judged:
        left = f", {judged['left_out']} left out that a model was trained on" if judged["left_out"] else ""
        lines.append(
            f"- judged on {judged['examples']} examples, fingerprint `{judged['fingerprint']}`{left}"
        )
    return "## Data\n\n" + "\n".join(lines)


def _judged_metrics(known: CardFacts) -> dict[str, float]:
    metrics = _mapping(known.evidence.get("metrics")).get("challenger")
    return {name: float(value) for name, value in _mapping(metrics).items()}


def _validation(known: CardFacts) -> dict[str, float]:
    metrics = _mapping(known.facts.get("metrics"))
    return {name: float(value) for name, value in metrics.items() if name.startswith("val/")}


def _metrics(known: CardFacts) -> str:
    judged, validated = _judged_metrics(known), _validation(known)
    count = int(_mapping(known.evidence.get("data")).get("examples", 0))
    singly = names_of_classes(validated) | names_of_groups(validated)
    plain = [name.removeprefix("val/") for name in sorted(set(validated) - singly)]
    names = list(dict.fromkeys([*judged, *plain]))
    if not names:
        return ""
    rows = [
        (name, _interval_text(name, judged.get(name), count), _cell(validated.get(f"val/{name}")))
        for name in names
    ]
    return f"## Metrics\n\n{_table(('metric', 'judged', 'validation'), rows)}"


def _classes(known: CardFacts) -> str:
    validated = _validation(known)
    labels = dict.fromkeys(
        name.removeprefix("val/recall_")
        for name in sorted(names_of_classes(validated))
        if name.startswith("val/recall_")
    )
    rows = [
        (label, *(_cell(validated[f"val/{metric}_{label}"]) for metric in _OF_A_CLASS)) for label in labels
    ]
    return f"## By class, on validation\n\n{_table(('class', *_OF_A_CLASS), rows)}" if rows else ""


def _groups(known: CardFacts) -> str:
    """As judged, or on validation, where how many examples a group has is not kept with the model."""
    judged = [_mapping(table) for table in _list(known.evidence.get("groups"))]
    rows = [
        (
            str(table["column"]), str(score["group"]), f"{score['examples']:,}", str(table["metric"]),
            f"{number(score['value'])} (95 % {number(score['low'])} to {number(score['high'])})",
        )
        for table in judged
        for score in map(_mapping, _list(table["groups"]))
    ]  # fmt: skip
    if rows:
        gaps = "".join(f"\n- {table['column']}: {number(table['gap'], 3)} apart" for table in judged)
        table = _table(("column", "group", "examples", "metric", "value"), rows)
        return f"## By group, as judged\n\n{table}\n{gaps}"
    validated = _validation(known)
    found = [
        (name.removeprefix("val/"), _cell(validated[name])) for name in sorted(names_of_groups(validated))
    ]
    return f"## By group, on validation\n\n{_table(('group', 'value'), found)}" if found else ""


def _gates(known: CardFacts) -> str:
    findings = [_mapping(finding) for finding in _list(known.evidence.get("findings"))]
    columns = ("gate", "verdict", "limit", "found", "by")
    rows = [tuple(str(finding.get(name) or "") for name in columns) for finding in findings]
    return f"## Gates\n\n{_table(columns, rows)}" if rows else ""


def _environment(known: CardFacts) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(known.versions.items()))
    params = ", ".join(f"{name} {value}" for name, value in known.params.items())
    lines = [f"- family: {known.family}", f"- hyper-parameters: {params}", f"- trained with {packages}"]
    return "## Environment\n\n" + "\n".join(lines)


def _again(known: CardFacts) -> str:
    sweep, trial = known.facts.get("sweep"), known.facts.get("number")
    repeat = ""
    if sweep and known.facts.get("role", "search") == "search":
        repeat = f"velodrome reproduce {sweep} --family {known.facts.get('family')} --trial {trial}\n"
    load = f'mlflow.pyfunc.load_model("models:/{known.label}").predict(rows)'
    commands = f"```console\n{repeat}velodrome predict {known.label} rows.csv\n```"
    return f"## How to get it again\n\n{commands}\n\n```python\n{load}\n```"


def _interval_text(name: str, value: float | None, count: int) -> str:
    """With the interval where the metric is a share of examples."""
    if value is None:
        return ""
    if name not in ("accuracy", "exact_match") or not count:
        return number(value)
    low, high = wilson_interval(value, count)
    return f"{number(value)} (95 % {number(low)} to {number(high)})"


def _cell(value: float | None) -> str:
    return "" if value is None else number(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in line)} |" for line in lines
    )


def _mapping(value: Json) -> Document:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
