"""The founding paper's tables measured anew: what is measured, what is in print, and what is neither."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boards import SHIPPED, trained, write
from factories import equivalent_to, make_measurement, make_result
from typer.testing import CliRunner

from simbench.boards.board import read_published
from simbench.boards.founding import (
    CELEBA,
    FID,
    MAE,
    MNIST,
    NOT_MEASURED,
    NOT_PRINTED,
    SINKHORN,
    TABLE_1,
    WASSERSTEIN,
    ZN,
    Founding,
    as_json,
    as_latex,
    as_markdown,
    founding,
    read_results,
)
from simbench.boards.table import Table
from simbench.cli.main import app
from simbench.core.errors import DataError
from simbench.core.text import THIN
from simbench.metrics.registry import get_metric
from simbench.results.schema import Result

PRINTED_COLUMNS = {MNIST: {"LeNet FID": FID, "Sinkhorn": SINKHORN}, ZN: {"Wasserstein": WASSERSTEIN, "MAE": MAE}}
"""What the columns of `published.toml` are in these tables."""


def result(
    name: str, task: str, seed: int | None = 0, head: str | None = "mse", number: int = 0, **values: Any
) -> Result:
    """A result of these values (metrics of version 1), each with an error of a tenth of it."""
    measured = [
        make_measurement(key, value, stderr=value / 10, parts={"sd": 8 * value}) for key, value in values.items()
    ]
    made = make_result(name, task=task, measurements=measured, id=f"{name}-{task}-{head}-{seed}-{number}")
    made = made.model_copy(update={"created": made.created + timedelta(number)})
    return trained(made, seed, **({} if head is None else {"head": head}))


def cells(table: Table, model: str, head: str = "") -> dict[str, str]:
    """A row's cells by the keys of the columns."""
    rows = [
        dict(zip((c.key for c in table.columns), (c.display for c in row.cells), strict=True)) for row in table.rows
    ]
    (found,) = (row for row in rows if row["model"] == model and head in ("", row.get("head")))
    return found


def tables(*results: Result) -> dict[str, Table]:
    return {table.name: table for table in founding(results).tables}


def test_the_numbers_in_print_are_those_of_the_boards() -> None:
    for task, names in PRINTED_COLUMNS.items():
        published = read_published(SHIPPED / task)
        assert published is not None
        rows = {row.model: row for row in published.rows if "2006.06704" in (row.url or "")}
        assert [model.label for model in TABLE_1] == list(rows)
        for model in TABLE_1:
            assert {name: model.printed[column] for name, column in names.items()} == rows[model.label].values


def test_every_column_is_a_metric_of_today() -> None:
    for table in founding([result("vae", MNIST, lenet_fid=1.0)]).tables:
        for column in table.columns:
            key = column.key.removesuffix(" in print").removesuffix(" sd").removeprefix(f"{MNIST} ")
            if "/" in key:
                assert get_metric(key.removeprefix(f"{ZN} ")).key in key


def test_several_seeds_are_their_mean_and_sample_standard_deviation() -> None:
    values = {0: 4.0, 1: 7.0, 2: 5.5}
    found = tables(
        *(result("vae", MNIST, seed, lenet_fid=value) for seed, value in values.items()),
        *(result("vae", ZN, seed, channel_mae=value) for seed, value in list(values.items())[:2]),
    )
    row = cells(found["table-1"], "cond VAE")
    assert row["lenet_fid/1"] == "5.5 ± 1.5 (3 seeds)"  # deviations -1.5, 1.5 and 0: sd √(4.5 / 2)
    assert row["channel_mae/1"] == "5.5 ± 2.1 (2 seeds)"  # deviations 1.5: sd √4.5
    assert row["channel_mae/1 sd"] == "44 ± 17 (2 seeds)"  # eight times as much
    assert row["lenet_fid/1 in print"] == "6.61"
    assert row["channel_mae/1 in print"] == "23.13 ± 65.53"
    assert row["sinkhorn/1"] == row["channel_wasserstein/1"] == NOT_MEASURED


