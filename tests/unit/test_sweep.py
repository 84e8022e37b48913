"""`simbench sweep`: plans, the order of the work, and a real cluster of two workers whose jobs kill them."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from factories import make_result
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import UsageError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options
from simbench.evaluation.jobs import Ended, Job, Leave, attempt, result_with
from simbench.results.schema import read_result, write_result
from simbench.sweep.plan import Asked, ClusterTable, RunTable, Step, Training, read_plan, steps_of
from simbench.sweep.run import Here, do, found_on_disk, needed, work_through

PAGE = (Path(__file__).parents[2] / "docs" / "sweep.md").read_text(encoding="utf-8")
PLANS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
(BLOBS,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

MORE = """
import os, signal
from pathlib import Path

class Fragile(Blob):
    \"\"\"Kills its process the first `kills` times that it is asked for events.\"\"\"
    def __init__(self, kills: int, mark: str):
        super().__init__()
        self.kills, self.marks = kills, Path(mark)
    def sample(self, conditions, *, seed):
        self.marks.mkdir(exist_ok=True)
        if len(list(self.marks.iterdir())) < self.kills:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(conditions, seed=seed)

class Where(Blob):
    \"\"\"Leaves the cores that it may run on.\"\"\"
    def __init__(self, number: int = 0):
        super().__init__()
        self.number = number
    def sample(self, conditions, *, seed):
        Path("cores").mkdir(exist_ok=True)
        (Path("cores") / str(self.number)).write_text(str(sorted(os.sched_getaffinity(0))))
        return super().sample(conditions, seed=seed)

class Slow(Blob):
    def __init__(self, number: int = 0):
        super().__init__()
        self.number = number
    def sample(self, conditions, *, seed):
        import time
        if len(conditions) > 8:
            (Path("begun") / str(self.number)).touch()
            time.sleep(0.5)
        return super().sample(conditions, seed=seed)

class Learner(torch.nn.Module):
    \"\"\"Learns the mean of all pixels.\"\"\"
    model_name = "learner"
    def __init__(self, weights: str | None = None, width: int = 1):
        super().__init__()
        self.weights, self.mean = weights, torch.nn.Parameter(torch.zeros(width))
    def losses(self, samples, conditions): return {"square": (samples - self.mean.mean()).square().mean()}
    def setup(self, task, device):
        from safetensors.torch import load_file
        self.load_state_dict(load_file(self.weights))
        return self
    def sample(self, conditions, *, seed):
        return self.mean.mean().detach().clamp(0).round().expand(len(conditions), 4, 4).clone()
