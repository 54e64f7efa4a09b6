"""Which column is what: as the sweep file names them, or by obvious names, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainers.data.assembly.column_names import ANSWERS, ASKING, CONTEXTS, QUESTIONS, ColumnNames, fold_name
from trainers.data.dataset import WITHOUT_TARGET, ColumnKind, Kind, Task
from trainers.data.raw import RawDataset, RawFiles
from trainers.errors import InputError

TARGETS = ("target", "label", "labels", "y", "class")
INPUTS = ("input", "source", "src", "question", "prompt", "summary")
REFERENCES = ("reference", "target", "tgt", "output", "answer", "response")
TEXTS = ("text", "sentence", "review", "comment", "document", "body", "content")
ANSWER_STARTS = ("answer_start", "answer_starts")

KindOf = Callable[[str], ColumnKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRoles:
    """What each column is for: `features` are the data set's columns by the names that they get there."""

    kind: Kind
    features: Mapping[str, str]  # name in the data set → column of the source
    target: str | None
    group: str | None = None
    time: str | None = None
    answer_start: str | None = None
    rating: str | None = None
    notes: tuple[str, ...] = field(default=())


def decide_roles(raw: RawDataset, named: ColumnNames, task: Task | None, kind_of: KindOf) -> ColumnRoles:
    """Decides what each column is for."""
    if (asked := _find_questions(raw, named, task)) is not None:
        return asked
    notes: list[str] = []
    target = _find_target(raw, named, task, notes)
    aside = {target, named.group, named.time, *named.drop, *named.id, named.reference, *named.sensitive}
    left = list(named.features) or [name for name in raw.columns if name not in aside]
    shape = _find_pairs(named, task, left, target, kind_of, notes)
    if shape is None:
        shape = _find_single_input(raw, named, task, left, target, kind_of, notes)
    kind, features, target = shape
    own_past = kind == "table" and named.time is not None and target is not None  # a series of one column
    if not features and kind != "none" and not own_past:
        do = "leave fewer out with data.columns.drop"
        raise InputError(
            "data must have a column to learn from", "none but the target", do, key=("data", "columns")
        )
    for role in ("group", "time"):
        column = getattr(named, role)
        if column and column not in (*features.values(), *named.sensitive):
            notes.append(f"column {column!r} decides the split and is not learned from")
    return ColumnRoles(
        kind=kind, features=features, target=target, group=named.group, time=named.time, notes=tuple(notes)
    )


def _find_questions(raw: RawDataset, named: ColumnNames, task: Task | None) -> ColumnRoles | None:
    """Questions, contexts and answers, where the file names them or their names say so."""
    given = [key for key in ASKING if getattr(named, key) is not None]
    if task not in (None, "question-answering"):
        if given:
            do = "leave task out, or name columns that it reads"
            found = f"task: {task} and columns.{given[0]}"
            raise InputError(
                "columns of questions are for task: question-answering", found, do,
                key=("data", "columns", given[0]),
            )  # fmt: skip
        return None
    meant = bool(given) or task is not None
    others = (named.target, named.text, named.input, named.reference, named.image, *named.features)
    if not meant and any(others):
        return None
    aside = (*named.drop, *named.id, *named.sensitive, named.time)
    free = {fold_name(n): n for n in raw.columns if n not in aside}

    def find_column(name: str | None, known: tuple[str, ...]) -> str | None:
        return name or next((free[word] for word in known if word in free), None)

    question, context = find_column(named.question, QUESTIONS), find_column(named.context, CONTEXTS)
    answer = find_column(named.answer or named.target, ANSWERS)
    if question is None or context is None or answer is None:
        if not meant:
            return None
        do = "name them under data.columns: {question: …, context: …, answer: …}"
        found = f"columns {', '.join(raw.columns)}"
        must = "question answering needs columns of questions, contexts and answers"
        raise InputError(must, found, do, key=("data", "columns"))
    start = find_column(named.answer_start, ANSWER_STARTS)
    return _question_roles(raw, named, (question, context, answer, start), meant)


def _question_roles(
    raw: RawDataset, named: ColumnNames, columns: tuple[str, str, str, str | None], meant: bool
) -> ColumnRoles:
    question, context, answer, start = columns
    if len({question, context, answer}) < 3:
        found = f"question {question!r}, context {context!r}, answer {answer!r}"
        raise InputError("question, context and answer must be three columns", found, key=("data", "columns"))
    pictures = next((c for c in columns if c and isinstance(raw.columns[c], RawFiles)), None)
    if pictures is not None:
        found = f"images in column {pictures!r}"
        raise InputError("question answering reads texts", found, key=("data", "columns"))
    notes = []
    if not meant:
        notes.append(f"question answering: columns {question!r}, {context!r} and {answer!r}, by their names")
    used = {*columns, named.group, named.time, *named.drop, *named.id, *named.sensitive}
    others = [name for name in raw.columns if name not in used]
    if others:
        notes.append(f"questions are answered from their context alone, not from {', '.join(others)}")
    return ColumnRoles(
        kind="questions",
        features={"question": question, "context": context},
        target=answer,
        group=named.group,
        time=named.time,
        answer_start=start,
        notes=tuple(notes),
    )


