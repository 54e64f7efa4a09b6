"""The same trials in the ways that people run them today. Each way is a process of its own:

    python -m benchmarks.rivals WAY --trials N --steps S --lanes L [--seed 0]

`bare`: a pool of processes that only train. `optuna`: one process a core on one Optuna study (journal file).
`tune`: Ray Tune with OptunaSearch on plain functions, actors reused. `trainer`: Ray's documented way, Tune
with one `TorchTrainer.fit()` a trial. `start`: `ray.init` and one empty Ray Train fit. All of them train by
`benchmarks.work.burn`, on one thread, and note when each trial's training began and ended.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from typing import TypedDict

from benchmarks.work import EPOCHS, burn, import_libraries, stamp

TRAIN_ENV = {"RAY_TRAIN_V2_ENABLED": "1", "PYTHONWARNINGS": "ignore"}


class TrialConfig(TypedDict, total=False):
    """What Tune gives a trial; `storage` and `stamps` where it fits by a trainer of its own."""

    x: float
    steps: int
    storage: str
    stamps: str


def train_trial(steps: int) -> float:
    """One trial, as every way trains it."""
    stamp("begin")
    for _ in range(EPOCHS):
        burn(steps // EPOCHS)
    stamp("end")
    return 0.5


def with_pool(trials: int, steps: int, lanes: int) -> None:
    """A pool of processes."""
    with multiprocessing.get_context("spawn").Pool(lanes) as pool:
        pool.map(burn, [100] * lanes * 2)  # torch is loaded now
        pool.map(train_trial, [steps] * trials, chunksize=1)


def with_optuna(trials: int, steps: int, lanes: int) -> None:
    """One study in a journal file, one process a core."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_optimize, args=(f"{folder}/journal.log", trials, steps))
            for _ in range(lanes)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def _optimize(path: str, trials: int, steps: int) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(path)),
        study_name="bench",
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        """Trains nothing, for as long as a trial takes."""
        x: float = trial.suggest_float("x", 0.0, 1.0)
        import_libraries()
        stamp("begin")
        for epoch in range(EPOCHS):
            burn(steps // EPOCHS)
            trial.report(x, epoch)
        stamp("end")
        return x

    wanted = (TrialState.COMPLETE, TrialState.RUNNING)
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=wanted)])


def _init_ray(lanes: int) -> None:
    import ray

    env = {name: os.environ[name] for name in ("BENCHMARK_STAMPS", "OMP_NUM_THREADS") if name in os.environ}
    ray.init(
        address="local", num_cpus=lanes, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {**TRAIN_ENV, **env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )  # fmt: skip


def _objective(config: TrialConfig) -> None:
    from ray import tune

    import_libraries()
    stamp("begin")
    for _ in range(EPOCHS):
        burn(config["steps"] // EPOCHS)
        tune.report({"score": config["x"]})
    stamp("end")


def with_tune(trials: int, steps: int, lanes: int) -> None:
    """Tune and OptunaSearch on a plain function, actors reused."""
    _init_ray(lanes)
    _run_tuner(_objective, trials, steps, lanes, reuse=True)


def _run_tuner(
    function: Callable[[TrialConfig], None], trials: int, steps: int, lanes: int, *, reuse: bool
) -> None:
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(metric="score", mode="max", sampler=optuna.samplers.RandomSampler())
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(function, {"cpu": 1.0 if reuse else 0.01}),
            param_space={"x": tune.uniform(0.0, 1.0), "steps": steps},
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=trials, max_concurrent_trials=lanes, reuse_actors=reuse,
                metric="score", mode="max",
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )  # fmt: skip
        tuner.fit()


def _train_loop(config: TrialConfig) -> None:
    import ray.train

    import_libraries()
    stamp("begin")
    for _ in range(EPOCHS):
        burn(config["steps"] // EPOCHS)
    stamp("end")
    ray.train.report({"score": config["x"]})


def _fit_once(config: TrialConfig) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    name = f"fit-{config['x']}"
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=dict(config),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.99}),
        run_config=RunConfig(name=name, storage_path=config["storage"], callbacks=[TuneReportCallback()]),
    )
    trainer.fit()


def with_trainer(trials: int, steps: int, lanes: int) -> None:
    """Ray's documented way: a driver function a trial, which runs a `TorchTrainer` of its own."""
    _init_ray(lanes)
    with tempfile.TemporaryDirectory() as folder:

        def train_one(config: TrialConfig) -> None:
            _fit_once({**config, "storage": folder})

        _run_tuner(train_one, trials, steps, lanes, reuse=False)


def with_empty_fit(trials: int, steps: int, lanes: int) -> None:
    """`ray.init` with its defaults and one Ray Train fit of as many workers, whose function only notes."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(address="local", log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        TorchTrainer(
            _train_nothing,
            train_loop_config={"stamps": os.environ.get("BENCHMARK_STAMPS", "")},
            scaling_config=ScalingConfig(num_workers=lanes),
            run_config=RunConfig(name="empty", storage_path=folder),
        ).fit()


def _train_nothing(config: TrialConfig) -> None:
    os.environ["BENCHMARK_STAMPS"] = config["stamps"]
    stamp("begin")
    stamp("end")


WAYS: dict[str, Callable[[int, int, int], None]] = {
    "bare": with_pool,
    "optuna": with_optuna,
    "tune": with_tune,
    "trainer": with_trainer,
    "start": with_empty_fit,
}


def main() -> None:
    """One way."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("way", choices=sorted(WAYS))
    made.add_argument("--trials", type=int, default=1)
    made.add_argument("--steps", type=int, default=5)
    made.add_argument("--lanes", type=int, default=2)
    options = made.parse_args()
    WAYS[options.way](options.trials, options.steps, options.lanes)


if __name__ == "__main__":
    main()
