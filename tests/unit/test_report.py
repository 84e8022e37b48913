import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from browser import needs_chromium, opened
from factories import make_measurement, make_result, make_throughput, make_trade, zn_measurements

from simbench.core.cache import Once
from simbench.core.errors import DataError, UsageError
from simbench.metrics.base import Comparison
from simbench.metrics.direction import Direction
from simbench.report.page import ReportEntry, write_report
from simbench.report.showers import pick_conditions
from simbench.report.speed import quality_against_time
from simbench.report.style import plain, to_svg
from simbench.results.compare import compare
from simbench.results.pareto import placed
from simbench.results.schema import Calibrated, Result, StratumValue
from simbench.results.timing import NOT_TIMED
from simbench.results.words import entry_labels
from simbench.tasks.mnist import Mnist, find
from simbench.tasks.zn import ZnGeant3

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def zn() -> Comparison:
    task = ZnGeant3()
    reference = task.load("test", 400)
    return Comparison(reference.with_samples(task.load("floor", 400).samples), reference)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simbench.report.features.ITERATIONS", 250)
        patch.setattr("simbench.report.features.TOTAL", 300)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(zn: Comparison, folder: Path) -> Path:
    """Two generators, one of them hostile and collapsed; one result without its samples."""
    settings = dict(mpl.rcParams)
    empty = Comparison(zn.reference.with_samples(torch.zeros_like(zn.generated.samples)), zn.reference)
    failed = make_measurement("kid", None, status="failed", error=HOSTILE)
    entries = [
        ReportEntry(make_result("floor", gpu=True), zn),
        ReportEntry(
            make_result(
                HOSTILE, measurements=[*zn_measurements(5), failed], warnings=[HOSTILE], parameters={HOSTILE: "$x_{"}
            ),
            empty,
        ),
        ReportEntry(make_result("elsewhere", throughput=[], speedup=None, equivalent_events=None), None),
    ]
    path = write_report(entries, ZnGeant3(), folder / "page.html")
    assert dict(mpl.rcParams) == settings
    return path


class Elements(HTMLParser):
    """The tags of a page with their attributes, and whether every tag that opens also closes."""

    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_holds_every_figure(page: Path) -> None:
    text = page.read_text()
    elements = Elements(text)
    assert elements.open == []
    figures = [attributes["id"] for tag, attributes in elements.found if tag == "figure"]
    assert figures == [
        "showers",
        "mean_shower",
        "channels",
        "response",
        "dispersion",
        "correlations",
        "features",
        "speed",
    ]
    assert sum(tag == "svg" for tag, _ in elements.found) == len(figures)
    assert "Left out" not in text
    assert page.stat().st_size < 6e6


def test_a_hostile_name_is_text(page: Path) -> None:
    text = page.read_text()
    assert "&lt;script&gt;alert(1)" in text
    tags = {tag for tag, _ in Elements(text).found}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    assert not any(name.startswith("on") for _, attributes in Elements(text).found for name in attributes)


def test_the_page_asks_for_nothing(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'" in text
    addresses = [
        value or ""
        for _, attributes in Elements(text).found
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href")
    ]
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_ids_are_unique_and_references_are_kept(page: Path) -> None:
    text = page.read_text()
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }


def test_missing_samples_and_failed_metrics_are_said(page: Path) -> None:
    text = page.read_text()
    assert "The samples of elsewhere are not at hand" in text
    assert "Not measured" in text
    assert "No speed-up: the generator was not timed" in text


def test_rows_of_other_precisions_and_compiled_ones_are_told_apart(folder: Path) -> None:
    rows = [
        make_throughput(),
        make_throughput(precision="bfloat16"),
        make_throughput(precision="bfloat16", compiled=True),
    ]
    text = write_report([ReportEntry(make_result(throughput=rows), None)], ZnGeant3(), folder / "ways.html").read_text()
    for shown in ("cpu", "cpu, bfloat16", "cpu, bfloat16, compiled"):
        assert f'<th scope="row">{shown}</th>' in text


