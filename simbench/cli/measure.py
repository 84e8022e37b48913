"""The verbs that measure: run, score, report, and the maintainers' floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simbench.cli import options
from simbench.cli.grid import run_jobs
from simbench.cli.leave import report_beside, report_of
from simbench.cli.output import answer, command_line, print_json, refuse_options, working
from simbench.core.errors import UsageError
from simbench.tasks import DEFAULT

if TYPE_CHECKING:
    from simbench.evaluation.evaluate import Evaluated
    from simbench.tasks.base import Task

DefinitionsOption = Annotated[
    str,
    options.name(
        "--definitions",
        help="Whose definitions of the metrics: simbench, a paper (deja2020, wojnar2024, wojnar2025, bedkowski2024), "
        "or other read-out channels (zn_2x2_odd, zp_2x2, zp_4x1).",
    ),
]
MetricsOption = Annotated[
    str,
    typer.Option(
        "--metrics",
        metavar="NAMES",
        help="Measure these alone (fpd,kpd), or these beside the task's (+mine); `simbench metrics` lists them.",
    ),
]
SamplesOption = Annotated[
    bool,
    typer.Option(
        "--samples/--no-samples",
        help="Keep the events of the first repetition beside the result, as <id>.h5, for `simbench report`; those of "
        "earlier runs in that folder are removed.",
    ),
]
SamplesLimitOption = Annotated[
    int,
    typer.Option(
        "--samples-limit",
        min=1,
        metavar="MB",
        envvar="SIMBENCH_SAMPLES_LIMIT",
        help="Keep no samples that take more than this.",
    ),
]
ReportOption = Annotated[bool, typer.Option("--report/--no-report", help="Write an HTML report beside the result.")]


def run(
    generator: Annotated[
        list[str] | None,
        options.spec(
            help="pkg.module:attr, path/file.py:attr, a name of `simbench generators`, onnx:FILE, pt2:FILE, "
            "cmd:PROGRAM or samples:FILE; repeatable."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        options.name(
            "--task", "-t", help=f"What to generate; `simbench tasks` lists them; repeatable.  [default: {DEFAULT}]"
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="KEY=VALUE,...",
            help="A constructor argument of the generator; repeatable. With commas, as many runs: width=3,4. A value "
            "that holds commas itself stands in double quotes: 'cuts=\"1,2\",3' are two.",
        ),
    ] = None,
    name: Annotated[
        list[str] | None, options.label(help=f"{options.LABEL}; of several generators, one for each.")
    ] = None,
    seed: options.Seed = 0,
    events: options.Events = None,
    repetitions: Annotated[
        int, options.number("--repetitions", help="Generate and score N times, with other seeds.")
    ] = 1,
    devices: options.Devices = "auto",
    block_size: options.BlockSize = None,
    batches: options.Batches = None,
    precision: options.Precision = "fp32",
    compile: options.Compile = False,
    monte_carlo: options.MonteCarlo = None,
    timing: Annotated[bool, typer.Option("--timing/--no-timing", help="Measure speeds, too.")] = True,
    smoke: Annotated[bool, typer.Option("--smoke", help="A few hundred events: a first try, not a result.")] = False,
    fast: options.Fast = False,
    definitions: DefinitionsOption = "simbench",
    metrics: MetricsOption = "",
    out: options.Out = Path("runs"),
    report: ReportOption = True,
    samples: SamplesOption = True,
    samples_limit: SamplesLimitOption = 64,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Measure a generator: how faithful, how diverse, how fast.

    Several generators, tasks or values of parameters are as many runs, each with a result of its own, one after the
    other; a table and a report (one a task) compare them at the end. A run that fails does not stop the others; the
    exit code is that of the failure, the largest where they differ.

    \b
    Examples:
      simbench run --generator memoriser --smoke
      simbench run --generator mymodel.py:Model --param width=4
      simbench run --generator mymodel.py:Model --name "wide, 50 epochs"
      simbench run -g mymodel.py:Model -g vae --task zn-geant3 --task mnist --smoke
      simbench run -g mymodel.py:Model --param width=3,4,5
      simbench run -g mypkg.models:Flow --task mnist --repetitions 5 --devices cuda,cpu
      simbench run -g mymodel.py:Model --task mytask.py:Task
      simbench run -g vae --metrics conditional_energy,fpd
      simbench run -g vae --metrics +photon_excess
      simbench run -g vae --json > result.json
    """
    if not generator:
        raise UsageError(
            "no generator is named",
            fix="Pass --generator; `simbench generators` lists those installed, `simbench init mymodel.py` writes one.",
        )
    from simbench.core.files import check_writable
    from simbench.core.parameters import parse_grid
    from simbench.evaluation.devices import read_timing
    from simbench.evaluation.evaluate import Options
    from simbench.evaluation.jobs import SAMPLES, Leave, grid, perform

    if all(spec.startswith(SAMPLES) for spec in generator):
        refuse_options(
            "samples that are made already take no such option",
            param=param,
            events=events,
            block_size=block_size,
            batches=batches,
            monte_carlo=monte_carlo,
            repetitions=repetitions > 1,
            smoke=smoke,
        )
    jobs = grid(generator, task or [DEFAULT], parse_grid(param or []), name or [])
    asked = Options(
        root_seed=seed,
        events=events,
        repetitions=repetitions,
        monte_carlo=monte_carlo,
        block_size=block_size,
        **read_timing(devices, batches, precision, compile),
        fast=fast,
        definitions=definitions,
        metrics=metrics,
        command=command_line(),
        timed=timing,
    )
    check_writable(out)
    kept = samples_limit if samples else 0
    if len(jobs) > 1:
        run_jobs(jobs, asked, Leave(out, kept, smoke, data_dir), report=report, json=json)
        return
    with working(json) as progress:
        evaluated, chosen = perform(jobs[0], asked, progress, smoke=smoke, data_dir=data_dir)
    _finish(evaluated, chosen, out, report, json, kept)


