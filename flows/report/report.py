"""`velodrome report`: gathers, draws, writes one file, and keeps it with the sweep's run in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.export.atomic_file import write_atomic
from flows.report.model_importances import importances_file
from flows.report.page import render_page
from flows.report.report_data import ReportData, gather_report_data
from infra.errors import WrongInput
from infra.home import Home
from infra.names import quote_input
from trainers.types import JsonObject
from trainers.user_paths import expand_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A written report.

    Attributes:
        path: the file, absolute.
        run_id: MLflow's run that keeps a copy as `report.html`; None where none does.
        note: why not; empty where one does.
    """

    sweep: str
    path: str
    size_bytes: int
    run_id: str | None
    note: str = ""

    def to_json(self) -> JsonObject:
        """All of it."""
        return {
            "sweep": self.sweep, "path": self.path, "size_bytes": self.size_bytes,
            "mlflow_run_id": self.run_id, "note": self.note or None,
        }  # fmt: skip


def report(
    name: str,
    *,
    out: Path | str | None = None,
    latency: bool = True,
    home: Home | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Writes one page on a sweep that needs nothing but a browser. MLflow gets it with the sweep's run, and
    what the best models answer from with theirs, below `samples`.

    Args:
        name: the sweep's name or its file.
        out: the file; by default `NAME-report.html` in the current folder. What is there is replaced.
        latency: as `compare` takes it.
        say: gets a line when something takes time.

    Raises:
        WrongInput: no such sweep, or no such folder.
        StorageUnavailable: the file cannot be written.
    """
    place = home or Home.from_environment()
    path = _check_out(out) if out is not None else None
    material = gather_report_data(name, place, latency=latency, say=say)
    sweep = material.sweep
    path = path or Path(f"{sweep.label}-report.html").absolute()
    content = render_page(material).encode()
    write_atomic(path, content, "report")
    from infra.tracking.attachments import attach_file

    kept = attach_file(sweep, place, content, "report.html")
    if kept.run_id is not None:
        _attach_importances(material, place)
    return Report(
        sweep=sweep.label, path=str(path), size_bytes=len(content), run_id=kept.run_id, note=kept.trouble
    )


def _attach_importances(material: ReportData, home: Home) -> None:
    from infra.tracking.attachments import attach_file

    for found in material.explained:
        ending, content = importances_file(found)
        if content:
            name, trial = f"importances.{ending}", (found.family, found.number)
            attach_file(material.sweep, home, content, name, trial=trial, folder="samples")


def _check_out(out: Path | str) -> Path:
    text = str(out)
    path = expand_user(text).absolute() if "\0" not in text else Path("\ufffd")
    if "\0" in text or not path.parent.is_dir() or path.is_dir():
        raise WrongInput(
            "--out must be a file in a folder that exists", quote_input(text), "--out digits.html"
        )
    return path