"""


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "blobs.py").write_text(BLOBS + MORE)
    return tmp_path


def plan_of(text: str) -> list[Step]:
    Path("plan.toml").write_text(text)
    return steps_of(read_plan(Path("plan.toml")), Path("training"))


def jobs_of(text: str) -> list[Any]:
    return [step.job for step in plan_of(text)]


TOY = 'generators = ["blobs.py:Blob"]\ntasks = ["blobs.py:Blobs"]\n'


# Plans


def test_the_plans_of_the_page_are_plans() -> None:
    for text in PLANS:
        Path("page.toml").write_text(text if "[[jobs]]" in text else f"[[jobs]]\n{TOY}\n{text}")
        plan = read_plan(Path("page.toml"))
        assert plan.cluster.workers > 1 or plan.jobs[0].train
    steps = plan_of(PLANS[0])
    assert [(step.job.params, step.job.seed) for step in steps if isinstance(step.job, Job)] == [
        ({"rate": "1.0"}, 0),
        ({"rate": "1.2"}, 0),
        ({"rate": "1.0"}, 1),
        ({"rate": "1.2"}, 1),
    ]
    assert len({step.key for step in steps}) == 4
    assert pickle.loads(pickle.dumps(steps)) == steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = 3", "jobs is wrong: got 3"),
        ("[[jobs]]\ngenrators = []", "jobs.0 has no key 'genrators'.*Did you mean 'generators'"),
        (f"[[jobs]]\n{TOY}[run]\nevnts = 3", "run has no key 'evnts'.*Did you mean 'events'"),
        (f"[[jobs]]\n{TOY}[clster]\nworkers = 3", "the plan has no key 'clster'.*Did you mean 'cluster'"),
        (f"[[jobs]]\n{TOY}seeds = [-1]", "jobs.0.seeds.0 is wrong: got -1"),
        (f"[[jobs]]\n{TOY}seeds = []", "jobs.0.seeds is wrong"),
        (f'[[jobs]]\n{TOY}[cluster]\nkind = "slrum"', "cluster.kind is wrong: got 'slrum'"),
        ("[[jobs", "is not TOML"),
        (f"[[jobs]]\n{TOY}seeds = [1, 1]", "asked for twice"),
        (f"[[jobs]]\n{TOY}names = ['a', 'b']", "2 for 1"),
        (f"[[jobs]]\n{TOY}presets = ['cpu']", "no parameter 'preset'"),
        (f"[[jobs]]\n{TOY}params = {{ rte = 1 }}", "no parameter 'rte'.*Did you mean 'rate'"),
        (f"[[jobs]]\n{TOY}steps = 3", "those of a training"),
        (f"[[jobs]]\n{TOY}train = true", "no parameter `weights`"),
        ("[[jobs]]\ngenerators = ['blobs.py:Blub']", "has no 'Blub'.*Did you mean 'Blob'"),
        (
            f"[[jobs]]\n{TOY}seeds = {list(range(400))}\nparams = {{ a = {list(range(300))} }}",
            "too many runs: got 120000",
        ),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        plan_of(text)
    assert re.search(said, str(error.value)), str(error.value)


def test_the_identity_changes_with_all_that_a_result_depends_on_and_with_nothing_else(workdir: Path) -> None:
    def key(text: str = f"[[jobs]]\n{TOY}") -> str:
        (step,) = plan_of(text)
        return step.key

    first = key()
    assert key(f'[[jobs]]\n{TOY}seeds = [0]\n[cluster]\nworkers = 7\nmemory = "1GB"') == first
    others = [
        key(f"[[jobs]]\n{TOY}seeds = [1]"),
        key(f"[[jobs]]\n{TOY}[run]\nevents = 8"),
        key(f"[[jobs]]\n{TOY}params = {{ rate = 1 }}"),
    ]
    (workdir / "blobs.py").write_text(BLOBS + MORE + "\n")
    others.append(key())
    assert len({first, *others}) == 5


def test_a_training_comes_before_the_run_with_its_weights() -> None:
    text = "[[jobs]]\ngenerators = ['blobs.py:Learner']\ntasks = ['blobs.py:Blobs']\ntrain = true\nsteps = 7\n"
    steps = plan_of(text + "seeds = [0, 5]\nparams = { width = [2], learning_rate = 0.1 }")
    assert [type(step.job) for step in steps] == [Training, Job, Training, Job]
    training, run = steps[2].job, steps[3].job
    assert isinstance(training, Training)
    assert isinstance(run, Job)
    assert (training.seed, training.steps, training.params) == (5, 7, {"width": "2", "learning_rate": "0.1"})
    assert steps[3].after == steps[2].key
    assert run.params == {"width": "2", "weights": f"{training.folder}/weights.safetensors"}
    assert run.seed == 0
    assert str(training) == "training of blobs.py:Learner (width=2, learning_rate=0.1, seed=5, cpu) on blobs.py:Blobs"
    # a run that is there needs no training; a training is shared by all that wait for it
    assert needed(steps, {steps[1].key: Ended(Path("x"))}) == steps[2:]


def test_each_result_records_the_command_that_repeats_it(tmp_path: Path) -> None:
    run = RunTable(events=8, batches=[1, 2], timing=False, fast=True, devices="cpu")
    job = Job("blobs.py:Blob", "blobs.py:Blobs", {"cuts": "1,2"}, "a label", 3)
    command = Asked(run, Leave(tmp_path), ".").options(job).command
    assert command == (
        "simbench run --generator blobs.py:Blob --task blobs.py:Blobs --param 'cuts=\"1,2\"' --seed 3 --name 'a label' "
        "--events 8 --devices cpu --batches 1,2 --no-timing --fast"
    )


# The order of the work


class Pretend:
    """Two workers that answer in the order in which they were asked; the first answer for each of `lost` is none."""

    def __init__(self, ends: dict[str, Ended], lost: tuple[str, ...] = ()) -> None:
        self.ends, self.lost = ends, set(lost)
        self.now: list[Step] = []
        self.began: list[str] = []

    def room(self) -> int:
        return 2 - len(self.now)

    def start(self, step: Step) -> None:
        assert len(self.now) < 2
        self.now.append(step)
        self.began.append(step.key)

    def wait(self) -> list[tuple[Step, Ended | None]]:
        step = self.now.pop(0)
        if step.key in self.lost:
            self.lost.remove(step.key)
            return [(step, None)]
        return [(step, self.ends.get(step.key, Ended(Path(step.key))))]


def step(key: str, after: str = "") -> Step:
    return Step(key, Job("g", "t", {"key": key}), after)


def test_steps_wait_for_their_training_and_nothing_else() -> None:
    pool = Pretend({"bad": Ended(None, "it broke", 3)}, lost=("c",))
    steps = [step("t"), step("a", "t"), step("bad"), step("b", "bad"), step("c"), step("d", "known"), step("e", "t")]
    seen: list[tuple[str, str]] = []
    known = {"known": Ended(Path("k"))}
    ends = work_through(steps, pool, lambda one, state, ended: seen.append((one.key, state)), known)
    assert pool.began.index("a") > pool.began.index("t")
    assert Counter(pool.began) == {"t": 1, "a": 1, "bad": 1, "c": 2, "d": 1, "e": 1}
    assert ends["b"] == Ended(None, "Its training failed: it broke", 3)
    assert {key for key, end in ends.items() if not end.error} == {"t", "a", "c", "d", "e", "known"}
    assert seen.count(("c", "running")) == 2
    assert ("c", "waiting") in seen
    assert Counter(key for key, state in seen if state == "ended") == Counter(["t", "a", "bad", "b", "c", "d", "e"])


def test_a_job_whose_result_is_there_is_not_done_again(tmp_path: Path) -> None:
    result = make_result("Blob", id="sweep-1")
    path = write_result(result, tmp_path)
    assert result_with("sweep-1", tmp_path) == path
    job = Job("nowhere:Model", "nothing")
    assert attempt(job, Options(), Leave(tmp_path), Progress(quiet=True), id="sweep-1") == Ended(path)
    assert attempt(job, Options(), Leave(tmp_path), Progress(quiet=True), id="sweep-2").exit_code == 2
    there = found_on_disk([Step("sweep-1", job), Step("sweep-2", job)], tmp_path)
    assert there == {"sweep-1": Ended(path)}
    broken = result.model_copy(update={"id": "sweep-3", "status": "incomplete"})
    third = write_result(broken, tmp_path)
    (end,) = found_on_disk([Step("sweep-3", job)], tmp_path).values()
    assert (end.path, end.exit_code) == (third, 5)


def test_a_training_and_its_run_in_one_process() -> None:
    text = "[[jobs]]\ngenerators = ['blobs.py:Learner']\ntasks = ['blobs.py:Blobs']\ntrain = true\nsteps = 3\n"
    steps = plan_of(text + "[run]\ntiming = false\ndevices = 'cpu'")
    asked = Asked(read_plan(Path("plan.toml")).run, Leave(Path("runs")), ".")
    ends = work_through(steps, Here(lambda one: do(one, asked, Progress(quiet=True))))
    assert [end.error for end in ends.values()] == ["", ""]
    run = ends[steps[1].key].path
    assert run is not None
    result = read_result(run)
    assert result.id == steps[1].key
    assert result.generator.given["weights"] == str(ends[steps[0].key].path)
    assert result.throughput == []
    assert list(found_on_disk(steps, Path("runs"))) == [steps[1].key]


# The cluster

dask = pytest.importorskip("dask")
pytest.importorskip("dask_jobqueue")


def test_cores_are_shared_out_and_none_twice() -> None:
    from simbench.sweep.cluster import shares

    there = len(os.sched_getaffinity(0))
    parts = shares(ClusterTable(workers=there))
    assert [len(part) for part in parts] == [1] * there
    assert len({core for part in parts for core in part}) == there
    assert len(shares(ClusterTable())[0]) == there
    for table in (ClusterTable(workers=there + 1), ClusterTable(workers=2, cores=there)):
        with pytest.raises(UsageError, match="too few for the workers"):
            shares(table)


@pytest.mark.parametrize(
    ("kind", "options", "lines"),
    [
        (
            "slurm",
            {"queue": "short", "walltime": "00:10:00"},
            ["#SBATCH -p short", "#SBATCH --cpus-per-task=4", "--mem="],
        ),
        ("htcondor", {"disk": "1GB"}, ["RequestCpus = MY.DaskWorkerCores", "MY.DaskWorkerCores = 4"]),
        ("pbs", {"queue": "batch"}, ["#PBS -q batch", "select=1:ncpus=4"]),
    ],
)
def test_batch_systems_get_workers_that_do_one_job_at_a_time(kind: Any, options: Any, lines: list[str]) -> None:
    from simbench.sweep.cluster import batch_cluster

    with batch_cluster(ClusterTable(kind=kind, cores=4, memory="8GB", options=options)) as cluster:
        script = cluster.job_script()
    for line in lines:
        assert line in script, script
    assert re.findall(r"--nthreads (\d+)", script)[-1] == "1"
    assert "--resources cores=4" in script


def test_wrong_options_of_a_batch_system_are_refused() -> None:
    from simbench.sweep.cluster import batch_cluster

    with pytest.raises(UsageError, match=r"no option 'quue'. Did you mean 'queue'"):
        batch_cluster(ClusterTable(kind="slurm", memory="1GB", options={"quue": "x"}))
    with pytest.raises(UsageError, match="how much memory"):
        batch_cluster(ClusterTable(kind="slurm"))
    with pytest.raises(UsageError, match="memory is no size: got 'lots'"), pool_of(ClusterTable(memory="lots")):
        pass


def pool_of(table: ClusterTable, run: RunTable | None = None) -> Any:
    from simbench.sweep.cluster import dask_pool

    return dask_pool(table, Asked(run or RunTable(), Leave(Path("runs")), str(Path.cwd())), Path("logs"))


def table(generator: str, params: str) -> str:
    return f"[[jobs]]\ngenerators = ['blobs.py:{generator}']\ntasks = ['blobs.py:Blobs']\nparams = {{ {params} }}\n"


def results() -> dict[str, Path]:
    return {path.stem: path for path in Path("runs").glob("*/*/*.json")}


TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@TWO_CORES
@pytest.mark.timeout(900)
def test_a_worker_that_is_killed_in_the_middle_loses_no_job(workdir: Path) -> None:
    steps = plan_of(
        table("Fragile", "kills = 1, mark = 'marks'")
        + table("Where", "number = [0, 1, 2]")
        + "[run]\ntiming = false\ndevices = 'cpu'\n[cluster]\nworkers = 2\ncores = 1"
    )
    plan = read_plan(Path("plan.toml"))
    with pool_of(plan.cluster, plan.run) as pool:
        ends = work_through(steps, pool)
    assert [end.error for end in ends.values()] == [""] * 4
    assert {end.path.stem for end in ends.values() if end.path} == results().keys() == {step.key for step in steps}
    assert len(list(Path("marks").iterdir())) == 1
    allowed = sorted(os.sched_getaffinity(0))[:2]
    assert {path.read_text() for path in Path("cores").iterdir()} <= {str([core]) for core in allowed}


@pytest.mark.slow
@TWO_CORES
@pytest.mark.timeout(1800)
def test_a_sweep_on_two_workers_that_are_killed_by_their_jobs(workdir: Path) -> None:
    """The page's own plan, with a job that kills its worker once and one that does so always."""
    Path("plan.toml").write_text(
        PLANS[0].replace("batches = [1, 10]", "timing = false\ndevices = 'cpu'")
        + table("Fragile", "kills = 1, mark = 'once'")
        + table("Fragile", "kills = 9, mark = 'always'")
        + table("Slow", "number = [0, 1]")
        + table("Learner", "width = 2")
        + "train = true\nsteps = 3\n"
    )
    Path("begun").mkdir()
    command = [sys.executable, "-m", "simbench", "sweep", "plan.toml", "--no-report", "--no-samples", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert Counter(line["kind"] for line in lines) == {"run": 9, "training": 1}
    assert len(last["results"]) == 8
    assert sorted(map(Path, last["results"])) == sorted(results().values())
    (failure,) = last["failed"]
    assert failure["parameters"] == {"kills": "9", "mark": "always"}
    assert "brought down 3 workers" in failure["error"]
    assert (len(list(Path("once").iterdir())), len(list(Path("always").iterdir()))) == (1, 3)

    before = {path: path.stat().st_mtime_ns for path in results().values()}
    shown = CliRunner().invoke(app, ["sweep", "plan.toml", "--dry-run"], prog_name="simbench").stdout
    assert shown.count("there  ") == 8
    assert shown.count("to do  ") == 1
    for path in Path("always").iterdir():
        path.rename(f"always/x{path.name}")
    for number in range(9):
        Path(f"always/{number}").touch()  # it is well again
    again = subprocess.run([word for word in command if word != "--json"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "Results: 8 of 9 were there. Jobs: 1 to do." in again.stderr
    assert again.stdout.endswith("9 of 9 runs have a result.\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(results()) == 9


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_scheduler_that_is_started_anew_loses_no_finished_job(workdir: Path) -> None:
    Path("begun").mkdir()
    Path("plan.toml").write_text(
        table("Slow", f"number = {list(range(12))}") + "[run]\ntiming = false\ndevices = 'cpu'\n"
    )

    def cluster() -> tuple[str, list[subprocess.Popen[bytes]]]:
        Path("address.json").unlink(missing_ok=True)
        module = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
        started = [subprocess.Popen([*module, "--scheduler-file", "address.json"], stderr=subprocess.DEVNULL)]
        while not Path("address.json").is_file() or not Path("address.json").read_text().strip():
            time.sleep(0.1)
        address = json.loads(Path("address.json").read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1"]
        worker += ["--resources", "cores=1"]
        started += [subprocess.Popen(worker, stderr=subprocess.DEVNULL) for _ in range(2)]
        return address, started

    def sweep(address: str) -> subprocess.Popen[str]:
        words = ["sweep", "plan.toml", "--no-report", "--scheduler", address]
        return subprocess.Popen([sys.executable, "-m", "simbench", *words], stderr=subprocess.PIPE, text=True)

    address, started = cluster()
    try:
        running = sweep(address)
        while len(results()) < 3:
            assert running.poll() is None, running.communicate()
            time.sleep(0.1)
        started[0].send_signal(signal.SIGKILL)
        _, said = running.communicate()
        assert running.returncode == 5, said
        assert "the scheduler of the cluster does not answer any more" in said
    finally:
        for process in started:
            process.kill()
            process.wait()
    there = {path: path.stat().st_mtime_ns for path in results().values()}
    assert 3 <= len(there) < 12
    address, started = cluster()
    try:
        running = sweep(address)
        _, said = running.communicate()
        assert running.returncode == 0, said
        assert f"Results: {len(there)} of 12 were there." in said
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert len(results()) == 12
    assert {path: path.stat().st_mtime_ns for path in there} == there
