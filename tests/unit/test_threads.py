"""Jobs side by side, and values computed once."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.cache import Once
from simbench.core.threads import in_parallel
from simbench.metrics.resampling import resampling, values_only


def test_jobs_answer_in_their_order_each_on_one_thread() -> None:
    before = torch.get_num_threads()
    done: list[int] = []

    def job(place: int) -> tuple[int, int]:
        time.sleep(0.05 * (3 - place))
        return place, torch.get_num_threads()

    assert in_parallel([lambda i=i: job(i) for i in range(3)], done.append) == [(0, 1), (1, 1), (2, 1)]
    assert done == [1, 1, 1]
    assert torch.get_num_threads() == before
    assert in_parallel([]) == []


def test_jobs_see_the_context_that_they_were_asked_in() -> None:
    with values_only():
        assert in_parallel([resampling, resampling]) == [False, False]
    assert in_parallel([resampling]) == [True]


def test_an_exception_of_a_job_arrives_and_leaves_the_threads_as_they_were() -> None:
    before, ran = torch.get_num_threads(), []

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_parallel([fails, *[lambda: (time.sleep(0.2), ran.append(1))] * 20])
    assert torch.get_num_threads() == before
    time.sleep(0.5)
    assert len(ran) < 20


def test_a_value_is_computed_once_by_many_threads_and_again_after_a_failure() -> None:
    calls: list[int] = []
    once = Once({"given": 7})

    def slow() -> int:
        calls.append(1)
        time.sleep(0.1)
        return 5

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(once.get("key", slow))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(calls)) == ([5] * 8, 1)
    with pytest.raises(ZeroDivisionError):
        once.get("bad", lambda: 1 // 0)
    assert once.get("bad", lambda: 3) == 3
    assert once.values() == {"given": 7, "key": 5, "bad": 3}


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--devices", "train vae --device cpu --out OUT"),
        ("--workers", "score shard.h5 --chunk 100 -o OUT"),
        ("--workers", "simulate -e gflash --events 8 -o OUT.h5"),
    ],
)
def test_more_processes_than_cores_are_refused_before_one_starts(option: str, command: str, tmp_path: Path) -> None:
    out = tmp_path / "new"
    done = CliRunner().invoke(app, [*command.replace("OUT", str(out)).split(), option, "3000"])
    assert done.exit_code == 2, done.output
    cores = os.cpu_count()
    wanted = (
        f"UsageError: {option} is more than this machine has cores: got 3000, expected at most {cores}. Lower {option}."
    )
    assert " ".join(done.stderr.split()) == wanted
    assert not list(tmp_path.iterdir())
