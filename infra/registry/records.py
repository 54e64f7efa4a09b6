"""Where the chain is kept: the params of one MLflow run a registered model.

MLflow's params are write-once: of several who write one key, exactly one succeeds, on SQLite, on PostgreSQL
and through a server. That is the compare-and-set which aliases and tags don't have. Keys: `entry/00007` (an
entry), `applied/00007` (when the alias was seen to stand where it says), `content/HASH/000` (a piece of a
document).

The run itself has to be found by everybody alike, and `create_run` is not idempotent: a root run's params
name it, and the root run is named by a tag with which one experiment is created, whose name is unique.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress

from infra.errors import Unavailable
from infra.registry.chain import Chain, ChainEntry, damaged_chain, hash_text
from infra.registry.registry_errors import RegistryDenied, RegistryRejected, RegistryUnavailable
from infra.registry.store import Registry
from infra.tracking.client import MissingEntity, RequestRejected
from trainers.types import Document, Json

EXPERIMENT = "velodrome-registry"
ANCHOR = "velodrome-registry-root"
ROOT_TAG, ROOT_NAME = "velodrome.registry.root", "registered models"
NOTE = (
    "Kept by Velodrome: who moved which registered model's champion, when, and on which evidence. "
    "`velodrome history MODEL` reads it. Deleting these runs deletes the history."
)
PIECE = 5_000  # MLflow takes 6,000 characters a value
MOST_PIECES = 200
MOST_CHARACTERS = PIECE * MOST_PIECES  # of a document
_ENTRY = re.compile(r"entry/(\d{5})")
_MOMENT = re.compile(r"\d+(\.\d+)?(e-?\d\d)?")


class Records:
    """The records of one registered model."""

    def __init__(self, registry: Registry, model: str) -> None:
        self._registry, self.model = registry, model
        self._run: str | None = None

    # -- reading ---------------------------------------------------------------------------------------------

    def read_chain(self) -> Chain:
        """The chain as it stands; an empty one where nothing was ever recorded."""
        params = self._read_params()
        numbered = sorted(
            (int(found[1]), value) for key, value in params.items() if (found := _ENTRY.fullmatch(key))
        )
        applied = {number: params.get(f"applied/{number:05d}") for number, _ in numbered}
        for number, at in applied.items():
            if at is not None and not _MOMENT.fullmatch(at):
                raise damaged_chain(self.model, f"applied/{number:05d}: {at[:40]!r}, which is no moment")
        return Chain(
            model=self.model,
            texts=tuple(text for _, text in numbered),
            applied={number: float(at) for number, at in applied.items() if at is not None},
        )

    def read_documents(self) -> dict[str, str]:
        """The documents beside the chain, by their hash."""
        pieces: dict[str, list[tuple[str, str]]] = {}
        for key, value in self._read_params().items():
            if key.startswith("content/"):
                _, digest, place = key.split("/")
                pieces.setdefault(digest, []).append((place, value))
        return {digest: "".join(text for _, text in sorted(found)) for digest, found in pieces.items()}

    def read_document(self, digest: str) -> Document:
        """One of them.

        Raises:
            Unavailable: it is not there, or is not what was written.
        """
        text = self.read_documents().get(digest, "")
        if hash_text(text) != digest:
            raise Unavailable(
                "a record's document must be there as it was written",
                f"{digest[:16]} is missing or changed",
                f"`velodrome history {self.model} --verify` says what else",
            )
        document: Document = json.loads(text)
        return document

    # -- writing ---------------------------------------------------------------------------------------------

    def append_entry(self, entry: ChainEntry) -> bool:
        """Writes the entry at its number. False: somebody else wrote another one there first."""
        return self._write_param(f"entry/{entry.number:05d}", entry.text)

    def mark_applied(self, entry: ChainEntry, at: float) -> None:
        """Notes that the alias stood where the entry says; the first mark stays."""
        self._write_param(f"applied/{entry.number:05d}", repr(at))

    def store_document(self, document: Mapping[str, Json]) -> str:
        """Keeps a document and returns its hash; the same one again changes nothing."""
        text = document_text(document)
        digest = hash_text(text)
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        if len(pieces) > MOST_PIECES:
            raise ValueError(f"a document beside the chain must have at most {MOST_CHARACTERS} characters")
        for place, piece in enumerate(pieces):
            self._write_param(f"content/{digest}/{place:03d}", piece)
        return digest

    def _write_param(self, key: str, value: str) -> bool:
        return _write_once(self._registry, self._ensure_run(), key, value)

    # -- the run ---------------------------------------------------------------------------------------------

    def _read_params(self) -> Mapping[str, str]:
        if self._run is None:
            self._run = self._find_run()
        return {} if self._run is None else _run_params(self._registry, self._run)

    def _find_run(self) -> str | None:
        root = _find_root(self._registry)
        return None if root is None else _run_params(self._registry, root).get(self._run_key)

    @property
    def _run_key(self) -> str:
        return f"model/{hashlib.sha256(self.model.encode()).hexdigest()[:32]}"

    def _ensure_run(self) -> str:
        if self._run is None:
            self._run = self._find_run() or self._make_run()
        return self._run

    def _make_run(self) -> str:
        registry = self._registry
        root = _find_root(registry) or _make_root(registry)
        name = f"history of {self.model}"
        tags = {"velodrome.registry.model": self.model, "mlflow.note.content": NOTE}
        mine = _create_run(registry, name, tags)
        if _write_once(registry, root, self._run_key, mine):
            _write_once(registry, mine, "model", self.model)
            return mine
        _delete_run(registry, mine)  # somebody else's run is the one
        return _run_params(registry, root)[self._run_key]


def document_text(document: Mapping[str, Json]) -> str:
    """A document as it is kept."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _write_once(registry: Registry, run: str, key: str, value: str) -> bool:
    """Whether the param has this value now, written by us or before; False: it has another.

    Whatever the answer was, what is there is the word: MLflow's client reports a refused param by another
    error through a server than without one, and an answer can be lost after the param was written.
    """
    try:
        registry.call("log_param", run, key, value)
        return True
    except RegistryUnavailable as error:
        if isinstance(error, RegistryDenied) and not isinstance(error, RegistryRejected):
            raise
        found = dict(registry.call("get_run", run).data.params).get(key)
        if found is None:
            raise error from None
        return bool(found == value)


