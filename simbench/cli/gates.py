"""The verbs for continuous integration: gate, gate-speed, bench."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simbench.cli import options
from simbench.cli.output import (
    answer,
    command_line,
    print_json,
    print_text,
    read_options,
    refuse_options,
    stdout_kept_for_data,
    working,
)
from simbench.core.errors import SimbenchError, UsageError
from simbench.tasks import DEFAULT

if TYPE_CHECKING:
    from simbench.gates.ci import Report
    from simbench.gates.golden import GoldenEntry
    from simbench.gates.run import Request
    from simbench.results.schema import Result

Format = Literal["table", "github"]
JunitOption = Annotated[Path | None, options.file("--junit", help="Write JUnit XML too.")]
FormatOption = Annotated[Format, typer.Option("--format", help="github: annotations and the job's summary, too.")]


def gate(
    result: Annotated[
        Path | None, typer.Argument(metavar="RESULT", help="A file of `simbench run`. Without it, a generator is run.")
    ] = None,
    golden: Annotated[
        Path | None, options.file("--golden", help="The golden values: <task>-<generator>.golden.json.")
    ] = None,
    generator: Annotated[str | None, options.spec(help="Run this; the golden file's own generator otherwise.")] = None,
    task: Annotated[str | None, options.TaskOption(help="The golden file's task otherwise.")] = None,
    param: options.Param = None,
    seed: Annotated[
        int | None, options.number("--seed", min=0, help="The root seed; the golden file's otherwise.")
    ] = None,
    events: Annotated[int | None, options.number("--events", help="As many as the golden values otherwise.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="The few hundred events of a smoke run.")] = False,
    repetitions: Annotated[
        int | None, options.number("--repetitions", help="More find smaller defects.  [default: 1; --update: 10]")
    ] = None,
    device: options.Device = "cpu",
    fast: options.Fast = False,
    update: Annotated[bool, typer.Option("--update", help="Make these values golden; the old ones are kept.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, with --update.")] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on a large improvement and on a skipped metric, too.")
    ] = False,
    junit: JunitOption = None,
    format: FormatOption = "table",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Compare a result, or a generator, with its golden values: exit code 1 where it is worse by more than chance.

    The tolerance is measured, from the spread of the golden repetitions; the chance of any false alarm is 1 %. A large
    improvement passes with a warning.

    \b
    Examples:
      simbench gate --golden gates/zn-geant3-mymodel.golden.json
      simbench gate runs/zn-geant3/mymodel/20260102T030405Z-0a1b2c3d.json --golden gates/zn-geant3-mymodel.golden.json
      simbench gate -g mymodel.py:Model --smoke --golden gates/zn-geant3-mymodel.golden.json --update \
--reason "first values"
    """
    if result is not None:
        refuse_options(
            "a result that is there already takes no such option",
            generator=generator,
            task=task,
            param=param,
            seed=seed,
            events=events,
            smoke=smoke,
            repetitions=repetitions,
            fast=fast,
        )
    if golden is None:
        raise UsageError("no golden file is named", fix="Pass --golden FILE.")
    if reason and not update:
        raise UsageError("--reason belongs to --update")
    if smoke and events:
        raise UsageError("--smoke and --events exclude each other", fix="Leave one out.")
    if param and not generator:
        fix = "The golden file's own generator has the parameters recorded there."
        raise UsageError("--param needs --generator", fix=fix)

    from simbench.core.devices import choose_device
    from simbench.core.parameters import parse_params
    from simbench.gates.golden import MIN_REPETITIONS
    from simbench.gates.run import Request

    request = Request(
        generator=generator,
        params=parse_params(param or []),
        task=task,
        events=events,
        smoke=smoke,
        seed=seed,
        repetitions=repetitions or (MIN_REPETITIONS if update else 1),
        device=choose_device(device),
        fast=fast,
        data_dir=data_dir,
    )
    if update:
        _update(golden, result, request, reason, json)
    else:
        _published("simbench gate", golden.name, lambda: _compare(golden, result, request, strict), junit, format, json)


