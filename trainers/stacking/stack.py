"""A stack: members whose weights are stacked, and the steps that they make together.

Shape legend: F rows (members, and copies that fill the width up), B examples of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainers.errors import NotFinite
from trainers.loop.attempt import Attempt
from trainers.loop.stepper import require_finite
from trainers.stacking.optimizer import KINDS, StackedOptimizer
from trainers.stacking.program import StackedProgram
from trainers.stacking.seats import HasLeft, Seat, fit_width
from trainers.stacking.stack_feed import StackFeed
from trainers.stacking.weights import StackedTensors, lay_out, tie_buffers, tie_parameters, untie

_LOOK_S = 0.25  # between two looks at the clock's and the surroundings' wishes


class Stack:
    """Rows of weights and what trains them.

    Attributes:
        rows: whose each is; the last may stand for copies that nobody reads.
    """

    def __init__(self, first: Attempt, most: int) -> None:
        """Nobody is in yet.

        Args:
            first: any member: of its structure are all.
            most: rows at most.
        """
        self._like, self._most = first, most
        self._feed = StackFeed(first)
        self.rows: list[Seat] = []
        self._unused: frozenset[str] = frozenset()
        self._optimizer = StackedOptimizer((), first.device)
        self._programs: dict[bool, StackedProgram] = {}
        self._lay_out()

    def _lay_out(self) -> None:
        module = self._like.module
        named = dict(module.named_parameters())
        trained = {n: p for n, p in named.items() if p.requires_grad and n not in self._unused}
        state = module.state_dict(keep_vars=True)
        buffers = {name: buffer for name, buffer in module.named_buffers() if name in state}
        frozen = {name: parameter for name, parameter in named.items() if name not in trained}
        self._weights = StackedTensors(lay_out(trained), trained)
        self._frozen = StackedTensors(lay_out(frozen, joint=-1), frozen)
        self._buffers = StackedTensors(lay_out(buffers, joint=-1), buffers)
        self._stacked = (self._weights, self._frozen, self._buffers)
        self._programs.clear()

    # -- members come and go -------------------------------------------------------------------------------

    def set_members(self, seats: Sequence[Seat]) -> None:
        """Makes these the members, in the rows that they have, or that others have left, where it can be."""
        width = fit_width(len(seats), self._most)
        placed = self._place(seats) if width == len(self.rows) else None
        if placed is None:
            self._rebuild(sorted(seats, key=lambda seat: KINDS[seat.params["optimizer"]]), width)
        elif placed != self.rows:
            for row, seat in enumerate(placed):
                if seat is not self.rows[row]:
                    self._write(row, seat)
            self.rows = placed
            self._bind()

    def _place(self, seats: Sequence[Seat]) -> list[Seat] | None:
        """The rows with newcomers where others of their kind of optimizer were; None: that cannot be."""
        rows = list(self.rows)
        seen = {id(seat): row for row, seat in reversed(list(enumerate(rows)))}
        wanted = {id(seat) for seat in seats}
        free = [row for row, seat in enumerate(rows) if id(seat) not in wanted or seen[id(seat)] != row]
        for seat in seats:
            if id(seat) in seen:
                continue
            kind = KINDS[seat.params["optimizer"]]
            row = next((row for row in free if KINDS[rows[row].params["optimizer"]] == kind), None)
            if row is None:
                return None
            rows[row] = seat
            free.remove(row)
        return rows

    def _rebuild(self, seats: Sequence[Seat], width: int) -> None:
        rows = [*seats, *[seats[-1]] * (width - len(seats))]
        former = {id(seat): row for row, seat in reversed(list(enumerate(self.rows)))}
        if self.rows:
            order = torch.tensor([former.get(id(seat), 0) for seat in rows], device=self._like.device)
            for stacked in self._stacked:
                stacked.reorder(order)
            self._optimizer.reorder(order)
        else:
            for stacked in self._stacked:
                stacked.allocate(width)
            self._optimizer = StackedOptimizer(self._weights.blocks, self._like.device)
        self._optimizer.set_members([seat.params for seat in rows])
        self.rows = rows
        for row, seat in enumerate(rows):
            if id(seat) not in former:
                self._write(row, seat)
        self._bind()

    def _write(self, row: int, seat: Seat) -> None:
        """A newcomer's weights, buffers and moments into a row."""
        module = seat.attempt.module
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for stacked in self._stacked:
            stacked.write(row, [named[place.name] for place in stacked.places])
        self._optimizer.clear(row)
        if seat.attempt.has_stepper:
            (optimizer,) = seat.attempt.stepper.optimizers.values()
            for name, blocks in self._optimizer.moments(seat.params).items():
                for place in self._weights.places:
                    kept = optimizer.state.get(named[place.name], {}).get(name)
                    if kept is not None:
                        place.view(blocks[place.block][row]).copy_(kept)

    def _bind(self) -> None:
        """Members' modules become views of their rows, and the stacked tensors what the program is given."""
        self._optimizer.set_members([seat.params for seat in self.rows])
        bound: set[int] = set()
        for row, seat in enumerate(self.rows):
            if id(seat) in bound or seat.is_over:
                continue
            bound.add(id(seat))
            tie_parameters(seat.attempt.module, self._weights, row)
            tie_parameters(seat.attempt.module, self._frozen, row)
            tie_buffers(seat.attempt.module, self._buffers, row)
            seat.attempt.before_save = partial(self.show_moments, seat)
        self._leaves = self._weights.leaves(gradients=True)
        self._rest = [*self._frozen.leaves(gradients=False), *self._buffers.leaves(gradients=False)]
        draws = any(seat.params.get("dropout", 0.0) > 0 for seat in self.rows)
        if draws not in self._programs:
            like = self._like
            made = StackedProgram(like.job.family, like.job.params, like.state, like.module, draws)
            names = [[place.name for place in stacked.places] for stacked in self._stacked]
            made.bind(names[0], [*names[1], *names[2]])
            self._programs[draws] = made
        self.program = self._programs[draws]
        self.program.set_members([seat.params for seat in self.rows])
        if self.program.calls is not None:
            own = [None if seat.is_over or self.row_of(seat) != row else seat.attempt.chance
                   for row, seat in enumerate(self.rows)]  # fmt: skip
            rates = [float(seat.params.get("dropout", 0.0)) for seat in self.rows]
            self.program.calls.set_members(rates, own)

    def row_of(self, seat: Seat) -> int:
        """The member's row."""
        return next(row for row, one in enumerate(self.rows) if one is seat)

    def rows_of(self, seats: Sequence[Seat]) -> list[int]:
        """The members' rows."""
        known = {id(seat): row for row, seat in reversed(list(enumerate(self.rows)))}
        return [known[id(seat)] for seat in seats]

    def show_moments(self, seat: Seat) -> None:
        """Puts what the member's optimizer would know by itself into it: views of the member's row."""
        row, step = self.row_of(seat), float(seat.attempt.progress.step)
        (optimizer,) = seat.attempt.stepper.optimizers.values()
        named = dict(seat.attempt.module.named_parameters())
        moments = self._optimizer.moments(seat.params)
        for place in self._weights.places:
            state = {name: place.view(blocks[place.block][row]) for name, blocks in moments.items()}
            if seat.params["optimizer"] != "sgd":
                state["step"] = torch.tensor(step)
            optimizer.state[named[place.name]] = state

    def release(self, seat: Seat) -> None:
        """Gives a member that goes on by itself its own memory."""
        if any(one is seat for one in self.rows):
            self.show_moments(seat)
            untie(seat.attempt.module)
            (optimizer,) = seat.attempt.stepper.optimizers.values()
            for state in optimizer.state.values():
                state.update({name: value.clone() for name, value in state.items()})
            gone = replace(seat, failure=HasLeft())
            self.rows = [gone if one is seat else one for one in self.rows]
        seat.attempt.before_save = _nothing

    def close(self) -> None:
        """Nobody is in any more."""
        self.rows = []

    @property
    def tensors(self) -> list[Tensor]:
        """What the program is given, [F, …] each."""
        return [*(leaf.detach() for leaf in self._leaves), *self._rest]

    def rehearse(self) -> None:
        """Finds out whether the members can be stacked, and which parameters no loss depends on: torch's
        optimizers leave those alone. Nothing is changed by it.

        Raises:
            Exception: whatever their module, loss or data have against it.
        """
        seats = list({id(seat): seat for seat in self.rows}.values())
        chances = [(seat.attempt.chance, seat.attempt.generator) for seat in seats]
        states = [[one.get_state() for one in pair if one is not None] for pair in chances]
        buffers = [block.clone() for block in self._buffers.blocks]
        ((positions, *_), _) = next(self._feed.groups(self.rows, 1))
        batch, shared = self._feed.gather(self.rows, positions)
        losses = self.program.losses([*self._leaves, *self._rest], batch, shared)
        found = self.program.gradients(losses, self._leaves)
        for pair, kept in zip(chances, states, strict=True):
            for one, state in zip((one for one in pair if one is not None), kept, strict=True):
                one.set_state(state)
        for block, former in zip(self._buffers.blocks, buffers, strict=True):
            block.copy_(former)
        unused = [place.name for place, g in zip(self._weights.places, found, strict=True) if g is None]
        if unused:
            for seat in seats:
                untie(seat.attempt.module)
            self._unused, self.rows = frozenset(unused), []
            self._lay_out()
            self.set_members(seats)

    # -- steps ---------------------------------------------------------------------------------------------

    def train(self, steps: int) -> None:
        """So many steps of all members, who are as far in their epochs as each other. What becomes of a
        member on the way, a failure or a wish to leave, stands in its seat."""
        live = list({id(seat): seat for seat in self.rows if not seat.is_over}.values())
        for seat in live:
            seat.attempt.begin_window()
        self._plan(steps)
        records: list[Tensor] = []
        counts: list[int] = []
        look_at = time.monotonic() + _LOOK_S
        for at, (group, examples) in enumerate(self._feed.groups(self.rows, steps)):
            try:
                records.append(self._step(at, group, examples))
            except Exception:  # of this step, before any weight was changed: the others count
                self._note(live, records, counts)
                raise
            counts.append(examples)
            if time.monotonic() >= look_at and at < steps - 1:
                self._note(live, records, counts)
                live = [seat for seat in live if not seat.is_over and not seat.attempt.check_between()]
                records, counts, look_at = [], [], time.monotonic() + _LOOK_S
                if not live:
                    return
        self._note(live, records, counts)
        for seat in live:
            seat.attempt.end_window()

    def _plan(self, steps: int) -> None:
        known: dict[tuple[object, ...], npt.NDArray[np.float64]] = {}
        columns = []
        for seat in self.rows:
            attempt, params = seat.attempt, seat.params
            first = attempt.progress.step
            key = (seat.is_over, params["schedule"], params["warmup"], attempt.steps, first)
            if key not in known:
                ahead = () if seat.is_over else range(first, min(first + steps, attempt.steps))
                factors = [attempt.rate(step) for step in ahead]
                known[key] = np.array([*factors, *[0.0] * (steps - len(factors))])
            columns.append(float(params["learning_rate"]) * known[key])
        self._rates = np.stack(columns, axis=1)
        self._optimizer.plan(self._rates, [seat.attempt.progress.step for seat in self.rows])
        self._planned = [seat.attempt.progress.step for seat in self.rows]

    def _step(self, at: int, group: Sequence[Tensor], examples: int) -> Tensor:
        """One step; the losses and the largest gradients, [2, F]."""
        total, losses = None, None
        for positions in group:
            batch, shared = self._feed.gather(self.rows, positions)
            weight = positions.shape[1] / examples
            found = self.program.losses([*self._leaves, *self._rest], batch, shared)
            own = self._gradients(found if weight == 1.0 else found * weight)
            part = found.detach().float() * weight
            losses = part if losses is None else losses + part
            total = own if total is None else [a.add_(b) for a, b in zip(total, own, strict=True)]
        assert total is not None
        assert losses is not None
        peaks = self._optimizer.step(at, self._weights.blocks, total)
        return torch.stack([losses, peaks])

    def _gradients(self, losses: Tensor) -> list[Tensor]:
        found = self.program.gradients(losses, self._leaves)
        return self._weights.join_gradients([gradient for gradient in found if gradient is not None])

    def _note(self, live: Sequence[Seat], records: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Tells attempts of the steps that were made, and finds those that have gone astray."""
        if not records:
            return
        losses, peaks = torch.stack(list(records)).double().cpu().numpy().transpose(1, 0, 2)
        bad = ~(np.isfinite(losses) & np.isfinite(peaks))
        sums = (losses * np.array(counts)[:, None]).sum(0)
        for seat, row in zip(live, self.rows_of(live), strict=True):
            made = seat.attempt.progress.step - self._planned[row] + len(records)
            seat.attempt.last_rate = float(self._rates[made - 1, row])
            if bad[:, row].any():
                first = int(bad[:, row].argmax())
                seat.failure = _describe(seat.attempt, first, losses[first, row], peaks[first, row])
            else:
                seat.attempt.note_steps(len(records), float(sums[row]), sum(counts))


def _nothing() -> None:
    """Before a checkpoint of an attempt that makes its own steps."""


def _describe(attempt: Attempt, after: int, loss: float, peak: float) -> NotFinite:
    progress = attempt.progress
    try:
        require_finite("the loss", loss)
        require_finite("the norm of the gradient", peak)
    except NotFinite as error:
        where = f"{error.found} at epoch {progress.reports + 1}, step {progress.step + after + 1}"
        return NotFinite(error.must, where, error.do)
    raise AssertionError("one of the two is not finite")