@pytest.mark.parametrize("seed", [0, 2, None])
def test_one_seed_has_the_error_of_its_result_and_says_so(seed: int | None) -> None:
    row = cells(tables(result("dcgan", MNIST, seed, head=None, lenet_fid=2.0))["table-1"], "cond DCGAN")
    assert row["lenet_fid/1"] == "2.00 ± 0.20 (1 seed)"


def test_original_data_are_the_floor_and_have_no_seed() -> None:
    row = cells(tables(result("floor", ZN, None, head=None, channel_wasserstein=4.0))["table-1"], "original data")
    assert (row["channel_wasserstein/1"], row["channel_wasserstein/1 in print"]) == ("4.00 ± 0.40", "2.89")


def test_models_that_nobody_measured_are_not_measured_and_others_have_no_row() -> None:
    found = tables(result("vae", MNIST, lenet_fid=1.0), result("sdi_gan", ZN, head=None, channel_wasserstein=3.0))
    assert [row.cells[0].display for row in found["table-1"].rows] == [*(m.label for m in TABLE_1), "SDI-GAN"]
    row = cells(found["table-1"], "SDI-GAN")
    assert row["channel_wasserstein/1"] == "3.00 ± 0.30 (1 seed)"
    assert row["lenet_fid/1"] == NOT_MEASURED
    assert {text for key, text in row.items() if key.endswith("in print")} == {NOT_PRINTED}
    absent = cells(found["table-1"], "cond e2e SAE")
    assert {text for key, text in absent.items() if key != "model" and "in print" not in key} == {NOT_MEASURED}
    assert {text for key, text in cells(found["ranking"], "cond e2e SAE").items() if key != "model"} == {NOT_MEASURED}
    assert "" not in {cell.display for table in found.values() for row in table.rows for cell in row.cells}


def test_a_metric_that_failed_is_no_number() -> None:
    broken = make_measurement("lenet_fid", None, status="failed", error="no")
    one = result("vae", MNIST).model_copy(update={"measurements": [broken]})
    assert cells(tables(one)["table-1"], "cond VAE")["lenet_fid/1"] == "failed"
    two = result("vae", MNIST, 1, lenet_fid=2.0)
    assert cells(tables(one, two)["table-1"], "cond VAE")["lenet_fid/1"] == "2.00 ± 0.20 (1 seed)"


def test_the_table_is_of_the_papers_head_and_both_stand_side_by_side() -> None:
    of_both = [result("vae", MNIST, head=head, lenet_fid=v) for head, v in (("mse", 4.0), ("counts", 3.0))]
    alone = result("swae", MNIST, head="counts", lenet_fid=1.0)
    found = tables(*of_both, result("vae", ZN, head="counts", conditional_energy=0.5), alone)
    assert cells(found["table-1"], "cond VAE")["lenet_fid/1"] == "4.00 ± 0.40 (1 seed)"
    assert "cond SWAE" not in {row.cells[0].display for row in found["table-1"].rows}
    assert cells(found["ranking"], "cond VAE")[f"{ZN} conditional_energy/1"] == NOT_MEASURED
    assert {row.cells[0].display for row in found["heads"].rows} == {"cond VAE"}
    mse, counts = (cells(found["heads"], "cond VAE", head) for head in ("mse", "counts"))
    assert mse[f"{MNIST} lenet_fid/1"] == "4.00 ± 0.40 (1 seed)"
    assert counts[f"{MNIST} lenet_fid/1"] == "3.00 ± 0.30 (1 seed)"
    assert mse[f"{ZN} conditional_energy/1"] == NOT_MEASURED
    assert counts[f"{ZN} conditional_energy/1"] == "0.500 ± 0.050 (1 seed)"


