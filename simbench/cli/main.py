"""The `simbench` command: its verbs, and what becomes of errors.

Exit codes: 0 pass, 1 regression (of `gate`), 2 usage, 3 invalid generator, 4 data or provenance mismatch, 5 nothing was
measured, 70 an error of simbench itself, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from simbench.cli import boards, deploy, files, gates, judge, look, measure, simulate, sweep, train
from simbench.core.errors import INTERNAL_ERROR, SimbenchError, print_traceback
from simbench.core.text import printable
from simbench.core.version import __version__

INTERRUPTED, BROKEN_PIPE = 130, 141

SECTIONS = {
    "Measure": ("run", "sweep", "score", "compare", "train", "simulate", "report"),
    "Guard in CI": ("gate", "gate-speed", "bench"),
    "Write a generator": ("init", "check", "conditions"),
    "Hand it over": ("deploy",),
    "Look around": ("tasks", "metrics", "generators", "doctor", "selftest", "clean"),
}
"""The verbs as `simbench --help` groups them; others come under the last heading, hidden ones nowhere."""


class Verbs(TyperGroup):
    """The root of the command line: an error is one line and an exit code; a traceback only with SIMBENCH_DEBUG=1."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the command line."""
        try:
            return super().make_context(*args, **options)
        except KeyboardInterrupt as error:
            _interrupted(error)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except typer.Exit:
            raise
        except SimbenchError as error:
            _fail(error, type(error).__name__, str(error), error.exit_code)
        except KeyboardInterrupt as error:
            _interrupted(error)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error of typer's, which shows itself and exits with 2
                raise
            hint = "This is a defect of simbench: please report it with the traceback that SIMBENCH_DEBUG=1 shows."
            _fail(error, "InternalError", f"{type(error).__name__}: {error}. {hint}", INTERNAL_ERROR)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs in their sections, each with the first sentence of its help, whole."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        last = list(SECTIONS)[-1]
        for title, names in SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in (names + others if title == last else names)]
            rows = [
                (name, command.get_short_help_str(1000)) for name, command in commands if command and not command.hidden
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def _interrupted(error: KeyboardInterrupt) -> NoReturn:
    _fail(error, "Interrupted", "nothing more is written.", INTERRUPTED)


def _fail(error: BaseException, kind: str, message: str, code: int) -> NoReturn:
    """One line on stderr, red on a terminal; the traceback too with SIMBENCH_DEBUG=1."""
    print_traceback(error)
    line = f"{kind}: {printable(message, 2000)}"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        line = f"\x1b[31m{line}\x1b[0m"
    print(line, file=sys.stderr, flush=True)
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"simbench {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="simbench",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 pass, 1 regression, 2 usage, 3 invalid generator, 4 data or provenance mismatch, "
    "5 nothing was measured, 70 an error of simbench itself, 130 interrupted. SIMBENCH_DEBUG=1 shows tracebacks.",
)
for module in (measure, sweep, train, deploy, simulate, judge, files, look, gates, boards):
    module.register(app)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hand simbench any generator of detector responses or images, and it says how good it is, how fast, how sure of
    each number, and where it stands.

    \b
    Examples:
      simbench run --generator memoriser --smoke     a first look, in under a minute
      simbench init mymodel.py                       ten lines to start from
      simbench run --generator mymodel.py:Model      measure it
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        app(prog_name="simbench")
    except SystemExit as exit_:
        if exit_.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)  # a metric that is being computed would hold the interpreter until it is done
        raise
    raise SystemExit(0)
