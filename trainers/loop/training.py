"""The training loop of all families: from a job and encoded data to an outcome.

Knows nothing of where it runs. It seeds, builds, trains, evaluates, reports, keeps the best weights, stops
in time, and writes checkpoints from which an attempt goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

import torch

from trainers.data.dataset import EncodedDataset, Part
from trainers.errors import NotFinite
from trainers.flops import answer_flops, training_flops
from trainers.job import Hooks, Job, Outcome
from trainers.loop import checkpoint, parallel, randomness
from trainers.loop.collectives import RankGroup
from trainers.loop.evaluation import evaluate, latency_ms
from trainers.loop.facts import FACTS, model_facts
from trainers.loop.memory import catch_out_of_memory, restart_peak
from trainers.loop.micro_batches import MicroBatch, MicroBatchFeed, PartSources
from trainers.loop.progress import TrainingProgress, drop_not_finite, goal_value, plan_steps
from trainers.loop.stepper import Stepper
from trainers.optim.initialisation import initialise_weights
from trainers.optim.schedules import make_schedule
from trainers.samples.writing import samples_now, write_samples
from trainers.tasks.example_scores import ExampleScores
from trainers.types import Document, ExampleSource, JsonObject

Made = TypeVar("Made")
Status = Literal["complete", "pruned", "stopped"]
_LOOK_S = 0.25  # between two looks at the clock's and the surroundings' wishes within an epoch


def train(job: Job, encoded: EncodedDataset, hooks: Hooks) -> Outcome:
    """Trains one attempt, from its newest checkpoint if there is one.

    With `job.ranks.world_size` > 1 every rank calls this, and the default process group spans exactly them.
    What the process had (flags, threads, states of random generators) is given back at the end.
    """
    job = replace(job, params={**job.family.fixed, **job.params})
    with randomness.fix_torch_flags(job.threads), catch_out_of_memory(job.device):
        attempt = _Attempt(job, encoded, hooks)
        try:
            return attempt.run()
        finally:
            # hooks of an optimizer lead back to it: what it knows of each weight must not wait for gc
            attempt.stepper.optimizers.clear()


class _Attempt:
    """One call of `train`: what it is made of, and the turns that it takes."""

    def __init__(self, job: Job, encoded: EncodedDataset, hooks: Hooks) -> None:
        self.job, self.hooks, self.state = job, hooks, encoded.state
        self.device = torch.device(job.device)
        self.crew = RankGroup(job.ranks, self.device)
        self.parts = PartSources(encoded, job.device)
        self.feed = MicroBatchFeed(self.parts["train"], job.params, job.seed, job.ranks)
        self.steps, self.report_every = plan_steps(job.length, self.feed.steps_per_epoch)
        self.module = self._build_module()
        self.through = (
            parallel.shard_module(job.family, self.module, self.device) if self.crew.sharded else None
        )
        self.generator = torch.Generator(self.device)
        self._seed_rank()
        self.stepper = Stepper(
            job.family, self.module, job.params, self.state, self.crew, self.generator, self.through
        )
        self.rate = make_schedule(job.params["schedule"], self.steps, job.params["warmup"])
        self.progress = TrainingProgress()
        self.kept: dict[str, torch.Tensor] = {}
        self.identity = checkpoint.checkpoint_identity(job, self.module, encoded.fingerprint, self.steps)
        self.ticks = 0

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

    def run(self) -> Outcome:
        restart_peak(self.device)
        self._resume()
        self._clock = self._saved_at = time.monotonic()
        self._looked, self._look_step = (self._clock, self.progress.step), self.progress.step + 1
        groups = self.feed.groups(self.progress.step)
        finished = self.progress.step >= self.steps
        while not finished:
            if self._train_to_report(groups):
                return self._outcome("stopped")
            go_on, ended, stop, save = self._report()
            finished = bool(ended)
            if not go_on:
                return self._outcome("pruned")
            if not finished and (stop or save):
                self._save()
            if not finished and stop:
                return self._outcome("stopped")
        return self._outcome("complete")

    def _train_to_report(self, groups: Iterator[list[MicroBatch]]) -> bool:
        """Trains up to the next report. True: asked to leave, and a checkpoint is written."""
        progress = self.progress
        target = min((progress.step // self.report_every + 1) * self.report_every, self.steps)
        started = time.monotonic()
        self._window_started = started - progress.window.seconds
        while progress.step < target:
            self._step(next(groups))
            if self._is_check_due() and progress.step < target and self._check_between():
                return True
        progress.window.seconds = time.monotonic() - self._window_started
        return False

    def _step(self, group: list[MicroBatch]) -> None:
        progress, window = self.progress, self.progress.window
        self.stepper.set_rate(self.rate(progress.step))
        try:
            losses, shown = self.stepper.step(group, self.feed.source)
        except NotFinite as error:
            where = f"{error.found} at epoch {progress.reports + 1}, step {progress.step + 1}"
            raise NotFinite(error.must, where, error.do)
        progress.step += 1
        window.losses += losses
        window.examples += sum(micro.examples for micro in group)
        if shown:
            window.add_numbers(shown)
        self._report_alive()

    def _is_check_due(self) -> bool:
        if self.crew.alone:
            return time.monotonic() >= self._looked[0] + _LOOK_S
        return self.progress.step >= self._look_step

    def _check_between(self) -> bool:
        """Between reports: a checkpoint if one is due. True: asked to leave, after writing one."""
        now, step = time.monotonic(), self.progress.step
        pace = (now - self._looked[0]) / max(1, step - self._looked[1])
        ahead = max(1, min(1000, int(_LOOK_S / max(pace, 1e-6))))
        wishes = (self.crew.first and self.hooks.stopping(), self._is_save_due(now), ahead)
        stop, save, ahead = self.crew.broadcast(*wishes)
        self._looked, self._look_step = (now, step), step + ahead
        if stop or save:
            self.progress.window.seconds = now - self._window_started
            self._save()
        return bool(stop)

    def _report(self) -> tuple[int, ...]:
        """Evaluates, keeps what is better, reports. (go on, finished, stop, save), by rank 0."""
        job, progress = self.job, self.progress
        metrics = {**self._train_metrics(), **self._evaluate_part("validation", "val")}
        metrics |= self._facts_for_goals()
        for goal in job.goals:
            goal_value(metrics, goal)
        better = progress.record_report(metrics, job.goals[0], job.length, job.at)
        self._show_samples()
        self._count_time()
        finished = progress.is_finished(job.length, self.steps)
        if better and (job.at == "best" or finished):  # the last ones stand in the module until then
            self.kept = parallel.copy_weights(self.module, self.kept)
        go_on = not self.crew.first or self.hooks.report(progress.reports, drop_not_finite(metrics))
        stop = self.crew.first and not finished and self.hooks.stopping()
        return self.crew.broadcast(go_on, finished, stop, self._is_save_due(time.monotonic(), reported=True))

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
        loss = {} if self.stepper.own else {"train/loss": losses / examples}
        figures = {
            "train/learning_rate": self.stepper.rate,
            "train/epoch_seconds": window.seconds,
            "train/examples_per_second": examples / max(window.seconds, 1e-9),
        }
        self.progress.window = type(window)()
        return {**loss, **own, **figures}

    def _evaluate_test(self) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """The metrics of the test part and its examples' own scores, by one reading."""
        singly = ExampleScores(self.job.family.rules(self.state), self.device)
        metrics = self._evaluate_part("test", "test", singly)
        return metrics, singly.compute({name.removeprefix("test/"): v for name, v in metrics.items()})

    def _evaluate_part(
        self, part: Part, prefix: str, singly: ExampleScores | None = None
    ) -> dict[str, float]:
        self.crew.broadcast_buffers(self.module)
        values = evaluate(
            self.job.family,
            self.module,
            self.parts[part],
            self.state,
            batch_size=max(32, 4 * self.feed.batch_size),
            ranks=self.job.ranks,
            alive=self._report_alive,
            singly=singly,
            through=self._call,
        )
        return {f"{prefix}/{name}": value for name, value in values.items()}

    def _facts_for_goals(self) -> dict[str, float]:
        asked = {goal.metric.removeprefix("val/") for goal in self.job.goals}
        known = self._facts() if asked & FACTS else {}
        if "flops" in asked:
            known |= self._count_answer(self.parts["validation"])
        if "latency_ms" in asked:
            known["latency_ms"] = self._latency_ms(self.parts["validation"])
        return {name: value for name, value in known.items() if name in asked}

    def _facts(self) -> dict[str, float]:
        return model_facts(self.module, self.progress.seconds, self.device)

    def _count_answer(self, source: ExampleSource) -> dict[str, float]:
        """Nothing where weights are sharded: a part alone cannot be counted."""
        found = None if self.crew.sharded else answer_flops(self.job.family, self.module, source)
        return {} if found is None else {"flops": found}

    def _count_training(self, source: ExampleSource) -> dict[str, float]:
        """Of all steps so far."""
        job = self.job
        if self.crew.sharded:
            return {}
        each = training_flops(job.family, self.module, source, job.params, self.state)
        epochs = self.progress.step / self.feed.steps_per_epoch
        return {} if each is None else {"train_flops": each * epochs * len(source)}

    def _latency_ms(self, source: ExampleSource) -> float:
        return latency_ms(self.job.family, self.module, source, self._call)

    def _report_alive(self) -> None:
        self.ticks += 1
        self.hooks.alive(self.ticks)

    def _count_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = now

    # -- checkpoints ---------------------------------------------------------------------------------------

    def _is_save_due(self, now: float, reported: bool = False) -> bool:
        job = self.job
        every = job.checkpoint_epochs
        by_epochs = reported and every is not None and self.progress.reports % every == 0
        seconds = job.checkpoint_seconds
        return by_epochs or (seconds is not None and now - self._saved_at >= seconds)

    def _save(self) -> None:
        self._count_time()
        states = randomness.capture_state(self.generator)
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
        loaded = self.hooks.load()
        at = -1 if loaded is None else int(loaded[1]["progress"]["step"])
        self.crew.require_same(at, "step")
        if loaded is not None:
            checkpoint.refuse_other(self.identity, loaded[1].get("identity", {}))
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
        randomness.restore_state(states, self.generator)

    # -- the end -------------------------------------------------------------------------------------------

    def _outcome(self, status: Status) -> Outcome:
        self._count_time()
        job, progress = self.job, self.progress
        complete = status == "complete"
        if complete:
            parallel.restore_weights(self.module, self.kept)
        metrics, facts = dict(progress.kept), self._facts()  # of the kept module, which may be the smaller
        test_scores: dict[str, torch.Tensor] = {}
        if complete and job.read_test:
            tested, test_scores = self._evaluate_test()
            metrics |= tested
        if complete:
            source = self.feed.source
            facts |= {**self._count_answer(source), **self._count_training(source)}
            facts["latency_ms"] = self._latency_ms(source)
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
