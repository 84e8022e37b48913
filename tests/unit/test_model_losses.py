"""Every term of the shipped models' losses against values by hand or by a library."""

from __future__ import annotations

import math
from typing import Any

import ot
import pytest
import torch
from torch import Tensor
from toys import ToyTask

from simbench.core.events import Events
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import as_images, to_log
from simbench_baselines.dcgan import DCGAN
from simbench_baselines.ddpm import DDPM
from simbench_baselines.divergences import KERNEL_SCALES, mmd, sinkhorn_divergence, sliced_wasserstein
from simbench_baselines.flow_matching import FlowMatching
from simbench_baselines.latent import Standardise
from simbench_baselines.latent_flow_matching import LatentFlowMatching
from simbench_baselines.likelihoods import GreySquares, LogSquares
from simbench_baselines.pixel_space import PixelSpace
from simbench_baselines.sae import SAE
from simbench_baselines.sdi_gan import SDIGAN, diversity
from simbench_baselines.swae import SWAE
from simbench_baselines.trained import TrainedModel
from simbench_baselines.vae import VAE
from simbench_baselines.vae_ldm import VAELDM
from simbench_baselines.wae_gan import WAEGAN
from simbench_baselines.wae_mmd import WAEMMD
from simbench_models.e2e_sae import E2eSAE
from simbench_models.sae_ldm import SAELDM
from simbench_models.terms import (
    LEVELS,
    conditional_divergence,
    cosine_penalty,
    enlarge,
    independent_divergence,
    laplacian_distance,
    laplacian_pyramid,
    transport_costs,
)

LATENT: list[type[Autoencoder]] = [VAELDM, LatentFlowMatching, SAELDM]
PIXEL_SPACE: list[type[PixelSpace]] = [DDPM, FlowMatching]
MODELS: list[type[TrainedModel]] = [VAE, WAEMMD, WAEGAN, SWAE, SAE, E2eSAE, DCGAN, SDIGAN, *LATENT, *PIXEL_SPACE]


class Spots(ToyTask):
    """One bright spot at the place that the label names, a little moved: 64 events, 8 of each label."""

    name = "spots"
    shape = (1, 12, 12)
    unit = "grey values"
    maximum = 1.0
    condition_names = tuple(f"place {place}" for place in range(8))
    condition_units = ("one-hot",) * 8

    def load_split(self, split: Any) -> Events:
        rng = torch.Generator().manual_seed(0)
        label = torch.arange(8).repeat_interleave(8)
        centre = torch.stack([2.0 + label % 4 * 2.5, 3.0 + label // 4 * 5.0], 1)
        centre = centre + 0.5 * torch.randn(64, 2, generator=rng)
        axis = torch.arange(12.0)
        across = torch.exp(-(axis - centre[:, :1]).square() / 2)
        down = torch.exp(-(axis - centre[:, 1:]).square() / 2)
        images = (down[:, :, None] * across[:, None])[:, None]
        return Events(images, torch.nn.functional.one_hot(label, 8).float(), label, label)


class Photons(Spots):
    name = "photon-spots"
    shape = (12, 12)
    unit = "photons"
    maximum = 1e4

    def load_split(self, split: Any) -> Events:
        events = super().load_split(split)
        return events.with_samples((30 * events.samples[:, 0]).round())


def built(model_class: type[TrainedModel], task: ToyTask, **arguments: Any) -> Any:
    torch.manual_seed(0)
    model = model_class(**arguments)
    model.prepare(task, task.load("train"))
    return model


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_mmd_by_hand() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])

    def k(distance: float) -> float:
        return sum(2 * s / (2 * s + distance**2) for s in KERNEL_SCALES)

    expected = k(1) + k(3) - 2 * (k(0) + k(3) + k(1) + k(2)) / 4
    assert float(mmd(x, y, base=2.0)) == pytest.approx(expected, rel=1e-6)


