"""The pages that are written at build time, below `docs/generated` (not committed).

One a metric from the registry, one a folder of code from its docstrings, one of the commands from their `--help`, and
the repository's own pages.
"""

from __future__ import annotations

import ast
import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docstrings import as_rst
from repository_links import PAGES, rewritten
from sphinx.ext.napoleon import Config, GoogleDocstring

from simbench.core.text import count, number
from simbench.evaluation.floors import FloorTable, table_path
from simbench.metrics.base import Metric
from simbench.metrics.registry import metrics
from simbench.report.style import to_svg
from simbench.selftest.curves import AXIS, metric_figure
from simbench.tasks import get_task, task_names
from simbench.tasks.base import Task

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
CODE = {"simbench": ROOT, "simbench_baselines": ROOT / "baselines", "simbench_models": ROOT / "reference_models"}
"""The documented packages, and the folder that holds each."""
LEFT_OUT = ("simbench/cli", "simbench/data", "simbench/simulation/geant4.py")
"""What has no page of its own: the commands have one, the data's programs are no modules, Geant4 may not be there."""

Pages = Iterator[tuple[str, str]]


def write(folder: Path) -> None:
    """Write every page into `folder`, and remove what no page is; what is as before is not touched."""
    wanted = {folder / name: text for name, text in (*metric_pages(), *code_pages(), *command_page(), *own_pages())}
    for path in [path for path in folder.rglob("*") if path.is_file() and path not in wanted]:
        path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


# reStructuredText


def heading(text: str, line: str = "=") -> str:
    """A heading, with its line."""
    return f"{text}\n{line * len(text)}\n"


