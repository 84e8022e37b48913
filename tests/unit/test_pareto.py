"""Quality against time: who is on the front, by hand; the command; the figure of a board, byte for byte."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from boards import board_result, make_boards, shipped_board, write
from factories import make_measurement, make_result, make_throughput, make_trade
from matplotlib.text import Text
from typer.testing import CliRunner

from simbench.boards.board import add
from simbench.boards.pages import FIGURE, render
from simbench.boards.pages import write as write_pages
from simbench.cli.main import app
from simbench.metrics.direction import Direction
from simbench.report.speed import quality_against_time
from simbench.results.pareto import MOST, TIES, drawn, named, paces, placed, places
from simbench.results.ranking import Score, ranks
from simbench.results.schema import ReplicatesRecord

BOARD = shipped_board()


def score(value: float, error: float = 0.1) -> Score:
    return Score(value, error, "", ())


# The rule


def test_the_front_holds_what_none_beats_in_both() -> None:
    points = [(1.0, score(9.0)), (2.0, score(10.0)), (3.0, score(6.0)), (40.0, score(4.0)), (50.0, score(7.0))]
    assert places(points) == ["front", "beaten", "front", "front", "beaten"]
    assert places([]) == []
    assert places(points[:1]) == ["front"]


def test_of_tied_scores_the_faster_one_is_on_the_front() -> None:
    """0.2 apart with 0.1 each is 1.4 errors of the difference: no evidence that the slower one is better."""
    assert places([(1.0, score(5.0)), (10.0, score(4.8))]) == ["front", "tied"]
    assert places([(1.0, score(5.0)), (10.0, score(4.7))]) == ["front", "front"]  # 2.1 errors
    assert places([(1.0, score(4.8)), (10.0, score(5.0))]) == ["front", "beaten"]


def test_tied_scores_do_not_beat_each_other_on_quality_alone() -> None:
    assert places([(1.0, score(5.0)), (1.0, score(4.8))]) == ["front", "front"]
    assert places([(1.0, score(5.0)), (1.0, score(4.0))]) == ["beaten", "front"]


def test_a_chain_of_ties_leads_nowhere() -> None:
    """The second is tied with the first and the third with the second, but the third is better than the first."""
    assert places([(1.0, score(5.0)), (2.0, score(4.8)), (3.0, score(4.6))]) == ["front", "tied", "front"]


def test_a_tie_is_what_shares_a_rank_and_a_score_that_nobody_knows_is_none() -> None:
    for fast, slow in ((score(5.0), score(4.8)), (score(5.0), score(4.0)), (score(5.0, 9.0), score(4.8))):
        shared = ranks([fast, slow]) == [1, 1]
        assert (places([(1.0, fast), (2.0, slow)])[1] == "tied") == shared


def test_paired_replicates_tell_apart_what_independent_errors_do_not() -> None:
    base = [random.Random(0).gauss(0, 0.1) for _ in range(50)]
    fast, slow = (Score(value, 0.1, "bootstrap", tuple(value + x for x in base)) for value in (5.0, 4.9))
    assert places([(1.0, fast), (2.0, slow)]) == ["front", "front"]


def test_replicates_on_two_sides_of_a_target_are_of_the_distance() -> None:
    """Replicates that move together bring one value nearer to its target and the other away from it."""
    moves = [-0.1, 0.1] * 20

    def ratio(value: float) -> Score:
        kept = ReplicatesRecord(kind="bootstrap", values=[value + move for move in moves])
        return Score.of(make_measurement("ratio", value, direction="target", target=1.0, stderr=0.1, replicates=kept))

    assert ratio(1.3).badness == pytest.approx(0.3)
    assert places([(1.0, ratio(1.3)), (2.0, ratio(1.2))]) == ["front", "front"]  # always 0.1 apart
    assert places([(1.0, ratio(1.3)), (2.0, ratio(0.8))]) == ["front", "tied"]  # 0.1 ± 0.2 apart


def test_ten_thousand_are_placed_at_once() -> None:
    rng = random.Random(1)
    values = [(rng.choice([1.0, 2.0, rng.random()]), rng.gauss(5, 1)) for _ in range(10_000)]
    points = [(t, Score(v, 0.3, "bootstrap", tuple(v + rng.gauss(0, 0.3) for _ in range(20)))) for t, v in values]
    start = time.process_time()
    marks = places(points)
    assert time.process_time() - start < 1.0  # 0.1 s on an idle core
    assert marks.count("front") >= 1


# Speeds


def test_batch_1_and_the_best_batch_are_of_one_core_or_a_gpu() -> None:
    rows = [
        *(make_throughput(batch, rate, threads=1) for batch, rate in ((1, 100.0), (100, 900.0), (1000, 800.0))),
        *(make_throughput(batch, rate, threads=2) for batch, rate in ((1, 110.0), (100, 1700.0))),
        make_throughput(1, 20.0, device="cuda:0 NVIDIA H100", threads=0),
        make_throughput(10_000, 1e6, device="cuda:0 NVIDIA H100", threads=0),
    ]
    single, best = paces(rows)
    assert single is not None
    assert best is not None
    assert (single.seconds, single.where) == (0.01, "batch 1, cpu, 1 thread")
    assert (best.seconds, best.where, best.gpu) == (1e-6, "batch 10\u202f000, NVIDIA H100", True)
    assert best.low is not None
    assert best.high is not None
    assert best.low < best.seconds < best.high
    single, best = paces(rows, "cpu")
    assert best is not None
    assert best.where == "batch 100, cpu, 1 thread"
    single, best = paces(rows, "cpu", threads=2)
    assert single is not None
    assert best is not None
    assert (single.seconds, best.seconds) == (1 / 110, 1 / 1700)
    single, best = paces(rows, "cuda")
    assert single is not None
    assert single.seconds == 0.05
    assert paces(rows, "cpu", threads=8) == (None, None)
    assert paces([rows[1]]) == (None, paces(rows, "cpu")[1])  # batch 1 was not timed
    assert paces([rows[3]])[0] == paces(rows, "cpu", 2)[0]  # one thread was not timed


# The figure


def crowd(count: int, seed: int = 0) -> list[Any]:
    rng = random.Random(seed)
    return [
        make_trade(f"generator_{i}", 1e-3 * 3 ** rng.random(), 3.0 * 20 ** rng.random(), parameters={"i": i})
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_name_covers_another_of_18_and_all_are_inside(seed: int) -> None:
    figure = quality_against_time(placed(crowd(18, seed)), "score", Direction("lower"))
    renderer = figure._get_renderer()  # type: ignore[attr-defined]
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text().startswith("generator")]
        assert len(names) == 18
        for name in names:
            name.update_positions(renderer)
        boxes = [Text.get_window_extent(name, renderer) for name in names]  # without the lines that lead to them
        frame = axes.get_window_extent()
        for place, box in enumerate(boxes):
            assert frame.x0 <= box.x0
            assert box.x1 <= frame.x1
            for other in boxes[:place]:
                wide = min(box.x1, other.x1) - max(box.x0, other.x0)
                high = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert not (wide > 1 and high > 3)  # the boxes have room below the letters


def test_a_figure_shows_the_front_and_the_best_and_names_tell_apart() -> None:
    trades = placed([*crowd(500), make_trade("fast", 1e-6, 99.0), make_trade("GEANT3", 1.0, 0.1, monte_carlo=True)])
    shown = drawn(trades)
    assert len(shown) == MOST
    fronts = [one for one in trades if "front" in (one.single, one.best)]
    assert {one.trade.label for one in fronts} <= {one.trade.label for one in shown}
    assert {"fast", "GEANT3"} <= {one.trade.label for one in shown}
    vaes = [make_trade("vae", 1.0, 1.0, parameters={"same": 1, "head": head}) for head in ("mse", "counts", "mse")]
    labels = [one.trade.label for one in named(placed([*vaes, make_trade("gan", 1.0, 1.0)]))]
    assert labels == ["vae (head=mse) #1", "vae (head=counts)", "vae (head=mse) #2", "gan"]


@pytest.mark.parametrize(("way", "target"), [("lower", None), ("higher", None), ("target", 1.0)])
def test_a_figure_of_any_direction_with_one_generator_a_floor_of_nothing_and_no_batch_1(way: Any, target: Any) -> None:
    for value in (0.5, 0.0, -1.0):
        trades = [make_trade("one", None, value, best=0.1), make_trade("GEANT3", 1.0, -0.1, monte_carlo=True)]
        figure = quality_against_time(placed(trades), "score", Direction(way, target), floor=-0.1)
        (axes,) = figure.axes  # nothing was timed at batch 1: the Monte Carlo has no panel to itself
        assert [text.get_text() for text in axes.texts].count("one") == 1


# A board


def filled(folder: Path, count: int = 6, **changes: Any) -> Path:
    boards = make_boards(folder)
    for seed in range(1, count + 1):
        rate = 100.0 * 3**seed
        result = board_result(
            BOARD, f"model_{seed}", 1.0 + 0.3 * seed, seed, events_per_s=rate, gpu=seed == 2, **changes
        )
        add(write(result, folder / "runs"), boards)
    return boards


def test_a_board_has_its_figure_which_stays_byte_for_byte(tmp_path: Path) -> None:
    boards = filled(tmp_path)
    first = render(boards)
    figure = boards / BOARD.task / FIGURE
    assert len(first[figure].encode()) < 150_000
    assert not re.search(r"<metadata|\d{4}-\d\d-\d\d|Matplotlib", first[figure])
    assert render(boards) == first  # drawn twice
    write_pages(first)
    assert render(boards) == first  # taken from the file
    figure.write_text(first[figure].replace("stroke", "fill", 1))
    assert render(boards)[figure] == first[figure]  # an edited one is drawn anew
    pages = {path.name: text for path, text in first.items()}
    assert f"]({FIGURE})" in pages["README.md"]
    assert TIES in pages["README.md"]
    assert pages["board.html"].count('<svg role="img"') == 1
    assert "Measured on" in pages["README.md"]  # the GPU is another machine


def test_another_score_is_another_figure(tmp_path: Path) -> None:
    boards = filled(tmp_path, 2)
    write_pages(render(boards))
    add(write(board_result(BOARD, "new", 1.01, 9), tmp_path / "runs"), boards)
    assert FIGURE in [path.name for path in write_pages(render(boards))]


def test_a_board_without_speeds_has_no_figure(tmp_path: Path) -> None:
    pages = {path.name: text for path, text in render(filled(tmp_path, 2, throughput=[], speedup=None)).items()}
    assert FIGURE not in pages
    assert FIGURE not in pages["README.md"]
    assert "<svg" not in pages["board.html"]


def test_a_board_marks_its_front_and_not_its_yardsticks(tmp_path: Path) -> None:
    boards = filled(tmp_path, 3)
    add(write(board_result(BOARD, "floor", 1.0, 7, events_per_s=1e6), tmp_path / "runs"), boards)
    lines = render(boards)[boards / BOARD.task / "board.csv"].splitlines()
    marks = {line.split(",")[2].split(" ")[0]: "●" in line for line in lines[1:]}
    assert marks["model_1"]
    assert marks["model_3"]
    assert not marks["floor"]


# The command


def ran(*words: str) -> Any:
    return CliRunner().invoke(app, ["pareto", *words], prog_name="simbench")


def fails(code: int, *words: str) -> str:
    done = ran(*words)
    lines = done.stderr.splitlines()
    assert (done.exit_code, len(lines), done.stdout) == (code, 1, ""), done.output
    assert "Traceback" not in done.output
    return str(lines[0])


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two generators on zn-geant3: a slow good one, and a fast one."""
    made = [
        make_result("slow", quality=1.5, events_per_s=100.0, id="slow-1"),
        make_result("fast", quality=3.0, events_per_s=10_000.0, id="fast-1", gpu=True),
    ]
    return [str(write(result, tmp_path / "runs")) for result in made]