def test_without_a_second_head_there_is_a_sentence() -> None:
    found = founding([result("vae", MNIST, lenet_fid=1.0)])
    assert "No model here is measured with both heads, mse and counts.\n\n## Table 6" in as_markdown(found)
    assert "heads" not in as_latex(found)


def test_equivalent_events_have_the_interval_of_the_lowest_seed_and_all_seeds() -> None:
    def counted(seed: int, events: float) -> Result:
        changes = {"equivalent_events": equivalent_to(events, "lenet_fid/1")}
        return result("vae", MNIST, seed, lenet_fid=1.0).model_copy(update=changes)

    one = cells(tables(counted(0, 100.0))["ranking"], "cond VAE")
    assert one[f"{MNIST} equivalent events"] == "100 in its channels (90 to 110)"
    three = cells(tables(counted(1, 80.0), counted(0, 100.0), counted(2, 90.0))["ranking"], "cond VAE")
    assert three[f"{MNIST} equivalent events"] == "100 in its channels (90 to 110); all 3 seeds: 100, 80, 90"
    unknown = result("vae", MNIST).model_copy(update={"equivalent_events": None})
    assert cells(tables(unknown)["ranking"], "cond VAE")[f"{MNIST} equivalent events"] == "not known"


def test_the_parameters_with_most_seeds_and_the_newest_run_of_a_seed_are_used_and_the_rest_is_named() -> None:
    older = result("vae", MNIST, 0, number=1, lenet_fid=9.0)
    newer = result("vae", MNIST, 0, number=2, lenet_fid=4.0)
    second = result("vae", MNIST, 1, lenet_fid=6.0)
    unknown = result("vae", MNIST, None, lenet_fid=8.0)
    wide = trained(result("vae", MNIST, 0, number=3, lenet_fid=1.0), 0, latent=64)
    found = founding([older, newer, second, unknown, wide])
    assert cells(found.tables[0], "cond VAE")["lenet_fid/1"] == "5.0 ± 1.4 (2 seeds)"
    assert found.used == (f"vae on mnist, head=mse: {newer.id} (training seed 0), {second.id} (training seed 1)",)
    assert found.left_out == tuple(f"vae on mnist: {one.id}" for one in (older, unknown, wide))
    assert cells(tables(unknown, newer)["table-1"], "cond VAE")["lenet_fid/1"] == "4.00 ± 0.40 (1 seed)"


def test_table_6_says_that_the_data_are_absent_until_there_are_results() -> None:
    assert cells(tables(result("vae", MNIST, lenet_fid=1.0))["table-6"], "SWAE") == {
        "model": "SWAE",
        "inception_fid/1": "not measured: data absent",
        "inception_fid/1 in print": "64",
    }
    sphere = trained(result("sae", CELEBA, inception_fid=50.0), 0, prior="hypersphere")
    found = tables(sphere, trained(result("sae", CELEBA, number=1, inception_fid=10.0), 0, prior="normal"))["table-6"]
    assert cells(found, "SAE (hypersphere)")["inception_fid/1"] == "50.0 ± 5.0 (1 seed)"
    assert cells(found, "SWAE")["inception_fid/1"] == NOT_MEASURED


def made_results() -> list[Result]:
    return [result("wae_mmd", MNIST, seed, lenet_fid=1234.5 + seed) for seed in (0, 1)]


def made() -> Founding:
    return founding(made_results())


def test_markdown_and_latex_escape_what_they_must() -> None:
    markdown, latex = as_markdown(made()), as_latex(made())
    assert f"| cond WAE (MMD) (wae\\_mmd) | 1{THIN}235.00 ± 0.71 (2 seeds) | 34.73 |" in markdown
    assert r"cond WAE (MMD) & 1\,235.00 $\pm$ 0.71 (2 seeds) & 34.73 & not measured" in latex
    assert r"23.13 $\pm$ 65.53" in latex
    assert r"95 \%" in latex
    captions = [line for line in latex.splitlines() if line.startswith(r"\caption")]
    assert len(captions) == 3
    assert not [line for line in captions if "ldots" in line or "`" in line]
    assert all(line.startswith("%") for line in latex.splitlines() if "wae_mmd" in line)