def score(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="HDF5, npz or npy, as below; several are repetitions.")
    ],
    task: Annotated[str | None, options.TaskOption(help=f"As --task of `simbench run`.  [default: {DEFAULT}]")] = None,
    name: Annotated[str | None, options.label(help=f"{options.LABEL}.")] = None,
    against: Annotated[
        Path | None,
        options.file("--against", help="Another such file, to be held against in the place of a task's events."),
    ] = None,
    fast: options.Fast = False,
    definitions: DefinitionsOption = "simbench",
    metrics: MetricsOption = "",
    out: options.Out = Path("runs"),
    report: ReportOption = True,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Score files of samples that another program made.

    A file answers the conditions of `simbench conditions export` and holds `samples` (N, *shape) in task units and
    `condition_index` (N), the rows of the test split that they answer, or in its place `conditions` (N, C); whole
    conditions, each row once. Attributes (npz: scalars) task, generator, seed, unit and seconds_per_event are optional;
    the last is shown as self-reported and never ranked. An npy file holds samples alone. Several files are
    repetitions of one generator: the same rows, answered with other random numbers.

    With --against no task is needed: shape, unit and conditions are those of the files. Only scores that know nothing
    of physics are given, beside a floor where the other file has two events or more of each condition: one half of
    them is scored against, the other half gives the floor.

    \b
    Examples:
      simbench conditions export --task zn-geant3 -o conditions.h5
      ./my_program conditions.h5 samples.h5
      simbench score samples.h5 --task zn-geant3
      simbench score seed1.h5 seed2.h5 seed3.h5
      simbench score mine.npy --against theirs.npy
    """
    from simbench.core.files import check_writable
    from simbench.evaluation.evaluate import Options, score_against, score_files
    from simbench.tasks import get_task

    chosen: Task
    if against is not None:
        refuse_options("--against is for files without a task", task=task, data_dir=data_dir)
    check_writable(out)
    with working(json) as progress:
        asked = Options(fast=fast, definitions=definitions, metrics=metrics, command=command_line(), label=name)
        if against is None:
            chosen = get_task(task or DEFAULT, data_dir)
            evaluated = score_files(files, chosen, asked, progress)
        else:
            evaluated, chosen = score_against(files, against, asked, progress)
    _finish(evaluated, chosen, out, report, json)


def _finish(evaluated: Evaluated, task: Task, out: Path, report: bool, json: bool, samples_limit: int = 0) -> None:
    """Write the result, then its samples (up to so many MB) and the report, then show it.

    Raises NothingMeasuredError where a primary metric has no value.
    """
    from simbench.core.progress import Progress
    from simbench.evaluation.jobs import check_complete, samples_beside
    from simbench.results.schema import write_result

    result = evaluated.result
    path = write_result(result, out)
    try:
        with Progress() as progress:
            samples_beside(evaluated, task, path, samples_limit, progress)
        if report:
            report_beside(evaluated, task, path)
    finally:
        if json:
            print(result.to_json(), end="")
        else:
            from simbench.core.console import stdout_console
            from simbench.report.terminal import print_result

            print_result(result, path, stdout_console())
    check_complete(result, path)


def report_(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT.json", help="Results of one task, as `simbench run` wrote them.")
    ],
    output: Annotated[Path, options.file("--output", "-o", help="The page; an old one is replaced.")] = Path(
        "report.html"
    ),
    samples: Annotated[
        list[Path] | None, options.file("--samples", help="Samples of one of the results; repeatable, in any order.")
    ] = None,
    figures: Annotated[Path | None, options.folder("--figures", help="Leave every figure as PDF and PNG here.")] = None,
    models: Annotated[
        str,
        options.name(
            "--models",
            help="Which generators to open: those that are installed by name, all (runs whatever code a result names), "
            "or none.",
        ),
    ] = "installed",
    task: options.TaskOfResult = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Put one or more results on one page.

    The page compares scores and speeds. Figures of events need the samples, which a result does not hold: those that
    `simbench run` keeps, of the last run of each generator, are found beside their result; files that `simbench score`
    took, or that lie elsewhere, are passed with --samples. Installed generators are opened, for what no file holds
    (latent space, interpolation), and draw a thousand events anew where no samples are at hand.

    \b
    Examples:
      simbench report runs/zn-geant3/*/*.json -o comparison.html
      simbench report runs/zn-geant3/mine/20260102T030405Z-0a1b2c3d.json --samples samples.h5
    """
    from simbench.core.files import check_replaceable
    from simbench.report.opened import chosen_models
    from simbench.report.page import check_task
    from simbench.results.schema import read_result
    from simbench.tasks import task_of

    check_replaceable(output)
    if output.suffix not in (".html", ".htm"):
        fix = f"Try {output.with_suffix('.html')}; --figures FOLDER leaves the figures as PDF and PNG."
        raise UsageError(f"{output}: a report is an HTML page", got=repr(output.suffix), expected=".html", fix=fix)
    which = chosen_models(models)
    read = [read_result(path) for path in results]
    chosen = task_of(read[0].task, task, data_dir)
    check_task(read, chosen)
    written = report_of(read, results, chosen, output, which, samples or [], figures)
    found = {"report": str(written), "results": [result.id for result in read]}
    answer(json, found, f"The report is {written}.")