def test_the_command_tells_of_each_generator_and_of_the_monte_carlo(runs: list[str], tmp_path: Path) -> None:
    done = ran(*runs, "--json", "-o", str(tmp_path / "figure.pdf"))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["metric"] == "channel_wasserstein/1"  # the task's first primary metric
    rows = {row["model"]: row for row in found["rows"]}
    assert [rows[name]["best_batch"]["front"] for name in ("slow", "fast", "GEANT3")] == [True, True, True]
    assert rows["GEANT3"]["value"] == 4.4
    assert rows["GEANT3"]["batch_1"]["seconds"] == 0.81
    assert rows["fast"]["best_batch"]["device"] == "NVIDIA H100 80GB HBM3"
    assert rows["slow"]["batch_1"]["seconds"] == pytest.approx(0.1)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    cores = json.loads(ran(*runs, "--json", "--device", "cpu", "--threads", "2").stdout)
    assert {row["best_batch"]["device"] for row in cores["rows"] if not row["monte_carlo"]} == {"cpu, 2 threads"}


def test_the_table_says_the_rule_in_text_and_in_markdown(runs: list[str]) -> None:
    text = ran(*runs).stdout
    assert "do not beat each other on quality alone" in " ".join(text.split())
    assert "● " in text
    markdown = ran(*runs, "--format", "md").stdout
    assert "| fast |" in markdown
    assert "(batch 10\u202f000, NVIDIA H100 80GB HBM3) | ● |" in markdown


