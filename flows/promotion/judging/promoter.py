"""A promotion from end to end, with what it touches passed in: stores, a new interpreter, a clock."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.config.policy import Policy, to_document
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import Judgement, check_gates, judge
from flows.promotion.judging.candidate import Candidate
from flows.promotion.judging.decisions import approvers, find_ignored_gates, find_overtaking_entry
from flows.promotion.judging.examination import Examination, check_files
from flows.promotion.judging.examples import Examples
from flows.promotion.judging.outcome import Evidence, Promotion
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.registry.artifacts import FetchedFiles, fetch_files
from infra.registry.chain import Chain, ChainEntry
from infra.registry.identity import registry_user
from infra.registry.integrity import files_mismatch, hash_files, manifest_mismatch, tag_mismatch
from infra.registry.isolated_predict import IsolatedPredict, predict_isolated
from infra.registry.model_copy import copy_model
from infra.registry.moves import Mover, concurrent_change_error
from infra.registry.store import CHALLENGER, MANIFEST_TAG, ModelVersion, Registry
from infra.secrets import redact

TRIES = 5


@dataclass(slots=True, kw_only=True)
class Promoter:
    """One promotion.

    Attributes:
        use: asks a model for predictions; tests have quicker ways than a new interpreter.
        policy: what the candidate was judged by, once it was.
    """

    home: Home
    source: Registry
    target: Registry
    use: IsolatedPredict = predict_isolated
    judged: Callable[[Policy, GateInputs], Judgement] = judge
    mover: Callable[[Registry, str], Mover] = Mover
    policy: Policy = field(default_factory=Policy)

    def promote(self, candidate: Candidate, *, reason: str = "", dry_run: bool = False) -> Promotion:
        """Registers the candidate, judges it, and moves the champion or does not.

        Args:
            candidate: what is to be promoted.
            reason: kept in the record.
            dry_run: nothing is registered, recorded or moved; the reading of the test split is counted.
        """
        mover = self.mover(self.target, candidate.model)
        chain = mover.finish_pending()
        former = None if chain.last_move is None else chain.last_move.target
        champion = None if former is None else self._champion_version(candidate.model, former)
        if champion is not None and self._is_same_model(candidate, champion):
            return self._already_champion(candidate, champion, chain)
        with tempfile.TemporaryDirectory(prefix="velodrome-promote-") as aside:
            place = Path(aside)
            files = fetch_files(self.source, candidate.location, place / "challenger")
            policy, whence = self._resolve_policy(mover, chain, candidate)
            self.policy = policy
            early = check_files(files, self._find_mismatch(candidate, chain, files), policy)
            version = None
            if not dry_run and not any(finding.is_refused for finding in early):
                version = self._register(candidate, files)
            examination = Examination(
                home=self.home, target=self.target, policy=policy, candidate=candidate, use=self.use,
                judged=self.judged,
            )  # fmt: skip
            found = examination.gather_evidence(champion, chain, files, early, place)
            found = replace(found, files=hash_files(files), policy=to_document(policy), policy_source=whence)
        result = Promotion(
            model=candidate.model, candidate=candidate.label, outcome="would move",
            version=None if version is None else version.number, former=former, policy=whence,
            findings=found.findings, metrics=found.metrics, test_reads=found.test_reads,
            notes=(*find_ignored_gates(policy, whence, candidate), *found.notes),
        )  # fmt: skip
        result = _add_data_facts(result, found.examples)
        return self._decide(mover, chain, policy, candidate, version, found, result, reason, dry_run)

    # -- before --------------------------------------------------------------------------------------------

    def _champion_version(self, model: str, number: int) -> ModelVersion:
        version = self.target.version(model, number)
        if version is None:
            raise WrongInput(
                "the champion's version must be in the registry",
                f"{model}/{number} was deleted",
                f"`velodrome rollback {model} --to N` goes back to another",
            )
        return version

    def _is_same_model(self, candidate: Candidate, champion: ModelVersion) -> bool:
        return champion.tags.get("velodrome.key") == candidate.key

    def _already_champion(self, candidate: Candidate, champion: ModelVersion, chain: Chain) -> Promotion:
        last, recorded = chain.last_move, chain.manifest_entry(champion.number)
        found = tag_mismatch(chain, champion)
        if recorded is not None and candidate.manifest not in (None, recorded.manifest):
            found = (
                found or f"{candidate.label} has {candidate.manifest[:16]}, entry {recorded.number} does not"
            )
        if found:
            do = f"`velodrome history {candidate.model} --verify` says what else"
            raise RefusedError("the champion must be what its history has", found, do)
        return Promotion(
            model=candidate.model, candidate=candidate.label, outcome="already", version=champion.number,
            former=champion.number, entry=None if last is None else last.number,
            hash=None if last is None else last.hash,
        )  # fmt: skip

    def _find_mismatch(self, candidate: Candidate, chain: Chain, files: FetchedFiles) -> str:
        """What the files are not that they should be: what the history has of them, else their manifest."""
        known = self.target.version_of_key(candidate.model, candidate.key)
        recorded = "" if known is None else manifest_mismatch(chain, known, files)
        return recorded or files_mismatch(files, candidate.manifest)

    def _resolve_policy(self, mover: Mover, chain: Chain, candidate: Candidate) -> tuple[Policy, str]:
        """The model's own policy; before its first move the sweep file's gates; else the defaults."""
        newest = chain.last_policy
        if newest is not None and newest.policy is not None:
            return Policy.model_validate(mover.records.read_document(newest.policy)), "chain"
        if candidate.gates and chain.last_move is None:
            return Policy.model_validate(dict(candidate.gates)), "sweep file"
        return Policy(), "defaults"

    def _register(self, candidate: Candidate, files: FetchedFiles) -> ModelVersion:
        manifest = files.manifest_sha256
        tags = {**candidate.tags, **({MANIFEST_TAG: manifest} if manifest else {})}
        source, run_id = candidate.source, candidate.run_id
        if self.target.tracking.uri != self.source.tracking.uri:
            tags["velodrome.copied_from"] = redact(f"{self.source.tracking.uri} {candidate.source}")[:500]
            source = copy_model(self.target, candidate.model, files, candidate.key, tags)
            run_id = None
        version = self.target.register(
            candidate.model, key=candidate.key, source=source, run_id=run_id, tags=tags
        )
        self.target.set_alias(candidate.model, CHALLENGER, version.number)
        return version

    # -- after ---------------------------------------------------------------------------------------------

    def _decide(
        self, mover: Mover, chain: Chain, policy: Policy, candidate: Candidate, version: ModelVersion | None,
        found: Evidence, result: Promotion, reason: str, dry_run: bool,
    ) -> Promotion:  # fmt: skip
        if found.has_passed and version is not None:
            by = approvers(mover.records.read_chain(), version)
            case = GateInputs(approvers=by, promoter=registry_user())
            found = replace(found, findings=(*found.findings, *check_gates(policy, case, "approvals")))
            result = replace(result, findings=found.findings)
        if dry_run:
            return result if found.has_passed else replace(result, outcome="refused")
        policy_id = mover.records.store_document(found.policy)
        if found.answers:
            mover.records.store_document(found.answers)
        values: dict[str, Any] = {
            "source": result.former,
            "reason": reason,
            "content": mover.records.store_document(found.to_json()),
            "facts": {
                "candidate": candidate.label,
                "data": result.data.get("fingerprint", ""),
                "files": found.files,
            },
        }
        if not found.has_passed or version is None:
            target = None if version is None else version.number
            entry = mover.append_note(
                "refusal", target=target, verdict="refused", manifest=candidate.manifest, **values
            )
            return replace(result, outcome="refused", entry=entry.number, hash=entry.hash)
        if found.policy_source == "sweep file":  # the model's policy from this move on, in the same entry
            values["facts"]["policy"] = policy_id
        entry = self._move_champion(mover, chain, version, values)
        return replace(result, outcome="moved", entry=entry.number, hash=entry.hash)

    def _move_champion(
        self, mover: Mover, chain: Chain, version: ModelVersion, values: Mapping[str, Any]
    ) -> ChainEntry:
        """Moves on the chain as it is now, unless something that the judgement rests on has changed."""
        for _ in range(TRIES):
            now = mover.records.read_chain()
            if (other := find_overtaking_entry(chain, now)) is not None:
                raise concurrent_change_error(mover.model, now, other.number)
            written = mover.make_entry(
                now, "promotion", target=version.number, verdict="passed", manifest=version.manifest_sha256,
                **values,
            )  # fmt: skip
            if mover.records.append_entry(written):
                mover.apply_move()
                return written
        raise concurrent_change_error(
            mover.model, mover.records.read_chain(), len(mover.records.read_chain().texts)
        )


def _add_data_facts(result: Promotion, examples: Examples | None) -> Promotion:
    if examples is None:
        return result
    data = {"source": examples.source, "part": examples.part, "fingerprint": examples.fingerprint}
    return replace(
        result, examples=len(examples.hashes), left_out=examples.left_out, copies=examples.copies, data=data
    )
