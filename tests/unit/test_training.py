"""The training loop on a task small enough to train in a blink: y = 2 c + noise, two numbers an event."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from toys import ToyTask

from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.events import Events
from simbench.tasks.base import Split, Task
from simbench.training.augment import mirror_exchange
from simbench.training.batches import Batches, part_of
from simbench.training.command import run_training
from simbench.training.loop import TrainingStopped, train
from simbench.training.plan import Plan, plan_for
from simbench.training.weights import REQUIRED, fill, load_weights, save_weights

REPEATS = 4
CONDITIONS = 60


class Line(ToyTask):
    """Events (2, 2) around twice their condition."""

    name = "line"
    shape = (2, 2)
    unit = ""
    condition_names = ("c",)
    condition_units = ("",)
    repeats = REPEATS
    block_size = 50

    def load_split(self, split: Split) -> Events:
        assert split in ("train", "validation"), "training must not look at test or floor"
        rng = torch.Generator().manual_seed(len(split))
        condition = torch.rand(CONDITIONS, 1, generator=rng).repeat_interleave(REPEATS, 0)
        samples = 2 * condition[:, :, None] + 0.1 * torch.randn(len(condition), 2, 2, generator=rng)
        unit = torch.arange(CONDITIONS).repeat_interleave(REPEATS)
        return Events(samples=samples, conditions=condition, condition_id=unit, unit_id=unit)


class Regression(nn.Module):
    """The least a stranger must write. Random numbers (dropout) and buffers (batch norm) survive a resume."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 4)
        )

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        error = self.net(conditions) - samples.flatten(1)
        return {"square": error.square().mean(), "absolute": 0.1 * error.abs().mean()}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        noise = torch.randn(len(conditions), 4, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return (self.net(conditions) + 0.1 * noise).reshape(-1, 2, 2)


class Game(nn.Module):
    """Two players that share no parameter; each loss touches both networks, so that a missing detachment would show."""

    def __init__(self) -> None:
        super().__init__()
        self.maker, self.critic = nn.Linear(2, 4), nn.Linear(5, 1)
        self.asked: list[str] = []

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.critic.parameters()), "maker": list(self.maker.parameters())}

    def losses(self, samples: Tensor, conditions: Tensor, *, player: str) -> dict[str, Tensor]:
        self.asked.append(player)
        for name, network in (("critic", self.critic), ("maker", self.maker)):
            assert all(parameter.requires_grad == (name == player) for parameter in network.parameters())
        made = self.maker(torch.cat([conditions, torch.randn_like(conditions)], 1))
        fake = self.critic(torch.cat([made, conditions], 1)).mean()
        if player == "maker":
            return {"fool": -fake}
        real = self.critic(torch.cat([samples.flatten(1), conditions], 1)).mean()
        return {"tell": (fake - real).tanh(), "bound": 0.1 * fake.square()}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        noise = torch.randn(conditions.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return self.maker(torch.cat([conditions, noise], 1)).reshape(-1, 2, 2)


class TwoStages(Regression):
    """Refines its last layer, with a loss of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str | None] = []

    def refined(self) -> list[nn.Parameter]:
        return list(self.net[4].parameters())

    def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
        self.asked.append(player)
        terms = super().losses(samples, conditions)
        return {"refining": terms["square"]} if player else terms


PLAN = Plan(steps=25, batch_size=32, learning_rate=1e-2, warmup=2, validate_every=10, ema=0.9)


def fresh() -> Regression:
    torch.manual_seed(7)
    return Regression()


def curve(out: Path) -> list[dict[str, str]]:
    with (out / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def run(out: Path, model: nn.Module | None = None, plan: Plan = PLAN, **options: Any) -> Path:
    return train(model or fresh(), Line(), plan, out=out, progress=False, **options)


def test_trains_and_keeps_the_best_average(tmp_path: Path) -> None:
    plan = Plan(steps=300, batch_size=32, learning_rate=2e-2, warmup=2, validate_every=30, ema=0.9)
    model = fresh()
    path = run(tmp_path, model, plan)
    rows = curve(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(30, 301, 30))
    scores = [float(row["validation.score"]) for row in rows]
    assert min(scores) < 0.1 * scores[0]
    assert float(rows[-1]["total"]) == pytest.approx(float(rows[-1]["square"]) + float(rows[-1]["absolute"]), rel=1e-5)
    state, metadata = load_weights(path)
    assert json.loads(metadata["validation_score"])["score"] == pytest.approx(min(scores))
    assert int(metadata["steps"]) == 30 * (1 + scores.index(min(scores)))
    assert metadata["task"] == "line"
    assert metadata["model"] == "Regression"
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)
    assert not model.training


def test_average_follows_the_weights(tmp_path: Path) -> None:
    """After each step t, mean <- mean + w (weights - mean) with w = 1 - min(ema, (1 + t) / (10 + t))."""
    seen: list[Tensor] = []

    class Watched(Regression):
        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            seen.append(self.net[0].weight.detach().clone())
            return super().losses(samples, conditions)

    torch.manual_seed(7)
    path = run(tmp_path, Watched(), Plan(steps=6, batch_size=32, validate_every=6, ema=0.3))
    torch.manual_seed(7)
    longer = tmp_path / "longer"
    run(longer, Watched(), Plan(steps=7, batch_size=32, validate_every=7, ema=0.3, patience=1))
    state, _ = load_weights(path)
    average = seen[0].clone()
    for step, now in enumerate(seen[1:6], start=1):
        average += (1 - min(0.3, (1 + step) / (10 + step))) * (now - average)
    last_weight = 1 - 0.3
    final = (state["net.0.weight"] - average * (1 - last_weight)) / last_weight
    assert (final - seen[5]).abs().max() < 2e-3  # one small step of Adam away
    assert not torch.equal(final, seen[5])


@pytest.mark.parametrize("kill_at", [13, 20, 24])
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, kill_at: int) -> None:
    class Dies(Regression):
        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > kill_at:
                raise MemoryError
            return super().losses(samples, conditions)

    whole, _ = load_weights(run(tmp_path / "whole"))
    torch.manual_seed(7)
    with pytest.raises(MemoryError):
        run(tmp_path / "killed", Dies(), record={"model": "Regression"})
    torch.manual_seed(1234)  # what a new process begins with must not matter
    resumed_model = Regression()
    resumed, _ = load_weights(run(tmp_path / "killed", resumed_model))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    first, second = curve(tmp_path / "whole"), curve(tmp_path / "killed")
    assert [{**row, "seconds": ""} for row in first] == [{**row, "seconds": ""} for row in second]


def test_finished_training_is_not_repeated_and_another_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path)
    before = path.stat().st_mtime_ns
    assert run(tmp_path) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"another training.*seed"):
        run(tmp_path, seed=1)
    run(tmp_path, seed=1, resume=False)
    assert path.stat().st_mtime_ns != before


def test_damaged_checkpoint(tmp_path: Path) -> None:
    run(tmp_path)
    checkpoint = tmp_path / "last.ckpt"
    request = json.loads((tmp_path / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**request, "finished": False}))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"last.ckpt is damaged.*--no-resume"):
        run(tmp_path)


def test_seed_decides(tmp_path: Path) -> None:
    states = [load_weights(run(tmp_path / str(index), seed=seed))[0] for index, seed in enumerate((0, 0, 1))]
    assert torch.equal(states[0]["net.0.weight"], states[1]["net.0.weight"])
    assert not torch.equal(states[0]["net.0.weight"], states[2]["net.0.weight"])


def test_global_random_numbers_are_left_alone(tmp_path: Path) -> None:
    model = fresh()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path, model)
    assert torch.equal(torch.rand(3), expected)


def test_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    class Interrupts(Regression):
        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 15:
                os.kill(os.getpid(), signal.SIGINT)
            return super().losses(samples, conditions)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingStopped, match=r"step 15 of 25; .*last.ckpt holds step 10.*same command"):
        run(tmp_path, Interrupts())
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "weights.safetensors").is_file()


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    """A model that drifts past the truth, whatever the batches are: best half-way, worse at every later validation."""

    class Drifts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.tensor(-0.5))

        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            return {"drift": -self.offset}

        def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
            return (2 * conditions + self.offset.detach()).reshape(-1, 1, 1).expand(-1, 2, 2)

    path = run(tmp_path, Drifts(), Plan(steps=100, learning_rate=0.02, warmup=1, validate_every=10, patience=2, ema=0))
    scores = [float(row["validation.score"]) for row in curve(tmp_path)]
    best = scores.index(min(scores))
    assert 2 <= best == len(scores) - 3
    assert scores == sorted(scores[: best + 1], reverse=True) + sorted(scores[best + 1 :])
    state, metadata = load_weights(path)
    assert int(metadata["steps"]) == 10 * (best + 1)
    assert abs(float(state["offset"])) < 0.1


def test_divergence_is_an_error(tmp_path: Path) -> None:
    class Diverges(Regression):
        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            return {"square": super().losses(samples, conditions)["square"] * torch.nan}

    with pytest.raises(UsageError, match=r"diverged before step 10.*learning rate"):
        run(tmp_path, Diverges())


def test_nan_in_the_data_is_an_error_before_training(tmp_path: Path) -> None:
    class Holes(Line):
        def load_split(self, split: Split) -> Events:
            events = super().load_split(split)
            samples = events.samples.clone()
            samples[3, 0, 1] = torch.nan
            return events.with_samples(samples)

    with pytest.raises(DataError, match=r"samples of line hold NaN.*1 of 240 training events"):
        train(fresh(), Holes(), PLAN, out=tmp_path, progress=False)


def test_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simbench.training.loop.replaced_file", full)
    with pytest.raises(UsageError, match=r"cannot be written.*No space left.*Make room"):
        run(tmp_path)


@pytest.mark.parametrize(("room", "file"), [(100, "training.json"), (1000, "weights.safetensors"), (6000, "last.ckpt")])
def test_a_disk_that_is_full_in_the_middle_of_a_file(tmp_path: Path, room: int, file: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(UsageError, match=f"{file} could not be written.*Make room"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / file).exists()
    run(tmp_path)


def test_two_players_step_in_turn(tmp_path: Path) -> None:
    model = Game()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = run(tmp_path, model)
    assert model.asked == ["critic", "maker"] * 25
    state, _ = load_weights(path)
    assert all(not torch.equal(before[name], state[name]) for name in state)
    assert {"critic.tell", "critic.bound", "critic.total", "maker.fool", "maker.total"} <= curve(tmp_path)[0].keys()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_last_steps_refine_what_the_model_names(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, steps=40, refine=0.5)
    torch.manual_seed(7)
    model = TwoStages()
    halves: dict[str, dict[str, Tensor]] = {}

    class Watched(TwoStages):
        def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
            if len(self.asked) in (20, 39):
                halves[str(len(self.asked))] = {name: value.clone() for name, value in self.named_parameters()}
            return super().losses(samples, conditions, player)

    torch.manual_seed(7)
    run(tmp_path, Watched(), plan)
    moved = {name for name, value in halves["20"].items() if not torch.equal(value, halves["39"][name])}
    assert moved == {"net.4.weight", "net.4.bias"}
    run(tmp_path / "asked", model, plan)
    assert model.asked == [None] * 20 + ["refined"] * 20
    assert [row["refined.refining"] == "" for row in curve(tmp_path / "asked")] == [True, True, False, False]
    with pytest.raises(UsageError, match="Regression cannot be refined"):
        run(tmp_path / "plain", fresh(), plan)


def test_a_training_killed_while_it_refines_is_resumed(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, steps=40, refine=0.5)

    class Dies(TwoStages):
        def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
            if len(self.asked) == 33:
                raise MemoryError
            return super().losses(samples, conditions, player)

    torch.manual_seed(7)
    whole, _ = load_weights(run(tmp_path / "whole", TwoStages(), plan))
    torch.manual_seed(7)
    with pytest.raises(MemoryError):
        run(tmp_path / "killed", Dies(), plan, record={"model": "TwoStages"})
    resumed, _ = load_weights(run(tmp_path / "killed", TwoStages(), plan))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_while_all_learns_a_training_that_is_to_be_refined_does_not_stop(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, steps=200, refine=0.5, patience=1, learning_rate=1e-9, ema=0.0)
    run(tmp_path, TwoStages(), plan)
    assert 100 < int(curve(tmp_path)[-1]["step"]) < 200


def test_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    run(tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert not [
        warning for warning in recwarn if "lightning" in str(warning.filename) or "num_workers" in str(warning.message)
    ]
    train(fresh(), Line(), PLAN, out=tmp_path / "shown", progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "step 10: square" in captured.err


def test_hooks(tmp_path: Path) -> None:
    class Hooked(Regression):
        whole_conditions = True
        prepared = 0

        def prepare(self, task: Task, events: Events) -> None:
            self.prepared = len(events)

        def augment(self, samples: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
            assert len(torch.unique(conditions)) == len(conditions) // REPEATS == 8
            return samples + 100, conditions

        def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
            assert samples.min() > 90
            return super().losses(samples, conditions)

        def plan(self, preset: str, task_name: str) -> dict[str, Any]:
            return {"steps": 3, "batch_size": 32}

    model = Hooked()
    run(tmp_path, model, plan_for(model, "line", "cpu", learning_rate=0.5, steps=None))
    assert model.prepared == CONDITIONS * REPEATS
    assert [int(row["step"]) for row in curve(tmp_path)] == [3]


def test_untrainable_models_are_refused(tmp_path: Path) -> None:
    class Lacks(nn.Module):
        def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
            return conditions

    with pytest.raises(UsageError, match="losses"):
        run(tmp_path, Lacks())


STRANGER = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.net = torch.nn.Linear(1, 4)
        assert width == 5
    def losses(self, samples, conditions):
        return {"square": (self.net(conditions) - samples.flatten(1)).square().mean()}
    def sample(self, conditions, *, seed):
        return self.net(conditions).detach().reshape(-1, 2, 2)
def function(conditions, *, seed):
    return conditions
"""


def test_a_strangers_model_trains_from_its_spec(tmp_path: Path) -> None:
    file = tmp_path / "stranger.py"
    file.write_text(STRANGER)
    options: dict[str, Any] = {"preset": "cpu", "seed": 3, "steps": 4, "device": "cpu", "progress": False}
    params = {"width": "5", "learning_rate": "0.01"}
    path = run_training(f"{file}:Model", Line(), out=tmp_path / "out", params=params, **options)
    state, metadata = load_weights(path)
    assert state["net.weight"].shape == (4, 1)
    assert json.loads(metadata["config"]) == {"width": 5}
    assert (
        metadata["command"] == f"simbench train {file}:Model --task line --preset cpu --seed 3 --steps 4"
        " --param width=5 --param learning_rate=0.01"
    )
    assert json.loads((tmp_path / "out" / "training.json").read_text())["plan"]["learning_rate"] == 0.01
    again, _ = load_weights(run_training(f"{file}:Model", Line(), out=tmp_path / "again", params=params, **options))
    assert torch.equal(again["net.weight"], state["net.weight"])
    with pytest.raises(UsageError, match="learning_rat"):
        run_training(
            f"{file}:Model", Line(), out=tmp_path / "typo", params={"width": "5", "learning_rat": "1"}, **options
        )
    with pytest.raises(GeneratorError, match="nothing to train"):
        run_training(f"{file}:function", Line(), out=tmp_path / "function", **options)


def test_plan() -> None:
    plan = Plan(steps=100, warmup=10, learning_rate=2.0)
    assert plan.rate(0) == pytest.approx(0.2, rel=1e-3)
    assert plan.rate(50) == pytest.approx(1.0)
    assert plan.rate(100) == 0
    twice = Plan(steps=200, warmup=10, learning_rate=2.0, refine=0.5)
    assert [twice.rate(step) for step in range(200)] == 2 * [plan.rate(step) for step in range(100)]
    assert plan_for(object(), "line", "paper").batch_size == 1000
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        plan_for(object(), "line", "papr")
    with pytest.raises(UsageError, match="batch_size"):
        plan_for(object(), "line", batch_sise=3)
    with pytest.raises(UsageError, match="steps of at least 1"):
        Plan(steps=0)


def test_a_share_of_the_training_split_is_whole_units_and_part_of_a_larger_share(tmp_path: Path) -> None:
    events = Line().load("train")
    whole, half, quarter = (part_of(events, share) for share in (1.0, 0.5, 0.25))
    assert len(whole) == len(events)
    assert (len(half), len(quarter)) == (len(events) // 2, len(events) // 4)
    assert torch.unique(quarter.unit_id, return_counts=True)[1].eq(REPEATS).all()
    assert set(quarter.unit_id.tolist()) < set(half.unit_id.tolist()) < set(whole.unit_id.tolist())

    class Seen(Regression):
        rows: set[int]

        def prepare(self, task: Task, events: Events) -> None:
            self.rows = set(events.unit_id.tolist())

    model = Seen()
    train(model, Line(), Plan(steps=2, batch_size=8, share=0.25), out=tmp_path, progress=False)
    assert model.rows == set(quarter.unit_id.tolist())
    with pytest.raises(UsageError, match="makes no sense"):
        Plan(share=0.0)


def test_batches_cover_each_epoch_and_depend_on_seed_and_step_alone() -> None:
    events = Line().load_split("train")
    batches = Batches(events, 30, seed=0)
    assert batches.per_epoch == 8
    epoch = torch.cat([batches.rows(step) for step in range(8)])
    assert sorted(epoch.tolist()) == list(range(240))
    assert not torch.equal(epoch[:30], batches.rows(8))
    assert torch.equal(Batches(events, 30, seed=0).rows(11), batches.rows(11))
    assert not torch.equal(Batches(events, 30, seed=1).rows(11), batches.rows(11))
    whole = Batches(events, 30, seed=0, whole_conditions=True)
    rows = whole.rows(0).reshape(-1, REPEATS)
    assert (events.unit_id[rows] == events.unit_id[rows[:, :1]]).all()
    assert Batches(events, 10_000, seed=0).rows(5).sort().values.tolist() == list(range(240))


def test_whole_conditions_of_unequal_repeats() -> None:
    unit = torch.tensor([3, 1, 3, 2, 1, 3])
    events = Events(samples=torch.arange(6.0)[:, None], conditions=torch.zeros(6, 0), condition_id=unit, unit_id=unit)
    batches = Batches(events, 2, seed=0, whole_conditions=True)
    assert sorted(sorted(batches.rows(step).tolist()) for step in range(3)) == [[0, 2, 5], [1, 4], [3]]


def test_mirror_exchange_moves_event_and_conditions_together() -> None:
    """An image with one bright pixel at the place its conditions name stays so under all eight symmetries."""
    names = ("Energy", "Vx", "Vy", "Vz", "Px", "Py", "Pz")
    place = torch.tensor([1.0, 2.0])  # x, y from the centre of a 6 x 6 block with pixels at -2.5 ... 2.5
    samples = torch.zeros(400, 6, 6)
    samples[:, int(place[1] + 2.5), int(place[0] + 2.5)] = 1
    conditions = torch.tensor([5.0, 1.0, 2.0, 9.0, 10.0, 20.0, -7.0]).repeat(400, 1)
    torch.manual_seed(0)
    moved, now = mirror_exchange(samples, conditions, names)
    row, column = (moved.flatten(1).argmax(1) // 6, moved.flatten(1).argmax(1) % 6)
    assert (moved.flatten(1).sum(1) == 1).all()
    assert torch.equal((column - 2.5).sign(), now[:, 1].sign())
    assert torch.equal((row - 2.5).sign(), now[:, 2].sign())
    assert torch.equal((column - 2.5).abs() > (row - 2.5).abs(), now[:, 1].abs() > now[:, 2].abs())
    assert torch.equal(now[:, 4:6], 10 * now[:, 1:3])
    assert torch.equal(now[:, [0, 3, 6]], conditions[:, [0, 3, 6]])
    assert len(torch.unique(moved.flatten(1), dim=0)) == 8
    assert torch.equal(samples, samples[:1].expand_as(samples)), "the input must not change"


def test_mirror_exchange_can_keep_equal_conditions_equal() -> None:
    names = ("Energy", "Vx", "Vy", "Vz", "Px", "Py", "Pz")
    conditions = torch.rand(40, 7).repeat_interleave(3, 0)
    moved, now = mirror_exchange(torch.rand(1, 6, 6).expand(120, 6, 6), conditions, names, together=True)
    for values in (moved, now):
        triples = values.unflatten(0, (40, 3))
        assert torch.equal(triples, triples[:, :1].expand_as(triples))
    assert len(torch.unique(moved.flatten(1), dim=0)) == 8
    apart = mirror_exchange(torch.rand(1, 6, 6).expand(120, 6, 6), conditions, names)[1].unflatten(0, (40, 3))
    assert not torch.equal(apart, apart[:, :1].expand_as(apart))


METADATA = {
    "model": "m",
    "config": "{}",
    "task": "t",
    "command": "c",
    "seed": "0",
    "steps": "1",
    "validation_score": "{}",
}


def test_weights_round_trip(tmp_path: Path) -> None:
    model = fresh()
    save_weights(model, tmp_path / "deep" / "w.safetensors", METADATA)
    state, metadata = load_weights(tmp_path / "deep" / "w.safetensors")
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in model.state_dict())
    assert all(key in metadata for key in REQUIRED)
    other = Regression()
    fill(other, state, tmp_path)
    assert torch.equal(other.net[0].weight, model.net[0].weight)
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["w.safetensors"]
    with pytest.raises(UsageError, match="validation_score"):
        save_weights(
            model, tmp_path / "x", {key: value for key, value in METADATA.items() if key != "validation_score"}
        )


def test_damaged_and_foreign_weights(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_weights(fresh(), good, METADATA)
    content = good.read_bytes()
    for damaged in (
        b"",
        content[: len(content) // 2],
        content + b"more",
        b"\xff" * 8 + content[8:],
        b"PK\x03\x04" + content,
    ):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged.*expected.*again"):
            load_weights(bad)
    with pytest.raises(DataError, match="no weights"):
        load_weights(tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(2)}, bad)
    with pytest.raises(DataError, match="not written by simbench"):
        load_weights(bad)
    model = fresh()
    with torch.no_grad():
        model.net[0].weight[0] = torch.nan
    save_weights(model, bad, METADATA)
    with pytest.raises(DataError, match="NaN"):
        load_weights(bad)
    state, _ = load_weights(good)
    with pytest.raises(DataError, match="does not fit"):
        fill(Regression(width=9), state, good)
    with pytest.raises(DataError, match="missing or superfluous"):
        fill(nn.Linear(2, 2), state, good)
