"""One attempt at a trial: what it is made of, and all that happens around its steps.

It seeds, builds, reports, keeps the best weights, stops in time, and writes checkpoints from which it goes on
as if it had never stopped. Who makes its steps, itself or a stack that it is a member of, changes none of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Literal, TypeVar

import torch

from trainers.data.dataset import EncodedDataset, Part
from trainers.errors import NotFinite
from trainers.flops import answer_flops, training_flops
from trainers.job import Hooks, Job, Outcome
from trainers.loop import checkpoint, parallel, randomness
from trainers.loop.collectives import RankGroup
from trainers.loop.energy import read_energy, require_energy
from trainers.loop.evaluation import evaluate, latency_ms
from trainers.loop.facts import model_facts, spent_facts
from trainers.loop.micro_batches import MicroBatch, MicroBatchFeed, PartSources
from trainers.loop.privacy_spent import spent_epsilon
from trainers.loop.private_stepper import PrivateStepper, sample_rate
from trainers.loop.progress import TrainingProgress, drop_not_finite, goal_value, plan_steps
from trainers.loop.stepper import Stepper, own_steps
from trainers.metric_names import FOR_ALL, SPENT
from trainers.optim.initialisation import initialise_weights
from trainers.optim.schedules import make_schedule
from trainers.samples.writing import samples_now, write_samples
from trainers.tasks.example_scores import ExampleScores
from trainers.types import Document, ExampleSource, JsonObject

Made = TypeVar("Made")
Status = Literal["complete", "pruned", "stopped"]
_LOOK_S = 0.25  # between two looks at the clock's and the surroundings' wishes within an epoch


class Attempt:
    """A trial from its newest checkpoint, if any, to its end, turn by turn: `start`, then steps up to
    the next report, an evaluation and the report, until `status` says how it ended.

    Attributes:
        chance: stands for torch's own generator while the process's is that of others too; None: it is this
            attempt's alone.
        cost: measures a finished model, as `measure_cost` does.
    """

    def __init__(
        self,
        job: Job,
        encoded: EncodedDataset,
        hooks: Hooks,
        *,
        parts: PartSources | None = None,
        clock: Callable[[], float] = time.monotonic,
        energy: Callable[[], float | None] = read_energy,
    ) -> None:
        """Draws the weights.

        Args:
            job: with what its family decides.
            encoded: the data.
            hooks: the surroundings.
            parts: the data's parts, where others have opened them.
            clock: what the attempt's seconds are told by.
            energy: what its joules are told by.
        """
        self.job, self.hooks, self.state = job, hooks, encoded.state
        self.device = torch.device(job.device)
        self.crew = RankGroup(job.ranks, self.device)
        self.parts = parts or PartSources(encoded, job.device)
        self.feed = MicroBatchFeed(self.parts["train"], job.params, job.seed, job.ranks)
        self.steps, self.report_every = plan_steps(job.length, self.feed.steps_per_epoch)
        self.module = self._build_module()
        self.through = (
            parallel.shard_module(job.family, self.module, self.device) if self.crew.sharded else None
        )
        self.generator = torch.Generator(self.device)
        self._seed_rank()
        self.rate = make_schedule(job.params["schedule"], self.steps, job.params["warmup"])
        self.last_rate = float(job.params["learning_rate"])
        self.progress = TrainingProgress()
        self.kept: dict[str, torch.Tensor] = {}
        self.status: Status | None = None
        self.chance: torch.Generator | None = None
        self.cost: Callable[[], dict[str, float]] = self.measure_cost
        self.ticks = 0
        self.before_save: Callable[[], object] = _nothing
        self._feeding: tuple[int, Iterator[list[MicroBatch]]] | None = None
        self._fingerprint, self._wall, self._energy = encoded.fingerprint, clock, energy
        self._random: dict[str, torch.Tensor] | None = None  # None: as `_seed_rank` leaves it

    @cached_property
    def stepper(self) -> Stepper:
        """What makes the attempt's own steps; not made where others make them."""
        job = self.job
        given = (job.family, self.module, job.params, self.state, self.crew, self.generator)
        if job.family.options.privacy is not None:
            return PrivateStepper(*given, examples=len(self.feed.source))
        return Stepper(*given, self.through)

    @property
    def has_stepper(self) -> bool:
        """Whether it has made steps by itself, or goes on from a checkpoint."""
        return "stepper" in self.__dict__

    @cached_property
    def identity(self) -> JsonObject:
        """What a checkpoint must be of."""
        return checkpoint.checkpoint_identity(self.job, self.module, self._fingerprint, self.steps)

    def _build_module(self) -> torch.nn.Module:
        job = self.job
        randomness.seed_all(job.seed)
        module = job.family.build(self.state, job.params)
        initialise_weights(module, job.params["init"])
        job.family.start(module)
        if self.crew.sharded:  # the parts alone go to the device, one unit after another
            return module.train()
        return module.to(self.device).train()

    def _call(self, call: Callable[[], Made]) -> Made:
        """Calls where the module's weights can be used."""
        return call() if self.through is None else self.through(call)

    def _seed_rank(self) -> None:
        randomness.seed_all(randomness.derive_seed(self.job.seed, 1, self.crew.rank))
        self.generator.manual_seed(randomness.derive_seed(self.job.seed, 2, self.crew.rank))

    # -- turns ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Goes on from the newest checkpoint."""
        self._resume()
        self._clock, self._joules = self._wall(), self._energy()
        self._saved_at = time.monotonic()
        self._looked, self._look_step = (self._saved_at, self.progress.step), self.progress.step + 1
        if self.progress.step >= self.steps:
            self.status = "complete"

    @property
    def target(self) -> int:
        """The step of the next report."""
        return min((self.progress.step // self.report_every + 1) * self.report_every, self.steps)

    def train_to_report(self) -> None:
        """Trains up to the next report by itself; or, asked to leave, writes a checkpoint and is stopped."""
        groups, target = self._groups(), self.target
        self.begin_window()
        while self.progress.step < target:
            self._step(next(groups))
            if self._is_check_due() and self.progress.step < target and self.check_between():
                return
        self._feeding = (self.progress.step, groups)
        self.end_window()

    def _groups(self) -> Iterator[list[MicroBatch]]:
        """The batches from this step on; one iterator as long as nobody else makes steps."""
        if self._feeding is None or self._feeding[0] != self.progress.step:
            self._feeding = (self.progress.step, self.feed.groups(self.progress.step))
        return self._feeding[1]

    def begin_window(self) -> None:
        """The clock of what is trained until the next report starts."""
        self._window_started = self._wall() - self.progress.window.seconds

    def end_window(self) -> None:
        """The clock of what was trained stops."""
        self.progress.window.seconds = self._wall() - self._window_started

    def _step(self, group: list[MicroBatch]) -> None:
        progress = self.progress
        self.stepper.set_rate(self.rate(progress.step))
        self.last_rate = self.stepper.rate
        try:
            losses, shown = self.stepper.step(group, self.feed.source)
        except NotFinite as error:
            where = f"{error.found} at epoch {progress.reports + 1}, step {progress.step + 1}"
            raise NotFinite(error.must, where, error.do)
        if shown:
            progress.window.add_numbers(shown)
        self.note_steps(1, losses, sum(micro.examples for micro in group))

    def note_steps(self, steps: int, losses: float, examples: int) -> None:
        """Takes in steps that were made, with the sum of loss times examples over them."""
        self.progress.step += steps
        self.progress.window.losses += losses
        self.progress.window.examples += examples
        self.ticks += steps
        self.hooks.alive(self.ticks)

    def _is_check_due(self) -> bool:
        if self.crew.alone:
            return time.monotonic() >= self._looked[0] + _LOOK_S
        return self.progress.step >= self._look_step

    def check_between(self) -> bool:
        """Between reports: a checkpoint if one is due. True: asked to leave, after writing one."""
        now, step = time.monotonic(), self.progress.step
        pace = (now - self._looked[0]) / max(1, step - self._looked[1])
        ahead = max(1, min(1000, int(_LOOK_S / max(pace, 1e-6))))
        wishes = (self.crew.first and self.hooks.stopping(), self._is_save_due(now), ahead)
        stop, save, ahead = self.crew.broadcast(*wishes)
        self._looked, self._look_step = (now, step), step + ahead
        if stop or save:
            self.end_window()
            self.save()
        if stop:
            self.status = "stopped"
        return bool(stop)

    def compose_report(self, validation: Mapping[str, float]) -> dict[str, float]:
        """Takes in what was measured on the validation part, keeps what is better; gives what to report."""
        job, progress = self.job, self.progress
        metrics = {**self._train_metrics(), **{f"val/{name}": value for name, value in validation.items()}}
        metrics |= self._facts_for_goals()
        for goal in job.goals:
            goal_value(metrics, goal)
        better = progress.record_report(metrics, job.goals[0], job.length, job.at)
        self._show_samples()
        self._count_time()
        self._finished = progress.is_finished(job.length, self.steps)
        if better and (job.at == "best" or self._finished):  # the last ones stand in the module until then
            self.kept = parallel.copy_weights(self.module, self.kept)
        return drop_not_finite(metrics)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Reports, and does what is answered; `status` then says whether that was the end."""
        on = not self.crew.first or self.hooks.report(self.progress.reports, metrics)
        leave = self.crew.first and not self._finished and self.hooks.stopping()
        due = self._is_save_due(time.monotonic(), reported=True)
        go_on, finished, stop, save = self.crew.broadcast(on, self._finished, leave, due)
        if not go_on:
            self.status = "pruned"
            return
        if finished:
            self.status = "complete"
            return
        if stop or save:
            self.save()
        if stop:
            self.status = "stopped"

    def _show_samples(self) -> None:
        """What a family shows at each report, where it does."""
        job = self.job
        shows = self.crew.first or self.crew.sharded  # one alone cannot call what is sharded
        if job.samples is None or job.family.samples_at != "report" or not shows:
            return
        source = self.parts["validation"]
        made = self._call(partial(samples_now, job.family, self.module, source, self.state, job.params))
        if self.crew.first:
            write_samples(job.samples, made, self.progress.reports)

    # -- figures -------------------------------------------------------------------------------------------

    def _train_metrics(self) -> dict[str, float]:
        window = self.progress.window
        losses, examples = self.crew.sum_over_ranks(window.losses, window.examples)
        own = {f"train/{name}": value for name, value in window.means().items()}
        loss = {} if own_steps(self.job.family) else {"train/loss": losses / examples}
        figures = {
            "train/learning_rate": self.last_rate,
            "train/epoch_seconds": window.seconds,
            "train/examples_per_second": examples / max(window.seconds, 1e-9),
        }
        self.progress.window = type(window)()
        spent = {f"train/{name}": value for name, value in self._privacy_spent().items()}
        return {**loss, **own, **figures, **spent}

    def _evaluate_test(self) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """The metrics of the test part and its examples' own scores, by one reading."""
        singly = ExampleScores(self.job.family.rules(self.state), self.device)
        metrics = self.evaluate_part("test", singly)
        return {f"test/{name}": value for name, value in metrics.items()}, singly.compute(metrics)

    def evaluate_part(self, part: Part, singly: ExampleScores | None = None) -> dict[str, float]:
        """The metrics of one part by name, without a prefix."""
        self.crew.broadcast_buffers(self.module)
        return evaluate(
            self.job.family,
            self.module,
            self.parts[part],
            self.state,
            batch_size=self.judged_at_once,
            ranks=self.job.ranks,
            alive=self.report_alive,
            singly=singly,
            through=self._call,
        )

    @property
    def judged_at_once(self) -> int:
        """Examples of a batch of an evaluation."""
        return max(32, 4 * self.feed.batch_size)

    def _facts_for_goals(self) -> dict[str, float]:
        job = self.job
        asked = {goal.metric.removeprefix("val/") for goal in job.goals}
        require_energy(list(asked))
        known = self._facts() if asked.intersection(FOR_ALL) else {}
        if "flops" in asked:
            known |= self._count_answer(self.parts["validation"])
        if "train_flops" in asked:
            known |= self._count_training()
        if "latency_ms" in asked:
            known["latency_ms"] = latency_ms(job.family, self.module, self.parts["validation"], self._call)
        return {name: value for name, value in known.items() if name in asked}

    def _facts(self) -> dict[str, float]:
        self._count_time()
        progress = self.progress
        joules = None if self._joules is None else progress.joules
        spent = spent_facts(progress.seconds, joules, self.job.per_second)
        return {**model_facts(self.module, self.device), **spent, **self._privacy_spent()}

    def _privacy_spent(self) -> dict[str, float]:
        """By all steps so far: those that are made again after a kill are the same ones."""
        job, privacy = self.job, self.job.family.options.privacy
        if privacy is None:
            return {}
        share = sample_rate(job.params, len(self.feed.source))
        noise = float(job.params["privacy_noise"])
        return {"epsilon": spent_epsilon(noise, share, self.progress.step, privacy.delta)}

    def measure_cost(self) -> dict[str, float]:
        """What every module of its structure costs: milliseconds and FLOPs of an answer, FLOPs of a training
        example (`train_flops`)."""
        source, job = self.feed.source, self.job
        cost = self._count_answer(source)
        if (each := self._example_flops) is not None:
            cost["train_flops"] = each
        return {**cost, "latency_ms": latency_ms(job.family, self.module, source, self._call)}

    @cached_property
    def _example_flops(self) -> float | None:
        """Of one training example; None where weights are sharded, or the family's steps are its own."""
        if self.crew.sharded:
            return None
        job = self.job
        return training_flops(job.family, self.module, self.feed.source, job.params, self.state)

    def _count_answer(self, source: ExampleSource) -> dict[str, float]:
        """Nothing where weights are sharded: a part alone cannot be counted."""
        found = None if self.crew.sharded else answer_flops(self.job.family, self.module, source)
        return {} if found is None else {"flops": found}

    def _count_training(self) -> dict[str, float]:
        """All that training has computed so far; nothing where it cannot be counted."""
        each = self._example_flops
        return {} if each is None else {"train_flops": each * self._examples_seen}

    @property
    def _examples_seen(self) -> float:
        return self.progress.step / self.feed.steps_per_epoch * len(self.feed.source)

    def report_alive(self) -> None:
        """A step, or a batch of an evaluation, was made."""
        self.ticks += 1
        self.hooks.alive(self.ticks)

    def _count_time(self) -> None:
        now, joules = self._wall(), self._energy()
        self.progress.seconds += now - self._clock
        if joules is not None and self._joules is not None:
            self.progress.joules += joules - self._joules
        self._clock, self._joules = now, joules

    # -- checkpoints ---------------------------------------------------------------------------------------

    def _is_save_due(self, now: float, reported: bool = False) -> bool:
        job = self.job
        every = job.checkpoint_epochs
        by_epochs = reported and every is not None and self.progress.reports % every == 0
        seconds = job.checkpoint_seconds
        return by_epochs or (seconds is not None and now - self._saved_at >= seconds)

    def save(self) -> None:
        """Writes a checkpoint."""
        self._count_time()
        self.before_save()
        states = self._random_state()
        tensors = {f"random/{name}": self.crew.gather_rows(state) for name, state in states.items()}
        window = self.progress.window
        counts = torch.tensor([window.losses, float(window.examples)], dtype=torch.float64)
        tensors["window"] = self.crew.gather_rows(counts)
        own, optimizers = checkpoint.pack_model(
            self.module, self.kept, self.stepper.optimizers, keep=self.crew.first
        )
        if self.crew.first:
            progress = self.progress.to_json()
            document: JsonObject = {"identity": self.identity, "progress": progress, "optimizers": optimizers}
            self.hooks.save(tensors | own, document)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        identity = self.identity  # of the weights as they are built: trees grow theirs
        loaded = self.hooks.load()
        at = -1 if loaded is None else int(loaded[1]["progress"]["step"])
        self.crew.require_same(at, "step")
        if loaded is not None:
            checkpoint.refuse_other(identity, loaded[1].get("identity", {}))
            self._restore(*loaded)

    def _restore(self, tensors: Mapping[str, torch.Tensor], document: Document) -> None:
        self.progress = TrainingProgress.from_json(document["progress"])
        losses, examples = tensors["window"][self.crew.rank].tolist()
        self.progress.window.losses, self.progress.window.examples = losses, int(examples)
        optimizers = self.stepper.optimizers
        self.kept = checkpoint.unpack_model(self.module, optimizers, tensors, document["optimizers"])
        # cloned: torch.set_rng_state crashes the process on a tensor that begins within another's storage
        states = {
            n: rows[self.crew.rank].clone() for n, rows in checkpoint.strip_prefix("random", tensors).items()
        }
        self._random = states
        randomness.restore_state(states, self.generator)

    # -- chance --------------------------------------------------------------------------------------------

    def share_process(self) -> None:
        """Takes the state of the process's generators away with it: others are to draw from them."""
        self.chance = torch.Generator()
        self.chance.set_state(torch.get_rng_state())

    def take_process(self) -> None:
        """The inverse: the process's generators are this attempt's again."""
        if self.chance is None:
            return
        if self._random is None:
            randomness.seed_all(randomness.derive_seed(self.job.seed, 1, self.crew.rank))
        else:
            randomness.restore_state(
                {**self._random, "augmentation": self.generator.get_state()}, self.generator
            )
        torch.set_rng_state(self.chance.get_state())

    def _random_state(self) -> dict[str, torch.Tensor]:
        self.take_process()
        return randomness.capture_state(self.generator)

    def close(self) -> None:
        """Lets go of what leads back to it and would wait for gc, as hooks of an optimizer do too."""
        self.cost, self.before_save = dict, _nothing
        if self.has_stepper:
            self.stepper.optimizers.clear()

    # -- the end -------------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """How it ended, `status` being set."""
        assert self.status is not None
        job, progress, status = self.job, self.progress, self.status
        complete = status == "complete"
        if complete:
            parallel.restore_weights(self.module, self.kept)
        metrics, facts = dict(progress.kept), self._facts()  # of the kept module, which may be the smaller
        test_scores: dict[str, torch.Tensor] = {}
        if complete and job.read_test:
            tested, test_scores = self._evaluate_test()
            metrics |= tested
        if complete:
            self.module.zero_grad(set_to_none=True)  # what is measured makes gradients of its own
            facts |= self.cost()
        if "train_flops" in facts:
            facts["train_flops"] *= self._examples_seen
        metrics |= {name: facts[name] for name in SPENT if name in metrics and name in facts}
        here = self.module.state_dict()
        weights = parallel.gather_wholes(self.kept, here, keep=self.crew.first and status != "pruned")
        return Outcome(
            status=status,
            values=tuple(goal_value(metrics, goal) for goal in job.goals) if metrics else (),
            epoch=progress.kept_epoch,
            epochs=progress.reports,
            metrics=metrics,
            weights=weights,
            facts=facts,
            test_scores=test_scores if self.crew.first else {},
        )


def _nothing() -> None:
    """What is done before a checkpoint of an attempt that makes its own steps."""
