"""The classifier two-sample tests: can a fixed classifier tell generated events from real ones?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.utils import skip_init

from simbench.core.errors import UsageError
from simbench.core.threads import torch_threads
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import PAIR_GROUPS, SEED, jackknife_groups, jackknifed, resampling, with_strata

FOLDS = 5
HIDDEN = (64, 32)
EPOCHS = 6
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
DROPOUT = 0.1
TREES = 100
LOUDNESS = 2.0
"""Of the conditions together, over that of the event's other inputs together: one condition among 2000 pixels is not
heard."""

Score = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Trains on inputs (T, d) with labels (T,) and a seed; gives scores of held-out inputs (H, d), (H,)."""


def auc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve: P(score of a 1 > score of a 0), ties count half. (N,), (N,) of 0 and 1 -> [0, 1]."""
    score, label = torch.as_tensor(scores).double().numpy(), torch.as_tensor(labels).numpy().astype(bool)
    ones = int(label.sum())
    return float((rankdata(score)[label].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


class _Network(nn.Module):
    """Two hidden layers with dropout. Its random numbers come from `rng`: others may draw from the global ones."""

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


def _network_scores(inputs: Tensor, labels: Tensor, held_out: Tensor, seed: int) -> Tensor:
    """The network: Adam with weight decay and a one-cycle learning rate."""
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
    with torch.inference_mode():
        scores: Tensor = network.eval()(held_out)
    return scores


def _tree_scores(inputs: Tensor, labels: Tensor, held_out: Tensor, seed: int) -> Tensor:
    """Gradient-boosted decision trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to import

    trees = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, random_state=seed)
    return torch.from_numpy(trees.fit(inputs.numpy(), labels.numpy()).decision_function(held_out.numpy()))