def test_a_calibrated_score_is_shown_where_it_moves_by_more_than_its_error(folder: Path) -> None:
    moved = make_measurement("fpd", 9.0, stderr=0.5, calibrated=Calibrated(factor=1.25, value=7.0))
    still = make_measurement("kpd", 9.0, stderr=0.5, calibrated=Calibrated(factor=1.25, value=8.8))
    texts = {}
    for name, measured in (("moved", [moved, still]), ("still", [still])):
        entry = ReportEntry(make_result(measurements=measured), None)
        texts[name] = write_report([entry], ZnGeant3(), folder / "calibrated.html").read_text()
    assert texts["moved"].count("photons ×\u00a01.25") == texts["still"].count("photons ×\u00a01.25") == 1
    assert "its score is given where it moves by more" in texts["moved"]
    assert "7.00 calibrated" in texts["moved"]
    assert "8.80 calibrated" not in texts["moved"]
    assert "no score moves by more" in texts["still"]


def test_bars_show_factors_and_standard_errors(folder: Path) -> None:
    measured = [
        make_measurement("fpd", 2.0, floor=1.0),
        make_measurement("kpd", 1.0, stderr=0.1, floor=0.001, floor_sd=0.01, ratio=None),
        make_measurement("recall", 0.0, stderr=0.0, floor=0.9, direction="higher"),
    ]
    entry = ReportEntry(make_result(measurements=measured), None)
    text = write_report([entry], ZnGeant3(), folder / "bars.html").read_text()
    bars = re.findall(r'<span class="bar( errors)?" aria-hidden="true"><i style="width:([0-9.]+)%"', text)
    assert [kind for kind, _ in bars] == ["", " errors", ""]
    expected = [100 * np.log(2) / np.log(30), 100 * np.log(0.999 / np.hypot(0.1, 0.01)) / np.log(30), 100.0]
    assert [float(width) for _, width in bars] == pytest.approx(expected, abs=0.06)


def test_what_was_not_timed_is_said_beside_the_speeds(folder: Path) -> None:
    late = f"batch 10000 on cpu with 1 thread{NOT_TIMED}it would take about 22 s, and there is no time left"
    entry = ReportEntry(make_result(warnings=[late, "odd events"]), None)
    text = write_report([entry], ZnGeant3(), folder / "late.html").read_text()
    head, _, speed = text.partition('<h2 id="speed-section">')
    assert "1 batch size was not timed" in head
    assert late not in head
    assert late in speed
    assert '<p class="warn">odd events</p>' in head


def test_a_share_without_spread_has_a_limit(folder: Path) -> None:
    strata = {
        "species=neutron": StratumValue(value=0.0, stderr=0.0, n=80),
        "species=photon": StratumValue(value=0.1, stderr=0.02, n=80),
    }
    measured = [make_measurement("empty_fraction", 0.05, direction="target", target=0.0, strata=strata)]
    entry = ReportEntry(make_result(measurements=measured), None)
    text = write_report([entry], ZnGeant3(), folder / "limit.html").read_text()
    assert f"<td>within ±{1 - 0.05**0.1:.2f}</td>" in text  # 80 events are of 10 particles
    assert "± 0<" not in text


def test_without_any_samples_the_tables_remain_and_an_old_report_is_replaced(folder: Path) -> None:
    path = folder / "tables.html"
    path.write_text("old")
    write_report([ReportEntry(make_result(), None)], ZnGeant3(), path)
    text = path.read_text()
    assert text.startswith("<!doctype html>")
    assert '<figure id="speed">' in text
    assert '<figure id="showers">' not in text
    for cell in ("8.80 ± 0.44", "neutron", "as close to the truth", "GEANT 3.21/11 on Intel Xeon"):
        assert cell in text
    assert [entry.name for entry in folder.glob(".tables*")] == []


def test_a_report_needs_results_of_its_task(folder: Path) -> None:
    with pytest.raises(UsageError, match="at least one result"):
        write_report([], ZnGeant3(), folder / "x.html")
    with pytest.raises(UsageError, match="another task: got mnist"):
        write_report([ReportEntry(make_result(task="mnist"), None)], ZnGeant3(), folder / "x.html")
    (folder / "file").write_text("")
    with pytest.raises(UsageError, match="could not be written"):
        write_report([ReportEntry(make_result(), None)], ZnGeant3(), folder / "file" / "x.html")


def test_mnist_has_images_and_no_channels(folder: Path) -> None:
    if find(None) is None:
        pytest.skip("the MNIST files are not here: set SIMBENCH_DATA")
    task = Mnist()
    reference = task.load("test", 200)
    pair = Comparison(reference.with_samples(task.load("floor", 200).samples), reference)
    text = write_report([ReportEntry(make_result(task="mnist"), pair)], task, folder / "mnist.html").read_text()
    figures = [attributes["id"] for tag, attributes in Elements(text).found if tag == "figure"]
    assert figures == ["images", "mean_images", "features", "speed"]
    assert "By label" in text
    assert "Left out" not in text


