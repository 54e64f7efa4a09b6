"""Where things live: `VELODROME_HOME` and the places named by the sweep file or the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import WrongInput
from infra.ray_job import is_job
from infra.spec import SweepSpec
from trainers.user_paths import expand_user

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


@dataclass(frozen=True, slots=True)
class Home:
    """One folder with the embedded defaults: ledger, MLflow's database, artifacts, checkpoints, logs."""

    path: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """`VELODROME_HOME`, or `.velodrome` in the current folder; that of a job goes with it, so there it is
        the one in the user's own folder."""
        usual = "~/.velodrome" if is_job(environ) else ".velodrome"
        return cls(expand_user(environ.get("VELODROME_HOME") or usual).absolute())

    @property
    def ledger_url(self) -> str:
        """The embedded ledger."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    @property
    def mlflow_uri(self) -> str:
        """The embedded MLflow store."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts of the embedded store."""
        return self.path / "artifacts"

    @property
    def storage(self) -> Path:
        """Checkpoints and kept models."""
        return self.path / "storage"

    @property
    def cache(self) -> Path:
        """Decoded and encoded data sets."""
        return self.path / "cache"

    @property
    def latencies(self) -> Path:
        """How fast kept models were, by machine and model."""
        return self.path / "latencies"

    @property
    def logs(self) -> Path:
        """What commands and lanes printed."""
        return self.path / "logs"

    @property
    def outbox(self) -> Path:
        """What has been sent to tracking so far."""
        return self.path / "outbox.db"


def ledger_url(home: Home, written: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The ledger's URL: the sweep file's, `VELODROME_LEDGER`, or the embedded one."""
    from infra.secrets import expand_variables

    return expand_variables(written or environ.get("VELODROME_LEDGER") or home.ledger_url, environ)


def storage_root(home: Home, spec: SweepSpec, environ: Mapping[str, str] = os.environ) -> Path:
    """Where checkpoints and models of a sweep live; of a place in a bucket the folder that mirrors it here
    (`infra.mirror`).

    Raises:
        WrongInput: it is another address: lanes would each write to a folder of that name.
    """
    return storage_place(home, spec.storage, environ)


def storage_place(home: Home, written: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The same for a file's `storage:`, before a specification is made of it."""
    from infra.secrets import expand_variables, redact

    written = written or environ.get("VELODROME_STORAGE")
    if not written:
        return home.storage
    place = expand_variables(written, environ).strip()
    if place.startswith("s3://"):
        from infra.bucket import Bucket
        from infra.mirror import attach, mirror_folder

        url = Bucket.parse(place).url
        return attach(mirror_folder(home.path, url), url)
    if _SCHEME.match(place) and not place.startswith("file:///"):
        raise WrongInput(
            "storage must be a folder that every node sees, or s3://BUCKET/PREFIX",
            redact(place),
            "mount it and name the folder: storage: /mnt/velodrome (or VELODROME_STORAGE)",
        )
    return expand_user(place.removeprefix("file://")).absolute()


def tracking_uri(home: Home, spec: SweepSpec, environ: Mapping[str, str] = os.environ) -> str:
    """MLflow's URI: the sweep file's, `MLFLOW_TRACKING_URI`, or the embedded store."""
    from infra.secrets import expand_variables

    return expand_variables(
        spec.tracking_uri or environ.get("MLFLOW_TRACKING_URI") or home.mlflow_uri, environ
    )
