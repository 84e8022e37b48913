"""Pages opened in a headless Chromium, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"),
    *("--virtual-time-budget=5000", "--dump-dom"),
)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")


def opened(page: Path, profile: Path, *flags: str, fragment: str = "", width: int = 1400) -> tuple[str, list[str]]:
    """The page's DOM after its scripts ran, and the lines that they logged."""
    own = (f"--user-data-dir={profile}", f"--window-size={width},1200")
    command = [str(CHROMIUM), *FLAGS, *own, *flags, page.as_uri() + fragment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