def _run_params(registry: Registry, run: str) -> dict[str, str]:
    try:
        found = registry.call("get_run", run)
    except MissingEntity:
        found = None
    if found is None or found.info.lifecycle_stage != "active":
        raise Unavailable(
            "the run that keeps a model's history must be there",
            f"run {run} was deleted",
            f"restore it: mlflow runs restore --run-id {run}",
        )
    return dict(found.data.params)


def _find_root(registry: Registry) -> str | None:
    """The root run, or None where no history was ever kept here."""
    anchor = registry.call("get_experiment_by_name", ANCHOR)
    if anchor is None:
        return None
    if ROOT_TAG not in anchor.tags:
        must = f"the experiment {ANCHOR} must have the tag {ROOT_TAG}, which says where histories are kept"
        raise RegistryDenied(
            must, "none", f"set it again: the run {ROOT_NAME!r} of the experiment {EXPERIMENT}"
        )
    return str(anchor.tags[ROOT_TAG])


def _make_root(registry: Registry) -> str:
    mine = _create_run(registry, ROOT_NAME, {"mlflow.note.content": NOTE})
    try:
        registry.make_experiment(ANCHOR, {ROOT_TAG: mine, "mlflow.note.content": NOTE})
        return mine
    except RequestRejected:  # somebody else's root is the one, which may be the run that we took
        found = _find_root(registry)
        assert found is not None
        if found != mine:
            _delete_run(registry, mine)
        return found


def _create_run(registry: Registry, name: str, tags: Mapping[str, str]) -> str:
    """A run of that name that is not yet anybody's; one that a cut-off attempt left behind is taken first."""
    experiment = _ensure_experiment(registry)
    query = f"attributes.run_name = '{name}'"
    left = registry.call("search_runs", [experiment], filter_string=query, max_results=1)
    run = left[0] if left else registry.call("create_run", experiment, run_name=name, tags=dict(tags))
    with suppress(MissingEntity, RequestRejected):  # a loser took it and put it away: then we have lost too
        registry.call("set_terminated", run.info.run_id)
    return str(run.info.run_id)


def _delete_run(registry: Registry, run: str) -> None:
    with suppress(MissingEntity, RequestRejected):  # another loser took the same run, and was quicker
        registry.call("delete_run", run)


def _ensure_experiment(registry: Registry) -> str:
    for _ in range(2):
        found = registry.call("get_experiment_by_name", EXPERIMENT)
        if found is not None:
            if found.lifecycle_stage != "active":
                registry.call("restore_experiment", found.experiment_id)
            return str(found.experiment_id)
        with suppress(RequestRejected):  # somebody else made it between our two calls
            return registry.make_experiment(EXPERIMENT, {"mlflow.note.content": NOTE})
    raise RegistryUnavailable("the registry must have an experiment for its records", "none can be made")
