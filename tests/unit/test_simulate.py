"""`simbench simulate`: the file and its record, workers, stops and resumption, what goes wrong; GEANT 3 itself (slow).

In the place of zn_transport stands a small program of the same protocol.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import GeneratorError, SimbenchError, UsageError
from simbench.core.progress import Progress
from simbench.results.schema import MonteCarloRecord
from simbench.samples.files import read_samples
from simbench.samples.monte_carlo import read_record
from simbench.simulation.engines import Generated, generated, open_engine
from simbench.simulation.particles import of_collisions, of_split
from simbench.simulation.run import Request, simulate
from simbench.tasks.zn import ZnGeant3, ZpGeant3

FAKE = """#!{python}
import os, random, struct, sys, time
lines = open(sys.argv[1]).read().splitlines()
with open(sys.argv[2], "wb") as out:
    for number, line in enumerate(lines):
        code, x, y, z, px, py, pz = line.split()
        energy = float(pz)
        assert energy > 0 and abs(float(z)) < 20
        photons = [0] * 1936
        photons[44 * 3 + 5] = int(energy) % 5000
        photons[random.Random(f"{{sys.argv[3]}} {{number}}").randrange(1936)] += 1
        out.write(struct.pack("<1936id", *photons, 1e-3 * energy))
{more}
"""


def fake(folder: Path, more: str = "", name: str = "zn_transport") -> Path:
    """A program that speaks the protocol: pixel (x 5, y 3) holds pz, another one photon; a second per TeV."""
    path = folder / name
    path.write_text(FAKE.format(python=sys.executable, more=more))
    path.chmod(0o755)
    return path


def simbench_does(*words: object) -> Any:
    return CliRunner().invoke(app, ["simulate", *map(str, words)], prog_name="simbench")


def fails(code: int, kind: str, *words: object) -> str:
    done = simbench_does(*words)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"{kind}: "), line
    return str(line)


def contents(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIMBENCH_ZN_TRANSPORT", raising=False)
    return tmp_path


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_holds_the_test_particles_in_their_order_and_a_whole_record(folder: Path) -> None:
    done = simbench_does(
        "--engine", "geant3", "--transport", fake(folder), "--events", 25, "--out", "mc.h5", "--seed", 3, "--json"
    )
    assert done.exit_code == 0, done.output
    said, kept = json.loads(done.stdout), contents(folder / "mc.h5")
    with h5py.File(ZnGeant3().path) as file:
        wanted = {key: file["test"][key][: 25 * 8 : 8] for key in ("conditions", "pdg", "condition_id")}
    for key, values in wanted.items():
        np.testing.assert_array_equal(kept[key], values)
        assert kept[key].dtype == values.dtype
    assert kept["photons"].dtype == np.uint16
    assert kept["mc_seconds"].dtype == np.float32
    pz = np.abs(wanted["conditions"][:, 6])  # the negative side is mirrored
    np.testing.assert_array_equal(kept["photons"][:, 3, 5] // 2, (pz.astype(int) % 5000) // 2)
    np.testing.assert_allclose(kept["mc_seconds"], 1e-3 * pz, rtol=1e-6)
    assert said["seconds_per_event"] == pytest.approx(1e-3 * pz.mean())
    assert said["events"] == 25
    assert said["engine"] == "GEANT 3.21/11"
    assert said["seed"] == 3
    assert said["measured"].endswith("25 events: 1 of each of 25 test conditions")
    assert said["whole_test_split"] is False
    assert said["command"].startswith("simbench")
    test = ZnGeant3().load("test")
    assert test.mc_seconds is not None
    assert said["recorded_seconds_per_event"] == pytest.approx(float(test.mc_seconds[:200].mean()))
    assert not (folder / "mc.h5.parts").exists()
    assert set(os.listdir(folder)) == {"zn_transport", "mc.h5"}


def test_the_proton_calorimeter_is_another_argument_of_the_program(folder: Path) -> None:
    task = ZpGeant3()
    path = fake(folder, 'assert sys.argv[4] == "zp"')
    path.write_text(path.read_text().replace("1936", "1680").replace("44 * 3", "30 * 3"))
    words = ("--task", "zp-geant3", "-e", "geant3", "--transport", path, "-n", 50, "-o", "zp.h5", "--json")
    done = simbench_does(*words)
    assert done.exit_code == 0, done.output
    said, kept = json.loads(done.stdout), contents(folder / "zp.h5")
    assert kept["photons"].shape == (50, 56, 30)
    pz = np.abs(task.particles("test")[0][:, 6])
    np.testing.assert_array_equal(kept["photons"][:, 3, 5] // 2, (pz.astype(int) % 5000) // 2)
    assert (said["task"], said["whole_test_split"]) == ("zp-geant3", True)
    assert read_record(folder / "zp.h5", task).whole
    assert "has one geometry, that of zn-geant3" in fails(
        2, "UsageError", "-t", "zp-geant3", "-e", "geant4", "-n", 4, "-o", "other.h5"
    )
    assert "gflash only showers in the square block" in fails(
        3, "GeneratorError", "-t", "zp-geant3", "-e", "gflash", "-n", 4, "-o", "other.h5"
    )
    assert "expected --task zn-geant3 or zp-geant3" in fails(
        2, "UsageError", "-t", "zn-alice", "-e", "geant3", "-n", 4, "-o", "other.h5"
    )
    old = fake(folder, name="old")  # one that was built before it knew of detectors
    wrong = fails(3, "GeneratorError", *words[:3], "geant3", "--transport", old, "-n", 4, "-o", "other.h5")
    assert "build or install it anew" in wrong


def test_the_events_do_not_depend_on_the_workers_but_on_the_seed(folder: Path) -> None:
    transport = fake(folder)
    for name, workers, seed in (("one", 1, 0), ("two", 2, 0), ("other", 2, 1)):
        words = ("--transport", transport, "-n", 40, "--workers", workers, "--seed", seed)
        assert simbench_does("-e", "geant3", *words, "-o", f"{name}.h5").exit_code == 0
    one, two, other = (contents(folder / f"{name}.h5")["photons"] for name in ("one", "two", "other"))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert len({events.tobytes() for events in one - one.min()}) == 40  # blocks have seeds of their own


def test_the_record_of_a_file_is_read_back_for_a_speed_up(folder: Path) -> None:
    task = ZnGeant3()
    words = ("-e", "geant3", "--transport", fake(folder))
    assert simbench_does(*words, "-n", 500, "-o", "whole.h5", "--workers", 2).exit_code == 0
    found = read_record(folder / "whole.h5", task)
    conditions, _, names = task.particles("test")
    assert found.whole
    assert found.monte_carlo.seconds_per_event == pytest.approx(1e-3 * np.abs(conditions[:, 6]).mean())
    assert found.monte_carlo.threads == 1
    assert found.monte_carlo.engine == task.monte_carlo.engine
    assert "2 at a time; 500 events: 1 of each of 500 test conditions" in found.monte_carlo.measured
    np.testing.assert_allclose(found.seconds, 1e-3 * np.abs(conditions[:, 6]), rtol=1e-6)
    assert found.condition_id is not None
    np.testing.assert_array_equal(found.condition_id, names)
    assert MonteCarloRecord(**vars(found.monte_carlo)).cpu == found.record.cpu


def test_conditions_of_another_split_have_no_test_conditions(folder: Path) -> None:
    words = ("-e", "geant3", "--transport", fake(folder), "--conditions", "validation", "--repeats", 2)
    done = simbench_does(*words, "-n", 8, "-o", "mc.h5", "--json")
    assert json.loads(done.stdout)["recorded_seconds_per_event"] is None
    found = read_record(folder / "mc.h5", ZnGeant3())
    assert found.condition_id is None
    assert not found.whole
    assert contents(folder / "mc.h5")["condition_id"].tolist() == [n for n in range(100_000, 100_004) for _ in "12"]
    assert "8 events: 2 of each of 4 validation conditions" in found.record.measured


def test_events_of_test_conditions_can_be_scored_as_they_are(folder: Path) -> None:
    task = ZnGeant3()
    words = ("-e", "geant3", "--transport", fake(folder), "--repeats", 4)
    assert simbench_does(*words, "-n", 40, "-o", "mc.h5").exit_code == 0
    read = read_samples(folder / "mc.h5", task)
    assert read.index.tolist() == [8 * condition + repeat for condition in range(10) for repeat in range(4)]
    np.testing.assert_array_equal(read.samples.numpy(), contents(folder / "mc.h5")["photons"])
    assert read.generator == "GEANT 3.21/11"


@pytest.mark.parametrize(
    ("events", "repeats", "conditions", "each"),
    [
        (1, None, 1, 1),
        (500, None, 500, 1),
        (502, None, 251, 2),
        (4000, None, 500, 8),
        (8000, None, 500, 16),
        (64, 8, 8, 8),
    ],
)
def test_events_are_equally_many_of_each_condition(
    events: int, repeats: int | None, conditions: int, each: int
) -> None:
    counts = np.unique(of_split(ZnGeant3(), "test", events, repeats).condition_id, return_counts=True)[1]
    assert counts.tolist() == [each] * conditions


def test_unequal_and_too_many_events_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--events 501 with 2 events of each particle.*Try --events 500"):
        of_split(ZnGeant3(), "test", 501)
    with pytest.raises(UsageError, match=r"test has 500 particles.*--events 502 --repeats 1"):
        of_split(ZnGeant3(), "test", 502, 1)


# --- stop and go on ---------------------------------------------------------------------------------------------------

STANDS_STILL = """
def taken(ticket):
    try:
        open(f"ticket{ticket}", "x")
    except FileExistsError:
        return True