def table(rows: Sequence[Sequence[str]], *options: str) -> str:
    """A list-table of which the first row is the head."""
    lines = [".. list-table::", "   :header-rows: 1", *(f"   :{option}:" for option in options), ""]
    for row in rows:
        lines += [f"   {'* -' if place == 0 else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def contents(names: Sequence[str], *options: str) -> str:
    """A toctree."""
    return (
        "\n".join([".. toctree::", *(f"   :{option}:" for option in options), "", *(f"   {n}" for n in names)]) + "\n"
    )


def prose(docstring: str) -> str:
    """A docstring as reStructuredText."""
    lines = as_rst(docstring.splitlines())
    return str(GoogleDocstring(lines, Config(napoleon_use_param=False, napoleon_use_rtype=False)))


# Metrics


def metric_pages() -> Pages:
    """A page of each metric, and the table of all."""
    tasks = [get_task(name) for name in task_names()]
    curves = {task.name: _read_json(DOCS / "curves" / f"{task.name}.json") for task in tasks}
    costs = _read_json(DOCS / "curves" / "costs.json") or {}
    rows = [["metric", "what", "unit", "better", "role", "tasks"]]
    for metric in metrics().values():
        of = [task for task in tasks if metric.key in task.metrics]
        yield f"metrics/{page_name(metric)}.rst", metric_page(metric, of, curves, costs)
        link = f":doc:`{metric.key} <{page_name(metric)}>`"
        rows.append([link, metric.label, metric.unit, better(metric), role(metric), ", ".join(t.name for t in of)])
    text = (
        "Each page has the definition as it stands in the code, what independent real events score, how the number "
        "answers to three kinds of defect, and what it costs. A metric is *name/version*: another definition is "
        "another version. On the terminal: ``simbench metrics NAME``."
    )
    names = [page_name(metric) for metric in metrics().values()]
    yield "metrics/index.rst", "\n".join([heading("The metrics"), text, "", table(rows), contents(names, "hidden")])


def page_name(metric: Metric) -> str:
    """The file of a metric's page, without its ending."""
    return metric.key.replace("/", "-")


def better(metric: Metric) -> str:
    """Which way is better."""
    return f"right at {metric.target:g}" if metric.target is not None else str(metric.direction)


def role(metric: Metric) -> str:
    """Whether it may order models."""
    return "ranks" if metric.ranks else "only reports"


def metric_page(
    metric: Metric, tasks: Sequence[Task], curves: Mapping[str, dict[str, Any] | None], costs: Mapping[str, Any]
) -> str:
    """Definition, bias, response curve and cost of one metric."""
    where = [task.name + (" (primary)" if metric.key in task.primary else "") for task in tasks]
    published = [f"{t.name} by --definitions {n}" for t in map(get_task, task_names()) for n in _names(t, metric.key)]
    facts = {
        "key": f"``{metric.key}``",
        "unit": metric.unit or "none",
        "better": better(metric),
        "role": role(metric),
        "tasks": ", ".join([*where, *published]) or "of no task, by --metrics +NAME",
    }
    parts = [heading(f"{metric.label} ({metric.key})"), *as_rst([metric.meaning])]
    parts += [*(f":{name}: {value}" for name, value in facts.items()), ""]
    parts += [heading("Definition", "-"), prose(metric.definition)]
    if metric.example is not None:
        parts += ["::\n", *(f"    {line}" for line in metric.example().splitlines()), ""]
    parts += [heading("Bias: what real events score", "-"), bias(metric, tasks)]
    parts += [heading("Response to defects", "-"), response(metric, tasks, curves)]
    parts += [heading("Cost", "-"), cost(metric, costs)]
    return "\n".join(parts)


def _names(task: Task, key: str) -> list[str]:
    return [name for name, keys in task.definitions.items() if key in keys and key not in task.metrics]


def bias(metric: Metric, tasks: Sequence[Task]) -> str:
    """What independent real events score at each shipped size: all that a value at the floor can be blamed for."""
    rows = [["task", "N", "real events (floor)", "sd over deals", "training events replayed"]]
    text = ""
    for task in tasks:
        found = shipped(task)
        for events, floor in (found.floors.get(metric.key, {}) if found else {}).items():
            shown = [number(value) if value is not None else "" for value in (floor.value, floor.sd, floor.memoriser)]
            rows.append([task.name, count(events), *shown])
        if found and found.curve and found.curve.metric == metric.key:
            pairs = zip(found.curve.events, found.curve.value, strict=True)
            steps = [["N", *(count(n) for n in found.curve.events)], [task.name, *(number(v) for _, v in pairs)]]
            text += (
                f"\nN events of the split ``floor`` of {task.name}, drawn at random, against the whole split ``test``: "
                f"the curve that gives the equivalent events.\n\n{table(list(zip(*steps, strict=True)))}"
            )
    if len(rows) == 1:
        return "No floor is shipped: its tasks have data that everybody brings, and a run measures it.\n"
    about = (
        "Independent real events against the real test events, at N events each, and the spread over 20 other deals of "
        "them: a perfect model scores this. Measured by ``simbench floor --rebuild``.\n"
    )
    return f"{about}\n{table(rows)}{text}"


def shipped(task: Task) -> FloorTable | None:
    """The shipped floors of a task."""
    path = table_path(task.name)
    return FloorTable.model_validate_json(path.read_text()) if path.is_file() else None


def response(metric: Metric, tasks: Sequence[Task], curves: Mapping[str, dict[str, Any] | None]) -> str:
    """A figure for each task that has measured curves of this metric."""
    parts = []
    for task in tasks:
        measured = curves[task.name]
        if measured and metric.key in measured["defects"]["scale"]["metrics"]:
            title = f"{metric.label} on {task.name}: value against the strength of three defects"
            svg = to_svg(metric_figure(measured, metric.key), f"{page_name(metric)}-{task.name}", title)
            flat = svg.replace("\n", " ")
            few = " --smoke" if measured["events"] < task.test_events else ""
            about = (
                f"{task.name} {measured['version']}, N = {count(measured['events'])} "
                f"(``simbench selftest --task {task.name}{few} --curves docs/curves``)"
            )
            parts.append(f'{about}:\n\n.. raw:: html\n\n   <div class="figure">{flat}</div>\n')
    if not parts:
        return "No curve is measured: curves need the shipped tasks' data, and the metrics of the tasks themselves.\n"
    about = (
        f"Real events, spoilt on purpose ({', '.join(AXIS.values())}). Filled points differ from the floor at a family "
        "error of 1 % (Holm, over all metrics of the task); the band is the floor ± 2 sd.\n"
    )
    return "\n".join([about, *parts])


def cost(metric: Metric, costs: Mapping[str, Any]) -> str:
    """CPU seconds of the metric."""
    rows = [["task", "N", "CPU seconds, one thread"]]
    for task, found in costs.get("tasks", {}).items():
        if metric.key in found["seconds"]:
            rows.append([task, count(found["events"]), number(found["seconds"][metric.key])])
    if len(rows) == 1:
        return "Not measured.\n"
    about = (
        f"Value and standard error, features given, on {costs['cpu']}, which other programs shared, so that it is an "
        "upper limit: ``python docs/costs.py``.\n"
    )
    return f"{about}\n{table(rows)}"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


# Code and commands


def code_pages() -> Pages:
    """A page of each folder: its modules, with what their docstrings say."""
    names = []
    for package, root in CODE.items():
        for folder in sorted(path.parent for path in (root / package).rglob("__init__.py")):
            place = folder.relative_to(root)
            modules = [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
            modules = [path for path in modules if not str(path.relative_to(root)).startswith(LEFT_OUT)]
            if not modules:
                continue
            name = ".".join(place.parts)
            names.append(name)
            yield f"api/{name}.rst", code_page(name, folder, modules)
    text = "What the docstrings say, a page a folder. Where to begin: :doc:`/generated/architecture`."
    yield "api/index.rst", "\n".join([heading("API"), text, "", contents(names)])


def code_page(name: str, folder: Path, modules: Sequence[Path]) -> str:
    """One folder's page."""
    parts = [heading(name), *as_rst([_first_words(folder / "__init__.py")])]
    for path in modules:
        names = ", ".join(_public(path))
        members = f"   :members: {names}\n" if names else ""
        parts += [heading(f"{name}.{path.stem}", "-"), f".. automodule:: {name}.{path.stem}\n{members}"]
    return "\n".join(parts)


def _public(path: Path) -> list[str]:
    """The documented functions and classes of a module; metrics have pages of their own."""
    return [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node)
        and not any("metric(" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


def _first_words(path: Path) -> str:
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def command_page() -> Pages:
    """What `--help` says of every command."""
    import typer

    from simbench.cli.main import app

    parts = [heading("The commands"), "What ``simbench COMMAND --help`` says.\n"]

    def helped(command: Any, name: str, parent: Any) -> None:
        context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
        context.info_name, context.parent = name, None
        text = command.get_help(context)
        parts.extend([heading(name, "-"), ".. code-block:: text\n", *(f"   {line}" for line in text.splitlines()), ""])
        for sub in getattr(command, "commands", {}).values():
            if not sub.hidden:
                helped(sub, f"{name} {sub.name}", context)

    helped(typer.main.get_command(app), "simbench", None)
    yield "commands.rst", "\n".join(parts)


# The repository's own


def own_pages() -> Pages:
    """ARCHITECTURE.md and CONTRIBUTING.md, and the list of boards."""
    for file, page in PAGES.items():
        name = page.removeprefix("/")
        if name.startswith("generated/"):
            text = (ROOT / file).read_text(encoding="utf-8")
            yield name.removeprefix("generated/"), rewritten(text, "", name.removesuffix(".md"))
    lines = ["# Leaderboards", "", "What a board asks for: [a board of your own](/own-board.md)."]
    lines[-1] += " What can be cheated on one: [what is done about it](/cheating.md)."
    for path in sorted(ROOT.glob("leaderboards/*/board.toml")):
        board = tomllib.loads(path.read_text(encoding="utf-8"))
        link = f'<a href="../{path.parent.name}/board.html">{board["title"]}</a>'
        lines += ["", f"- {link}: {board['summary']}"]
    yield "boards.md", "\n".join(lines) + "\n"


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
