"""What a sweep adds to its jobs: two workers on this machine, and jobs that do nothing.

`python -m pytest -m slow -s tests/perf/test_sweep_overhead.py` prints the figures.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue")

import idle_jobs

from simbench.evaluation.jobs import Job, Leave
from simbench.sweep import cluster
from simbench.sweep.plan import Asked, ClusterTable, RunTable, Step
from simbench.sweep.run import work_through

JOBS = 1000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_jobs_that_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "on_worker", idle_jobs.on_worker)
    path = os.pathsep.join([str(Path(idle_jobs.__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    workers = min(2, len(os.sched_getaffinity(0)))
    asked = Asked(RunTable(), Leave(tmp_path), str(tmp_path))
    steps = [Step(f"sweep-{number}", Job("g", "t", {"number": str(number)})) for number in range(JOBS)]
    with cluster.dask_pool(ClusterTable(workers=workers), asked, tmp_path / "logs") as pool:
        work_through(steps[: 2 * workers], pool)  # the workers are up, and have imported what they need
        began, busy = time.monotonic(), time.process_time()
        ends = work_through(steps, pool)
        wall, cpu = time.monotonic() - began, time.process_time() - busy
    assert len(ends) == JOBS
    print(f"\n{JOBS} jobs that do nothing: {wall:.1f} s, {1000 * wall / JOBS:.1f} ms a job; {cpu:.1f} s of CPU here")
    assert wall < 120