def _compare(golden: Path, path: Path | None, request: Request, strict: bool) -> tuple[Report, dict[str, Any], int]:
    from simbench.gates.golden import read_golden
    from simbench.gates.quality import as_dict, gate, report

    entry = read_golden(golden).current
    outcome = gate(_result(path, request, entry), entry)
    return report(outcome, strict), as_dict(outcome, strict), outcome.exit_code(strict)


def _update(golden: Path, path: Path | None, request: Request, reason: str, json: bool) -> None:
    from simbench.core.files import check_replaceable
    from simbench.gates.golden import check_reason, read_golden, update_golden

    check_reason(reason)
    check_replaceable(golden)
    entry = read_golden(golden).current if golden.exists() else None
    with stdout_kept_for_data(json):
        result = _result(path, request, entry, comparable=False)
    written = update_golden(golden, result, reason)
    answer(
        json,
        written.model_dump(mode="json", by_alias=True),
        f"{golden} holds {len(written.current.values)} golden values of {result.spec.repetitions} repetitions; "
        f"entries before this one: {len(written.history)}.",
    )


def _result(path: Path | None, request: Request, entry: GoldenEntry | None, *, comparable: bool = True) -> Result:
    """The result in a file, or that of the generator that is asked for."""
    if path is not None:
        from simbench.results.schema import read_result

        return read_result(path)
    from simbench.core.progress import Progress
    from simbench.gates.run import run_for_gate

    with Progress() as progress:
        return run_for_gate(request, entry, comparable=comparable, command=command_line(), progress=progress)


def _published(
    suite: str,
    title: str,
    work: Callable[[], tuple[Report, dict[str, Any], int]],
    junit: Path | None,
    format: Format,
    json: bool,
) -> None:
    """Do the work, publish its report (that of an error, too) and exit with its code."""
    from rich.console import Console

    from simbench.core.console import stdout_console
    from simbench.core.files import check_replaceable
    from simbench.gates.ci import of_error, publish

    if junit is not None:
        check_replaceable(junit)
    github = format == "github"
    console = Console(stderr=True, highlight=False) if json else stdout_console()
    shown = None if json and not github else console
    start = time.monotonic()

    def out(report: Report, console: Console | None) -> None:
        publish(report, console, github=github, junit_path=junit, seconds=time.monotonic() - start)

    try:
        with stdout_kept_for_data(json):
            report, values, code = work()
    except SimbenchError as error:
        out(of_error(suite, title, error), shown if github else None)
        raise
    out(report, shown)
    if json:
        print_json(values)
    if code:
        raise typer.Exit(code)


