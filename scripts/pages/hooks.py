"""What mkdocs calls while it builds the site: puts the generated parts into their pages.

A page that holds `<!-- generated: NAME -->` gets that part there. Links that lead out of `docs/` lead to the
repository on the site, and stay relative in a checkout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.pages import command_line, python_names, sweep_file

REPOSITORY = "https://github.com/velodrome-project/velodrome/blob/main/"
PARTS: Mapping[str, Callable[[], str]] = {
    "sweep file": sweep_file.render,
    "parameters": sweep_file.render_parameters,
    "commands": command_line.render,
    "python": python_names.render,
}
_MARK = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_context: Any) -> str:
    """The page's text with its generated parts in place."""
    whole = _MARK.sub(lambda found: PARTS[found[1]](), markdown)
    return whole.replace("](../", f"]({REPOSITORY}")
