"""Generators that are no Python objects: networks in files, programs, arrays of other libraries."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.generators.network import Input, NetworkFile, read_scaler
from simbench.generators.resolve import resolve
from simbench.generators.session import Session, as_tensor
from simbench.tasks.base import Task

EVENTS = 5


@pytest.fixture
def task() -> Task:
    return ToyTask()


def session(spec: str, task: Task, **params: str) -> Session:
    return resolve(spec, params).set_up(task)


def onnx_file(path: Path, task: Task, *, flat: bool = False, log: bool = False, batch: int | str = "events") -> Path:
    """softplus-free and checkable by hand: every pixel is (first condition)^2 + (its own noise)^2, or the log of 1 +
    that."""
    pixels, columns = int(np.prod(task.shape)), len(task.condition_names)
    noise = helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, pixels])
    conditions = helper.make_tensor_value_info("cond", TensorProto.FLOAT, [batch, columns])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    shape = [-1, pixels] if flat else [-1, *task.shape]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
    ]
    nodes = [
        helper.make_node("Gather", ["cond", "first"], ["c"], axis=1),
        helper.make_node("Mul", ["c", "c"], ["c2"]),
        helper.make_node("Mul", ["z", "z"], ["z2"]),
        helper.make_node("Add", ["c2", "z2"], ["sum"]),
        helper.make_node("Add", ["sum", "one"], ["plus"]),
        helper.make_node("Log", ["plus"], ["log"]),
        helper.make_node("Reshape", ["log" if log else "sum", "shape"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "g", [noise, conditions], [out], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def expected(task: Task, conditions: Tensor, seed: int) -> Tensor:
    pixels = int(np.prod(task.shape))
    noise = torch.randn(len(conditions), pixels, generator=torch.Generator().manual_seed(seed))
    return (conditions[:, :1].square() + noise.square()).reshape(-1, *task.shape)


def conditions_of(task: Task) -> Tensor:
    return task.load("test").conditions[:EVENTS]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_onnx_gives_what_its_graph_says(tmp_path: Path, task: Task, flat: bool, log: bool) -> None:
    file = onnx_file(tmp_path / "net.onnx", task, flat=flat, log=log)
    params = {"output": "log1p"} if log else {}
    made = session(f"onnx:{file}", task, **params).sample(conditions_of(task), 3)
    torch.testing.assert_close(made, expected(task, conditions_of(task), 3), rtol=1e-5, atol=1e-5)


def test_a_network_of_a_fixed_batch_is_run_in_pieces(tmp_path: Path, task: Task) -> None:
    file = onnx_file(tmp_path / "net.onnx", task, batch=2)
    made = session(f"onnx:{file}", task).sample(conditions_of(task), 3)
    torch.testing.assert_close(made, expected(task, conditions_of(task), 3), rtol=1e-5, atol=1e-5)


def test_whole_photons(tmp_path: Path, task: Task) -> None:
    file = onnx_file(tmp_path / "net.onnx", task)
    made = session(f"onnx:{file}", task, whole="true").sample(conditions_of(task), 3)
    assert torch.equal(made, expected(task, conditions_of(task), 3).round())


@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_a_scaler_beside_the_file_is_found_and_can_be_refused(tmp_path: Path, task: Task, suffix: str) -> None:
    file, given = onnx_file(tmp_path / "net.onnx", task), conditions_of(task)
    means, scales = [2.0] * given.shape[1], [4.0] * given.shape[1]
    blocks = [f"#{name}\n" + "".join(f"{x}\n" for x in xs) for name, xs in (("means", means), ("scales", scales))]
    text = json.dumps({"mean_": means, "scale_": scales}) if suffix == ".json" else "\n".join(blocks)
    file.with_suffix(suffix).write_text(text)
    made = session(f"onnx:{file}", task).sample(given, 3)
    torch.testing.assert_close(made, expected(task, (given - 2) / 4, 3), rtol=1e-5, atol=1e-5)
    bare = session(f"onnx:{file}", task, scaler="none").sample(given, 3)
    torch.testing.assert_close(bare, expected(task, given, 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "text", ["", "#means\n1\n", "#means\n1\n\n#scales\n0\n", "#means\n1\n2\n\n#scales\n1\n", "#means\nx\n", "1\n"]
)
def test_a_wrong_scaler_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.txt"
    path.write_text(text)
    with pytest.raises(DataError):
        read_scaler(path, 1)


class Fake(NetworkFile):
    """A network whose inputs are chosen and whose output is ones."""

    declared: Sequence[Input] = ()

    def open(self, device: torch.device) -> Sequence[Input]:
        return self.declared

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        self.seen = [tuple(tensor.shape) for tensor in tensors]
        return torch.ones(len(tensors[0]), 1)


def fake(tmp_path: Path, task: Task, declared: Sequence[Input], **params: Any) -> Fake:
    path = tmp_path / "net"
    path.touch()
    network = Fake(path, **params)
    network.declared = declared
    network.setup(task, torch.device("cpu"))
    return network


def test_roles_are_told_by_name_then_by_size_then_by_order(tmp_path: Path, task: Task) -> None:
    columns = len(task.condition_names)
    cases: list[tuple[list[Input], tuple[str, ...]]] = [
        ([Input("conditions", (None, columns)), Input("noise", (None, 7))], ("conditions", "noise")),
        ([Input("Label", (None, None)), Input("x", (None, 7))], ("conditions", "noise")),
        ([Input("input.1", (None, columns)), Input("input.2", (None, 77))], ("conditions", "noise")),
        ([Input("a", (None, 77)), Input("b", (None, columns))], ("noise", "conditions")),
        ([Input("a", (None, columns)), Input("b", (None, columns))], ("noise", "conditions")),
        ([Input("a", (None, columns))], ("conditions",)),
        ([Input("z", (None, columns))], ("noise",)),
        ([Input("a", (None, 3, 4))], ("noise",)),
    ]
    for declared, roles in cases:
        assert fake(tmp_path, task, declared).roles == roles
    same = [Input("a", (None, columns)), Input("b", (None, columns))]
    assert fake(tmp_path, task, same, inputs="conditions-noise").roles == ("conditions", "noise")


def test_inputs_that_cannot_be_told_are_refused(tmp_path: Path, task: Task) -> None:
    columns = len(task.condition_names)
    three = [Input(name, (None, columns)) for name in "abc"]
    with pytest.raises(GeneratorError, match="cannot tell apart"):
        fake(tmp_path, task, three)
    with pytest.raises(GeneratorError, match="cannot tell apart"):
        fake(tmp_path, task, [Input("noise", (None, columns)), Input("z", (None, columns))])
    with pytest.raises(UsageError, match="inputs=noise"):
        fake(tmp_path, task, three, inputs="noise")
    with pytest.raises(GeneratorError, match="how much noise"):
        fake(tmp_path, task, [Input("z", (None, None))])
    made = fake(tmp_path, task, [Input("z", (None, None))], latent=3)
    made.sample(conditions_of(task), seed=1)
    assert made.seen == [(EVENTS, 3)]


def test_files_that_are_no_networks(tmp_path: Path, task: Task) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"PK no zip")
    for prefix in ("onnx", "pt2"):
        with pytest.raises(GeneratorError, match="broken is no"):
            session(f"{prefix}:{broken}", task)
        with pytest.raises(UsageError, match="no such file"):
            resolve(f"{prefix}:{tmp_path / 'absent'}")
        with pytest.raises(UsageError, match="names nothing"):
            resolve(f"{prefix}:")
    with pytest.raises(UsageError, match="no parameter 'outputs'"):
        resolve(f"onnx:{broken}", {"outputs": "log1p"})


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("place", ["pt", "config", "opaque"])
def test_a_pickle_in_an_archive_is_not_loaded(tmp_path: Path, task: Task, place: str) -> None:
    mark, file = tmp_path / "exploded", tmp_path / "net.pt2"
    with zipfile.ZipFile(file, "w") as archive:
        if place == "pt":
            torch.save(Bomb(str(mark)), tmp_path / "bomb.pt")
            archive.writestr("net/data/sample_inputs/model.pt", (tmp_path / "bomb.pt").read_bytes())
        else:
            entry = {"path_name": "weight_0" if place == "config" else "opaque_0", "use_pickle": place == "config"}
            archive.writestr("net/data/weights/model_weights_config.json", json.dumps({"config": {"w": entry}}))
            archive.writestr("net/data/weights/weight_0", pickle.dumps(Bomb(str(mark))))
    with pytest.raises(GeneratorError, match="pickled objects"):
        session(f"pt2:{file}", task)
    assert not mark.exists()


PROGRAM = """
import json, os, sys, time
import numpy as np
how = sys.argv[1]
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)
    folder = os.path.dirname(asked["conditions"])
    conditions = np.load(asked["conditions"])
    events = np.full((len(conditions), *SHAPE), asked["seed"] % 100, np.float32)
    print("working on block", number, file=sys.stderr, flush=True)
    path = os.path.join(folder, "events.npy")
    if how == "short": events = events[1:]
    if how == "crash": raise SystemExit("no luck")
    if how == "slow": time.sleep(60)
    if how == "objects": events = np.array([{}])
    if how == "h5":
        import h5py
        path = os.path.join(folder, "events.h5")
        with h5py.File(path, "w") as file: file["samples"] = events
    elif how == "truncated":
        open(path, "wb").write(b"\\x93NUMPY")
    else:
        np.save(path, events, allow_pickle=True)
    print("hello" if how == "words" else path, flush=True)