os.chdir(os.environ["TICKETS"])
open("runs", "a").write("x")
if all(taken(ticket) for ticket in range(3)) and not os.path.exists("go"):
    time.sleep(60)
"""
"""Three blocks are done; the others wait until there is a file `go`."""


@pytest.fixture
def tickets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "tickets").mkdir()
    monkeypatch.setenv("TICKETS", str(folder / "tickets"))
    return folder / "tickets"


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A simulation that keeps three blocks and then stands still."""
    fake(folder, STANDS_STILL)
    command = [sys.executable, "-m", "simbench", "simulate", "-e", "geant3", "--transport", "./zn_transport"]
    command += ["-n", "100", "-o", "mc.h5", "--workers", "2", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while len(list(folder.glob("mc.h5.parts/block-*.npz"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def test_ctrl_c_keeps_what_is_there_and_the_same_command_goes_on(folder: Path, tickets: Path) -> None:
    process = begun(folder)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert last == (
        "SimulationStopped: stopped: 3 of 10 blocks of events are kept in mc.h5.parts. "
        "The same command goes on from there."
    )
    before = {path: path.stat().st_mtime_ns for path in folder.glob("mc.h5.parts/block-*.npz")}
    assert len(before) == 3

    refused = fails(
        2, "UsageError", "-e", "geant3", "--transport", "./zn_transport", "-n", 100, "-o", "mc.h5", "--seed", 1
    )
    assert "mc.h5 belongs to another simulation: got seed 1, expected 0" in refused
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (tickets / "go").touch()
    words = ("-e", "geant3", "--transport", "./zn_transport", "-n", 100, "-o", "mc.h5", "--workers", 1)
    done = simbench_does(*words)
    assert done.exit_code == 0, done.output
    assert "Going on: 3 of 10 blocks of events are there." in done.stderr
    assert len((tickets / "runs").read_text()) <= 5 + 7  # the three blocks were not made again
    assert read_record(folder / "mc.h5", ZnGeant3()).record.workers == "1, 2"
    assert simbench_does(*words[:-2], "-o", "again.h5").exit_code == 0
    np.testing.assert_array_equal(contents(folder / "again.h5")["photons"], contents(folder / "mc.h5")["photons"])

    again = simbench_does(*words, "--json")
    assert again.exit_code == 0
    assert "mc.h5 is complete: nothing is simulated." in again.stderr
    assert json.loads(again.stdout)["events"] == 100
    assert "got events 90, expected 100" in fails(2, "UsageError", *words[:4], "-n", 90, "-o", "mc.h5")


def test_a_kill_loses_no_block(folder: Path, tickets: Path) -> None:
    process = begun(folder)
    process.kill()
    process.communicate(timeout=60)
    assert not (folder / "mc.h5").exists()
    (tickets / "go").touch()
    done = simbench_does("-e", "geant3", "--transport", "./zn_transport", "-n", 100, "-o", "mc.h5")
    assert done.exit_code == 0, done.output
    assert "Going on: 3 of 10 blocks" in done.stderr
    assert len(contents(folder / "mc.h5")["photons"]) == 100
    assert not (folder / "mc.h5.parts").exists()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_without_the_program_the_error_says_how_to_build_it(folder: Path) -> None:
    words = ("-e", "geant3", "-n", 4, "-o", "mc.h5")
    said = fails(2, "UsageError", *words)
    assert "git clone https://github.com/vmc-project/geant3" in said
    script = Path(said.partition("&& bash ")[2].partition(" geant3;")[0])
    assert script.name == "build.sh"
    assert script.is_file()
    assert "no such file" in fails(2, "UsageError", *words, "--transport", "nowhere")
    assert "a folder" in fails(2, "UsageError", *words, "--transport", ".")
    (folder / "text").write_text("hello")
    assert "a file that is no program" in fails(2, "UsageError", *words, "--transport", "text")
    (folder / "text").chmod(0o755)
    assert "cannot be run" in fails(3, "GeneratorError", *words, "--transport", "text")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "print('ZFATAL: no room'); sys.exit(3)",
            "exit code 3, 31008 bytes of output; its last words: ZFATAL: no room",
        ),
        ("os.kill(os.getpid(), 11)", "signal 11"),
        ("open(sys.argv[2], 'r+b').truncate(100)", "exit code 0, 100 bytes of output"),
        ("os.remove(sys.argv[2])", "exit code 0, 0 bytes of output"),
        ("open(sys.argv[2], 'r+b').write(struct.pack('<i', -1))", "impossible photon counts: got -1 to"),
        ("open(sys.argv[2], 'r+b').write(struct.pack('<i', 70000))", "expected 0 to 65535"),
        ("f = open(sys.argv[2], 'r+b'); f.seek(7744); f.write(struct.pack('<d', -1))", "impossible CPU seconds"),
        (
            "f = open(sys.argv[2], 'r+b')\nfor n in range(4): f.seek(7752 * n + 7744); f.write(bytes(8))",
            "measured no CPU seconds at all: got 0 s for 4 events",
        ),
    ],
)
def test_a_program_that_fails_is_one_clear_error(folder: Path, more: str, said: str) -> None:
    words = ("--transport", fake(folder, more), "-n", 4, "-o", "mc.h5", "--workers", 1)
    assert said in fails(3, "GeneratorError", "-e", "geant3", *words)
    assert not (folder / "mc.h5").exists()


def test_wrong_options_are_refused(folder: Path) -> None:
    fake(folder)
    words = ("-e", "geant3", "--transport", "./zn_transport", "-n", 4)
    assert ".h5 or .hdf5" in fails(2, "UsageError", *words, "-o", "mc.npz")
    assert "--conditions" in fails(
        2, "UsageError", *words, "-o", "mc.h5", "--primaries", "chromo", "--conditions", "test"
    )
    assert "--transport" in fails(2, "UsageError", "-e", "gflash", *words[2:], "-o", "mc.h5")
    (folder / "mc.h5").write_text("hello")
    assert "no file of Monte Carlo events" in fails(4, "DataError", *words, "-o", "mc.h5")
    assert (folder / "mc.h5").read_text() == "hello"


def test_without_geant4_the_error_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "geant4_pybind.py").write_text("raise ImportError('initialization failed')")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    said = fails(2, "UsageError", "-e", "geant4", "-n", 4, "-o", "mc.h5")
    assert "got ImportError: initialization failed. Install the package: pip install 'simbench[geant4]'" in said
    assert "GEANT4_DATA_DIR" in said


