"""The training loop of all families: from a job and encoded data to an outcome. Knows nothing of where it
runs."""

from __future__ import annotations

from dataclasses import replace

from trainers.data.dataset import EncodedDataset
from trainers.job import Hooks, Job, Outcome
from trainers.loop import randomness
from trainers.loop.attempt import Attempt
from trainers.loop.memory import catch_out_of_memory, restart_peak


def train(job: Job, encoded: EncodedDataset, hooks: Hooks) -> Outcome:
    """Trains one attempt, from its newest checkpoint if there is one.

    With `job.ranks.world_size` > 1 every rank calls this, and the default process group spans exactly them.
    What the process had (flags, threads, states of random generators) is given back at the end.
    """
    with randomness.fix_torch_flags(job.threads), catch_out_of_memory(job.device):
        attempt = Attempt(complete_job(job), encoded, hooks)
        restart_peak(attempt.device)
        attempt.start()
        try:
            while attempt.status is None:
                attempt.train_to_report()
                if attempt.status is None:
                    attempt.report(attempt.compose_report(attempt.evaluate_part("validation")))
            return attempt.outcome()
        finally:
            attempt.close()


def complete_job(job: Job) -> Job:
    """The job with the hyper-parameters that its family decides."""
    return replace(job, params={**job.family.fixed, **job.params})
