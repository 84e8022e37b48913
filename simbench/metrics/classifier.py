"""The classifier two-sample test: can a small network tell generated events from real ones?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from simbench.errors import UsageError
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import SEED, jackknife_groups, with_strata
from simbench.threads import torch_threads

FOLDS = 5
HIDDEN = (64, 32)
EPOCHS = 6
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2


def auc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve: P(score of a 1 > score of a 0), ties count half. (N,), (N,) of 0 and 1 -> [0, 1]."""
    score, label = torch.as_tensor(scores).double().numpy(), torch.as_tensor(labels).numpy().astype(bool)
    ones = int(label.sum())
    return float((rankdata(score)[label].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


def _fit(inputs: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The fixed recipe: two hidden layers, Adam with weight decay and a one-cycle learning rate, dropout 0.1; nothing is tuned to the data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], HIDDEN[0]), nn.ReLU(), nn.Dropout(0.1), nn.Linear(HIDDEN[0], HIDDEN[1]), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(HIDDEN[1], 1),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        steps = EPOCHS * -(-len(inputs) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3 * LEARNING_RATE, total_steps=steps)
        loss = nn.BCEWithLogitsLoss()
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(inputs)).split(BATCH):
                optimiser.zero_grad(set_to_none=True)
                loss(network(inputs[rows]).squeeze(1), labels[rows]).backward()
                optimiser.step()
                schedule.step()
    return network.eval()


def classifier_auc(generated: Array, reference: Array, conditions: Array, unit_id: Array) -> Tensor:
    """AUC of the fixed classifier on held-out events, one value a fold.

    Args:
        generated: (N, d) whatever the classifier is to see of a generated event.
        reference: (N, d) the same of the real ones; row i of both answers conditions[i].
        conditions: (N, C), seen too: a wrong answer to a condition is told apart though the answers as a whole are right.
        unit_id: (N,) units that are never split over folds (the condition; the event where conditions do not repeat).

    Returns:
        (5,) AUC in [0, 1]; 0.5 is the best a generator can do, 1 is told apart every time.

    Reference: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (arXiv:1610.06545); Krause and Shih (arXiv:2106.05285).
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
        """AUC within each fold of the events at `rows` (N,) bool, (5,). Raises UsageError where a fold has none of them."""
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
                scores[test] = network(scaled(test)).squeeze(1)
    return _Verdict(scores[: len(x)], scores[len(x) :], fold)


@metric("classifier_auc/1", direction="lower", slow=True, of=classifier_auc)
def classifier_auc_metric(pair: Comparison) -> Estimate:
    """How often a small network tells generated from real events, seeing raw events and conditions; 0.5 is never, 1 always.

    Parts: `low` on raw events (logarithms of counts), `high` on the physics features (image tasks: the LeNet features), each with its `sd` over
    the folds. The value is `low`, with its strata.
    """
    high = "physics" if "physics" in pair.generated.derivations else "features"
    unit, conditions = pair.generated.unit_id, pair.generated.conditions
    raw = [events.samples.flatten(1).log1p() for events in (pair.generated, pair.reference)]
    verdict = _held_out_scores(*as_features(*raw, minimum=FOLDS), conditions, unit)

    def estimate(rows: Tensor) -> Estimate:
        values = verdict.aucs(rows)
        return Estimate(float(values.mean()), float(values.std()) / FOLDS**0.5, int(rows.sum()))

    whole = estimate(torch.ones(len(pair), dtype=torch.bool))
    derived = pair.derived(high)
    low, other = verdict.aucs(torch.ones(len(pair), dtype=torch.bool)), classifier_auc(*derived, conditions, unit)
    parts = {
        "low": whole.value,
        "high": float(other.mean()),
        "sd low": float(low.std()),
        "sd high": float(other.std()),
    }
    return with_strata(pair, replace(whole, parts=parts), estimate)