def _find_target(raw: RawDataset, named: ColumnNames, task: Task | None, notes: list[str]) -> str | None:
    if named.target or raw.target:
        return named.target or raw.target
    if task in WITHOUT_TARGET:
        return None
    taken = {named.text, named.input, named.image, named.group, named.time}
    taken |= {*named.drop, *named.id, *named.sensitive}
    free = {fold_name(name): name for name in raw.columns if name not in taken and name not in named.features}
    found = next((free[name] for name in TARGETS if name in free), None)
    if found is not None and named.reference is None:
        notes.append(f"the target is column {found!r}, by its name")
        return found
    if found is None and task in ("classification", "regression"):
        do = "name it under data.columns.target"
        found_names = ", ".join(raw.columns)
        raise InputError(
            f"{task} needs a target", f"columns {found_names}", do, key=("data", "columns", "target")
        )
    return None


Shape = tuple[Kind, dict[str, str], str | None]


def _find_pairs(
    named: ColumnNames,
    task: Task | None,
    left: list[str],
    target: str | None,
    kind_of: KindOf,
    notes: list[str],
) -> Shape | None:
    """Input and target texts, where the file names them or their names say so."""
    given = named.input is not None or named.reference is not None
    if not given and task not in (None, "seq2seq"):
        return None
    names = [*left, *([target] if target and target not in left else [])]
    source = named.input or next((n for n in names if fold_name(n) in INPUTS and n != named.reference), None)
    reference = named.reference or named.target or _find_reference(names, source)
    if given or task == "seq2seq":
        if source is None or reference is None:
            do = "name both under data.columns.input and data.columns.reference"
            found = f"columns {', '.join(names)}"
            raise InputError(
                "pairs need a column of inputs and one of references", found, do, key=("data", "columns")
            )
        return "pairs", {"input": source}, reference
    if source is None or reference is None or set(names) != {source, reference}:
        return None
    if kind_of(source) != "text" or kind_of(reference) != "text":
        return None
    notes.append(
        f"pairs of texts: input is column {source!r}, target is column {reference!r}, by their names"
    )
    return "pairs", {"input": source}, reference


def _find_reference(names: list[str], source: str | None) -> str | None:
    return next((name for name in names if fold_name(name) in REFERENCES and name != source), None)


def _find_single_input(
    raw: RawDataset,
    named: ColumnNames,
    task: Task | None,
    left: list[str],
    target: str | None,
    kind_of: KindOf,
    notes: list[str],
) -> Shape:
    image = named.image or next((name for name in left if kind_of(name) == "image"), None)
    if image is not None:
        _note_left_out(left, image, "images", notes)
        return "image", {"image": image}, target
    audio = next((name for name in left if kind_of(name) == "audio"), None)
    if audio is not None:
        return "audio", {"audio": audio}, target
    text = named.text or _find_text(task, left, kind_of, notes)
    if text is None:
        return "table", {name: name for name in left}, target
    _note_left_out(left, text, "texts", notes)
    if task == "masked-words":
        return "text", {"text": text}, None
    if raw.kind == "corpus" or task == "language-model" or target is None:
        if raw.kind != "corpus":
            notes.append(f"a corpus: column {text!r} holds texts and there is no target")
        return "corpus", {"text": text}, None
    return "text", {"text": text}, target


def _find_text(task: Task | None, left: list[str], kind_of: KindOf, notes: list[str]) -> str | None:
    if task in ("language-model", "masked-words"):
        found = next((name for name in left if fold_name(name) in TEXTS), None) or (left[0] if left else None)
        if found is None:
            raise InputError(f"{task} needs a column of texts", "none", key=("data", "columns", "text"))
        return found
    texts = [
        name for name in left if kind_of(name) == "text" or (len(left) == 1 and fold_name(name) in TEXTS)
    ]
    if len(left) == 1 and texts:
        return texts[0]
    for name in texts:
        notes.append(
            f"column {name!r} holds texts, left out of tables; to learn from it: data.columns.text: {name}"
        )
    return None


def _note_left_out(left: list[str], used: str, what: str, notes: list[str]) -> None:
    others = [name for name in left if name != used]
    if others:
        notes.append(f"{what} are learned from column {used!r} alone, not from {', '.join(others)}")
