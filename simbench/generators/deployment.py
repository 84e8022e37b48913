"""A trained generator handed over to the program that will run it: one graph of noise and conditions, and its parity.

Nothing in the graph is random and nothing in it branches: `noise` stands for the seed (see `simbench.generators.noise`)
and the steps of a sampler are unrolled. What cannot be written so is refused.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.files import check_new, new_file, write_new
from simbench.core.version import __version__
from simbench.generators.noise import GivenNoise
from simbench.generators.onnx import onnx_session
from simbench.generators.resolve import Resolved
from simbench.generators.session import Session
from simbench.tasks.base import Task

Profile = Literal["generic", "o2"]
EXAMPLE = 13
"""Events with which a graph is traced: a number that is no other axis' length."""
PARITY_EVENTS = 1000
ROUNDING = 1e-5
"""Relative difference of a value between torch and onnxruntime that is rounding; and the share of values that may
differ by more, where rounding tips a count to its neighbour."""
LATENCY_CALLS = 200
O2_SHAPE, O2_CONDITIONS = (44, 44), 9
RANDOM = ("Random", "Multinomial", "Bernoulli")


@dataclass(frozen=True)
class Deployed:
    """What was handed over, as `deploy.json` has it.

    Attributes:
        latent: numbers of noise an event, all N(0, 1).
        files: beside `deploy.json`.
        parity_events, differing, relative: torch against onnxruntime: the share of values that differ by more than
            `ROUNDING` relative, and the sum of all differences over the sum of all values.
        latency_ms: median time of one event on one core, in onnxruntime.
    """

    simbench: str
    generator: str
    parameters: dict[str, Any]
    weights_sha256: str | None
    task: str
    task_version: str
    profile: Profile
    latent: int
    conditions: list[str]
    inputs: dict[str, str]
    output: str
    files: list[str]
    parity_events: int
    differing: float
    relative: float
    latency_ms: float


class Graph(nn.Module):
    """noise (B, L), conditions (B, C) -> events (B, *shape): a generator's `sample` with its random numbers given.

    With `moments`, (2, C), conditions come standardised; with `log`, events leave as log(1 + n). `traced` is the number
    of events of the example while a graph is traced, else 0.
    """

    def __init__(self, generator: Any, task: Task, moments: Tensor | None, log: bool) -> None:
        super().__init__()
        self.generator, self.shape, self.log, self.traced = generator, task.shape, log, 0
        self.register_buffer("moments", moments)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """Events, float32."""
        if self.moments is not None:
            conditions = conditions * self.get_buffer("moments")[1] + self.get_buffer("moments")[0]
        with GivenNoise(noise, self.traced or len(conditions), traced=self.traced > 0):
            made: Tensor = self.generator.sample(conditions, seed=0)
        events = made.reshape(-1, *self.shape).float()
        return events.log1p() if self.log else events


def deploy(resolved: Resolved, task: Task, profile: Profile, folder: Path) -> Deployed:
    """Write a generator's graph and all that its caller needs into a folder.

    `generic`: `model.onnx` and `model.pt2`, inputs noise (event, latent) and conditions (event, C) in task units,
    output events in task units. `o2`, what ALICE's fast simulation of the ZDC loads: `model.onnx`, inputs noise and
    standardised conditions (event, 9), output (event, 44, 44) of log(1 + photons); `model.txt`, means and scales of the
    conditions; a client in Python and one in C++.

    Raises:
        UsageError: a package is missing, the folder holds another deployment, or the task is not of the profile.
        GeneratorError: the generator cannot be written as such a graph, or the graph does not give what it gives.
    """
    if profile == "o2" and (task.shape != O2_SHAPE or len(task.condition_names) != O2_CONDITIONS):
        got, expected = f"{task.name}, {task.shape}", f"events {O2_SHAPE} of {O2_CONDITIONS} conditions: zn-geant3"
        raise UsageError("the profile o2 is for ALICE's neutron calorimeter", got=got, expected=expected)
    names = ["model.onnx", *(["model.txt", "client.py", "client.cpp"] if profile == "o2" else ["model.pt2"])]
    for name in (*names, "deploy.json"):
        check_new(folder / name)
    session = resolved.set_up(task)
    moments = _moments(task) if profile == "o2" else None
    graph = Graph(session.generator, task, moments, log=profile == "o2").eval()
    conditions = _conditions(task, PARITY_EVENTS)
    if moments is not None:
        conditions = (conditions - moments[0]) / moments[1]
    latent = _latent(session)
    program = _program(graph, session.who, torch.randn(EXAMPLE, latent), conditions[:EXAMPLE].clone())
    output = "log1p_photons" if profile == "o2" else "events"
    _write_onnx(program, folder / "model.onnx", session.who, output)
    if profile == "o2":
        assert moments is not None
        write_new(folder / "model.txt", scaler_text(moments))
        for name in ("client.py", "client.cpp"):
            write_new(folder / name, (resources.files("simbench.data") / "o2" / name).read_text(encoding="utf-8"))
    else:
        with new_file(folder / "model.pt2") as scratch, scratch.open("wb") as file:
            torch.export.save(program, file)
    noise = torch.randn(len(conditions), latent, generator=torch.Generator().manual_seed(0))
    differing, relative = _parity(graph, folder / "model.onnx", noise, conditions, session.who)
    units = "standardised: (c - mean) / scale of model.txt" if profile == "o2" else "task units"
    deployed = Deployed(
        simbench=__version__,
        generator=resolved.spec,
        parameters=resolved.effective_parameters(),
        weights_sha256=resolved.weights_sha256(),
        task=task.name,
        task_version=task.version,
        profile=profile,
        latent=latent,
        conditions=list(task.condition_names),
        inputs={"noise": f"(event, {latent}) N(0, 1)", "conditions": f"(event, {conditions.shape[1]}) {units}"},
        output=f"{output} (event, {', '.join(map(str, task.shape))})",
        files=names,
        parity_events=len(conditions),
        differing=differing,
        relative=relative,
        latency_ms=_latency(folder / "model.onnx", noise, conditions),
    )
    write_new(folder / "deploy.json", f"{json.dumps(asdict(deployed), indent=1)}\n")
    return deployed


