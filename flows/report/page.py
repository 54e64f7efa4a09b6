"""The page: sections in their order, filled into one template; everything from people is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from flows.report.drawing import Figure
from flows.report.material import Material
from flows.report.sections import sections_of
from flows.report.summary import heading, tiles_of
from flows.terminal.json_results import plain

HERE = "flows.report"


def page_of(material: Material, *, made_at: float | None = None) -> str:
    """The whole page as text; it refers to nothing outside itself."""
    from jinja2 import Environment, StrictUndefined

    sections = sections_of(material)
    figures = _as_json([figure for section in sections for figure in section.figures])
    plotly, script = _plotly(), _resource("page.js")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_resource("page.html.j2"))
    return template.render(
        head=heading(material), tiles=tiles_of(material), sections=sections, figures=figures,
        css=_resource("page.css"), plotly=plotly, script=script, policy=_policy([plotly, script]),
        version=_version(), made=time.strftime("%Y-%m-%d %H:%M", time.localtime(made_at or time.time())),
    )  # fmt: skip


def _as_json(figures: Sequence[Figure]) -> str:
    """JSON that can stand within a script element: nothing in it can end the element or begin another."""
    text = json.dumps(plain([figure.to_json() for figure in figures]), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: Sequence[str]) -> str:
    """Only our two scripts run, whatever else the page may hold, and nothing is loaded from anywhere.

    Plotly compiles the shaders' bindings of its parallel coordinates at run time, hence `unsafe-eval`.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    """Plotly's bundle, as its Python package carries it."""
    return files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8").strip()


def _resource(name: str) -> str:
    return files(HERE).joinpath(name).read_text(encoding="utf-8").strip()


def _version() -> str:
    from trainers.code.versions import installed_versions

    return installed_versions(("velodrome",)).get("velodrome", "(a checkout)")