def test_mmd_is_unbiased() -> None:
    """Of two samples of one distribution its mean is 0, and negative values occur."""
    values = torch.stack([mmd(random(20, 3, seed=2 * i), random(20, 3, seed=2 * i + 1), base=6.0) for i in range(300)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(300)
    assert float(values.min()) < 0
    assert float(mmd(random(200, 3), random(200, 3, seed=1) + 2, base=6.0)) > 10 * float(values.std())


def test_sliced_wasserstein_is_pots() -> None:
    x, y = random(40, 5), 2 * random(40, 5, seed=1) + 0.3
    torch.manual_seed(3)
    got = sliced_wasserstein(x, y, projections=50)
    torch.manual_seed(3)
    directions = torch.randn(5, 50, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy(), p=2) ** 2
    assert float(got) == pytest.approx(float(expected), rel=1e-9)
    assert float(sliced_wasserstein(x, x.flip(0), 10)) == pytest.approx(0, abs=1e-20)


def test_sinkhorn_solvers_agree() -> None:
    """Values and both gradients of simbench's solver and of geomloss, which stops short of convergence."""
    results = []
    for solver in ("simbench", "geomloss"):
        x, y = random(60, 4).requires_grad_(), (random(60, 4, seed=1) + 0.5).requires_grad_()
        value = sinkhorn_divergence(x, y, blur=1.0, solver=solver)
        results.append((value.detach(), *torch.autograd.grad(value, (x, y))))
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).norm()) < 0.03 * float(theirs.norm())
    assert float(results[0][0]) == pytest.approx(float(results[1][0]), rel=1e-3)


def test_sinkhorn_gradient_by_finite_differences() -> None:
    x, y = random(30, 3), random(30, 3, seed=1)
    direction = random(30, 3, seed=2)
    moving = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sinkhorn_divergence(moving, y, blur=0.7, solver="simbench"), moving)
    step = 1e-4
    ahead, behind = (
        sinkhorn_divergence(x + sign * step * direction, y, blur=0.7, solver="simbench") for sign in (1, -1)
    )
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4)


def test_transport_costs_are_pots() -> None:
    """Values with the entropic term, and the plan's gradient; a low temperature takes more steps than a high one."""
    for blur in (0.3, 2.0):
        x, y = random(2, 30, 3).requires_grad_(), random(2, 20, 3, seed=1) + 0.5
        values = transport_costs(x, y, blur, steps=1000)
        for a, b, value, gradient in zip(x.detach(), y, values, *torch.autograd.grad(values.sum(), x), strict=True):
            cost = torch.cdist(a, b)
            plan = ot.sinkhorn([], [], cost.numpy(), blur, method="sinkhorn_log", numItermax=10_000, stopThr=1e-12)
            plan = torch.from_numpy(plan)
            entropy = blur * float((plan * (plan * plan.numel()).log()).sum())
            assert value.item() == pytest.approx(float((plan * cost).sum()) + entropy, rel=1e-5)
            expected = (plan[:, :, None] * (a[:, None] - b) / cost[:, :, None]).sum(1)
            assert float((gradient - expected).norm()) < 1e-3 * float(expected.norm())


def test_transport_costs_are_geomlosss() -> None:
    x, y = random(2, 60, 4), random(2, 60, 4, seed=1) + 0.5
    ours, theirs = (transport_costs(x, y, 1.0, solver) for solver in ("simbench", "geomloss"))
    assert torch.allclose(ours, theirs, rtol=1e-3)


def test_transport_gradient_by_finite_differences() -> None:
    x, y, direction = random(1, 30, 3), random(1, 30, 3, seed=1), random(1, 30, 3, seed=2)
    moving = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(transport_costs(moving, y, 0.5, steps=1000).sum(), moving)
    ahead, behind = (transport_costs(x + sign * 1e-3 * direction, y, 0.5, steps=1000) for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-3, rel=1e-3)


def test_independent_divergence_is_least_for_equal_distributions() -> None:
    """Of codes in eight dimensions with three repeats of a condition: eq. (4) prefers codes that vary less."""
    conditions = torch.arange(10.0).repeat_interleave(3)[:, None].double()

    def mean(divergence: str, spread: float) -> tuple[float, float]:
        values = []
        for i in range(40 if divergence == "paper" else 200):
            torch.manual_seed(i)
            real, made = (
                torch.cat([s * random(30, 8, seed=2 * i + k), conditions], 1) for k, s in ((0, 1), (1, spread))
            )
            values.append(
                sinkhorn_divergence(real, made, 0.05, "simbench")
                if divergence == "paper"
                else independent_divergence(real, made, conditions, 1.0, "simbench")
            )
        tensor = torch.stack(values)
        return float(tensor.mean()), float(tensor.std()) / math.sqrt(len(values))

    assert mean("paper", 0.3)[0] < mean("paper", 1.0)[0]
    equal, error = mean("independent", 1.0)
    assert abs(equal) < 4 * error
    for spread in (0.5, 1.5):
        value, its_error = mean("independent", spread)
        assert value > 4 * its_error


