"""Fill the measured part of each model card in `docs/models`: `python docs/cards.py` from the project's root.

What stands between the two markers of a card comes from the metadata of the shipped weights and from the entries of
the boards, so that no figure in it is typed by hand. `--check` writes nothing and exits with 1 where a card is old.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from safetensors import safe_open

from simbench.boards.board import entry_files
from simbench.core.text import number, with_error
from simbench.results.schema import Measurement, Result, read_result

CARDS = Path("docs/models")
WEIGHTS = (Path("baselines/simbench_baselines/weights"), Path("reference_models/simbench_models/weights"))
BOARDS = Path("leaderboards")
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
COLUMNS = {
    "mnist": ("lenet_fid", "energy_distance", "class_energy", "diversity_ratio", "label_accuracy"),
    "zn-geant3": ("conditional_energy", "channel_wasserstein", "channel_mae", "classifier_high", "dispersion_ratio"),
}
ABOUT_WEIGHTS = (
    "Training seed 0, batch 256, about 300 k parameters at most (the machine was shared: seconds are an upper bound). "
    "Validation: energy distance within the digits on mnist; conditional energy + channel Wasserstein / 10 photons on "
    "zn-geant3."
)


def table(head: tuple[str, ...], left: int, rows: list[list[str]]) -> list[str]:
    """A Markdown table of which the first `left` columns are words."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(row)} |" for row in ([*head], rule, *rows)]


@functools.cache
def all_weights() -> list[dict[str, str]]:
    """What the shipped files of weights say of themselves, by path."""
    found = []
    for path in sorted(path for folder in WEIGHTS for path in folder.glob("*.safetensors")):
        with safe_open(str(path), "pt") as file:
            found.append(file.metadata())
    return found


@functools.cache
def all_entries(task: str) -> list[Result]:
    """The entries of a board, by path."""
    return [read_result(path) for path in entry_files(BOARDS / task)]


def shipped(model: str) -> list[str]:
    """The weights that the project ships of a model."""
    rows = []
    for about in all_weights():
        if about["model"] == model:
            command = about["command"].replace(" --preset cpu --seed 0", "")
            score = number(json.loads(about["validation_score"])["score"])
            rows.append([about["task"], f"`{command}`", about["steps"], about["seconds"], score])
    return table(("task", "command", "steps kept", "seconds", "validation score"), 2, rows)


def scores(model: str, task: str) -> list[str]:
    """A model's entries on a board, and the spread over training seeds where there are several."""
    entries = [entry for entry in all_entries(task) if entry.generator.name == model]
    if not entries:
        return []

    def of(entry: Result, name: str) -> Measurement | None:
        return next((one for one in entry.measurements if one.metric == name and one.value is not None), None)

    def cells(entry: Result) -> list[str]:
        found = [of(entry, name) for name in COLUMNS[task]]
        return [with_error(one.value or 0.0, one.stderr) if one else "" for one in found]

    def spread(several: list[Result]) -> list[str]:
        """Mean and sample standard deviation of what every seed has."""
        found = [[of(entry, name) for entry in several] for name in COLUMNS[task]]
        values = [[one.value or 0.0 for one in each if one] for each in found]
        return [with_error(mean(each), stdev(each)) if len(each) == len(several) else "" for each in values]

    rows, models = [], defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (head_of(entry), entry.generator.training_seed or 0)):
        rows.append([head_of(entry), str(entry.generator.training_seed), *cells(entry)])
        models[entry.generator.configuration].append(entry)
    rows += [
        [head_of(several[0]), f"{len(several)} seeds, mean ± sd", *spread(several)]
        for several in models.values()
        if len(several) > 1
    ]
    heads = ", with `--param head=` as shown" if any(row[0] for row in rows) else ""
    command = f"`simbench run -g {model} --task {task} --repetitions 3`{heads}"
    first = f"`{task}`, test split, three repetitions ({command}):"
    return [first, "", *table(("head", "training seed", *COLUMNS[task]), 1, rows), ""]


def head_of(entry: Result) -> str:
    """The head of the photons, empty where the model has none."""
    return str(entry.generator.trained_parameters.get("head", ""))


def measured(model: str) -> str:
    """The measured part of a model's card."""
    boards = ", ".join(f"[{task}](../../leaderboards/{task}/README.md)" for task in COLUMNS)
    lines = [
        "## Shipped weights",
        "",
        ABOUT_WEIGHTS,
        "",
        *shipped(model),
        "",
        "## Scores",
        "",
        *(line for task in COLUMNS for line in scores(model, task)),
        f"Equivalent events, speeds and every other metric: {boards}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rewrite the cards, or with `--check` say which are old."""
    old = []
    for card in sorted(CARDS.glob("*.md")):
        text = card.read_text()
        if BEGIN not in text:
            continue
        before, _, rest = text.partition(BEGIN)
        fresh = f"{before}{BEGIN}{measured(card.stem)}{END}{rest.partition(END)[2]}"
        if fresh != text:
            old.append(str(card))
            if "--check" not in sys.argv:
                card.write_text(fresh)
    print("\n".join(f"{'old' if '--check' in sys.argv else 'written'}: {card}" for card in old) or "all are up to date")
    return 1 if old and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
