"""The training loop that every model uses: Lightning's Trainer behind one function.

A Lightning "epoch" is here the stretch of steps between two validations, so that a checkpoint always lies on its
boundary and resuming needs no state of the data. Every batch and every step's random numbers are derived from seed and
step: a training that was killed and resumed ends with the weights of one that was not (bit for bit on one machine's
CPU).

Several processes (`simbench.training.processes`) take the same steps, each on its rows of the batch, with Lightning's
DistributedDataParallel: weights, losses and scores are those of one process, to rounding.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import logging
import math
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.core.events import Events
from simbench.core.files import replace_text, replaced_file
from simbench.core.progress import Advance, Progress
from simbench.core.seeds import derive_seed
from simbench.tasks.base import Task
from simbench.training.batches import Batches, part_of
from simbench.training.plan import Plan
from simbench.training.processes import anywhere, mean_of_all, on_first, own, sharing
from simbench.training.protocol import REFINED, Trainable
from simbench.training.validation import sample_like, validation_events, validation_score
from simbench.training.weights import load_weights, save_weights

CHECKPOINT = "last.ckpt"
REQUEST = "training.json"
CURVE = "curve.csv"
WEIGHTS = "weights.safetensors"


class TrainingStopped(SimbenchError):
    """Ctrl-C: the training can be resumed."""

    exit_code: ClassVar[int] = 130


def train(
    model: nn.Module,
    task: Task,
    plan: Plan,
    *,
    out: Path,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = True,
    record: Mapping[str, str] | None = None,
) -> Path:
    """Train a `Trainable`; keep the weights (moving average) that score best on the task's validation split.

    In `out`: `weights.safetensors` (the best so far, at any time), `curve.csv` (losses and validation score at each
    validation), `last.ckpt` (all that resuming needs), `training.json` (what was asked for). Returns the weights file;
    `model` holds the same at the end.

    Args:
        seed: of everything random: first weights (where `prepare` builds them), order of events, noise.
        resume: continue what `out` holds, if it is this very training.
        progress: a bar and a line a validation, on stderr.
        record: metadata of the weights file: `model`, `config`, `command`.

    Raises:
        UsageError: the model is not trainable, or `out` holds another training, or the loss became NaN.
        TrainingStopped: Ctrl-C.
    """
    _check_trainable(model, plan)
    defaults = {"model": type(model).__name__, "config": "{}", "command": "simbench.training.loop.train"}
    record = {**defaults, **(record or {})}
    request = {
        "task": task.name,
        "task_version": task.version,
        "seed": seed,
        "plan": asdict(plan),
        "config": record["config"],
        "model": record["model"],
    }
    checkpoint = on_first(lambda: _open_folder(out, request, resume=resume))
    progress = progress and sharing().rank == 0
    weights = out / WEIGHTS
    with _isolated_random_numbers(), _quiet_lightning():
        torch.manual_seed(derive_seed(seed, "training", "initial weights"))
        events = part_of(task.load("train"), plan.share)
        _check_finite(task, events)
        if hasattr(model, "prepare"):
            cast(Any, model).prepare(task, events)
        if on_first(lambda: _is_finished(out)):
            return _finish(model, weights)
        if sharing().count > 1:
            _make_shared(model, device)
        with (
            Progress(quiet=not progress) as bars,
            bars.step(f"training {record['model']} on {task.name}", plan.steps) as advance,
            _deferred_interrupt() as interrupted,
        ):
            loop = _Loop(model, task, plan, events, seed, out, record, bars, advance, interrupted)
            trainer = Trainer(
                **_lightning_devices(device),
                max_epochs=math.ceil(plan.steps / plan.validate_every),
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
            )
            try:
                trainer.fit(loop, _Steps(loop), ckpt_path=checkpoint, weights_only=True)
            except _Interrupted:
                what = f"training stopped at step {loop.step} of {plan.steps}; "
                what += (
                    f"{out / CHECKPOINT} holds step {loop.saved_step}" if loop.saved_step else "nothing is saved yet"
                )
                what += f", {weights} the best weights so far" if weights.is_file() else ""
                raise TrainingStopped(what, fix="The same command again goes on from there.") from None
            except OSError as error:
                what, fix = (
                    f"the training cannot be written to {out}",
                    "Make room there; the same command then goes on.",
                )
                raise UsageError(what, got=str(error), fix=fix) from error
        on_first(lambda: replace_text(out / REQUEST, json.dumps({**request, "finished": True}, indent=1)))
        return _finish(model, weights)


def _check_finite(task: Task, events: Events) -> None:
    """Refuse NaN in the data, which would end as a training that diverges. Raises DataError."""
    for name, values in (("samples", events.samples), ("conditions", events.conditions)):
        bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
        if bad:
            what = f"the {name} of {task.name} hold NaN or infinite values"
            raise DataError(what, got=f"{bad} of {len(values)} training events", fix="Mend or leave out those events.")


def _check_trainable(model: nn.Module, plan: Plan) -> None:
    if not isinstance(model, nn.Module) or not isinstance(model, Trainable):
        lacking = [name for name in ("sample", "losses") if not callable(getattr(model, name, None))]
        got = f"no method {' nor '.join(lacking)}" if lacking else "not a torch.nn.Module"
        expected = "a torch.nn.Module with sample(conditions, *, seed) and losses(samples, conditions) -> dict"
        fix = "See simbench.training.protocol.Trainable."
        raise UsageError(f"{type(model).__name__} cannot be trained", got=got, expected=expected, fix=fix)
    if plan.refine and not hasattr(model, "refined"):
        got, fix = "no method refined", "Leave out the plan's `refine`, or see simbench.training.protocol.Trainable."
        raise UsageError(f"{type(model).__name__} cannot be refined", got=got, fix=fix)


def _make_shared(model: nn.Module, device: str) -> None:
    """Make the layers that normalise over a batch do so over all processes.

    Raises:
        UsageError: the model does not say that its losses are right where a batch lies on several processes, or such a
            layer is on a CPU.
    """
    if not getattr(model, "shared_batches", False):
        what, got = f"{type(model).__name__} cannot be trained on several devices", "no `shared_batches = True`"
        fix = "See simbench.training.protocol.Trainable for what that promises, or train it on one."
        raise UsageError(what, got=got, fix=fix)
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) in plain:
                if not device.startswith("cuda"):
                    what = f"{type(model).__name__} has batch normalisation, which only GPUs can share"
                    raise UsageError(what, got=f"device {device}", expected="cuda", fix="Train it on one device.")
                setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))


def _open_folder(out: Path, request: dict[str, Any], *, resume: bool) -> Path | None:
    """The checkpoint to go on from, or None for a fresh start in an emptied folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = json.loads((out / REQUEST).read_text()) if (out / REQUEST).is_file() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"the folder {out} cannot be used", got=str(error), fix="Choose another --out.") from error
    if resume and there is not None:
        held = {key: value for key, value in there.items() if key != "finished"} if isinstance(there, dict) else {}
        wanted = json.loads(json.dumps(request))
        if held != wanted:
            differs = ", ".join(sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key)))
            expected = "the same task, model, config, plan and seed"
            fix = "Choose another --out, or delete that folder."
            raise UsageError(f"{out} holds another training", got=f"another {differs}", expected=expected, fix=fix)
        return _readable(out / CHECKPOINT) if (out / CHECKPOINT).is_file() else None
    for name in (CHECKPOINT, CURVE, WEIGHTS):
        (out / name).unlink(missing_ok=True)
    replace_text(out / REQUEST, json.dumps(request, indent=1))
    return None