def test_every_row_of_latex_has_the_columns_and_nothing_that_latex_would_read() -> None:
    latex = as_latex(founding([*made_results(), trained(result("vae", MNIST, lenet_fid=1.0), 0, note="a_b & 5 %")]))
    tables = re.findall(r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", latex, re.DOTALL)
    assert len(tables) == latex.count(r"\begin{table*}") > 1
    for columns, body in tables:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    for line in (line for line in latex.splitlines() if not line.startswith("%")):
        assert line.isascii()
        assert line.count("{") == line.count("}")
        text = re.sub(r"\$[^$]*\$", "", line)  # without its formulas
        assert not re.search(r"(?<!\\)[%#_~^$]", text)


def test_a_hostile_parameter_is_text_on_the_page() -> None:
    found = founding([trained(result("vae", MNIST, lenet_fid=1.0), 0, note="<script>\n\\input{x}")])
    assert "<script>" not in as_markdown(found)
    assert all(line.startswith("%") for line in as_latex(found).splitlines() if "input" in line)


# Files


def test_the_shipped_entries_make_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    for patterns in ([], ["leaderboards"]):
        row = cells(founding(read_results(patterns)).tables[0], "original data")
        assert NOT_MEASURED not in row.values()


def test_only_the_tables_models_and_tasks_are_read(tmp_path: Path) -> None:
    write(result("vae", MNIST, lenet_fid=1.0), tmp_path)
    write(result("memoriser", MNIST, lenet_fid=2.0), tmp_path)
    assert [one.generator.name for one in read_results([str(tmp_path)])] == ["vae"]
    with pytest.raises(
        DataError, match=r"none of 1 results .*: got memoriser on mnist, expected dcgan, .* simbench run"
    ):
        read_results([str(tmp_path / "memoriser*.json")])


def test_results_that_do_not_compare_never_share_a_table(tmp_path: Path) -> None:
    write(result("vae", MNIST, lenet_fid=1.0), tmp_path)
    smoke = result("dcgan", MNIST, lenet_fid=2.0)
    write(smoke.model_copy(update={"task": smoke.task.model_copy(update={"events": 400})}), tmp_path)
    with pytest.raises(DataError, match=r"vae-.*and .*dcgan-.*differ in number of events .*: got 4000 and 400"):
        read_results([str(tmp_path)])


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["table1", *words])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(result("vae", MNIST, lenet_fid=1.0), tmp_path / "leaderboards" / MNIST / "entries")
    expected = founding(read_results([]))
    assert invoke().stdout == as_markdown(expected)
    assert invoke(str(path), "--format", "tex").stdout == as_latex(expected)
    assert "table1.md is written, of 1 results." in invoke("-o", "table1.md").stdout
    assert Path("table1.md").read_text(encoding="utf-8") == as_markdown(expected)
    data = json.loads(invoke("--json").stdout)
    assert data == json.loads(json.dumps(as_json(expected))) | {"file": None}
    assert data["tables"][0]["rows"][0]["lenet_fid/1"] == {"text": "1.00 ± 0.10 (1 seed)", "value": 1.0, "error": 0.1}
    assert invoke("--format", "html").exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 4, r"no entries of boards here: got no file leaderboards/\*/entries.*expected .*simbench table1 runs"),
        (["nowhere"], 4, r"nowhere names no files: got no such file.*expected results.*Name a file, a folder"),
        (["empty"], 4, r"empty names no files: got a folder without .json files"),
        (["broken.json"], 4, r"broken.json is not a result: got .*expected a JSON object"),
        (["broken.json", "-o", "empty"], 2, "empty is a folder"),
    ],
)
def test_mistakes(words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken.json").write_text("[")
    done = invoke(*words)
    assert done.exit_code == code
    assert re.search(said, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
