"""What a lane is told when it starts; the same again after its process died."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from infra.spec import Resources
from trainers.types import Document

LaneConfig: TypeAlias = dict[str, Any]  # `settings` (LaneSettings) and `coordinator` (its handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """One run's lanes.

    Attributes:
        run: the Ray Train run's name; a lane is called `<run>-<rank>`.
        shape, resources: what each of its workers has.
        spec: the sweep (`SweepSpec.to_json`).
        base: the folder that relative paths of the sweep file start from.
        storage, cache, logs: folders; `storage` is shared where lanes are on several machines.
        bucket: the address that the storage mirrors (`infra.mirror`); empty where it is a folder of its own.
        sys_path: folders from which people's own code is imported.
        fingerprint: what the data must be; empty where own code reads its own.
        key_name: of the key that models and checkpoints are encrypted with; empty where they are not.
        functions: those that no lane can import, by value (`trainers.code.carried`).
        scripts: by the families that are commands, what their scripts hash to (`script_digest`).
    """

    run: str
    shape: str
    resources: Resources
    spec: Document
    base: str
    storage: str
    cache: str
    logs: str
    sys_path: tuple[str, ...] = ()
    fingerprint: str = ""
    key_name: str = ""
    bucket: str = ""
    functions: Mapping[str, bytes] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
