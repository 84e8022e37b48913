"""`simbench submit`: a result becomes an entry with the record of its samples, and the text of a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from simbench.boards.board import DEFAULT_FOLDER, Admitted, Entry, add, admit, read_entries
from simbench.boards.seeds import by_model, telling_first
from simbench.boards.submitted import SUFFIX, SubmittedFile, write_samples_record
from simbench.boards.table import EMPTY, Cell, Column, Row, Table, escape_markdown, to_markdown
from simbench.core.download import is_web_address
from simbench.core.errors import DataError, UsageError
from simbench.core.files import check_writable, file_sha256, replace_text
from simbench.core.progress import Progress
from simbench.core.text import count, number, printable, with_error
from simbench.evaluation.evaluate import samples_sha256
from simbench.evaluation.verify import run_again
from simbench.metrics.base import Comparison
from simbench.results.ranking import ranks
from simbench.results.schema import Result
from simbench.results.words import equivalent_sentence, speed_sentence, standing
from simbench.samples.files import write_samples
from simbench.samples.repetitions import SUFFIXES, read_pair
from simbench.tasks import task_of
from simbench.tasks.base import Task

TEXT = "pull-request.md"


@dataclass(frozen=True)
class Submission:
    """What was prepared.

    Attributes:
        entry, record: the two files to commit.
        samples: the files to upload, one a repetition.
        text: the file with the text of the pull request.
        branch: a name for its branch.
        subject: of the commit, and of the pull request.
        place: `rank 3 of 18`, or why there is none.
        uploaded: whether the record says where the samples are.
    """

    entry: Path
    record: Path
    samples: tuple[Path, ...]
    text: Path
    branch: str
    subject: str
    place: str
    uploaded: bool


def submit(
    path: Path,
    progress: Progress,
    *,
    boards: Path = DEFAULT_FOLDER,
    samples: Sequence[Path] = (),
    url: str | None = None,
    out: Path | None = None,
    task: str | None = None,
    data_dir: Path | None = None,
) -> Submission:
    """Prepare the submission of a result to its task's board. Doing it again, with the `url` say, is no error.

    The samples of each repetition are read from `samples`, or from the file that the run kept; those that are in
    neither are made again by the recorded generator. `url` is the folder where they will be; `out` gets them, and the
    text. `task` names the task of a file, as for `task_of`.

    Raises:
        DataError: the board does not take the result, or its samples are not to be had.
        UsageError: `url` is no address, a file cannot be written, or the task must be named.
        GeneratorError: the generator cannot be run again.
    """
    if url is not None and not is_web_address(url):
        raise UsageError("--url is no web address", got=repr(url)[:80], expected="https://HOST/FOLDER")
    admitted = admit(path, boards)
    result, entry = admitted.result, admitted.entry
    folder = Path("submission") / entry.stem if out is None else out
    check_writable(folder)
    place = place_on_board(admitted)
    targets = [folder / f"{entry.stem}-{place}{SUFFIX}" for place in range(result.spec.repetitions)]
    _write_samples(path, result, task_of(result.task, task, data_dir), samples, targets, progress)
    if not (entry.is_file() and entry.read_bytes() == admitted.content):
        add(path, boards)
    submitted = [_submitted(file, url) for file in targets]
    record = write_samples_record(entry, submitted)
    subject = f"Submit {printable(result.label, 60)} to the board of {result.task.name}"
    text = folder / TEXT
    replace_text(text, pull_request(admitted, submitted, place, subject))
    branch = f"submit-{entry.stem}"
    return Submission(entry, record, tuple(targets), text, branch, subject, place, url is not None)


# The samples


def _write_samples(
    path: Path, result: Result, task: Task, given: Sequence[Path], targets: Sequence[Path], progress: Progress
) -> None:
    """Write the file of each repetition that is not there yet: the events with the result's checksums."""
    wanted = result.samples_sha256
    beside = [path.with_suffix(suffix) for suffix in SUFFIXES]
    found: dict[str, Comparison] = {}
    for file in [*given, *(file for file in (*targets, *beside) if file.is_file())]:
        pair = read_pair(file, task)[1]
        sha256 = samples_sha256(pair.generated.samples)
        if sha256 not in wanted and file in (*given, *targets):
            what = f"{file} holds the samples of no repetition of {path}"
            fix = "Leave it out." if file in given else "Remove it."
            raise DataError(what, got=f"sha256 {sha256[:12]}…", expected=f"one of {_short(wanted)}", fix=fix)
        found[sha256] = pair
    missing = [place for place, sha256 in enumerate(wanted) if sha256 not in found]
    if missing:
        found |= _made_again(path, result, task, missing, progress)
    for target, sha256 in zip(targets, wanted, strict=True):
        if not target.is_file():
            pair = found[sha256]
            rows, seed = pair.reference.split_rows, result.spec.root_seed
            write_samples(target, task, pair.generated.samples, rows, result.label, seed, result=result.id)