def sized(result: Result, events: int) -> Result:
    """The result as if it were of so many events."""
    task = result.task.model_copy(update={"events": events, "scored_sha256": f"of {events} events"})
    return result.model_copy(update={"task": task})


def test_results_that_do_not_compare_stand_in_tables_of_their_own(folder: Path) -> None:
    results = [make_result("vae"), sized(make_result("gan", quality=1), 400), make_result("sae", quality=9)]
    entries = [ReportEntry(result, None) for result in results]
    text = write_report(entries, ZnGeant3(), folder / "apart.html", figures=folder / "apart").read_text()
    assert (
        "Not all of these scores compare: vae, sae: 4\u202f000 events; gan: 400 events. "
        "Only those that do share a table." in text
    )
    captions = re.findall("<caption>(.*?)</caption>", text)
    assert captions[0] == "Scores that rank: 4\u202f000 events"
    assert captions[2] == "Scores that rank: 400 events"
    large, small = (text.partition(f"<caption>{captions[at]}</caption>")[2].partition("</table>")[0] for at in (0, 2))
    for name, table in (("vae", large), ("sae", large), ("gan", small)):
        assert f"{name}</span></th>" in table
    assert "gan</span></th>" not in large
    strata = re.findall('aria-label="(By .*?)"', text)
    assert {"By species: 4\u202f000 events", "By species: 400 events"} <= set(strata)
    assert {file.name for file in (folder / "apart").iterdir()} >= {"speed.png", "speed-2.png"}
    alone = write_report([entries[0], entries[2]], ZnGeant3(), folder / "together.html").read_text()
    assert "Not all of these" not in alone
    assert "<caption>Scores that rank</caption>" in alone


def test_bold_is_what_compare_calls_better_and_nothing_else(folder: Path) -> None:
    """Values of 8.8 and 8.9 with errors of 0.44 are a tie; dispersions on either side of 1, too."""

    def of(name: str, wasserstein: float, dispersion: float) -> Result:
        found = [
            make_measurement("channel_wasserstein", wasserstein, stderr=0.44),
            make_measurement("dispersion_ratio", dispersion, version="2", direction="target", target=1.0, stderr=0.01),
            make_measurement("coverage", 0.9 if name == "best" else 0.5, direction="higher", stderr=0.01),
        ]
        return make_result(name, measurements=found, throughput=[], speedup=None)

    results = [of("best", 8.8, 0.8), of("second", 8.9, 1.21), of("third", 20.0, 1.5)]
    text = write_report([ReportEntry(result, None) for result in results], ZnGeant3(), folder / "b.html").read_text()
    assert re.findall('class="value best">(.*?)<', text) == ["0.900 ± 0.010"]
    two = [ReportEntry(result, None) for result in (results[0], results[2])]
    text = write_report(two, ZnGeant3(), folder / "b.html").read_text()
    assert [d.better for d in compare(results[0], results[2])] == ["A", "A", "A"]
    assert len(re.findall('class="value best"', text)) == 3


def test_figures_are_left_as_pdf_and_png(folder: Path) -> None:
    write_report([ReportEntry(make_result(), None)], ZnGeant3(), folder / "x.html", figures=folder / "figures")
    starts = {file.name: file.read_bytes()[:4] for file in (folder / "figures").iterdir()}
    assert starts == {"speed.pdf": b"%PDF", "speed.png": b"\x89PNG"}


def test_weights_that_are_missing_cost_one_figure(zn: Comparison, folder: Path) -> None:
    def missing(_: torch.Tensor) -> torch.Tensor:
        raise DataError("the weights are missing")

    small = zn.take(torch.arange(40))
    pair = Comparison(
        *(
            replace(events, derivations={"features": missing}, _cache=Once())
            for events in (small.generated, small.reference)
        )
    )
    text = write_report([ReportEntry(make_result(), pair)], ZnGeant3(), folder / "weights.html").read_text()
    assert "Left out: the weights are missing" in text
    assert '<figure id="showers">' not in text