@dataclass(frozen=True)
class HeldOut:
    """Scores of held-out events (N,), by the classifier that did not see their fold; fold and jackknife group (N,)."""

    generated: Tensor
    real: Tensor
    fold: Tensor
    group: Tensor

    def aucs(self, rows: Tensor) -> Tensor:
        """AUC within each fold of the events at `rows` (N,) bool, (5,). Raises UsageError where a fold has none."""
        values = []
        for held_out in range(FOLDS):
            chosen = rows & (self.fold == held_out)
            if not bool(chosen.any()):
                raise UsageError("a fold has no such event")
            scores = torch.cat([self.generated[chosen], self.real[chosen]])
            values.append(auc(scores, torch.arange(len(scores)) < len(scores) // 2))
        return torch.tensor(values, dtype=torch.float64)

    def estimate(self, rows: Tensor) -> Estimate:
        """1/2 + |AUC - 1/2| of the events at `rows`, with its error."""
        aucs = self.aucs(rows)
        parts = {"AUC": float(aucs.mean()), "sd": float(aucs.std())}
        value, events = _two_sided(aucs), int(rows.sum())
        if not resampling():
            return Estimate(value, None, events, parts)
        left_out = [_two_sided(self.aucs(rows & (self.group != group))) for group in self.group[rows].unique()]
        return jackknifed(value, torch.tensor(left_out, dtype=torch.float64), events, parts)


def _two_sided(aucs: Tensor) -> float:
    return 0.5 + abs(float(aucs.mean()) - 0.5)


def held_out_scores(
    generated: Array, reference: Array, conditions: Array, unit_id: Array, *, trees: bool = False
) -> HeldOut:
    """Scores by a classifier that has not seen the event, nor any event of its unit.

    Args:
        generated: (N, d) whatever the classifier is to see of a generated event.
        reference: (N, d) the same of the real ones; row i of both answers conditions[i].
        conditions: (N, C), seen too: a wrong answer to a condition is told apart though the answers as a whole are
        right.
        unit_id: (N,) units that are never split over the 5 folds (the condition; the event where conditions do not
        repeat).
        trees: gradient-boosted decision trees (100 of them) on the inputs as they are; else a network with two hidden
            layers of 64 and 32 units on standardised inputs, the conditions twice as loud as all pixels together.
    """
    x, y = as_features(generated, reference, minimum=FOLDS)
    conditions = torch.as_tensor(conditions)
    fold = jackknife_groups(torch.as_tensor(unit_id), FOLDS)
    events, width = x.shape
    inputs = torch.empty(2 * events, width + conditions.shape[1])
    inputs[:events, :width], inputs[events:, :width] = x, y
    inputs[:, width:] = conditions.repeat(2, 1)
    del generated, reference, x, y  # many events of many voxels: one copy of them is enough
    weight = torch.ones(inputs.shape[1])
    weight[width:] = LOUDNESS * (width / max(conditions.shape[1], 1)) ** 0.5
    labels = torch.cat([torch.ones(events), torch.zeros(events)])
    both, scores = fold.repeat(2), torch.empty(len(inputs), dtype=torch.float64)
    with torch_threads(1):  # the layers are too small to share: more threads only wait for one another
        for held_out in range(FOLDS):
            train, test = both != held_out, both == held_out
            if trees:
                scores[test] = _tree_scores(inputs[train], labels[train], inputs[test], SEED + held_out)
                continue
            mean, sd = inputs[train].mean(0), inputs[train].std(0)
            sd = torch.where(sd > 0, sd, 1.0)

            def scaled(rows: Tensor, mean: Tensor = mean, sd: Tensor = sd) -> Tensor:
                return inputs[rows].sub_(mean).div_(sd).clamp_(-10, 10).mul_(weight)

            scores[test] = _network_scores(scaled(train), labels[train], scaled(test), SEED + held_out).double()
    return HeldOut(scores[:events], scores[events:], fold, jackknife_groups(torch.as_tensor(unit_id), PAIR_GROUPS))


def classifier_low(generated: Array, reference: Array, conditions: Array, unit_id: Array) -> Estimate:
    """1/2 + |AUC - 1/2| of a fixed network on held-out events; the AUC is the mean over 5 folds.

    Both sides: a classifier that is wrong more often than chance has found a difference too. Where two sets hold the
    same real events, dealt to other conditions, a network that learns events by heart takes each generated one for the
    real ones of that particle which it was trained on. No folds help, as the particle cannot be known; a network that
    hears the conditions finds that they do not fit, which weighs more.

    Returns:
        an Estimate in [0.5, 1]: 0.5 is the best a generator can do, 1 is told apart every time. Biased upward by some
        0.8 of its error where nothing differs. The error is a jackknife over 60 groups of conditions, the classifiers
        kept. Parts: `AUC`, and its `sd` over the folds.

    Reference: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (arXiv:1610.06545); Krause and Shih
    (arXiv:2106.05285).
    """
    scores = held_out_scores(generated, reference, conditions, unit_id)
    return scores.estimate(torch.ones(len(scores.fold), dtype=torch.bool))


def classifier_high(generated: Array, reference: Array, conditions: Array, unit_id: Array) -> Estimate:
    """As `classifier_low`, by gradient-boosted decision trees on features (N, d): a stronger test of what they hold."""
    scores = held_out_scores(generated, reference, conditions, unit_id, trees=True)
    return scores.estimate(torch.ones(len(scores.fold), dtype=torch.bool))


def _by_stratum(pair: Comparison, generated: Tensor, reference: Tensor, *, trees: bool) -> Estimate:
    scores = held_out_scores(generated, reference, pair.generated.conditions, pair.generated.unit_id, trees=trees)
    return with_strata(pair, scores.estimate(torch.ones(len(pair), dtype=torch.bool)), scores.estimate)


@metric(
    "classifier_low/2",
    slow=True,
    trains=True,
    label="classifier (low)",
    meaning="How well a small network tells generated from real events by pixels: 0.5 is not at all, 1 is always.",
    of=classifier_low,
)
def classifier_low_metric(pair: Comparison) -> Estimate:
    """How well a small network tells generated from real events by pixels and conditions; 0.5 is not at all, 1 always.

    Raw: logarithms of the pixels. Strata: the AUC of the same networks within each.
    """
    raw = (events.samples.flatten(1).log1p() for events in (pair.generated, pair.reference))
    return _by_stratum(pair, *raw, trees=False)


@metric(
    "classifier_high/2",
    slow=True,
    trains=True,
    label="classifier (high)",
    meaning="How well boosted trees tell generated from real events by features: 0.5 is not at all, 1 is always.",
    of=classifier_high,
)
def classifier_high_metric(pair: Comparison) -> Estimate:
    """How well boosted trees tell generated from real events by features and conditions; 0.5 is not at all, 1 always.

    Features: the shower's physics quantities; of images the features of the pinned network. Strata: the AUC of the same
    trees within each.
    """
    return _by_stratum(
        pair, *pair.derived("physics" if "physics" in pair.generated.derivations else "features"), trees=True
    )