def test_a_higher_score_and_a_target_are_respected(runs: list[str]) -> None:
    for metric in ("precision", "coverage/1", "dispersion_ratio"):
        found = json.loads(ran(*runs, "--json", "--metric", metric).stdout)
        places = {row["model"]: row["best_batch"]["place"] for row in found["rows"]}
        assert places["fast"] == "front"
        assert found["metric"].startswith(metric.partition("/")[0])


def test_a_board_by_its_own_primary_metric_with_its_yardsticks_unranked(tmp_path: Path) -> None:
    boards = filled(tmp_path, 3)
    add(write(board_result(BOARD, "floor", 1.0, 7, events_per_s=1e6), tmp_path / "runs"), boards)
    figures = [tmp_path / f"{n}.{kind}" for n in (1, 2) for kind in ("svg", "pdf", "png")]
    for figure in figures:
        done = ran("--board", str(boards / BOARD.task), "-o", str(figure), "--unranked", "model_3", "--json")
        assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["metric"] == BOARD.primary
    unranked = {row["model"] for row in found["rows"] if not row["ranked"]}
    assert unranked == {"floor", "model_3"}
    assert [figures[at].read_bytes() == figures[at + 3].read_bytes() for at in range(3)] == [True] * 3


def test_what_is_asked_wrongly_is_one_clear_error(runs: list[str], tmp_path: Path) -> None:
    assert "name results, or a board" in fails(2)
    assert "name results, or a board" in fails(2, *runs, "--board", str(tmp_path))
    assert "Did you mean 'channel_wasserstein'?" in fails(2, *runs, "--metric", "channel_waserstein")
    assert "expected .svg, .pdf, .png" in fails(2, *runs, "-o", str(tmp_path / "figure.jpg"))
    (tmp_path / "folder.svg").mkdir()
    assert "is a folder" in fails(2, *runs, "-o", str(tmp_path / "folder.svg"))
    assert "names no files" in fails(4, str(tmp_path / "nothing.json"))
    assert "board.toml" in fails(4, "--board", str(tmp_path))
    assert "not timed on a CPU with 64 threads" in fails(4, *runs, "--device", "cpu", "--threads", "64")
    (tmp_path / "broken.json").write_text("{")
    assert "is not a result" in fails(4, *runs, str(tmp_path / "broken.json"))
    other = write(make_result("vae", task="mnist", id="other-1"), tmp_path)
    assert "differ in task" in fails(4, *runs, str(other))
    untimed = write(make_result("vae", throughput=[], speedup=None, id="untimed-1"), tmp_path)
    assert "no generator to compare" in fails(4, str(untimed))
    assert "Left out: vae untimed-1 was not timed" in " ".join(ran(*runs, str(untimed)).stdout.split())


def test_a_typo_in_an_option_is_refused(runs: list[str]) -> None:
    for words in (("--device", "gpu"), ("--threads", "0"), ("--format", "tex"), ("--metrics", "fpd")):
        done = ran(*runs, *words)
        assert done.exit_code == 2
        assert words[0] in done.stderr