def test_equal_names_are_told_apart() -> None:
    results = [make_result("vae", parameters={"steps": steps, "same": 1}) for steps in (10, 20)]
    assert entry_labels(results) == ["vae (steps=10)", "vae (steps=20)"]
    assert entry_labels([make_result("vae"), make_result("vae"), make_result("gan")]) == ["vae #1", "vae #2", "gan"]
    assert entry_labels([make_result("vae"), sized(make_result("vae"), 400)]) == [
        "vae (4\u202f000 events)",
        "vae (400 events)",
    ]
    label = make_result("vae").spec.model_copy(update={"label": "mine"})
    assert entry_labels([make_result("vae", spec=label), make_result("vae")]) == ["mine", "vae"]


# The figures' arithmetic


def test_picked_conditions_span_species_and_energy(zn: Comparison) -> None:
    task = ZnGeant3()
    picked = pick_conditions(task.load("test"), task)
    species = [one.label.partition("\n")[0] for one in picked]
    assert species.count("photon") == species.count("neutron") == 3
    assert all(len(one.rows) == task.repeats for one in picked)
    assert len(pick_conditions(zn.reference, task)) >= 4


@pytest.mark.parametrize("name", ["$x$", "$", "_hidden", "\\frac$", "名前 🦊", "x" * 500, "\x00\x1b[31m"])
def test_any_name_can_label_a_figure(name: str) -> None:
    assert len(plain(name).replace("\\$", "$")) <= 29
    figure = quality_against_time(placed([make_trade(name, 0.1, 3.0)]), name, Direction("lower"))
    assert to_svg(figure, "x", name).startswith("<svg")


def test_one_training_sampled_in_several_ways_is_one_line() -> None:
    flows = [
        make_trade(f"flow (steps={steps})", seconds, value, weights=("flow", "abc"))
        for steps, seconds, value in ((1, 1.0, 9.0), (8, 100.0, 5.0), (2, 10.0, 6.0))
    ]
    trades = placed([*flows, make_trade("vae", 0.5, 8.0, weights=("vae", "def"))])
    axes = quality_against_time(trades, "W", Direction("lower")).axes[0]
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert list(line.get_xdata()) == [100.0, 10.0, 1.0]
    texts = [text.get_text() for text in axes.texts]
    assert {"flow", "steps=1", "steps=2", "steps=8", "vae"} <= set(texts)
    assert texts.count("flow") == 1


# In a browser

PROBE = """<script>
const root = document.documentElement;
const cut = [...document.querySelectorAll(".box td, .box th")].filter((cell) => {
  const edge = cell.closest(".box").getBoundingClientRect().right + 1, at = cell.getBoundingClientRect();
  const whole = cell.closest(".head") || !at.width || at.right <= edge || at.left >= edge - 2;
  return !whole || cell.scrollWidth > cell.clientWidth + 1;
});
parent.postMessage([innerWidth, root.scrollWidth, cut.map((cell) => cell.textContent).join("|")], "*");
</script>"""
"""Finds the cells that the right edge of their table cuts, or whose text is wider than they are."""
FRAME = """<!doctype html><body style="margin:0"><script>
onmessage = event => { document.body.dataset.widths = event.data.join(" "); };
</script><iframe src="%s" style="border:0;width:%dpx;height:900px"></iframe>"""


@needs_chromium
def test_a_browser_finds_no_error_no_request_and_no_overflow(page: Path, tmp_path: Path) -> None:
    """The page in frames as wide as a phone and a desktop (a headless window is never narrower than 500 px)."""
    probed = tmp_path / "probed.html"
    probed.write_text(
        page.read_text()
        .replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
        .replace("</body>", PROBE + "</body>")
    )
    for width in (390, 1400):
        frame, net = tmp_path / f"{width}.html", tmp_path / f"net{width}.json"
        frame.write_text(FRAME % (probed.name, width))
        profile = tmp_path / f"profile{width}"
        dom, log = opened(frame, profile, f"--log-net-log={net}", width=max(width, 500))
        widths = re.search(r'data-widths="(\d+) (\d+) ([^"]*)"', dom)
        assert widths is not None
        assert int(widths[1]) == width
        assert int(widths[2]) <= width
        assert widths[3] == ""
        assert log == []
        assert _requests_of_pages(net) == []


def _requests_of_pages(log: Path) -> list[str]:
    """The web addresses that a page asked for, not the browser itself (whose requests have no origin)."""
    found = json.loads(log.read_text())
    parameters = [event.get("params", {}) for event in found["events"]]
    assert parameters
    return [
        p["url"]
        for p in parameters
        if str(p.get("url", "")).startswith(("http", "ws")) and p.get("initiator", "not an origin") != "not an origin"
    ]
