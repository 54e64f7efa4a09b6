"""Every command, once: its section of `velodrome --help`, and the module of the function behind it.

The command line, the package `velodrome` and the pages are made from this table. It imports nothing, so that
`import velodrome` costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class CommandSection(NamedTuple):
    """Commands that belong together.

    Attributes:
        title: as `velodrome --help` has it.
        skin: the module of `flows.cli` that has their options.
        places: each command, and the module of its function, in the order of `--help`.
    """

    title: str
    skin: str
    places: dict[str, str]


SECTIONS = (
    CommandSection(
        "Prepare and run",
        "flows.cli.run_commands",
        {
            "new": "flows.sweeps.new",
            "plan": "flows.sweeps.plan",
            "sweep": "flows.sweeps.sweep",
            "submit": "flows.jobs.submit",
            "confirm": "flows.confirmation.confirm",
            "reproduce": "flows.reproduction.reproduce",
        },
    ),
    CommandSection(
        "Look",
        "flows.cli.view_commands",
        {
            "status": "flows.sweeps.views.status",
            "show": "flows.sweeps.views.show",
            "logs": "flows.sweeps.views.logs",
            "compare": "flows.comparison.compare",
            "report": "flows.report",
            "inspect": "flows.inspection.inspect",
            "export": "flows.export.export",
        },
    ),
    CommandSection(
        "Promote",
        "flows.cli.promotion_commands",
        {
            "promote": "flows.promotion.promote",
            "approve": "flows.promotion.approve",
            "rollback": "flows.promotion.rollback",
            "history": "flows.promotion.history",
            "card": "flows.promotion.card",
            "policy": "flows.promotion.policy",
            "adopt": "flows.promotion.adopt",
        },
    ),
    CommandSection(
        "Use",
        "flows.cli.inference_commands",
        {
            "predict": "flows.inference.predict",
            "serve": "flows.inference.serve",
            "drift": "flows.inference.drift",
            "explain": "flows.explanation.explain",
        },
    ),
    CommandSection(
        "Change",
        "flows.cli.change_commands",
        {
            "extend": "flows.sweeps.extend",
            "compress": "flows.compression.compress",
            "retry": "flows.sweeps.retry",
            "stop": "flows.sweeps.stop",
            "remove": "flows.sweeps.remove",
            "gc": "flows.upkeep.gc",
        },
    ),
    CommandSection(
        "This installation",
        "flows.cli.installation_commands",
        {
            "families": "flows.installation.families",
            "schema": "flows.config.schema",
            "doctor": "flows.installation.doctor",
            "ui": "flows.installation.ui",
        },
    ),
)
PLACES = {name: place for section in SECTIONS for name, place in section.places.items()}