"""


def program(tmp_path: Path, task: Task, how: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.replace("SHAPE", str(task.shape)))
    return f"cmd:{sys.executable} {path} {how}"


@pytest.mark.parametrize("how", ["npy", "h5"])
def test_a_program_answers_block_after_block(tmp_path: Path, task: Task, how: str) -> None:
    made = session(program(tmp_path, task, how), task)
    for seed in (3, 4):
        assert torch.equal(made.sample(conditions_of(task), seed).unique(), torch.tensor([float(seed)]))
    running: Any = made.generator
    folder, process = running.running.folder, running.running.process
    assert [path.name for path in folder.iterdir() if path.name.startswith("events")] == []
    running.running.end()
    assert process.returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("short", r"another shape: got \(4, .*expected \(5, .*working on block 0"),
        ("crash", "ended before it answered: got exit code 1.*working on block 0 . no luck"),
        ("slow", "no answer within 1 s.*working on block 0"),
        ("words", "the path of a file: got hello"),
        ("objects", "cannot be read, events.npy.*allow_pickle"),
        ("truncated", "cannot be read, events.npy"),
    ],
)
def test_what_goes_wrong_in_a_program_is_one_error(tmp_path: Path, task: Task, how: str, message: str) -> None:
    made = session(program(tmp_path, task, how), task, timeout="1" if how == "slow" else "30")
    with pytest.raises(GeneratorError, match=message):
        made.sample(conditions_of(task), 3)


def test_a_program_that_crashed_is_started_again(tmp_path: Path, task: Task) -> None:
    made = session(program(tmp_path, task, "crash"), task)
    for _ in range(2):
        with pytest.raises(GeneratorError, match="exit code 1"):
            made.sample(conditions_of(task), 3)


def test_programs_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    with pytest.raises(UsageError, match=r"not executable.*chmod"):
        resolve(f"cmd:{text}")
    with pytest.raises(UsageError, match="no such program"):
        resolve(f"cmd:{tmp_path / 'absent'}")
    with pytest.raises(UsageError, match="cannot be split"):
        resolve("cmd:'open")
    with pytest.raises(UsageError, match="above 0"):
        resolve("cmd:true", {"timeout": "0"})


class Foreign:
    """An array of another library that is computed when it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __dlpack__(self, **options: Any) -> Any:
        self.asked += 1
        return torch.ones(2, 3).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return torch.ones(1).__dlpack_device__()


def test_arrays_of_other_libraries_are_read_once_and_within_the_call(task: Task) -> None:
    array = Foreign()
    assert torch.equal(as_tensor(array), torch.ones(2, 3))
    assert array.asked == 1

    class Subclass(np.ndarray): ...

    odd = np.ones((2, 3)).view(Subclass)
    assert as_tensor(odd) is odd  # a subclass may compute itself when it is read: it is refused later