def floor(
    task: options.Task = DEFAULT,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Measure the floors again and write the shipped file (minutes).")
    ] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """What a perfect model would score: independent real events against the test events.

    \b
    Examples:
      simbench floor --task mnist
      simbench floor --rebuild
    """
    from simbench.core.progress import Progress
    from simbench.core.text import number
    from simbench.evaluation.floors import Floors
    from simbench.evaluation.floors import rebuild as rebuild_table
    from simbench.metrics.registry import get_metric
    from simbench.tasks import get_task

    chosen = get_task(task, data_dir)
    if rebuild:
        with Progress() as progress:
            progress.note(f"{rebuild_table(chosen, progress.note)} is written.")
    with Progress() as progress:
        known = Floors(chosen, chosen.load("test"))
        keys = progress.each("floors", chosen.metrics, len(chosen.metrics))
        floors = {key: known.of(get_metric(key)) for key in keys}
    if json:
        print_json({key: found.model_dump() for key, found in floors.items()})
        return
    for key, found in floors.items():
        print(f"{key:26} {number(found.value)}" + ("" if found.sd is None else f" ± {number(found.sd, 2)}"))


def register(app: typer.Typer) -> None:
    """Add these verbs; `floor` is for maintainers."""
    app.command()(run)
    app.command()(score)
    app.command("report")(report_)
    app.command(hidden=True)(floor)
