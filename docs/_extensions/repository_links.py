"""Links that lead out of `docs/`, so that one Markdown file reads well here and on a code host.

`../leaderboards/zn-geant3/README.md` becomes the board's page, `../ARCHITECTURE.md` the site's copy of it; what the
site does not have loses its link and keeps its words.
"""

from __future__ import annotations

import posixpath
import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

PAGES = {
    "README.md": "/index.md",
    "ARCHITECTURE.md": "/generated/architecture.md",
    "CONTRIBUTING.md": "/generated/contributing.md",
}
"""Files of the repository that are pages of the site."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\\[\[\]])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^( *)(```+|~~~+)", re.MULTILINE)


def rewritten(text: str, folder: str, docname: str) -> str:
    """The Markdown of a file in `folder` of the repository, its links as the page `docname` must have them."""
    parts = _outside_of_code(text)
    return "".join(part if code else LINK.sub(lambda link: _link(link, folder, docname), part) for part, code in parts)


def _outside_of_code(text: str) -> list[tuple[str, bool]]:
    """The text in parts, each with whether it is a fenced block."""
    parts, start, inside = [], 0, False
    for fence in FENCE.finditer(text):
        end = text.find("\n", fence.end()) + 1 or len(text)
        cut = end if inside else fence.start()
        parts.append((text[start:cut], inside))
        start, inside = cut, not inside
    return [*parts, (text[start:], inside)]


def _link(link: re.Match[str], folder: str, docname: str) -> str:
    words, target = link[1], link[2]
    path, _, anchor = target.partition("#")
    if "://" in target or not path or path.startswith("/"):
        return link[0]
    place = posixpath.normpath(posixpath.join(folder, path))
    ending = f"#{anchor}" if anchor else ""
    if place.startswith("docs/"):
        return f"[{words}](/{place.removeprefix('docs/')}{ending})"
    if place in PAGES:
        return f"[{words}]({PAGES[place]}{ending})"
    if place.startswith("leaderboards/"):
        page = PurePosixPath(place.removeprefix("leaderboards/"))
        if page.name == "README.md":
            page = page.with_name("board.html")
        up = "../" * docname.count("/")
        return f'<a href="{escape(up + str(page))}">{words}</a>'
    return words


def _read(app: Any, docname: str, source: list[str]) -> None:
    if Path(app.env.doc2path(docname)).suffix == ".md" and not docname.startswith("generated/"):
        source[0] = rewritten(source[0], posixpath.dirname(f"docs/{docname}"), docname)


def setup(app: Any) -> dict[str, bool]:
    """Rewrite each page's links as it is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
