"""Whether this process is the driver of a Ray job, as `ray job submit` and `velodrome submit` start one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # which Ray sets for the driver of a job


def is_job(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a job's driver has this environment."""
    return JOB_CONFIG in environ


def job_address() -> str | None:
    """The address of the job's own cluster; None where this process is no job's."""
    return "auto" if is_job() else None


def job_has_folder(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the job brought a working directory: Ray merges no second one into it."""
    try:
        config = json.loads(environ.get(JOB_CONFIG, "{}"))
    except ValueError:
        return False
    return bool(isinstance(config, dict) and (config.get("runtime_env") or {}).get("working_dir"))


def path_on_nodes(path: str) -> str:
    """A path as every node of the cluster finds it: below a job's folder, which lies elsewhere on each of
    them, relative to it. Ray begins each worker there."""
    if not job_has_folder() or not Path(path).is_relative_to(Path.cwd()):
        return path
    return str(Path(path).relative_to(Path.cwd()))
