"""MLflow's environment: set once, before it is imported, so that it is quiet, private and impatient."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Only the tracking server's own address is ever asked: it may not send a request on to another, and the
    # addresses that it signs for downloads are anywhere it likes.
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    # The sender backs off by itself: MLflow's own retries would hold it for 247 s at each call, and would
    # sleep as long as a Retry-After says.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}


def set_defaults(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets what people have not set themselves. Must run before mlflow is imported."""
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