def _conditions(task: Task, events: int) -> Tensor:
    """So many test conditions, again from the first where there are fewer."""
    conditions = task.load("test").conditions
    return conditions[torch.arange(events) % len(conditions)]


def _moments(task: Task) -> Tensor:
    """Mean and standard deviation of the training conditions, (2, C); a scale of 1 where one never varies."""
    conditions = task.load("train").conditions.double()
    scales = conditions.std(0, correction=0)
    return torch.stack([conditions.mean(0), torch.where(scales > 0, scales, 1.0)]).float()


def scaler_text(moments: Tensor) -> str:
    """The text file of a scaler: two blocks, a blank line after each."""
    blocks = zip(("#means", "#scales"), moments.double().tolist(), strict=True)
    return "".join("\n".join((name, *map(repr, values), "", "")) for name, values in blocks)


def _latent(session: Session) -> int:
    """How many random numbers an event takes."""
    counts: list[int] = []
    for events in (EXAMPLE, EXAMPLE + 1):
        call = partial(session.call, _conditions(session.task, events), 0)
        with GivenNoise(None, events) as given:
            _refused(session.who, call)
        counts.append(given.used)
    if counts[0] != counts[1]:
        what = f"{session.who} cannot be deployed: how many random numbers it draws depends on the data"
        raise GeneratorError(what, got=" and ".join(map(str, counts)), expected="the same for each event")
    return counts[0]


def _refused(who: str, call: Any) -> Any:
    """What the call returns. Raises GeneratorError that says the generator cannot be deployed."""
    try:
        return call()
    except GeneratorError as error:
        raise GeneratorError(f"{who} cannot be deployed: {error}") from error
    except Exception as error:  # of many kinds: torch's tracer has its own
        reason = " ".join(str(error).split())[:300]
        fix = "What is computed must not depend on the values: no `if`, no loop, no boolean index on them."
        got = f"{type(error).__name__}: {reason}"
        raise GeneratorError(f"{who} cannot be deployed: its sampling is no graph", got=got, fix=fix) from error


def _program(graph: Graph, who: str, noise: Tensor, conditions: Tensor) -> torch.export.ExportedProgram:
    """The traced graph, of any number of events."""
    events = torch.export.Dim("events")
    graph.traced = EXAMPLE

    def traced() -> torch.export.ExportedProgram:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = ({0: events}, {0: events})
            return torch.export.export(graph, (noise, conditions), dynamic_shapes=shapes, strict=False)

    try:
        program: torch.export.ExportedProgram = _refused(who, traced)
    finally:
        graph.traced = 0
    for node in program.graph.nodes:  # the ONNX exporter makes tensors of whole bounds, which clamp does not take
        if node.target is torch.ops.aten.clamp.default:
            node.args = (node.args[0], *(float(bound) if isinstance(bound, int) else bound for bound in node.args[1:]))
    return program


def _write_onnx(program: torch.export.ExportedProgram, path: Path, who: str, output: str) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise UsageError("deploy needs the packages onnx and onnxscript", fix="pip install 'simbench[onnx]'") from error

    def written() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = ["noise", "conditions"]
            return torch.onnx.export(
                program, input_names=inputs, output_names=[output], verbose=False, external_data=False
            )

    model = _refused(who, written)
    random = sorted({node.op_type for node in model.model_proto.graph.node if node.op_type.startswith(RANDOM)})
    if random:
        what = f"{who} cannot be deployed: it draws random numbers that simbench did not see"
        raise GeneratorError(what, got=", ".join(random), fix="Draw with torch.randn or torch.rand.")
    with new_file(path) as scratch:
        onnx.save(model.model_proto, scratch)


def _parity(graph: Graph, path: Path, noise: Tensor, conditions: Tensor, who: str) -> tuple[float, float]:
    """The share of values that differ, and the sum of the differences over that of the values."""
    made = torch.from_numpy(onnx_session(path, torch.get_num_threads()).run(None, _feed(noise, conditions))[0])
    with torch.no_grad():
        wanted = graph(noise, conditions)
    apart = (made - wanted).abs()
    differing = float((apart > ROUNDING * wanted.abs().clamp(min=1)).double().mean())
    relative = float(apart.double().sum() / wanted.abs().double().sum().clamp(min=1e-30))
    if not differing <= ROUNDING:
        path.unlink()
        what = f"{who}: onnxruntime gives other events than torch"
        raise GeneratorError(what, got=f"{differing:.2g} of the values differ", expected=f"at most {ROUNDING:g}")
    return differing, relative


def _feed(noise: Tensor, conditions: Tensor) -> dict[str, Any]:
    """The inputs as onnxruntime takes them."""
    return {"noise": noise.numpy(), "conditions": conditions.numpy()}


def _latency(path: Path, noise: Tensor, conditions: Tensor) -> float:
    """Milliseconds of one event on one core, the median of many."""
    session = onnx_session(path, 1)
    times = []
    for call in range(LATENCY_CALLS):
        row = call % len(noise)
        feed = _feed(noise[row : row + 1], conditions[row : row + 1])
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[LATENCY_CALLS // 10 :])
