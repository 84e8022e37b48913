"""`simbench submit`: what it prepares, what it refuses, and what `leaderboard verify` makes of what was submitted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import board_result, make_boards, shipped_board, write, write_small_board
from typer.testing import CliRunner
from web import served

from simbench.boards.board import admit
from simbench.boards.submit import place_on_board, pull_request, submit
from simbench.boards.submitted import SubmittedFile, read_samples_record, samples_path
from simbench.cli.main import app
from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options, evaluate
from simbench.generators.resolve import resolve
from simbench.results.schema import Result
from simbench.samples.files import write_samples
from simbench.tasks import get_task

QUIET = Progress(quiet=True)
BOARD = shipped_board()
MODEL = """
import torch

class Blob:
    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        blob = torch.softmax(-((torch.arange(44) - 21.5) / 5).square() / 2, 0)
        return torch.poisson(0.7 * conditions[:, :1, None] * blob[:, None] * blob, generator=rng)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's git tree with a result of 16 events, two repetitions; a board that takes it in `leaderboards`."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "blob.py").write_text(MODEL)
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")):
        subprocess.run(("git", *words), check=True, cwd=folder)
    options = Options(events=16, repetitions=2, batches=(1,), metrics="conditional_energy,channel_wasserstein")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluated = evaluate(resolve("blob.py:Blob"), get_task("zn-geant3"), options, QUIET)
    write(evaluated.result, folder)
    write_small_board(folder / "leaderboards", 16, 2)
    return folder


