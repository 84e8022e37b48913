"""The examples of a page of the documentation, as they stand there: files to be written, commands to be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of `docs/<page>` in one of these languages, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def files(page: str) -> dict[str, str]:
    """The blocks of a page that are files, by name: the comment on their first line (after `#!`) begins with it."""
    found = {}
    for text in blocks(page, "python", "cpp"):
        first = text.removeprefix("#!/usr/bin/env python3\n").partition("\n")[0]
        if name := re.match(r"(?:#|//) (\w+\.\w+)\b", first):
            found[name[1]] = text
    return found


def written(page: str, folder: Path) -> list[Path]:
    """The page's files, written into a folder; programs may be started."""
    paths = []
    for name, text in files(page).items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        paths.append(path)
    return paths


def commands(page: str) -> list[list[str]]:
    """The words of each command in the page's `bash` blocks."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
