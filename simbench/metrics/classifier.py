"""The classifier two-sample test: can a small network tell generated events from real ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.utils import skip_init

from simbench.core.errors import UsageError
from simbench.core.threads import torch_threads
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import SEED, jackknife_groups, with_strata

FOLDS = 5
HIDDEN = (64, 32)
EPOCHS = 6
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
DROPOUT = 0.1


def auc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve: P(score of a 1 > score of a 0), ties count half. (N,), (N,) of 0 and 1 -> [0, 1]."""
    score, label = torch.as_tensor(scores).double().numpy(), torch.as_tensor(labels).numpy().astype(bool)
    ones = int(label.sum())
    return float((rankdata(score)[label].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


class _Network(nn.Module):
    """Two hidden layers, dropout behind each. All its random numbers come from `rng`: other threads may draw from the
    global ones."""

    def __init__(self, inputs: int, rng: torch.Generator) -> None:
        super().__init__()
        self.rng = rng
        widths = (inputs, *HIDDEN, 1)
        self.layers = nn.ModuleList()
        for fan_in, fan_out in pairwise(widths):
            layer = skip_init(nn.Linear, fan_in, fan_out)
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=rng)  # as nn.Linear does it
            nn.init.uniform_(layer.bias, -(fan_in**-0.5), fan_in**-0.5, generator=rng)
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> logits (B,)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x).relu()
            if self.training:
                x = x * torch.empty_like(x).bernoulli_(1 - DROPOUT, generator=self.rng).div_(1 - DROPOUT)
        logits: Tensor = last(x).squeeze(1)
        return logits


def _fit(inputs: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The fixed recipe: Adam with weight decay and a one-cycle learning rate; nothing is tuned to the data."""
    rng = torch.Generator().manual_seed(seed)
    network = _Network(inputs.shape[1], rng)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3 * LEARNING_RATE, total_steps=steps)
    loss = nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs), generator=rng).split(BATCH):
            optimiser.zero_grad(set_to_none=True)
            loss(network(inputs[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def classifier_auc(generated: Array, reference: Array, conditions: Array, unit_id: Array) -> Tensor:
    """AUC of the fixed classifier on held-out events, one value a fold.

    Args:
        generated: (N, d) whatever the classifier is to see of a generated event.
        reference: (N, d) the same of the real ones; row i of both answers conditions[i].
        conditions: (N, C), seen too: a wrong answer to a condition is told apart though the answers as a whole are
            right.
        unit_id: (N,) units that are never split over folds (the condition; the event where conditions do not repeat).

    Returns:
        (5,) AUC in [0, 1]; 0.5 is the best a generator can do, 1 is told apart every time.

    Reference: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (arXiv:1610.06545); Krause and Shih
    (arXiv:2106.05285).
    """
    x, y = as_features(generated, reference, minimum=FOLDS)
    verdict = _held_out_scores(x, y, torch.as_tensor(conditions), torch.as_tensor(unit_id))
    return verdict.aucs(torch.ones(len(x), dtype=torch.bool))


@dataclass(frozen=True)
class _Verdict:
    """Scores of held-out events: (N,) generated and real, each by the network that did not see its fold, (N,)."""

    generated: Tensor
    real: Tensor
    fold: Tensor

    def aucs(self, rows: Tensor) -> Tensor:
        """AUC within each fold of the events at `rows` (N,) bool, (5,). Raises UsageError where a fold has none of
        them."""
        values = []
        for held_out in range(FOLDS):
            chosen = rows & (self.fold == held_out)
            if not bool(chosen.any()):
                raise UsageError("a fold has no such event")
            scores = torch.cat([self.generated[chosen], self.real[chosen]])
            values.append(auc(scores, torch.arange(len(scores)) < len(scores) // 2))
        return torch.tensor(values, dtype=torch.float64)


def _held_out_scores(x: Tensor, y: Tensor, conditions: Tensor, unit_id: Tensor) -> _Verdict:
    fold = jackknife_groups(unit_id, FOLDS)
    inputs = torch.cat([torch.cat([x, y]).float(), conditions.repeat(2, 1).float()], 1)
    labels = torch.cat([torch.ones(len(x)), torch.zeros(len(y))])
    both, scores = fold.repeat(2), torch.empty(len(inputs))
    with torch_threads(1):  # the layers are too small to share: more threads only wait for one another
        for held_out in range(FOLDS):
            train, test = both != held_out, both == held_out
            mean, sd = inputs[train].mean(0), inputs[train].std(0)
            sd = torch.where(sd > 0, sd, 1.0)

            def scaled(rows: Tensor, mean: Tensor = mean, sd: Tensor = sd) -> Tensor:
                return inputs[rows].sub_(mean).div_(sd).clamp_(-10, 10)

            network = _fit(scaled(train), labels[train], SEED + held_out)
            with torch.inference_mode():
                scores[test] = network(scaled(test))
    return _Verdict(scores[: len(x)], scores[len(x) :], fold)


@metric(
    "classifier_auc/1",
    slow=True,
    label="classifier AUC",
    meaning="How well a small network tells generated from real events: 0.5 is not at all, 1 is always.",
    of=classifier_auc,
)
def classifier_auc_metric(pair: Comparison) -> Estimate:
    """How often a small network tells generated from real events, seeing raw events and conditions; 0.5 is never, 1
    always.

    Parts: `low` on raw events (logarithms of counts), `high` on the physics features (image tasks: the LeNet features),
    each with its `sd` over the folds. The value is `low`, with its strata.
    """
    high = "physics" if "physics" in pair.generated.derivations else "features"
    unit, conditions = pair.generated.unit_id, pair.generated.conditions
    raw = [events.samples.flatten(1).log1p() for events in (pair.generated, pair.reference)]
    verdict = _held_out_scores(*as_features(*raw, minimum=FOLDS), conditions, unit)

    def estimate(rows: Tensor) -> Estimate:
        values = verdict.aucs(rows)
        sd = float(values.std())
        return Estimate(float(values.mean()), sd / FOLDS**0.5, int(rows.sum()), {"sd low": sd})

    whole = estimate(torch.ones(len(pair), dtype=torch.bool))
    on_high = classifier_auc(*pair.derived(high), conditions, unit)
    parts = {"low": whole.value, "high": float(on_high.mean()), **whole.parts, "sd high": float(on_high.std())}
    return with_strata(pair, replace(whole, parts=parts), estimate)