def test_without_chromo_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.simulation.particles.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package chromo.*pip install 'simbench\[generators\]'"):
        of_collisions(ZnGeant3(), 4, None, 0)


DRAW = """
import sys
import numpy as np
print("SIBYLL 2.3d")
count, seed, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if count == 7:
    raise SystemExit("no such particle")
np.savez(out, conditions=np.arange(9.0 * count).reshape(count, 9) + seed % 1000, pdg=np.full(count, 22, np.int32))
"""


def test_new_particles_come_from_the_program_that_drew_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A small program in its place, of the same arguments."""
    (tmp_path / "primaries.py").write_text(DRAW)
    monkeypatch.setattr("simbench.simulation.particles.find_spec", lambda name: "there")
    monkeypatch.setattr("simbench.simulation.particles.PRIMARIES", tmp_path / "primaries.py")
    found = of_collisions(ZnGeant3(), 6, 2, 5)
    assert (found.conditions[:, 0] - found.conditions[0, 0]).tolist() == [0, 0, 9, 9, 18, 18]
    assert found.condition_id.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.pdg.tolist() == [22] * 6
    assert of_collisions(ZnGeant3(), 6, 2, 6).conditions[0, 0] != found.conditions[0, 0]
    assert capfd.readouterr().out == ""  # stdout is for --json
    with pytest.raises(GeneratorError, match=r"primaries.py failed to draw 7 particles.*no such particle"):
        of_collisions(ZnGeant3(), 7, None, 0)


# --- a record that is no record ---------------------------------------------------------------------------------------


@pytest.fixture
def simulated(folder: Path) -> Path:
    words = ("--transport", fake(folder), "-n", 6, "-o", "mc.h5", "--workers", 1)
    assert simbench_does("-e", "geant3", *words).exit_code == 0
    return folder / "mc.h5"


def refused(path: Path) -> str:
    with pytest.raises(SimbenchError) as error:
        read_record(path, ZnGeant3())
    return f"{type(error.value).__name__}: {error.value}"


def test_a_number_or_another_file_is_no_record(simulated: Path) -> None:
    assert refused(Path("0.8")).startswith("UsageError: 0.8 is a number, not a measurement")
    assert refused(Path("nowhere.h5")).startswith("DataError: there is no file nowhere.h5")
    assert "a folder" in refused(simulated.parent)
    (simulated.parent / "x.json").write_text("{}")
    assert "no HDF5" in refused(simulated.parent / "x.json")
    assert "holds no record of a Monte Carlo" in refused(ZnGeant3().path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seconds_per_event", 100.0, "do not give its seconds_per_event"),
        ("seconds_per_event", math.nan, "'seconds_per_event' is wrong"),
        ("threads", -1, "'threads' is wrong"),
        ("cpu", 3, "'cpu' is wrong"),
        ("task", "mnist", "another task: got mnist"),
        ("events", 7, "`mc_seconds` has the wrong shape"),
        ("engine", None, "got no attribute 'engine'"),
    ],
)
def test_a_changed_record_is_refused(simulated: Path, name: str, value: Any, said: str) -> None:
    with h5py.File(simulated, "a") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    assert said in refused(simulated)


def test_a_truncated_file_is_refused(simulated: Path) -> None:
    simulated.write_bytes(simulated.read_bytes()[:3000])
    assert refused(simulated).startswith("DataError: ")


# --- a generator in the place of a Monte Carlo ------------------------------------------------------------------------

MODEL = """
import time
import torch

