"""The documentation site: built without a warning, whole, and without anything from the network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from pages import DOCS

from simbench.metrics.registry import metrics

sys.path.insert(0, str(DOCS / "_extensions"))

from docstrings import as_rst  # type: ignore[import-not-found]
from repository_links import rewritten  # type: ignore[import-not-found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="needs pip install 'simbench[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html", DOCS, out]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_metric_model_and_task_has_its_page(site: Path) -> None:
    wanted = [f"generated/metrics/{key.replace('/', '-')}.html" for key in metrics()]
    wanted += [f"{path.relative_to(DOCS).with_suffix('.html')}" for path in DOCS.glob("**/*.md")]
    assert len(wanted) > 70
    assert [name for name in wanted if not (site / name).is_file()] == []
    page = (site / "generated/metrics/channel_wasserstein-1.html").read_text(encoding="utf-8")
    for part in ("Definition", "Bias: what real events score", "Response to defects", "Cost", "<svg", "4.30"):
        assert part in page


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_link_is_dead_and_nothing_comes_from_the_network(site: Path) -> None:
    dead, fetched = [], []
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched += re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="(?:https?:)?//[^"]*', text)
        if page.name in ("genindex.html", "search.html", "board.html"):
            continue
        for target in re.findall(r'(?:href|src)="([^"#?:]+)[#"?]', text):
            path = page.parent / unquote(target)
            if not path.exists():
                dead.append(f"{page.relative_to(site)}: {target}")
    assert dead == []
    assert fetched == []


def test_a_docstring_is_text_formulas_and_code() -> None:
    text = [
        "Distance of *all* events |x| and word_ `a|b`.",
        "",
        "mean_c [ 2 E|X-Y| - E|X-X'| ]",
        "",
        "S(x, y) = OT(x, y)",
        "to 0 it gives the cost. See x_i.",
        "",
        "Args:",
        "    events: (N, *shape) float32.",
    ]
    assert [line for line in as_rst(text) if line] == [
        r"Distance of \*all\* events \|x\| and word\_ ``a|b``.",
        "::",
        "    mean_c [ 2 E|X-Y| - E|X-X'| ]",
        "::",
        "    S(x, y) = OT(x, y)",
        "to 0 it gives the cost. See x_i.",
        "Args:",
        r"    events: (N, \*shape) float32.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](ci.md#speed)", "[a](/ci.md#speed)"),
        ("[a](../ARCHITECTURE.md)", "[a](/generated/architecture.md)"),
        ("[`a`](../baselines/search)", "`a`"),
        ("[a](../leaderboards/mnist/README.md)", '<a href="../mnist/board.html">a</a>'),
        ("[a](https://arxiv.org/abs/1)", "[a](https://arxiv.org/abs/1)"),
        ("![a](showers.svg)", "![a](showers.svg)"),
        ("```\n[a](../x)\n```\n[a](../x)", "```\n[a](../x)\n```\na"),
    ],
)
def test_links_that_leave_the_docs(text: str, expected: str) -> None:
    assert rewritten(text, "docs", "models/vae") == expected