def test_independent_divergence_deals_equal_conditions_to_all_parts() -> None:
    """Codes that are their condition, exactly: every part is the same, so nothing is left, whatever the order."""
    conditions = torch.arange(20.0).repeat(3)[torch.randperm(60)][:, None]
    assert float(independent_divergence(conditions, conditions, conditions, 0.5, "simbench").abs()) < 1e-5
    one = torch.ones(1, 4, requires_grad=True)
    assert independent_divergence(one, one, torch.ones(1, 1), 1.0, "simbench").item() == 0


def test_conditional_divergence_by_hand() -> None:
    """Conditions 0 (codes 0 and 1, made 3) and 1 (code 5, made 9): |e - g| is 3, 2, 4, |e - e'| is 1."""
    real, made = torch.tensor([[0.0], [5.0], [1.0]]), torch.tensor([[3.0], [9.0], [3.0]])
    conditions = torch.tensor([[0.0], [1.0], [0.0]])
    cross = (3 + 3 + 2 + 2 + 4) / 5
    assert float(conditional_divergence(real, made, conditions)) == pytest.approx(2 * cross - 1 - 0)
    twice = conditional_divergence(real, torch.cat([made, made + 1]), conditions)
    cross, self_term = (cross * 5 + 4 + 4 + 3 + 3 + 5) / 10, (2 * 0 + 4 * 2 * 1 + 2 * 1) / 14
    assert float(twice) == pytest.approx(2 * cross - 1 - self_term)
    one = torch.ones(1, 2)
    assert float(conditional_divergence(one, one, torch.ones(1, 0))) == 0


def test_conditional_divergence_is_least_for_equal_distributions() -> None:
    conditions = torch.arange(10.0).repeat_interleave(3)[:, None]

    def mean(spread: float) -> tuple[float, float]:
        values = torch.stack(
            [
                conditional_divergence(random(30, 8, seed=2 * i), spread * random(60, 8, seed=2 * i + 1), conditions)
                for i in range(400)
            ]
        )
        return float(values.mean()), float(values.std()) / math.sqrt(len(values))

    equal, error = mean(1.0)
    assert abs(equal) < 4 * error
    for spread in (0.5, 1.5):
        value, its_error = mean(spread)
        assert value > 4 * its_error


def test_standardised_codes() -> None:
    """In training by the batch, afterwards by the moving averages; and from the one to the other."""
    layer = Standardise(3)
    codes = 2 * random(20000, 3).float() + 5
    for batch in codes.split(100):
        layer(batch)
    batch = codes[:100] + 1
    made = layer(batch)
    torch.testing.assert_close(made, torch.nn.functional.batch_norm(batch, None, None, training=True))
    mean, sd = layer.moments()
    torch.testing.assert_close(layer.to_usual(made), (batch - mean) / sd, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.to_batch(layer.to_usual(made)), made)
    torch.testing.assert_close(layer.undo(layer.to_usual(made)), batch)
    one = layer(codes[:1])
    torch.testing.assert_close(one, layer.eval()(codes[:1]))
    assert abs(float(layer(codes).mean())) < 0.2
    assert torch.equal(layer.to_batch(one), one)


@pytest.mark.parametrize("size", [(28, 28), (44, 44), (64, 64), (7, 9)])
def test_laplacian_pyramid_adds_up_to_the_image(size: tuple[int, int]) -> None:
    images = random(2, 3, *size)
    levels = laplacian_pyramid(images)
    assert len(levels) == (LEVELS if min(size) > 15 else 3)
    total = levels[-1]
    for level in reversed(levels[:-1]):
        total = level + enlarge(total, level.shape[2:])
    torch.testing.assert_close(total, images)


