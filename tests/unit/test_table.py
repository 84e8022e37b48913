"""The Table: every writer shows the same cells; no stranger's text is markup, a formula or a command in any of them."""

from __future__ import annotations

import csv
import io
import re

import pytest

from simbench.boards.table import EMPTY, Cell, Column, Row, Table, to_csv, to_latex, to_markdown
from simbench.core.text import THIN, no_formula

HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "+1+1",
    "-2+3",
    "\t=1",
    "a|b",
    "[x](javascript:alert(1))",
    "`x` **b** $x$",
    "\\input{/etc/passwd}",
    "100% #1 & {x}_y^z~",
    "two\nlines\r\n| new | row |",
    "https://evil.example/x",
    "\x1b[31mred\u202e",
    "![i](http://x)",
)


def table_of(*cells: Cell, words: bool = True) -> Table:
    columns = tuple(Column(f"c{index}", f"c{index}", words=words) for index in range(len(cells)))
    return Table("board", "A board", "About it", columns, (Row(cells),))


def test_the_same_cells_in_every_format() -> None:
    columns = (Column("model", "model", words=True), Column("W ↓", "w/1"))
    rows = (
        Row(
            (
                Cell("vae", link="entries/vae.json", note="1.0"),
                Cell("9.13 ± 0.42", 9.1312, 0.42, "entries/vae.json", "2.1x"),
            )
        ),
        Row((Cell("floor"), EMPTY), "reference"),
    )
    table = Table("board", "A board", "About it", columns, rows)
    assert to_markdown(table, "boards/zn/").splitlines() == [
        "| model | W ↓ |",
        "| --- | ---: |",
        "| [vae](boards/zn/entries/vae.json) (1.0) | 9.13 ± 0.42 (2.1x) |",
        "| floor |  |",
    ]
    assert to_csv(table) == "kind,model,w/1,w/1 stderr\nentry,vae (1.0),9.1312,0.42\nreference,floor,,\n"
    latex = to_latex(table, "tab")
    assert "vae & 9.13 $\\pm$ 0.42 \\\\\n\\midrule\nfloor &  \\\\" in latex
    assert latex.index(r"\toprule") < latex.index(r"W $\downarrow$") < latex.index(r"\bottomrule")
    assert [column.key for column in table.select(["w/1"]).columns] == ["w/1"]


def test_a_row_of_another_length_and_a_name_that_is_no_identifier_are_refused() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("b", "", "", (Column("a", "a"), Column("b", "b")), (Row((EMPTY,)),))
    with pytest.raises(ValueError, match="letters, digits"):
        Table("<b>", "", "", (), ())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_markdown(text: str) -> None:
    out = to_markdown(table_of(Cell(text, note=text)))
    assert out.count("\n") == 3
    assert "<" not in out
    assert "://" not in out
    row = out.splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == 2
    assert not re.search(r"(?<!\\)[`\[\]*_$~]", row)
    assert row.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_formula_in_csv(text: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(table_of(Cell(text))))))
    assert len(rows) == 2
    assert rows[1][1][:1] not in ("=", "+", "-", "@", "|", "%", "\t", "\r")


def test_a_negative_number_stays_a_number_in_csv() -> None:
    assert to_csv(table_of(Cell("−0.5", -0.5), words=False)).splitlines()[1] == "entry,-0.5"
    assert no_formula("=1") == "'=1"
    assert no_formula("flow-1") == "flow-1"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_command_in_latex(text: str) -> None:
    out = to_latex(table_of(Cell(text)), "tab")
    row = out.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().removesuffix(r"\\").strip()
    assert not re.search(r"(?<!\\)[%#&]", row)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", row):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    known = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|to|pm|[{}$&%#_])"
    assert not re.sub(known, "", row).count("\\")


def test_latex_sets_what_the_board_writes() -> None:
    line = to_latex(table_of(Cell(f"(1.2 ± 0.3)·10⁻⁵ 1{THIN}900 →1 √photons 用")), "tab")
    assert r"(1.2 $\pm$ 0.3)$\cdot$10$^{-}$$^{5}$ 1\,900 $\to$1 $\surd$photons {[}U+7528{]}" in line
    assert line.startswith("% [U+...] stands for a letter")


def test_latex_spells_letters_that_its_fonts_lack() -> None:
    out = to_latex(table_of(Cell("βΩ-flow Nguyễn ﬁt Żółw 中 🙂")), "tab")
    assert r"$\beta$$\Omega${-}flow Nguyen fit Żółw {[}U+4E2D{]} {[}U+1F642{]} \\" in out
    assert "?" not in out
    assert not to_latex(table_of(Cell("β [U+")), "tab").startswith("%")


def test_csv_has_the_words_in_full() -> None:
    long = "x" * 600
    row = to_csv(table_of(Cell("xx…", note="cut…", full=f"={long}"), Cell("short", note="note"))).splitlines()[1]
    assert row == f"entry,'={long},short (note)"
