"""The driver's line to whoever has the sweep: the coordinator's actor, or the process ahead of the lanes."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from infra.busy_machine import stretch_limit
from infra.coordinator.shell.status import CoordinatorStatus
from infra.driver.head_monitor import LOOK_EVERY_S, HeadMonitor
from infra.errors import ClusterUnavailable, FencedError, LedgerUnavailable, VelodromeError
from infra.spec import Resources

if TYPE_CHECKING:
    import ray

    from infra.coordinator.shell.actor import CoordinatorHandle

ANSWER_LIMIT_S = 120.0
LEAVE_LIMIT_S = 30.0  # a process that is frozen would hold the sweep for ever
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class EarlyTraining(Protocol):
    """A process that trains while lanes come up, and writes into the ledger until it has ended.

    Attributes:
        demand: for each shape, its resources and how many trials had not ended when it began.
        stopping: why it was told to stop.
    """

    demand: Mapping[str, tuple[Resources, int]]
    stopping: str | None

    @property
    def is_at_work(self) -> bool:
        """Whether it has not ended."""

    @property
    def state(self) -> str | None:
        """The sweep's state, where it came to its end there; None where others go on with it."""

    @property
    def is_to_blame(self) -> bool:
        """Whether its end is charged to what it trained."""

    def leave(self) -> None:
        """Tells it that lanes are there."""

    def stop(self, why: str) -> None:
        """Tells it to stop with a checkpoint."""

    def kill(self) -> None:
        """Ends it at once."""


class CoordinatorLink:
    """Calls with a limit, and one status of the sweep whoever has it.

    Attributes:
        actor: the coordinator's.
        early: has the sweep until it has ended or handed it over; None from then on.
    """

    def __init__(
        self,
        actor: CoordinatorHandle,
        head: HeadMonitor,
        early: EarlyTraining | None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks nothing yet.

        Args:
            head: of the cluster, which is looked at while an answer is waited for.
            steady: seconds that only pass.
        """
        self.actor, self._head, self.early, self._steady = actor, head, early, steady
        self._told_to_leave_at: float | None = None
        self._peeked: ray.ObjectRef[CoordinatorStatus] | None = None

    def call(self, send: Callable[[], ray.ObjectRef[Answer]], *, limit_s: float = ANSWER_LIMIT_S) -> Answer:
        """What a call comes to.

        Raises:
            ClusterUnavailable: no answer within the limit, or the coordinator is gone.
            FencedError: another driver took the sweep over.
            LedgerUnavailable: the coordinator gave up waiting for it.
        """
        from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

        try:
            return self._await_answer(send(), limit_s)
        except GetTimeoutError as error:
            raise ClusterUnavailable(
                f"the coordinator must answer within {limit_s:.0f} s", "no answer", "is the ledger reachable?"
            ) from error
        except RayActorError as error:
            raise _explain_error(error) from error
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, VelodromeError) else error) from None

    def _await_answer(self, reference: ray.ObjectRef[Answer], limit_s: float) -> Answer:
        """What a call comes to; while it waits, the head is looked at."""
        import ray
        from ray.exceptions import GetTimeoutError

        deadline = time.monotonic() + limit_s
        while True:
            left_s = deadline - time.monotonic()
            try:
                return ray.get(reference, timeout=max(0.0, min(left_s, LOOK_EVERY_S)))
            except GetTimeoutError:
                self._head.is_reachable()
                if left_s <= LOOK_EVERY_S:
                    raise

    def fetch_status(self) -> CoordinatorStatus:
        """How the sweep stands."""
        standing = None if self.early is None else self._look_ahead(self.early)
        if standing is None:
            standing = self.call(lambda: self.actor.status.remote())
        if standing.waits:  # its process has died since it was told
            self.call(lambda: self.actor.take_over.remote(True))
            standing = self.call(lambda: self.actor.status.remote())
        return standing

    def _look_ahead(self, early: EarlyTraining) -> CoordinatorStatus | None:
        """How the sweep stands while it is trained ahead of the lanes; None once it is the coordinator's."""
        if not early.is_at_work:
            if early.state is not None:
                return CoordinatorStatus(state=early.state, stopping=early.stopping)
            self.call(lambda: self.actor.take_over.remote(early.is_to_blame))
            self.early = None
            return None
        lanes = self._peek()
        if lanes.waiting_lanes:
            self._let_leave(early)
        return CoordinatorStatus(
            stopping=early.stopping, lanes=int(early.stopping is not None), running=1, head_start=True,
            wanted=early.demand, start_failures=lanes.start_failures,
        )  # fmt: skip

    def _let_leave(self, early: EarlyTraining) -> None:
        """Tells it to leave; one that does not in time is ended, and what it trained is not charged."""
        if self._told_to_leave_at is None:
            self._told_to_leave_at = self._steady()
            early.leave()
        elif self._steady() - self._told_to_leave_at > stretch_limit(LEAVE_LIMIT_S):
            _log.warning("what trained ahead of the lanes did not leave in time and is ended")
            early.kill()

    def _peek(self) -> CoordinatorStatus:
        """What the actor last said: its process, too, takes seconds to come up, and nobody waits for it."""
        import ray

        if self._peeked is None:
            self._peeked = self.actor.status.remote()
        if not ray.wait([self._peeked], timeout=0)[0]:
            return CoordinatorStatus(waits=True)
        reference, self._peeked = self._peeked, None
        return self.call(lambda: reference)

    def stop(self, why: str) -> None:
        """Tells whoever has the sweep to stop with checkpoints."""
        if self.early is not None:
            self.early.stop(why)
            return
        self.call(lambda: self.actor.stop.remote(why))


def _explain_error(error: Exception) -> Exception:
    """What the end of the actor means, by Ray's words."""
    cause = str(error)
    if "Fenced" in cause:
        return FencedError("a driver must own its sweep", "another driver took it over")
    if "LedgerUnavailable" in cause:
        return LedgerUnavailable("the ledger must be reachable", "the coordinator gave up waiting for it")
    if "No module named" in cause:
        return ClusterUnavailable(
            "Velodrome must be installed on every node of the cluster",
            last_line(cause),
            "install this version of it in the environment that `ray start` runs in",
        )
    return ClusterUnavailable("the coordinator must live", last_line(cause) or type(error).__name__)


def last_line(text: str) -> str:
    """The last line of a traceback of Ray's, without a terminal's colours; empty where there is none."""
    lines = _COLOUR.sub("", text).strip().splitlines()
    return lines[-1].strip() if lines else ""