def test_laplacian_distance_by_hand() -> None:
    """A constant difference lies in the last level alone: 4^3 times its absolute value times the 4 x 4 pixels there."""
    images = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(laplacian_distance(images, images + 0.5), torch.full((2,), 64 * 0.5 * 16).double())


def test_cosine_penalty_by_hand() -> None:
    """Eqs. (5) and (6): cosines 0.6 (a, b), 0 (a, c), 0.8 (b, c), each pair counted twice."""
    codes = torch.tensor([[2.0, 0.0], [0.3, 0.4], [0.0, 5.0]])
    assert float(cosine_penalty(codes, tau=0.0)) == pytest.approx(2 * (0.36 + 0.64))
    assert float(cosine_penalty(codes, tau=0.7)) == pytest.approx(2 * 0.64)
    assert float(cosine_penalty(-codes, tau=0.9)) == 0


def test_squared_errors_of_the_mse_heads() -> None:
    photons = torch.tensor([[[0.0, 3.0]]])
    decoded = torch.tensor([[[[0.5, 1.0]]]])
    expected = 0.25 + (1 - math.log(4)) ** 2
    assert float(LogSquares.negative_log(decoded, None, photons)) == pytest.approx(expected)
    assert LogSquares.draw(decoded, None, torch.Generator()).flatten().tolist() == [1, 2]
    grey = torch.tensor([[[[0.5, 1.0]]]])
    assert float(GreySquares.negative_log(torch.zeros(1, 1, 1, 2), None, grey)) == pytest.approx(0.25)


def test_conditions_stand_beside_the_codes() -> None:
    """What the divergence compares is codes with the scaled conditions beside them."""
    task = Spots()
    events = task.load("train")
    seen: list[tuple[Tensor, Tensor]] = []

    class Spy(SWAE):
        def divergence(self, codes: Tensor, prior: Tensor) -> Tensor:
            seen.append((codes, prior))
            return super().divergence(codes, prior)

    for scale in (0.0, 3.0):
        built(Spy, task, scale=scale).losses(events.samples, events.conditions)
    (plain, _), (codes, prior) = seen
    assert torch.equal(codes[:, 8:], 3 * events.conditions)
    assert torch.equal(prior[:, 8:], 3 * events.conditions)
    assert not plain[:, 8:].any()


def test_hypersphere_codes_lie_on_it() -> None:
    task = Spots()
    model, events = built(SAE, task, prior="hypersphere"), task.load("train")
    for codes in (
        model.encode(events.samples, events.conditions),
        model.draw_prior(events.conditions, torch.Generator().manual_seed(0)),
    ):
        torch.testing.assert_close(codes.norm(dim=1), torch.ones(64))