@pytest.fixture
def stranger(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def result_file(folder: Path) -> Path:
    (path,) = folder.glob("*.json")
    return path.relative_to(folder)


def says(code: int, *words: str) -> str:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == code, done.output + done.stderr
    return done.stderr if code else done.stdout


def test_a_submission_is_an_entry_a_record_samples_and_a_text(stranger: Path) -> None:
    path = result_file(stranger)
    said = json.loads(says(0, "submit", str(path), "--json"))
    entry, record = Path(said["entry"]), Path(said["record"])
    assert entry.read_bytes() == path.read_bytes()
    assert [file.name for file in map(Path, said["samples"])] == [f"{entry.stem}-0.h5", f"{entry.stem}-1.h5"]
    found = json.loads(record.read_text())
    assert [one["bytes"] for one in found["samples"]] == [Path(file).stat().st_size for file in said["samples"]]
    assert {one["url"] for one in found["samples"]} == {None}
    assert (said["place"], said["branch"]) == ("rank 1 of 1", f"submit-{entry.stem}")
    assert said["next"][-3:] == [
        f"git add {entry} {record}",
        "git commit -m 'Submit Blob to the board of zn-geant3'",
        f"git push -u origin submit-{entry.stem}",
    ]
    files = {file: Path(file).read_bytes() for file in said["samples"]}
    again = json.loads(says(0, "submit", str(path), "--url", "https://host/files/", "--json"))
    assert {file: Path(file).read_bytes() for file in again["samples"]} == files
    found = json.loads(record.read_text())
    assert [one["url"] for one in found["samples"]] == [f"https://host/files/{Path(file).name}" for file in files]
    assert again["next"][0].startswith("git checkout -b submit-")


def test_the_text_shows_each_score_beside_its_floor(stranger: Path) -> None:
    made = submit(result_file(stranger), QUIET)
    text = made.text.read_text(encoding="utf-8")
    assert text.startswith("# Submit Blob to the board of zn-geant3\n\n**Rank 1 of 1** by conditional energy")
    rows = [line for line in text.splitlines() if line.startswith(("| conditional energy", "| channel Wasserstein"))]
    assert len(rows) == 2
    assert all(re.fullmatch(r"\| .* \| .* ± .* \| [−\d.]+ \| \S+ \|", row) for row in rows)
    assert f"`simbench leaderboard verify leaderboards/zn-geant3/entries/{made.entry.name} --fetch`" in text
    assert text.count("not uploaded yet") == 2


def test_a_strangers_words_are_no_markup() -> None:
    result = board_result(BOARD, "[x](https://evil) <b>@team</b>")
    content = result.to_json().encode()
    boards = Path("leaderboards")
    from simbench.boards.board import Admitted

    admitted = Admitted(result, content, BOARD, boards, boards / "zn-geant3" / "entries" / "x.json")
    text = pull_request(admitted, [SubmittedFile(sha256="0" * 64, bytes=1, url=None)], "rank 1 of 1", "Submit x")
    assert not any(markup in text for markup in ("[x](", "<b>", " @team"))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda p: p | {"git_dirty": True}, "made in a git tree with uncommitted changes"),
        (lambda p: p | {"git_sha": None, "git_dirty": None}, "made outside of git"),
    ],
)
def test_what_a_board_refuses_is_not_submitted(
    stranger: Path, edit: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    path = result_file(stranger)
    data = json.loads(path.read_text())
    data["provenance"] = edit(data["provenance"])
    path.write_text(json.dumps(data))
    assert reason in says(4, "submit", str(path))
    data["task"]["scored_sha256"] = "0" * 64
    path.write_text(json.dumps(data))
    assert "other data set" in says(4, "submit", str(path))
    assert sorted(file.name for file in stranger.rglob("*") if file.parent.name in ("entries", "submission")) == []


def test_wrong_words_are_refused(stranger: Path) -> None:
    path = str(result_file(stranger))
    assert "--url is no web address" in says(2, "submit", path, "--url", "my-server/files")
    assert "no such file" in says(4, "submit", "none.json")
    assert "holds no boards" in says(4, "submit", path, "--boards", "elsewhere")
    assert not list(stranger.glob("leaderboards/*/entries/*"))


def test_other_samples_are_refused(stranger: Path) -> None:
    path, task = result_file(stranger), get_task("zn-geant3")
    events = task.load("floor", 16)
    write_samples(stranger / "other.h5", task, events.samples, events.split_rows, "Blob", 0)
    assert "other.h5 holds the samples of no repetition" in says(4, "submit", str(path), "--samples", "other.h5")
    (stranger / "blob.py").write_text(MODEL.replace("0.7", "0.8"))
    said = says(4, "submit", str(path))
    assert "does not make the events of repetition 0, 1 again (its source file changed)" in said
    assert not list(stranger.glob("leaderboards/*/entries/*"))


def test_the_rank_that_it_would_take(tmp_path: Path) -> None:
    boards = make_boards(tmp_path)
    from simbench.boards.board import add

    for seed, quality in enumerate((2.0, 4.0), 1):
        add(write(board_result(BOARD, f"model{seed}", quality, seed), tmp_path / "runs"), boards)

    def place(result: Result) -> str:
        return place_on_board(admit(write(result, tmp_path / "mine"), boards))

    assert place(board_result(BOARD, "mine", 3.0, 3)) == "rank 2 of 3"
    assert place(board_result(BOARD, "mine", 9.0, 4)) == "rank 3 of 3"
    assert place(board_result(BOARD, "floor", 1.0, 5)) == "not ranked: independent GEANT3 events"


# What is verified


@pytest.fixture
def submitted(stranger: Path) -> tuple[Path, list[Path]]:
    """An entry and its files of samples."""
    found = submit(result_file(stranger), QUIET, out=stranger / "upload")
    return found.entry, list(found.samples)


def test_what_was_submitted_is_fetched_and_scored_again(submitted: tuple[Path, list[Path]], stranger: Path) -> None:
    entry, files = submitted
    assert "names no address for the samples of repetition 0" in says(4, "leaderboard", "verify", str(entry), "--fetch")
    with served(files[0].parent) as address:
        submit(result_file(stranger), QUIET, out=files[0].parent, url=address)
        said = json.loads(says(0, "leaderboard", "verify", str(entry), "--fetch", "--json"))
        assert (said["verified"], said["samples"]) == (True, [True, True])
        assert json.loads(Path(said["record"]).read_text())["how"] == "samples"
        files[1].write_bytes(files[0].read_bytes()[: files[1].stat().st_size])
        assert f"{files[1].name} is another file" in says(4, "leaderboard", "verify", str(entry), "--fetch")
    assert "cannot be fetched" in says(4, "leaderboard", "verify", str(entry), "--fetch")


def test_files_are_compared_with_their_record(submitted: tuple[Path, list[Path]]) -> None:
    entry, (first, second) = submitted
    both = ("--samples", str(first), "--samples", str(second))
    assert "same" in says(0, "leaderboard", "verify", str(entry), *both)
    swapped = ("--samples", str(second), "--samples", str(first))
    said = says(4, "leaderboard", "verify", str(entry), *swapped)
    assert "is not the file of samples that was submitted for repetition 0" in said
    assert "more files than were submitted" in says(4, "leaderboard", "verify", str(entry), *both, *both)
    assert "no such file" in says(4, "leaderboard", "verify", str(entry), "--samples", "none.h5").lower()
    assert "exclude each other" in says(2, "leaderboard", "verify", str(entry), *both, "--fetch")


def tamper(entry: Path, *, record: bool) -> None:
    """Change one score, as if it had been measured in every repetition; and its record, where a cheat thinks of it."""
    data = json.loads(entry.read_text())
    first = data["measurements"][0]
    first |= {"value": 0.9 * first["value"], "per_repetition": [0.9 * value for value in first["per_repetition"]]}
    entry.write_text(json.dumps(data))
    if record:
        from simbench.boards.submitted import write_samples_record

        found = json.loads(samples_path(entry).read_text())["samples"]
        write_samples_record(entry, [SubmittedFile(**one) for one in found])


def test_a_changed_score_is_found(submitted: tuple[Path, list[Path]]) -> None:
    entry, files = submitted
    samples = [word for file in files for word in ("--samples", str(file))]
    tamper(entry, record=False)
    said = says(4, "leaderboard", "verify", str(entry), *samples)
    assert "is not the entry that" in said
    tamper(entry, record=True)
    said = says(4, "leaderboard", "verify", str(entry), *samples)
    assert "is not what these samples score" in said
    assert "channel_wasserstein/1" in said or "conditional_energy/1" in said
    assert not (entry.parent.parent / "verified").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://host/x"},
        {"url": "https://host/\nx"},
        {"bytes": 0},
        {"bytes": 2**31},
        {"sha256": "short"},
        {"more": 1},
    ],
)
def test_a_damaged_record_is_named(submitted: tuple[Path, list[Path]], change: dict[str, Any]) -> None:
    entry, _ = submitted
    record = samples_path(entry)
    data = json.loads(record.read_text())
    data["samples"][0] |= change
    record.write_text(json.dumps(data))
    with pytest.raises(DataError, match=rf"the field 'samples.0.{next(iter(change))}' is wrong"):
        read_samples_record(entry, entry.read_bytes())


def test_without_a_record_there_is_nothing_to_fetch(submitted: tuple[Path, list[Path]]) -> None:
    entry, _ = submitted
    samples_path(entry).unlink()
    assert "has no record of its samples" in says(4, "leaderboard", "verify", str(entry), "--fetch")


def test_a_result_of_files_asks_for_its_files(stranger: Path) -> None:
    path = result_file(stranger)
    data = json.loads(path.read_text())
    data["spec"]["generator"] = "samples:a.h5,b.h5"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="Pass --samples FILE"):
        submit(path, QUIET)