def _made_again(
    path: Path, result: Result, task: Task, missing: Sequence[int], progress: Progress
) -> dict[str, Comparison]:
    """The generator's events by their checksums. Raises DataError where those of the repetitions `missing` differ."""
    pairs, changes = run_again(path, result, task, progress)
    found = {samples_sha256(pair.generated.samples): pair for pair in pairs}
    lost = [str(place) for place in missing if result.samples_sha256[place] not in found]
    if lost:
        changed = f" ({'; '.join(changes)})" if changes else ""
        raise DataError(
            f"{path}: the generator does not make the events of repetition {', '.join(lost)} again{changed}",
            got=_short(list(found)),
            expected=_short(result.samples_sha256),
            fix="Run simbench submit where the result was made; or write the samples of each repetition to a file, "
            "score them with simbench score, and submit that.",
        )
    return found


def _short(checksums: Sequence[str]) -> str:
    return ", ".join(f"{sha256[:12]}…" for sha256 in checksums)


def _submitted(file: Path, url: str | None) -> SubmittedFile:
    address = None if url is None else f"{url.rstrip('/')}/{quote(file.name)}"
    return SubmittedFile(sha256=file_sha256(file), bytes=file.stat().st_size, url=address)


# The text


def place_on_board(admitted: Admitted) -> str:
    """`rank 3 of 18` that the result would take, or why it would have none."""
    board, result = admitted.board, admitted.result
    mine = Entry.of(result, admitted.entry.name, board)
    others = [entry for entry in read_entries(admitted.folder, board) if entry.id != result.id]
    if not mine.ranked:
        return f"not ranked: {mine.note}"
    shown, _ = by_model(telling_first([*others, mine]))
    ranked = [entry for entry in shown if entry.ranked]
    at = next((place for place, entry in enumerate(ranked) if entry.id == mine.id), None)
    if at is None:
        return "not ranked: of this model, the training with the lowest seed is"
    return f"rank {ranks([entry.primary for entry in ranked])[at]} of {len(ranked)}"


def pull_request(admitted: Admitted, samples: Sequence[SubmittedFile], place: str, subject: str) -> str:
    """The text of the pull request, in Markdown; its first line is the title."""
    board, result = admitted.board, admitted.result
    generator, origin = result.generator, result.provenance
    parameters = ", ".join(f"{key}={value}" for key, value in generator.parameters.items())
    told = [
        ("model", f"{printable(result.label, 60)} {printable(generator.version or '', 30)}".strip()),
        ("parameters", printable(parameters, 500)),
        ("what was scored", f"{count(result.task.events)} events, {result.spec.repetitions} repetitions"),
        ("simbench", printable(origin.simbench, 30)),
        ("commit of its code", printable(origin.git_sha or "", 60)),
        ("processor", printable(origin.hardware.get("cpu", ""), 80)),
        ("command", printable(origin.command, 500)),
    ]
    equivalent = equivalent_sentence(result)
    lines = [
        f"# {escape_markdown(subject)}",
        f"**{place[:1].upper()}{place[1:]}** by {escape_markdown(board.primary_column.label)}, if it is merged today.",
        to_markdown(_scores(admitted)).rstrip(),
        f"{escape_markdown(equivalent[:1].upper() + equivalent[1:])}. {escape_markdown(speed_sentence(result))}",
        "\n".join(f"- {name}: {escape_markdown(words)}" for name, words in told if words),
        to_markdown(_files(samples)).rstrip(),
        f"To score them again: `simbench leaderboard verify leaderboards/{board.task}/entries/{admitted.entry.name} "
        "--fetch`",
    ]
    return "\n\n".join(lines) + "\n"


def _scores(admitted: Admitted) -> Table:
    """Each column of the board: the score, and the floor beside it."""
    columns = (
        Column("metric", "metric", words=True),
        Column("score", "score"),
        Column("floor", "floor"),
        Column("from the floor", "standing"),
    )
    rows = []
    for column in admitted.board.columns:
        found = admitted.result.measurement(column.metric)
        name = Cell(column.label, note=column.unit)
        if found is None or found.value is None:
            rows.append(Row((name, Cell("failed"), EMPTY, EMPTY)))
            continue
        floor = "" if found.floor is None else number(found.floor)
        rows.append(Row((name, Cell(with_error(found.value, found.stderr)), Cell(floor), Cell(standing(found).text))))
    return Table("scores", "Scores", "", columns, tuple(rows))


def _files(samples: Sequence[SubmittedFile]) -> Table:
    columns = (
        Column("repetition", "repetition"),
        Column("samples", "samples", words=True),
        Column("bytes", "bytes"),
        Column("sha256", "sha256", words=True),
    )
    rows = [
        Row((Cell(str(place)), Cell(file.url or "not uploaded yet"), Cell(count(file.bytes)), Cell(file.sha256)))
        for place, file in enumerate(samples)
    ]
    return Table("samples", "Samples", "", columns, tuple(rows))