def reached_by(model: Any, term: Tensor) -> set[str]:
    """The networks of a model into which a term has a gradient."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    norms: dict[str, float] = {}
    for name, gradient in zip(
        names, torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True), strict=True
    ):
        part = name.partition(".")[0]
        norms[part] = norms.get(part, 0.0) + (0.0 if gradient is None else float(gradient.norm()))
    return {part for part, norm in norms.items() if norm > 0}


@pytest.mark.parametrize("divergence", ["paper", "independent", "conditional"])
def test_where_the_gradients_of_e2e_sae_go(divergence: str) -> None:
    """Fig. 2 of the paper: reconstruction trains encoder and decoder, Sinkhorn encoder and noise generator."""
    task = Spots()
    model, events = built(E2eSAE, task, alpha=1.0, divergence=divergence), task.load("train")
    terms = model.losses(events.samples, events.conditions)
    reached = {name: reached_by(model, term) for name, term in terms.items()}
    assert terms.keys() == {"reconstruction", "sinkhorn", "cosines", "weights", "lap1"}
    assert reached["reconstruction"] == reached["lap1"] == {"encoder", "posterior", "decoder"}
    assert reached["sinkhorn"] == {"encoder", "posterior", "noise_generator"}
    refined = model.losses(events.samples, events.conditions, player="refined")
    assert refined.keys() == {"sinkhorn"}
    assert reached["cosines"] == {"encoder", "posterior"}
    assert reached["weights"] == {"posterior"}
    other = events.conditions.roll(1, 0)
    assert torch.equal(model.encode(events.samples, other), model.encode(events.samples, events.conditions))


@pytest.mark.parametrize("through", [False, True])
def test_where_the_gradients_of_sae_ldm_go(through: bool) -> None:
    """The Sinkhorn term trains encoder and sampler jointly; the denoising error reaches the encoder if it shall."""
    task = Spots()
    model, events = built(SAELDM, task, through=through), task.load("train")
    reached = {name: reached_by(model, term) for name, term in model.losses(*_both(events)).items()}
    assert reached["sinkhorn"] == {"encoder", "posterior", "network"}
    assert reached["denoising"] == ({"encoder", "posterior", "network"} if through else {"network"})
    assert reached["reconstruction"] == {"encoder", "posterior", "decoder"}
    assert model.losses(*_both(events), player="refined").keys() == {"denoising"}
    plain = built(SAELDM, task, beta=0.0).losses(*_both(events))
    assert plain.keys() == {"reconstruction", "denoising", "cosines", "weights"}


def test_the_jitter_of_sae_ldm_is_of_training_alone() -> None:
    task = Spots()
    plain, noisy = built(SAELDM, task), built(SAELDM, task, jitter=0.5)
    noisy.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    off = noisy.train().encode(*_both(task.load("train"))) - plain.train().encode(*_both(task.load("train")))
    assert float(off.detach().std()) == pytest.approx(0.5, rel=0.1)
    assert torch.equal(*(model.eval().encode(*_both(task.load("train"))) for model in (noisy, plain)))


@pytest.mark.parametrize("model_class", [VAELDM, LatentFlowMatching])
def test_the_diffusion_of_a_kl_autoencoder_leaves_it_alone(model_class: type[VAELDM]) -> None:
    task = Spots()
    model, events = built(model_class, task), task.load("train")
    reached = {name: reached_by(model, term) for name, term in model.losses(*_both(events)).items()}
    assert reached["denoising"] == {"network"}
    assert reached["reconstruction"] == {"encoder", "posterior", "decoder"}
    assert reached["kl"] == {"encoder", "posterior"}
    assert model.losses(*_both(events), player="refined").keys() == {"denoising"}


@pytest.mark.parametrize("model_class", [E2eSAE, SAELDM, VAELDM])
def test_codes_stand_still_while_the_prior_is_refined(model_class: type[Any]) -> None:
    task = Spots()
    model, events = built(model_class, task), task.load("train")
    model.train()
    model.losses(*_both(events))
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.losses(events.samples[:7], events.conditions[:7], player="refined")
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    names = {name for name, value in model.named_parameters() if any(value is one for one in model.refined())}
    assert names
    assert not any(name.startswith(("encoder", "posterior", "decoder", "conditions")) for name in names)


@pytest.mark.parametrize("prior", ["normal", "learned"])
def test_the_bound_of_the_vae_by_hand(prior: str) -> None:
    """beta KL(q(z|x,c) || p(z|c)) by torch.distributions, and the reconstruction of a z drawn from q, not from p."""
    task = Spots()
    model, events = built(VAE, task, prior=prior, beta=3.0), task.load("train")
    for layer in (model.posterior, model.prior):
        if layer is not None:
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    mean, log_variance = model.encode(*_both(events)).chunk(2, 1)
    q = torch.distributions.Normal(mean, (log_variance.clamp(-8, 4) / 2).exp())
    told = model.prior(events.conditions) if prior == "learned" else torch.zeros(64, 32)
    p = torch.distributions.Normal(told[:, :16], (told[:, 16:].clamp(-8, 4) / 2).exp())
    torch.manual_seed(3)
    z = q.mean + q.stddev * torch.randn(64, 16)
    torch.manual_seed(3)
    found = model.losses(*_both(events))
    torch.testing.assert_close(found["kl"], 3 * torch.distributions.kl_divergence(q, p).sum(1).mean())
    torch.testing.assert_close(found["reconstruction"], model.reconstruction(z, *_both(events)[::-1]).mean())
    drawn = model.draw_prior(events.conditions[:1].expand(4000, -1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.std(0), p.stddev[0], rtol=0.08, atol=0.0)


def _both(events: Events) -> tuple[Tensor, Tensor]:
    return events.samples, events.conditions


def test_players_of_wae_gan_and_dcgan() -> None:
    """Each parameter belongs to one player, and each player's loss moves with all of its networks."""
    task = Spots()
    for model in (built(WAEGAN, task), built(DCGAN, task), built(SDIGAN, task)):
        players = model.players()
        owned = [id(parameter) for group in players.values() for parameter in group]
        assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())
        assert next(iter(players)) == "critic"
        for name, group in players.items():
            total = torch.stack(list(model.losses(*_both(task.load("train")), player=name).values())).sum()
            assert all(g is not None for g in torch.autograd.grad(total, group, allow_unused=True))


