"""Whether people's own code is what the sweep was begun with: files may change while it runs."""

from __future__ import annotations

from infra.lanes.attempt_functions import call_folder
from infra.lanes.settings import LaneSettings
from infra.spec import FamilySpec
from trainers.code.carried import is_carried
from trainers.commands.options import script_digest
from trainers.errors import InputError
from trainers.registry import BUILT_IN, COMMAND, source_hash


class CodeCheck:
    """For one process of a lane. It keeps what it has imported: modules are looked at once, just after it. A
    command reads its scripts anew each time."""

    def __init__(self, settings: LaneSettings) -> None:
        """Nothing is looked at yet."""
        self._settings = settings
        self._known: set[str] = set()

    def check(self, spec: FamilySpec) -> None:
        """Refuses code that was changed since; what travels by value, or is Velodrome's own, cannot be.

        Raises:
            InputError: the family's source, or a script of its command, is another one.
        """
        if spec.reference == COMMAND:
            expected = self._settings.scripts.get(spec.name)
            found = script_digest(spec.options, call_folder(self._settings.sys_path)) if expected else ""
        elif spec.name in self._known or spec.reference in BUILT_IN or is_carried(spec.reference):
            return
        else:
            expected = spec.source_hash
            found = source_hash(spec.reference, spec.options) if expected else ""
        if expected and found != expected:
            raise InputError(
                f"the code of {spec.name} must be what the sweep began with",
                "another source than when it was begun or carried on",
                "undo the change, or mend it and carry the sweep on with --accept-code-change; `velodrome "
                "retry` makes failed trials again",
            )
        self._known.add(spec.name)