def gate_speed(
    generator: options.Generator,
    base: Annotated[str, typer.Option("--base", metavar="REF", help="A branch, tag or commit to compare with.")],
    task: options.Task = DEFAULT,
    param: options.Param = None,
    batch_size: Annotated[int, options.number("--batch-size", help="Events per call.")] = 1000,
    threads: Annotated[int, options.number("--threads", help="CPU threads.")] = 1,
    runs: Annotated[int, options.number("--runs", min=None, help="Runs of each side, at least 7.")] = 7,
    device: options.Device = "cpu",
    seed: options.Seed = 0,
    junit: JunitOption = None,
    format: FormatOption = "table",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Is the working tree slower than a git revision? Exit code 1 where it is, by more than 5 % and more than chance.

    The revision is checked out beside the working tree, and both are timed in turns, each run in a process of its own.

    \b
    Examples:
      simbench gate-speed --base origin/main --generator mymodel.py:Model
      simbench gate-speed --base v1.2 -g mypkg.models:Flow --task mnist --batch-size 100 --runs 10
    """
    from simbench.core.devices import choose_device
    from simbench.core.parameters import parse_params
    from simbench.core.progress import Progress
    from simbench.gates.speed import Timing, as_dict, gate_speed, report
    from simbench.tasks import get_task

    get_task(task, data_dir)
    timing = Timing(
        generator=generator,
        task=task,
        params=parse_params(param or []),
        batch=batch_size,
        threads=threads,
        device=choose_device(device),
        seed=seed,
        data_dir=data_dir,
    )

    def work() -> tuple[Report, dict[str, Any], int]:
        with Progress() as progress, progress.step("timing", 2 * runs) as advance:
            outcome = gate_speed(base, timing, runs, lambda: advance(1))
        return report(outcome, timing, base), as_dict(outcome, timing, base), outcome.exit_code()

    _published("simbench gate-speed", f"{generator} on {task}", work, junit, format, json)


def bench(
    generator: Annotated[
        list[str], options.spec(help="As --generator of `simbench run`; repeatable: their repeats alternate.")
    ],
    task: options.Task = DEFAULT,
    param: options.Param = None,
    devices: options.Devices = "auto",
    batches: options.Batches = None,
    precision: options.Precision = "fp32",
    compile: options.Compile = False,
    monte_carlo: options.MonteCarlo = None,
    seed: options.Seed = 0,
    memory_limit: Annotated[
        bool, typer.Option("--memory-limit", help="Find the largest batch that fits into memory, too (20 s a device).")
    ] = False,
    pytest_benchmark: Annotated[
        Path | None, options.file("--pytest-benchmark", help="Write a new file for `pytest-benchmark compare`, too.")
    ] = None,
    out: Annotated[
        Path | None, options.file("--out", "-o", help="Write a new file with the speeds, for a leaderboard's `speeds`.")
    ] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Time generators: the throughput part of `run`, alone.

    The repeats of several alternate, so that a machine that slows down slows all alike.

    \b
    Examples:
      simbench bench --generator mymodel.py:Model
      simbench bench -g vae -g e2e_sae --batches 1,1000
      simbench bench -g vae --devices cpu,cuda --precision fp32,bf16 --compile
      simbench bench -g vae --pytest-benchmark before.json
      pytest-benchmark compare before.json after.json
    """
    from simbench.core.files import check_new, write_new
    from simbench.core.text import engine_name, times
    from simbench.evaluation.bench import bench, pytest_benchmark_json, speeds_json
    from simbench.evaluation.devices import read_timing
    from simbench.evaluation.evaluate import Options
    from simbench.generators.resolve import resolve

    params, chosen = read_options(param, task, data_dir)
    timing = read_timing(devices, batches, precision, compile)
    if params and len(generator) > 1:
        fix = "Leave it out, or time them one by one."
        raise UsageError("--param is for one generator", got=f"{len(generator)} generators", fix=fix)
    for file in (pytest_benchmark, out):
        if file is not None:
            check_new(file)
    with working(json) as progress:
        resolved = [resolve(spec, params) for spec in generator]
        asked = Options(root_seed=seed, monte_carlo=monte_carlo, **timing)
        timed = bench(resolved, chosen, asked, progress, limits=memory_limit)
    if pytest_benchmark is not None:
        write_new(pytest_benchmark, pytest_benchmark_json(timed, task=chosen.name, command=command_line()))
    if out is not None:
        write_new(out, speeds_json(timed, chosen, command_line()))
    if json:
        shown = [
            {
                "generator": each.generator.name,
                "task": chosen.name,
                "throughput": [row.model_dump() for row in each.rows],
                "speedup": each.speedup.model_dump() if each.speedup else None,
                "memory_limit": {on: dataclasses.asdict(limit) for on, limit in each.limits.items()},
                "notes": each.notes,
            }
            for each in timed
        ]
        print_json(shown[0] if len(shown) == 1 else shown)
        return
    from simbench.core.console import stdout_console
    from simbench.report.terminal import speed_table

    for each in timed:
        if len(timed) > 1:
            print_text(each.generator.name, "bold")
        stdout_console().print(speed_table(each.rows))
        for note in each.notes:
            print_text(note, "yellow")
        for on, limit in each.limits.items():
            print_text(f"memory on {on}: {limit}")
        if found := each.speedup:
            print_text(
                f"{times(found.value)} {engine_name(found.monte_carlo.engine)} (batch {found.batch}, {found.device})"
            )


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(gate)
    app.command("gate-speed")(gate_speed)
    app.command()(bench)
