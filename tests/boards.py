"""Results that a board takes, and folders of boards, made by hand."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from factories import equivalent_to, make_measurement, make_result

from simbench.boards.board import Board, read_board
from simbench.boards.new import board_toml, new_board
from simbench.results.schema import Measurement, ReplicatesRecord, Result
from simbench.tasks import get_task

SHIPPED = Path(__file__).parents[1] / "leaderboards"

AT_FLOOR = {
    "channel_wasserstein": 4.4,
    "conditional_energy": 0.02,
    "correlation_distance": 0.05,
    "fpd": 0.011,
    "energy_response": 0.02,
    "energy_resolution": 0.04,
    "classifier_low": 0.51,
    "classifier_high": 0.51,
    "energy_distance": 0.0004,
    "lenet_fid": 0.2,
    "label_accuracy": 0.989,
    "precision": 0.78,
    "coverage": 0.965,
}


def shipped_board(task: str = "zn-geant3") -> Board:
    return read_board(SHIPPED / task)


def make_boards(folder: Path, *tasks: str, printed: bool = True) -> Path:
    """A copy of shipped boards without their entries."""
    boards = folder / "leaderboards"
    for task in tasks or ("zn-geant3",):
        (boards / task).mkdir(parents=True)
        for name in ("board.toml", *(("published.toml",) if printed else ())):
            shutil.copy(SHIPPED / task / name, boards / task / name)
    return boards


def replicates(value: float, error: float, seed: int, shared: float = 0.8, count: int = 200) -> ReplicatesRecord:
    """Bootstrap replicates: a part `shared` of the spread is that of the real events, common to all entries."""
    common, own = random.Random(0), random.Random(seed)
    values = [
        value + error * (shared * common.gauss(0, 1) + (1 - shared**2) ** 0.5 * own.gauss(0, 1)) for _ in range(count)
    ]
    return ReplicatesRecord(kind="bootstrap", values=[float(f"{v:.7g}") for v in values])


def board_measurements(board: Board, quality: float, seed: int, error: float = 0.05) -> list[Measurement]:
    """What the board asks for, about `quality` times the floor."""
    found = []
    for column in board.columns:
        floor = AT_FLOOR.get(column.name, column.target or 0.0)
        if column.direction == "target":
            off = 0.0 if column.name == "memorisation" else 0.1 * (quality - 1)  # what copies is refused
            value, spread = (column.target or 0.0) + off, 0.011
        elif column.direction == "higher":
            value, spread = floor / quality**0.2, 0.01
        else:
            value, spread = floor * quality, floor * quality * error
        found.append(
            make_measurement(
                column.name,
                value,
                version=column.version,
                direction=column.direction,
                target=column.target,
                unit=column.unit,
                stderr=spread,
                floor=floor or None,
                floor_sd=0.1 * floor if floor else None,
                memoriser=1.4 * floor,
                per_repetition=[value] * board.repetitions,
                n=board.events,
                sd_repetition=0.3 * spread,
                replicates=replicates(value, spread, seed) if column.metric == board.primary else None,
            )
        )
    return found


def board_result(board: Board, name: str = "vae", quality: float = 2.0, seed: int = 1, **changes: Any) -> Result:
    """A result that the board takes."""
    base = make_result(name, task=board.task)
    fields: dict[str, Any] = {
        "id": f"20260102T030405Z-{seed:08x}",
        "task": board.task,
        "measurements": board_measurements(board, quality, seed),
        "equivalent_events": equivalent_to(board.events / quality**2, board.primary),
    }
    result = make_result(name, **fields | changes)
    return result.model_copy(
        update={
            "task": base.task.model_copy(
                update={
                    "scored_sha256": board.scored_sha256,
                    "features_sha256": board.features_sha256,
                    "version": board.task_version,
                    "events": board.events,
                }
            ),
            "samples_sha256": [f"{seed:064x}"] * board.repetitions,
            "spec": base.spec.model_copy(update={"events": board.events, "repetitions": board.repetitions}),
        }
    )


def trained(result: Result, seed: int | None, **parameters: Any) -> Result:
    """The result of a model that was trained with that seed, from a file of weights named after it."""
    record = result.generator
    given = {"weights": f"training/{seed}.safetensors", **parameters}
    changes = {"training_seed": seed, "parameters": record.parameters | given, "given": record.given | given}
    return result.model_copy(update={"generator": record.model_copy(update=changes)})


def write(result: Result, folder: Path) -> Path:
    """The result's file, as a run would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.id}.json"
    path.write_text(result.to_json(), encoding="utf-8")
    return path


def write_small_board(folder: Path, events: int, repetitions: int) -> Path:
    """A board of zn-geant3 with two columns and few events, below `folder`; returns the folder of boards."""
    task = get_task("zn-geant3")
    board = new_board(task)
    columns = [column for column in board.columns if column.name in ("conditional_energy", "channel_wasserstein")]
    small = board.model_copy(
        update={
            "events": events,
            "repetitions": repetitions,
            "scored_sha256": task.record(task.load("test", events)).scored_sha256,
            "columns": columns,
            "primary": "conditional_energy/1",
            "readme": ["conditional_energy/1"],
        }
    )
    (folder / "zn-geant3").mkdir(parents=True)
    (folder / "zn-geant3" / "board.toml").write_text(board_toml(small), encoding="utf-8")
    return folder