def _readable(checkpoint: Path) -> Path:
    """The checkpoint's path, if it can be read. Raises DataError."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        got, expected = str(error).split("\n")[0][:200], "a checkpoint of `simbench train`"
        fix = "Start afresh with --no-resume."
        raise DataError(f"{checkpoint} is damaged", got=got, expected=expected, fix=fix) from error
    return checkpoint


def _is_finished(out: Path) -> bool:
    return (out / WEIGHTS).is_file() and json.loads((out / REQUEST).read_text()).get("finished") is True


def _finish(model: nn.Module, weights: Path) -> Path:
    state, _ = load_weights(weights)
    model.load_state_dict(state)
    model.eval()
    return weights


class _Interrupted(Exception):
    """Raised between two steps after Ctrl-C."""


class _Steps:
    """What Lightning takes for a data loader: the batches from the present step to the next validation."""

    def __init__(self, loop: _Loop) -> None:
        self.loop = loop

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first = self.loop.step
        for step in range(first, min(first + self.loop.plan.validate_every, self.loop.plan.steps)):
            yield self.loop.batches(step)


class _Loop(LightningModule):
    """The model, its moving average, and what happens at a step and at a validation."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        plan: Plan,
        events: Events,
        seed: int,
        out: Path,
        record: Mapping[str, str],
        bars: Progress,
        advance: Advance,
        interrupted: threading.Event,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.model: Any = model  # a Trainable
        self.task, self.plan, self.out, self.seed, self.record = task, plan, out, seed, dict(record)
        self.bars, self.advance, self.interrupted = bars, advance, interrupted
        self.batches = Batches(
            events, plan.batch_size, seed, whole_conditions=bool(getattr(model, "whole_conditions", False))
        )
        self.reference = validation_events(task, plan.validation_events)
        self.step, self.saved_step, self.best, self.stale, self.seconds = 0, 0, math.inf, 0, 0.0
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}
        self._since, self._started = 0, 0.0

    def _players(self) -> dict[str, list[nn.Parameter]]:
        if hasattr(self.model, "players"):
            players = cast(dict[str, list[nn.Parameter]], self.model.players())
        else:
            players = {"": [parameter for parameter in self.model.parameters() if parameter.requires_grad]}
        return {**players, REFINED: self.model.refined()} if self.plan.refine else players

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        plan, players = self.plan, self._players()
        self._names = list(players)
        return [
            torch.optim.AdamW(
                group, lr=plan.learning_rate, betas=(plan.beta1, plan.beta2), weight_decay=plan.weight_decay
            )
            for group in players.values()
        ]

    def on_train_start(self) -> None:
        self.advance(self.step)
        if self.stale >= self.plan.patience:
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        self._sums, self._since, self._started = {}, 0, time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """One step of every player on the batch."""
        if anywhere(self.interrupted.is_set(), self.device):
            raise _Interrupted
        torch.manual_seed(derive_seed(self.seed, "training", "step", self.step))
        samples, conditions = batch
        if hasattr(self.model, "augment"):
            samples, conditions = self.model.augment(samples, conditions)
        samples, conditions = self._share(samples), self._share(conditions)
        optimisers = self.optimizers()
        optimisers = optimisers if isinstance(optimisers, list) else [optimisers]
        for player, optimiser in zip(self._names, optimisers, strict=True):
            if (player == REFINED) != (self.step >= self.plan.turn):
                continue
            raw = optimiser.optimizer
            for group in raw.param_groups:
                group["lr"] = self.plan.rate(self.step)
            if player:
                self.toggle_optimizer(optimiser)
            losses = self.model.losses(samples, conditions, **({"player": player} if player else {}))
            total = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad()
            self.manual_backward(total)
            if self.plan.clip < math.inf:
                nn.utils.clip_grad_norm_(raw.param_groups[0]["params"], self.plan.clip)
            optimiser.step()
            if player:
                self.untoggle_optimizer(optimiser)
            prefix = f"{player}." if player else ""
            for name, value in {**losses, "total": total}.items():
                self._sums[prefix + name] = self._sums.get(prefix + name, 0.0) + value.detach()
        self.step += 1
        self._since += 1
        self._follow()
        self.advance()

    def _share(self, values: Tensor) -> Tensor:
        """The rows of this process. Raises UsageError where the batch has no equal parts."""
        if len(values) % sharing().count:
            size = self.plan.batch_size // sharing().count * sharing().count
            what, got = "the processes cannot share the batch", f"{len(values)} events for {sharing().count} processes"
            fix = f"Try --param batch_size={size}" + (
                ": whole conditions stay together, so it has to fit their repeats, too."
                if getattr(self.model, "whole_conditions", False)
                else "."
            )
            raise UsageError(what, got=got, expected="equal parts", fix=fix)
        return own(values)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a little towards the weights; faster in the first steps."""
        weight = 1 - min(self.plan.ema, (1 + self.step) / (10 + self.step))
        pairs = list(zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True))
        moving = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in moving], [now for _, now in moving], weight)
        for mean, now in pairs:
            if not mean.is_floating_point():
                mean.copy_(now)

    def on_train_epoch_end(self) -> None:
        """Validate the average, write the curve, keep the best weights, and stop where nothing improves any more."""
        if not self._since:
            return
        losses = {name: float(mean_of_all(value)) / self._since for name, value in self._sums.items()}
        if not all(math.isfinite(value) for value in losses.values()):
            got = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            fix = "Lower the learning rate, e.g. --param learning_rate=1e-4, or clip the gradient."
            raise UsageError(f"the training diverged before step {self.step}", got=got, fix=fix)
        scores = on_first(self._validate)
        self.seconds += time.perf_counter() - self._started
        improved = scores["score"] < self.best
        validated = {f"validation.{name}": value for name, value in scores.items()}
        self.rows.append({"step": self.step, "seconds": round(self.seconds, 1), **losses, **validated})
        on_first(lambda: replace_text(self.out / CURVE, _as_csv(self.rows)))
        if improved:
            self.best, self.stale = scores["score"], 0
            state = {"seed": str(self.seed), "steps": str(self.step), "seconds": f"{self.seconds:.0f}"}
            of = {"task": self.task.name, "task_version": self.task.version, "validation_score": json.dumps(scores)}
            on_first(lambda: save_weights(self.average, self.out / WEIGHTS, {**self.record, **of, **state}))
        elif not self.plan.refine or self.step > self.plan.turn:
            self.stale += 1
        self._save()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in {**losses, **scores}.items())
        self.bars.note(f"step {self.step}: {shown}{' (best)' if improved else ''}")
        if self.stale >= self.plan.patience:
            self.trainer.should_stop = True
            self.bars.note(f"stopped at step {self.step}: {self.stale} validations without improvement")

    def _validate(self) -> dict[str, float]:
        """The score of the average on the validation split, with its terms. Raises UsageError where it is NaN."""
        with _isolated_random_numbers():
            self.average.eval()
            generated = sample_like(self.average, self.reference, self.task.block_size, str(self.device))
        if not bool(torch.isfinite(generated.samples).all()):
            what = f"the model sampled NaN or infinite values at step {self.step}"
            raise UsageError(what, fix="Clamp what is exponentiated in sample.")
        return validation_score(self.task, generated, self.reference)

    def _save(self) -> None:
        if sharing().rank == 0:
            with replaced_file(self.out / CHECKPOINT) as scratch:
                self.trainer.save_checkpoint(scratch)
        else:  # Lightning gathers the state of all; the first process alone writes it
            self.trainer.save_checkpoint(self.out / CHECKPOINT)
        self.saved_step = self.step

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {"step": self.step, "best": self.best, "stale": self.stale, "seconds": self.seconds, "rows": self.rows}
        checkpoint["simbench"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("simbench")
        if not isinstance(state, dict):
            what = f"{self.out / CHECKPOINT} is not a checkpoint of this loop"
            raise DataError(what, fix="Delete the folder and train again.")
        self.step = self.saved_step = state["step"]
        self.best, self.stale, self.seconds, self.rows = state["best"], state["stale"], state["seconds"], state["rows"]


def _as_csv(rows: list[dict[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _Joined(LightningEnvironment):
    """The processes that are there already, as Lightning wants to be told of them."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def world_size(self) -> int:
        return sharing().count

    def global_rank(self) -> int:
        return sharing().rank

    def local_rank(self) -> int:
        return sharing().local_rank

    def node_rank(self) -> int:
        return sharing().rank // sharing().here


def _lightning_devices(device: str) -> dict[str, Any]:
    """What tells Lightning's Trainer where to train."""
    kind = torch.device(device)
    if sharing().count == 1:
        return {"accelerator": kind.type, "devices": [kind.index or 0] if kind.type == "cuda" else 1}
    # players of a game step in turn, the others without a gradient; moments of a batch are shared by the models
    strategy = DDPStrategy(cluster_environment=_Joined(), find_unused_parameters=True, broadcast_buffers=False)
    nodes = sharing().count // sharing().here
    return {"accelerator": kind.type, "devices": sharing().here, "num_nodes": nodes, "strategy": strategy}


@contextmanager
def _isolated_random_numbers() -> Iterator[None]:
    """Leave torch's global random numbers as they were found."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """No tips, device listings, advice or warnings from Lightning."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second acts as always. Only the main thread can be told of Ctrl-C."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
