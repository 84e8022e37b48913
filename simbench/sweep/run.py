"""Working through steps: here one after the other, or side by side in a pool. What is on disk is not done again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from simbench.core.errors import NothingMeasuredError
from simbench.core.progress import Progress
from simbench.evaluation.jobs import Ended, attempt, check_complete
from simbench.results.schema import read_result
from simbench.sweep.plan import Asked, Step, Training
from simbench.tasks import get_task
from simbench.training.command import run_training

State = Literal["running", "waiting", "ended"]
Watch = Callable[[Step, State, Ended | None], None]
"""Called whenever the state of a step changes."""


class Pool(Protocol):
    """Where steps are done."""

    def room(self) -> int:
        """How many more steps it can begin at once."""
        ...

    def start(self, step: Step) -> None:
        """Begin a step."""
        ...

    def wait(self) -> Iterable[tuple[Step, Ended | None]]:
        """Steps that have ended meanwhile, perhaps none; None: lost without an answer, it has to begin again."""
        ...


class Here:
    """The pool of one process: a step at a time, done by `do`."""

    def __init__(self, do: Callable[[Step], Ended]) -> None:
        self.do = do
        self._next: list[Step] = []

    def room(self) -> int:
        """One step, once the last has ended."""
        return 1 - len(self._next)

    def start(self, step: Step) -> None:
        """Take a step."""
        self._next.append(step)

    def wait(self) -> list[tuple[Step, Ended | None]]:
        """Do it."""
        step = self._next.pop()
        return [(step, self.do(step))]


def work_through(
    steps: Sequence[Step],
    pool: Pool,
    watch: Watch = lambda step, state, ended: None,
    known: Mapping[str, Ended] | None = None,
) -> dict[str, Ended]:
    """Do all steps, each after the training that it waits for. One that fails stops only those that wait for it.

    Args:
        known: ends of earlier calls, by the key of their step: they are not done again.

    Returns:
        the end of each step, by its key.
    """
    ends = dict(known or {})
    ready: deque[Step] = deque()
    held: dict[str, list[Step]] = defaultdict(list)

    def end(step: Step, ended: Ended) -> None:
        ends[step.key] = ended
        watch(step, "ended", ended)
        for follower in held.pop(step.key, ()):
            queue(follower)

    def queue(step: Step) -> None:
        before = ends.get(step.after)
        if before is not None and before.error:
            end(step, Ended(None, f"Its training failed: {before.error}", before.exit_code))
        else:
            ready.append(step)

    for step in steps:
        if step.key in ends:
            continue
        if step.after and step.after not in ends:
            held[step.after].append(step)
        else:
            queue(step)
    running = 0
    while ready or running:
        for _ in range(min(pool.room(), len(ready))):
            step = ready.popleft()
            pool.start(step)
            running += 1
            watch(step, "running", None)
        for step, ended in pool.wait():
            running -= 1
            if ended is None:
                watch(step, "waiting", None)
                ready.appendleft(step)
            else:
                end(step, ended)
    return ends


def do(step: Step, asked: Asked, progress: Progress) -> Ended:
    """Do a step, as far as it is not on disk already."""
    try:
        if not isinstance(step.job, Training):
            options = asked.options(step.job)
            return attempt(step.job, options, asked.leave, progress, spare=None, id=step.key)
        job = step.job
        weights = run_training(
            job.generator,
            get_task(job.task, asked.leave.data_dir),
            preset=job.preset,
            seed=job.seed,
            steps=job.steps,
            out=Path(job.folder),
            device=asked.run.devices.partition(",")[0],
            params=job.params,
            progress=not progress.quiet,
        )
        return Ended(weights)
    except Exception as error:  # whatever it is, it is this step's
        return Ended.by(error)


def found_on_disk(steps: Sequence[Step], out: Path) -> dict[str, Ended]:
    """The ends of the runs whose results are there, by key; trainings go on by themselves from what they left.

    Raises:
        DataError: a result that is there cannot be read.
    """
    there = {path.stem: path for path in out.glob("*/*/sweep-*.json")}
    found = {}
    for step in steps:
        path = there.get(step.key)
        if path is not None:
            found[step.key] = Ended(path)
            try:
                check_complete(read_result(path, of_many=True), path)
            except NothingMeasuredError as error:
                found[step.key] = Ended.by(error, path)
    return found


def needed(steps: Sequence[Step], ends: Mapping[str, Ended]) -> list[Step]:
    """The steps that are left: without the runs that have ended, and the trainings that nobody waits for any more."""
    left = [step for step in steps if step.key not in ends]
    awaited = {step.after for step in left}
    return [step for step in left if not isinstance(step.job, Training) or step.key in awaited]
