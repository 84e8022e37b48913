"""How the pinned LeNet-5s were trained: `python -m simbench.training.lenet --task mnist|zn-geant3 [-o FILE]`.

Only the split `train` is trained on. A fixed recipe with a fixed seed, kept as the record of what ships; a retrained
file has another sha256 (arithmetic differs between machines) and belongs in the package only as a new version of every
metric on features.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.core.version import __version__
from simbench.features.extractors import in_chunks, weights_file
from simbench.features.lenet import LeNet5
from simbench.tasks import get_task, task_names

WEIGHT_DECAY = 1e-2
Targets = dict[str, Tensor]
Augment = Callable[[Tensor, torch.Generator], Tensor]


def loss_of(network: LeNet5, images: Tensor, targets: Targets) -> Tensor:
    """The sum over the heads: squared error of the standardised log energy, cross entropy of every class."""
    outputs, terms = network(images), []
    for name, truth in targets.items():
        if name == "log_energy":
            mean, sd = network.log_energy_moments
            terms.append(functional.mse_loss(outputs[name][:, 0], ((truth - mean) / sd).float()))
        else:
            terms.append(functional.cross_entropy(outputs[name], truth))
    return torch.stack(terms).sum()


def shifted(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each batch of digits moved by up to 2 pixels along each axis."""
    down, right = (torch.randint(-2, 3, (2,), generator=rng)).tolist()
    return functional.pad(images, (2, 2, 2, 2))[..., 2 + down : 30 + down, 2 + right : 30 + right]


def mirrored(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each batch of showers in one of the eight orientations of the block."""
    down, right, exchange = (torch.rand(3, generator=rng) < 0.5).tolist()
    images = images.flip([axis for axis, on in ((-2, down), (-1, right)) if on])
    return images.transpose(-2, -1) if exchange else images


def train(network: LeNet5, augment: Augment, images: Tensor, targets: Targets, seed: int) -> None:
    """AdamW with a one-cycle learning rate; the last incomplete batch of an epoch is left out."""
    rng, recipe = torch.Generator().manual_seed(seed), network.variant
    steps = len(images) // recipe.batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.peak_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.peak_rate, epochs=recipe.epochs, steps_per_epoch=steps
    )
    for epoch in range(recipe.epochs):
        total = 0.0
        order = torch.randperm(len(images), generator=rng)[: steps * recipe.batch]
        for batch in torch.split(order, recipe.batch):
            part = {name: values[batch] for name, values in targets.items()}
            loss = loss_of(network, augment(images[batch], rng), part)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{recipe.epochs}  training loss {total / steps:.4f}", file=sys.stderr, flush=True)


def pinned_scale(network: LeNet5, samples: Tensor) -> Tensor:
    """The scalar by which the features' mean variance per dimension over `samples` becomes 1."""
    activations = in_chunks(network.activations, samples, network.variant.shape).double()
    return activations.var(0).mean().rsqrt()


def report(network: LeNet5, events: Events, targets: Targets) -> dict[str, float]:
    """Accuracy of each class head with that of always naming the commonest class, and R² of the log energy."""
    scores: dict[str, float] = {}
    for name, truth in targets.items():
        head: Callable[[Tensor], Tensor] = lambda x, name=name: network(x)[name]  # type: ignore[misc]  # noqa: E731
        output = in_chunks(head, events.samples, network.variant.shape)
        if name == "log_energy":
            mean, sd = network.log_energy_moments
            residual = output[:, 0].double() * sd + mean - truth
            scores["log_energy R²"] = float(1 - residual.square().sum() / (truth - truth.mean()).square().sum())
        else:
            scores[f"{name} accuracy"] = float((output.argmax(1) == truth).double().mean())
            scores[f"{name} majority"] = float(truth.bincount().max() / len(truth))
    return scores


def main() -> None:
    """Train one network, print its scores, the scalar and the sha256, and write the file."""
    parser = argparse.ArgumentParser(description="Train the pinned LeNet-5 of a task.")
    parser.add_argument("--task", choices=[name for name in task_names() if get_task(name).lenet], required=True)
    parser.add_argument("-o", "--output", type=Path, help="default: the file in the package")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    task, seed = get_task(options.task), derive_seed(0, "lenet", options.task)
    variant = task.lenet
    assert variant is not None
    events = task.load("train")
    # An empty event says nothing about its particle: predicting from it would only teach the network the mean.
    lit = events.take(events.samples.flatten(1).any(1))
    targets = variant.targets(lit)
    torch.manual_seed(seed)
    network = LeNet5(variant)
    if "log_energy" in targets:
        network.log_energy_moments.copy_(torch.stack([targets["log_energy"].mean(), targets["log_energy"].std()]))
    train(network.train(), mirrored if task.fibres else shifted, lit.samples, targets, seed)
    network.frozen()
    network.feature_scale.copy_(pinned_scale(network, events.samples))

    variance = in_chunks(network.activations, events.samples, network.variant.shape).mul(network.feature_scale).var(0)
    constant = int((variance == 0).sum())
    print(f"feature_scale {float(network.feature_scale):.9g}; constant features {constant} of {len(variance)}")
    for split in ("train", "validation", "test"):
        part = task.load(split)
        for kind, kept in (("all", part), ("not empty", part.take(part.samples.flatten(1).any(1)))):
            scores = ", ".join(
                f"{name} {value:.4f}" for name, value in report(network, kept, variant.targets(kept)).items()
            )
            print(f"{split} ({kind}, {len(kept)} events): {scores}")

    state = {name: tensor.contiguous() for name, tensor in network.float().state_dict().items()}
    record = {
        "network": "LeNet5",
        "task": options.task,
        "task_version": task.version,
        "train_sha256": task.train_sha256,
        "seed": seed,
        "command": f"python -m simbench.training.lenet --task {options.task}",
        "simbench": __version__,
        "torch": torch.__version__,
    }
    content = save(state, metadata={"simbench": json.dumps(record)})
    output = options.output or weights_file(variant)
    output.write_bytes(content)
    print(f"{output}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
