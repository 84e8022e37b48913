"""The board's page in a browser: quiet, asking nobody for anything, fitting its window, sorting and searching."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from boards import board_result, make_boards, shipped_board, write
from browser import needs_chromium, opened

from simbench.boards.board import add
from simbench.boards.pages import render
from simbench.boards.pages import write as write_pages

EVIL = "<img src=https://evil.example/x onerror=alert(1)>"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, board = tmp_path_factory.mktemp("board"), shipped_board()
    boards = make_boards(folder)
    names = {
        "vae": 2.9,
        "sae_ldm": 1.6,
        "dcgan": 2.1,
        "a_name_without_any_space_" * 4: 3.3,
        EVIL: 4.0,
        "wrong_condition": 1.05,
    }
    for seed, (name, quality) in enumerate(names.items(), 1):
        parameters = {"path": "/a/very/long/path/" * 5}
        add(
            write(board_result(board, name, quality, seed, gpu=seed % 2 == 0, parameters=parameters), folder / "runs"),
            boards,
        )
    write_pages(render(boards))
    return boards / board.task / "board.html"


def shown(dom: str, table: str = "board") -> list[str]:
    """The models of the rows that are not hidden, in order."""
    rows = re.findall(r"<tr(.*?)</tr>", dom.split(f'<table id="{table}"')[1].split("</table>")[0], re.DOTALL)
    visible = [row for row in rows[1:] if "hidden" not in row.partition(">")[0]]
    return [
        html.unescape(
            re.sub(
                r"<small>.*?</small>|<.*?>", "", row.split('class="words model"')[1].split("</td>")[0].split(">", 1)[1]
            )
        ).strip()
        for row in visible
    ]


def test_sorting_and_search_work_and_nothing_is_logged(page: Path, tmp_path: Path) -> None:
    dom, log = opened(page, tmp_path, fragment="#table=board&sort=channel_wasserstein/1&descending")
    assert log == []
    models = shown(dom)
    assert [models[0], *models[2:5]] == [EVIL, "vae", "dcgan", "sae_ldm"]
    assert models[5:] == ["wrong_condition", "memoriser", "floor"] or models[5:] == [
        "memoriser",
        "wrong_condition",
        "floor",
    ]
    assert 'aria-sort="descending"' in dom
    dom, log = opened(page, tmp_path, fragment="#search=DCGAN%20batch")
    assert log == []
    assert shown(dom) == []
    dom, log = opened(page, tmp_path, fragment="#search=dcgan")
    assert shown(dom) == ["dcgan"]
    assert shown(dom, "in-print") == ["cond DCGAN"]
    assert re.search(r'id="found"[^>]*>\d+ rows? found', dom)


PROBE = """<pre></pre><iframe id=frame style='width:%dpx;height:900px;border:0'></iframe><script>
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const resources = frame.contentWindow.performance.getEntriesByType("resource");
  const cut = (box) => {
    const {left, right} = box.getBoundingClientRect();
    const edge = box.querySelector("th.model").getBoundingClientRect().right;
    return [...box.querySelectorAll("th.model, td.model, td:not(.words)")].filter((cell) => {
      const at = cell.getBoundingClientRect();
      if (cell.scrollWidth > cell.clientWidth + 1) return true;
      if (getComputedStyle(cell).position === "sticky") return at.left < left - 1;
      const hidden = at.left >= right - 2 || at.right <= edge + 2;
      return !hidden && (at.right > right + 1 || at.left < edge - 1);
    }).length;
  };
  const boxes = [...page.querySelectorAll(".box")].filter((box) => box.querySelector("table"));
  const wide = boxes.filter((box) => box.scrollWidth > box.clientWidth);
  const isSmall = (one) => parseFloat(getComputedStyle(one).fontSize) < 12;
  document.querySelector("pre").textContent = JSON.stringify({
    overflow: root.scrollWidth - root.clientWidth,
    requests: resources.map((one) => one.name),
    rows: page.querySelectorAll("tbody tr").length,
    images: page.images.length,
    wide: wide.length,
    hints: boxes.filter((box) => !box.previousElementSibling.hidden).length,
    cut: [0, 250].map((x) => boxes.map((box) => { box.scrollLeft = x; return cut(box); })),
    small: [...page.querySelectorAll("td, p")].filter(isSmall).length,
  });
};
frame.src = "board.html";
</script>"""


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_its_window_and_asks_nobody_for_anything(page: Path, tmp_path: Path, width: int) -> None:
    """The page's policy lets no other script run: a document in the same folder frames it and measures the frame."""
    probe = page.with_name("probe.html")
    probe.write_text(PROBE % width)
    dom, log = opened(probe, tmp_path, "--allow-file-access-from-files", width=1600)
    found = json.loads(html.unescape(dom.split("<pre>")[1].split("</pre>")[0]))
    assert found["overflow"] == 0
    assert found["requests"] == []
    assert found["rows"] > 20
    assert found["hints"] == found["wide"] > 0
    if width == 390:  # the columns of numbers fit the screen exactly, wherever the table is scrolled to
        assert {cells for position in found["cut"] for cells in position} == {0}
    assert found["images"] == found["small"] == 0
    assert not re.search(r"(src|href)=\"(?!entries/|https://|board\.|data:,|pareto\.svg|#pareto-)", page.read_text())
    assert log == []
