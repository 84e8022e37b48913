"""One timing for `simbench gate-speed`, in a process of its own: run as a script, it imports simbench and the generator
from $PYTHONPATH.

In the repository of simbench the base has an older simbench: it can be timed from the version that has
`simbench.generators.session` on. It takes a JSON object as its argument and prints one: the speed and the file that the
generator came from, or the error in its place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any


def source_of(generator: object) -> str | None:
    """The file that defines a generator."""
    function = getattr(generator, "function", None)
    defined = function if inspect.isfunction(function) else type(generator)
    try:
        return inspect.getsourcefile(defined)
    except TypeError:
        return None


def has_session() -> bool:
    """Whether the simbench of this tree is new enough to be timed."""
    try:
        return importlib.util.find_spec("simbench.generators.session") is not None
    except ModuleNotFoundError:
        return False


def timed(request: dict[str, Any]) -> dict[str, Any]:
    """Median events per second at one batch size, by the harness's clock."""
    from simbench.generators.resolve import resolve

    resolved = resolve(request["generator"], request["params"])

    import torch

    from simbench.evaluation.throughput import Clock, tile
    from simbench.tasks import get_task

    task = get_task(request["task"], Path(request["data_dir"]) if request["data_dir"] else None)
    torch.set_num_threads(request["threads"])
    session = resolved.set_up(task, request["device"], request["seed"])
    conditions = tile(task.load("test").conditions, request["batch"]).to(request["device"])
    row = Clock(session).measure(conditions, request["threads"])
    return {"events_per_s": row.events_per_s.p50, "source": source_of(resolved.generator)}


def main() -> None:
    """Print the timing, or the error that simbench raised, as one line of JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        if not has_session():
            answer = {"error": "its simbench is too old: it has no module simbench.generators.session"}
        else:
            from simbench.core.errors import SimbenchError

            try:
                answer = timed(json.loads(sys.argv[1]))
            except SimbenchError as error:
                answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