def test_dcgan_makes_whole_photons_for_its_critic_with_a_gradient() -> None:
    task = Photons()
    model = built(DCGAN, task)
    images, _ = model.generate(task.load("train").conditions)
    assert torch.allclose(images.expm1(), images.expm1().round(), atol=1e-4)
    (gradient,) = torch.autograd.grad(images.sum(), [model.generator.dense.weight])
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("model_class", PIXEL_SPACE, ids=lambda model: model.model_name)
@pytest.mark.parametrize("task", [Spots(), Photons()], ids=lambda task: task.unit)
def test_pixel_space_at_the_end_of_training(model_class: type[PixelSpace], task: ToyTask) -> None:
    """A network that knows the only event there is has no loss, and its samplers return that event."""
    samples, conditions = _both(task.load("train").take(torch.tensor([0])))
    for sampler in ("ddim", "ddpm") if model_class is DDPM else ("euler",):
        model = built(model_class, task, sampler=sampler, steps=40)
        images = (as_images(to_log(samples) if model.counts else samples) - model.centre) / model.width

        def knows(seen: Tensor, t: Tensor, told: Tensor, images: Tensor = images) -> Tensor:
            t = t[:, None, None, None]
            if model_class is FlowMatching:
                return (images - seen) / (1 - t).clamp(min=1e-3)
            angle = math.pi / 2 * t
            return (angle.cos() * seen - images) / angle.sin().clamp(min=1e-6)

        model.network.forward = knows
        repeated = (values.expand(64, *values.shape[1:]) for values in (samples, conditions))
        assert float(model.losses(*repeated)["squared_error"]) < 1e-3
        torch.testing.assert_close(model.sample(conditions, seed=0), samples, rtol=0, atol=1e-2 / (1 + model.counts))


def test_diversity_by_hand() -> None:
    """Standard deviations 1 and 3 among two repeats each, and a condition alone."""
    images = torch.tensor([0.0, 2.0, 0.0, 6.0, 9.0])[:, None, None, None] / math.sqrt(2)
    conditions = torch.tensor([[1.0], [1.0], [2.0], [2.0], [3.0]])
    torch.testing.assert_close(diversity(images, conditions), torch.tensor([1 / 3, 1 / 3, 1.0, 1.0, 0.0]))
    assert torch.equal(diversity(images, conditions[:, :0]), torch.ones(5))


def energy(x: Tensor, y: Tensor) -> float:
    """Energy distance of two sets of events, with repeats of the same label side by side: mean over the labels."""
    x, y = (z.flatten(1).unflatten(0, (8, 8)).double() for z in (x, y))
    return float((2 * torch.cdist(x, y) - torch.cdist(x, x) - torch.cdist(y, y)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("model_class", MODELS, ids=lambda model: model.model_name)
def test_every_model_overfits_64_events(model_class: type[TrainedModel]) -> None:
    task = Spots()
    events = task.load("train")
    model = built(model_class, task, **({"head": "mse"} if issubclass(model_class, Autoencoder) else {}))
    players = model.players() if hasattr(model, "players") else {"": list(model.parameters())}
    optimisers = {name: torch.optim.Adam(group, 3e-3, (0.5, 0.99)) for name, group in players.items()}
    before = energy(model.eval().sample(events.conditions, seed=0), events.samples)
    model.train()
    for _ in range(300 if len(players) == 1 else 600):
        for name, optimiser in optimisers.items():
            total = torch.stack(list(model.losses(*_both(events), **({"player": name} if name else {})).values())).sum()
            model.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    after = energy(model.eval().sample(events.conditions, seed=0), events.samples)
    assert after < 0.2 * before, (before, after)
