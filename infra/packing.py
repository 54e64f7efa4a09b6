"""What of a folder never travels to a cluster: secrets, and what Velodrome itself keeps there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infra.home import Home
from trainers.user_paths import expand_user

# As .gitignore has them: below the folder, at any depth.
SECRET_FILES = (
    ".env", ".env.*", ".netrc", ".pgpass", ".git-credentials", ".ssh/", ".aws/", ".kube/", ".docker/",
    ".mlflow/", ".ray/", ".gnupg/", "ray_token", "id_rsa", "id_ecdsa", "id_ed25519", "*.pem",
)  # fmt: skip
# Files that hold a secret by what they are for.
NAMED_BY = ("RAY_AUTH_TOKEN_PATH", "VELODROME_KEY_FILE", "PGPASSFILE")


def excluded_files(folder: Path, home: Home, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Patterns for Ray's `excludes`: a folder that travels lies in Ray's memory and on each node's disk.

    Args:
        folder: the one that travels.
        home: Velodrome's own, which is no code and grows.
    """
    named = [environ[name] for name in NAMED_BY if environ.get(name)]
    own = [str(home.path), *named]
    root = folder.resolve()
    inside = [expand_user(path).resolve() for path in own]
    return [
        *SECRET_FILES,
        ".velodrome/",
        *(
            f"/{path.relative_to(root).as_posix()}"
            for path in inside
            if path.is_relative_to(root) and path != root
        ),
    ]