class Flat:
    def sample(self, conditions, *, seed):
        end = time.process_time() + 1e-3 * len(conditions)
        while time.process_time() < end: pass
        rng = torch.Generator().manual_seed(seed)
        return conditions[:, :1, None] / 1000 + torch.rand(len(conditions), 44, 44, generator=rng)
"""


def test_a_generator_is_timed_by_the_batch_in_cpu_seconds(folder: Path) -> None:
    (folder / "flat.py").write_text(MODEL)
    task = ZnGeant3()
    engine = generated("flat.py:Flat", task)
    assert isinstance(engine, Generated)
    request = Request(engine="flat", particles="test", events=300, repeats=None, seed=0)
    for name in ("one.h5", "two.h5"):
        simulate(engine, task, request, lambda: of_split(task, "test", 300), folder / name, Progress(quiet=True))
    found, kept = read_record(folder / "one.h5", task), contents(folder / "one.h5")
    assert found.record.workers == "1"
    assert found.monte_carlo.engine == "Flat"
    assert found.seconds.min() >= 1e-3
    assert len(np.unique(found.seconds)) == 2  # a batch of 256 events, and one of 44
    np.testing.assert_array_equal(kept["photons"], contents(folder / "two.h5")["photons"])
    expected = kept["conditions"][:, 0] / 1000 + 0.5
    np.testing.assert_allclose(kept["photons"].mean((1, 2)), expected, atol=4 * math.sqrt(1 / 12 + 1 / 12) / 44)


def test_gflash_is_found_by_its_name_or_said_to_be_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.simulation.engines.entry_points", lambda group: {})
    with pytest.raises(UsageError, match="the generator gflash is not installed"):
        open_engine("gflash", ZnGeant3())


# --- GEANT 3 itself ---------------------------------------------------------------------------------------------------

TRANSPORT = os.environ.get("SIMBENCH_ZN_TRANSPORT", "")
SHOWERS, SIGMAS = 400, 3.0


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not Path(TRANSPORT).is_file(), reason="SIMBENCH_ZN_TRANSPORT names no built zn_transport")
def test_new_showers_agree_with_the_test_split_within_the_floor(tmp_path: Path) -> None:
    """8 new showers of each of the first 50 test conditions score as `floor` does; 12 % more light would not."""
    from simbench.evaluation.evaluate import Options, score_files

    task, out = ZnGeant3(), tmp_path / "new.h5"
    request = Request(engine="geant3", particles="test", events=SHOWERS, repeats=8, seed=1)
    workers = int(os.environ.get("SIMBENCH_WORKERS", os.cpu_count() or 1))
    with Progress() as progress:
        engine = open_engine("geant3", task, Path(TRANSPORT))
        simulate(engine, task, request, lambda: of_split(task, "test", SHOWERS, 8), out, progress, workers=workers)
        result = score_files([out], task, Options(metrics="channel_wasserstein,conditional_energy"), progress).result
    found = read_record(out, task)
    print(f"{found.monte_carlo.seconds_per_event:.3f} s per event on {found.monte_carlo.cpu}")
    for measurement in result.measurements:
        assert measurement.value is not None, measurement.error
        assert measurement.floor is not None
        error = math.hypot(measurement.stderr or 0.0, measurement.floor_sd or 0.0)
        print(f"{measurement.key}: {measurement.value:.3f}, floor {measurement.floor:.3f}, error {error:.3f}")
        assert error > 0
        assert abs(measurement.value - measurement.floor) < SIGMAS * error
    assert len(result.measurements) == 2
