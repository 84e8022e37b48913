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
from simbench.report.channels import rank_correlations
from simbench.report.page import ReportEntry, write_report
from simbench.report.showers import pick_conditions
from simbench.report.speed import quality_against_time
from simbench.report.style import plain, to_svg
from simbench.results.pareto import placed
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


# The figures' arithmetic


def test_picked_conditions_span_species_and_energy(zn: Comparison) -> None:
    task = ZnGeant3()
    picked = pick_conditions(task.load("test"), task)
    species = [one.label.partition("\n")[0] for one in picked]
    assert species.count("photon") == species.count("neutron") == 3
    assert all(len(one.rows) == task.repeats for one in picked)
    assert len(pick_conditions(zn.reference, task)) >= 4


def test_rank_correlations_are_spearmans() -> None:
    from scipy.stats import spearmanr

    values = np.random.default_rng(0).poisson(3.0, (200, 5)).astype(float)
    np.testing.assert_allclose(rank_correlations(values), spearmanr(values).statistic, atol=1e-12)
    values[:, 2] = 0
    assert np.isnan(rank_correlations(values)[2]).all()


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

PROBE = (
    "<script>const root = document.documentElement; parent.postMessage([innerWidth, root.scrollWidth], '*');</script>"
)
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
        widths = re.search(r'data-widths="(\d+) (\d+)"', dom)
        assert widths is not None
        assert int(widths[1]) == width
        assert int(widths[2]) <= width
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
