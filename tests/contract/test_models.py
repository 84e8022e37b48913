"""What shipped generators keep to, on the tasks that they ship weights for; and their networks on other shapes."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import DataError, UsageError
from simbench.core.events import Events
from simbench.core.plugins import entry_points, load_entry_point
from simbench.core.seeds import derive_seed
from simbench.generators.protocol import Encoder
from simbench.generators.resolve import resolve
from simbench.tasks import get_task
from simbench.tasks.base import Split, Task
from simbench.training.command import run_training
from simbench.training.loop import train
from simbench.training.plan import Plan
from simbench.training.weights import load_weights, save_weights
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import from_log, to_log
from simbench_baselines.dcgan import DCGAN
from simbench_baselines.ddpm import DDPM
from simbench_baselines.flow_matching import FlowMatching
from simbench_baselines.latent_flow_matching import LatentFlowMatching
from simbench_baselines.likelihoods import Counts, kl_divergence
from simbench_baselines.pixel_space import PixelSpace
from simbench_baselines.sae import SAE
from simbench_baselines.sdi_gan import SDIGAN
from simbench_baselines.swae import SWAE
from simbench_baselines.trained import TrainedModel
from simbench_baselines.vae import VAE
from simbench_baselines.vae_ldm import VAELDM
from simbench_baselines.wae_gan import WAEGAN
from simbench_baselines.wae_mmd import WAEMMD
from simbench_models.e2e_sae import E2eSAE
from simbench_models.sae_ldm import SAELDM

AUTOENCODERS: dict[str, type[Autoencoder]] = {
    model.model_name: model for model in (VAE, WAEMMD, WAEGAN, SWAE, SAE, E2eSAE, VAELDM, LatentFlowMatching, SAELDM)
}
PIXEL_SPACE: dict[str, type[PixelSpace]] = {"ddpm": DDPM, "flow_matching": FlowMatching}
NETWORKS: dict[str, type[TrainedModel]] = {**AUTOENCODERS, "dcgan": DCGAN, "sdi_gan": SDIGAN, **PIXEL_SPACE}
VARIANTS: dict[str, tuple[type[TrainedModel], dict[str, Any]]] = {
    **{name: (model, {}) for name, model in NETWORKS.items()},
    **{f"{name} mse": (model, {"head": "mse"}) for name, model in AUTOENCODERS.items()},
    "vae learned": (VAE, {"prior": "learned"}),
    "sae hypersphere": (SAE, {"prior": "hypersphere"}),
    "e2e_sae lap1": (E2eSAE, {"alpha": 0.1}),
    "ddpm": (DDPM, {"steps": 2}),
    "ddpm ancestral": (DDPM, {"steps": 2, "sampler": "ddpm"}),
    "flow_matching": (FlowMatching, {"steps": 2}),
    "flow_matching heun": (FlowMatching, {"steps": 2, "sampler": "heun"}),
}


def weights_file(name: str, task_name: str, head: str = "") -> Path:
    return NETWORKS[name].folder / f"{name}-{task_name}{head and '-'}{head}.safetensors"


def shipped_model(name: str, head: str) -> Any:
    return NETWORKS[name](head=head) if head else NETWORKS[name]()  # type: ignore[call-arg]


SHIPPED = [
    (name, task, head)
    for name in NETWORKS
    for task in ("zn-geant3", "mnist")
    for head in (("counts", "mse") if name in AUTOENCODERS else ("",))
    if weights_file(name, task, head).is_file()
]
BOUNDS = {("wae_mmd", "zn-geant3", "counts"): 40}
"""Validation scores that shipped weights are below where they cannot be below those of other models with their head."""
ORACLES = ["floor", "memoriser", "mean_response", "channel_marginals", "wrong_condition"]
UNTRAINED = [*ORACLES, "gflash"]
"""Generators without networks."""
CASES = [*SHIPPED, *((name, "zn-geant3", "") for name in UNTRAINED)]
DETERMINISTIC = {"mean_response"}
DEVICES = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]


def some_conditions(task: Task, count: int) -> Tensor:
    """Conditions of the task, without its data where those are not shipped."""
    if task.name == "mnist":
        return torch.nn.functional.one_hot(torch.arange(count) % 10, 10).to(torch.float32)
    split: Split = "test"
    return task.load(split, events=count // task.repeats * task.repeats).conditions


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def shipped(request: pytest.FixtureRequest) -> tuple[str, Any, Task, Tensor]:
    name, task_name, head = request.param
    task = get_task(task_name)
    plain = name in UNTRAINED
    generator = load_entry_point(entry_points("simbench.generators")[name])() if plain else shipped_model(name, head)
    generator.setup(task, "cpu")
    return name, generator, task, some_conditions(task, 40)


def test_events_are_the_tasks(shipped: tuple[str, Any, Task, Tensor]) -> None:
    name, generator, task, conditions = shipped
    before = conditions.clone()
    samples = task.check_samples(generator.sample(conditions, seed=1), len(conditions), name)
    assert torch.equal(conditions, before)
    assert float(samples.max()) > 0
    if task.unit == "photons" and name != "mean_response":
        assert torch.equal(samples, samples.round())


def test_seed_decides_and_nothing_else(shipped: tuple[str, Any, Task, Tensor]) -> None:
    name, generator, _, conditions = shipped
    torch.manual_seed(1)
    first = torch.as_tensor(generator.sample(conditions, seed=3))
    torch.manual_seed(2)
    expected_next = torch.rand(4, generator=torch.Generator().manual_seed(2))
    again = torch.as_tensor(generator.sample(conditions.clone(), seed=3))
    assert torch.equal(first, again)
    assert torch.equal(torch.rand(4), expected_next), "sample must leave the global random numbers alone"
    other = torch.as_tensor(generator.sample(conditions, seed=4))
    assert torch.equal(first, other) == (name in DETERMINISTIC)


@pytest.mark.parametrize(("name", "task_name", "head"), SHIPPED)
@pytest.mark.parametrize("device", DEVICES)
def test_network_on_device(name: str, task_name: str, head: str, device: str) -> None:
    task = get_task(task_name)
    model = shipped_model(name, head).setup(task, device)
    assert all(tensor.device == torch.device(device) for tensor in model.state_dict().values())
    conditions = some_conditions(task, 8).to(device)
    assert model.sample(conditions, seed=0).shape == (8, *task.shape)
    assert model.sample(conditions[:1], seed=0).shape == (1, *task.shape)
    assert not model.training


@pytest.mark.parametrize(("name", "task_name", "head"), SHIPPED)
def test_shipped_weights(name: str, task_name: str, head: str) -> None:
    path = weights_file(name, task_name, head)
    state, metadata = load_weights(path)
    assert path.stat().st_size <= 1.2e6
    assert sum(tensor.numel() for tensor in state.values()) <= 300_000
    assert metadata["seed"] == "0"
    assert metadata["task_version"] == get_task(task_name).version
    assert metadata["command"].startswith(f"simbench train {name} --task {task_name} --preset cpu --seed 0")
    assert json.loads(metadata["validation_score"])["score"] < BOUNDS.get(
        (name, task_name, head), 10 if head == "counts" else 100
    )


def test_what_the_weights_were_trained_with_is_recorded() -> None:
    resolved = resolve("vae", {"latent": "4", "head": "counts"})
    resolved.generator.setup(get_task("mnist"), "cpu")  # type: ignore[attr-defined]
    given = {"weights": None, "preset": "cpu", "latent": 4, "beta": 1.0, "prior": "normal", "head": "counts"}
    assert resolved.parameters == given
    _, metadata = load_weights(weights_file("vae", "mnist", "counts"))
    config = json.loads(metadata["config"])
    assert config["prior"] == "learned"
    assert resolved.effective_parameters() == given | config
    assert resolved.training_seed() == 0


@pytest.mark.parametrize(("name", "task_name", "head"), SHIPPED)
def test_saved_and_loaded_is_the_same(name: str, task_name: str, head: str, tmp_path: Path) -> None:
    task = get_task(task_name)
    model = shipped_model(name, head).setup(task, "cpu")
    _, metadata = load_weights(model.weights_path or Path())
    copy = tmp_path / "copy.safetensors"
    save_weights(model, copy, metadata)
    loaded = NETWORKS[name](weights=str(copy)).setup(task, "cpu")
    conditions = some_conditions(task, 16)
    assert torch.equal(loaded.sample(conditions, seed=5), model.sample(conditions, seed=5))
    assert loaded.weights_path == copy


class Shape(ToyTask):
    """Noise of any shape, with any conditions."""

    repeats = 1

    def __init__(self, shape: tuple[int, ...], names: tuple[str, ...], units: str, unit: str) -> None:
        self.name = "shape"  # type: ignore[misc]
        self.shape, self.unit = shape, unit  # type: ignore[misc]
        self.condition_names, self.condition_units = names, (units,) * len(names)  # type: ignore[misc]
        self.maximum = 1.0 if unit == "grey values" else 1e5  # type: ignore[misc]

    def load_split(self, split: Split) -> Events:
        rng = torch.Generator().manual_seed(0)
        samples = torch.rand(12, *self.shape, generator=rng)
        if self.unit == "photons":
            samples = (10 * samples).floor()
        conditions = torch.rand(12, len(self.condition_names), generator=rng)
        return Events(samples=samples, conditions=conditions, condition_id=torch.arange(12), unit_id=torch.arange(12))


ZN = ("Energy", "Vx", "Vy", "Vz", "Px", "Py", "Pz", "mass", "charge")
SHAPES = {
    "28 unconditional": Shape((1, 28, 28), (), "", "grey values"),
    "28 labels": Shape((1, 28, 28), ("digit 0", "digit 1"), "one-hot", "grey values"),
    "64 colour unconditional": Shape((3, 64, 64), (), "", "grey values"),
    "44 conditional": Shape((44, 44), ZN, "GeV", "photons"),
    "44 unconditional": Shape((44, 44), (), "", "photons"),
    "56x30": Shape((56, 30), ZN, "GeV", "photons"),
}


def untrained(model_class: type[TrainedModel], task: Task, **arguments: Any) -> TrainedModel:
    """A model as it is before its first step."""
    torch.manual_seed(0)
    model = model_class(**arguments)
    model.prepare(task, task.load("train"))
    return model.eval()


def saved(model: TrainedModel, folder: Path, validation_score: str = "{}", **config: Any) -> Path:
    """The weights file of a model for one of the SHAPES, with what is to be changed in its config."""
    texts = {"config": json.dumps({**model.config, **config}), "command": "", "validation_score": validation_score}
    metadata = {"model": model.model_name, "task": "shape", "seed": "0", "steps": "0", **texts}
    save_weights(model, folder / "weights.safetensors", metadata)
    return folder / "weights.safetensors"


def test_of_two_heads_the_better_one_is_taken_unless_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SHAPES["44 conditional"]
    monkeypatch.setattr(VAE, "folder", tmp_path)
    with pytest.raises(DataError, match=r"no weights of vae for shape .*vae-shape-mse.safetensors"):
        VAE(head="mse").setup(task, "cpu")
    for head, score in (("counts", 2.0), ("mse", 1.0)):
        model = untrained(VAE, task, head=head)
        saved(model, tmp_path, validation_score=json.dumps({"score": score})).rename(
            tmp_path / f"vae-shape-{head}.safetensors"
        )
    assert VAE().setup(task, "cpu").config["head"] == "mse"
    assert VAE(head="counts").setup(task, "cpu").config["head"] == "counts"
    (tmp_path / "vae-shape-mse.safetensors").unlink()
    assert VAE().setup(task, "cpu").config["head"] == "counts"


def all_losses(model: TrainedModel, samples: Tensor, conditions: Tensor) -> list[Tensor]:
    """The terms of the losses of all players."""
    if not hasattr(model, "players"):
        return list(model.losses(samples, conditions).values())  # type: ignore[operator]
    players = model.players()  # type: ignore[operator]
    return [term for name in players for term in model.losses(samples, conditions, player=name).values()]  # type: ignore[operator]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_trains_and_samples(variant: str, shape: str, tmp_path: Path) -> None:
    model_class, arguments = VARIANTS[variant]
    name, task = model_class.model_name, SHAPES[shape]
    events = task.load("train")
    model = untrained(model_class, task, **arguments).train()
    losses = all_losses(model, *model.augment(events.samples, events.conditions))
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    model.eval()
    for count in (12, 1):
        task.check_samples(model.sample(events.conditions[:count], seed=0), count, name)
    assert model.sample(events.conditions[:0], seed=0).shape == (0, *task.shape)
    if isinstance(model, Encoder):
        expected = (len(events), model.config["latent"])
        assert model.latent_codes(events.samples, events.conditions).shape == expected
        assert model.prior_codes(events.conditions, seed=0).shape == expected  # type: ignore[operator]
    loaded = model_class(weights=str(saved(model, tmp_path))).setup(task, "cpu")
    assert torch.equal(loaded.sample(events.conditions, seed=0), model.sample(events.conditions, seed=0))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", ["28 labels", "28 unconditional", "44 conditional"])
def test_seed_decides_in_every_network(variant: str, shape: str) -> None:
    model_class, arguments = VARIANTS[variant]
    model, conditions = untrained(model_class, SHAPES[shape], **arguments), SHAPES[shape].load("train").conditions
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.dim() > 1 else 1)  # else an untrained decoder's photons are all rounded to 0
    torch.manual_seed(1)
    first, second = model.sample(conditions, seed=3), model.sample(conditions, seed=4)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(model.sample(conditions, seed=3), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("device", DEVICES)
def test_every_network_on_device(name: str, device: str, tmp_path: Path) -> None:
    task = SHAPES["44 conditional"]
    path = saved(untrained(NETWORKS[name], task), tmp_path)
    model = NETWORKS[name](weights=str(path)).setup(task, device)
    assert {tensor.device for tensor in model.state_dict().values()} == {torch.device(device)}
    samples = model.sample(task.load("test").conditions.to(device), seed=0)
    assert samples.device == torch.device(device)
    task.check_samples(samples.cpu(), 12, name)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_paper_preset_has_the_papers_layers(name: str) -> None:
    model = NETWORKS[name](preset="paper")
    with torch.device("meta"):
        model.build(get_task("zn-geant3"))
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert [module.kernel_size for module in convolutions] == [(5, 5)] * 8
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) == 4 + 3


@pytest.mark.parametrize("name", PIXEL_SPACE)
@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_unet_of_a_preset(name: str, preset: str) -> None:
    model = PIXEL_SPACE[name](preset=preset)  # type: ignore[call-arg]
    for task_name in ("zn-geant3", "mnist"):
        with torch.device("meta"):
            model.build(get_task(task_name))
            images = torch.empty(2, *model.image_shape)
            assert model.network(images, images[:, 0, 0, 0], torch.empty(2, model.conditions.out_features)).is_meta
        size = sum(parameter.numel() for parameter in model.parameters())
        assert (size <= 300_000) if preset == "cpu" else (1e7 < size < 3e7)


@pytest.mark.parametrize("name", PIXEL_SPACE)
def test_unet_compiles_whole_and_in_half_precision(name: str) -> None:
    torch.manual_seed(0)
    task = SHAPES["44 conditional"]
    model = untrained(PIXEL_SPACE[name], task, steps=2)
    with torch.no_grad():
        model.network.last.weight.normal_(0, 0.05)  # it is 0 before the first step
    start, told = torch.randn(3, *model.image_shape), model.conditions(task.load("train").conditions[:3]).detach()

    def generate(start: Tensor, told: Tensor) -> Tensor:
        return model.generate(lambda seen, t: model.network(seen, t, told), start)

    with torch.no_grad():
        expected = generate(start, told)
        torch._dynamo.reset()
        compiled = torch.compile(generate, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(start, told), expected)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = generate(start, told)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - expected).norm() / (expected - start).norm()) < 0.05


@pytest.mark.parametrize(
    ("name", "evaluations", "untold"),
    [
        *[("ddpm", 1, 20), ("flow_matching", 1, 20), ("flow_matching", 2, 20)],
        *[("vae_ldm", 1, 8), ("latent_flow_matching", 1, 8), ("sae_ldm", 1, 4)],
    ],
)
def test_steps_may_be_chosen_anew_for_weights(name: str, evaluations: int, untold: int, tmp_path: Path) -> None:
    """None takes the file's, anything else counts before it, and is what is recorded."""
    task, sampler = SHAPES["28 labels"], {"sampler": "heun"} if evaluations == 2 else {}
    path = str(saved(untrained(NETWORKS[name], task, steps=3, **sampler), tmp_path))
    for given, steps in (({}, 3), ({"steps": 5}, 5)):
        model = NETWORKS[name](weights=path, **given).setup(task, "cpu")
        assert model.effective_parameters["steps"] == steps
        with mock.patch.object(model.network, "forward", side_effect=lambda seen, t, told: seen) as network:
            model.sample(torch.eye(2), seed=0)
        assert network.call_count == steps * evaluations
    assert NETWORKS[name]().effective_parameters["steps"] == untold


@pytest.mark.parametrize("argument", [{"steps": 0}, {"eta": -0.1}, {"eta": 1.5}, {"preset": "large"}])
def test_arguments_that_make_no_sense_are_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"steps|eta|preset"):
        DDPM(**argument)


@pytest.mark.parametrize("name", ["flow_matching", "vae_ldm", "latent_flow_matching", "sae_ldm"])
def test_a_sampler_takes_a_step(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} needs steps of at least 1"):
        NETWORKS[name](steps=0)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_recorded_can_be_given_again(name: str) -> None:
    model = NETWORKS[name]()  # type: ignore[call-arg]
    again = NETWORKS[name](**model.effective_parameters)
    assert again.effective_parameters == model.effective_parameters


def test_what_is_trained_by_its_class_is_found_by_its_name(tmp_path: Path) -> None:
    task = SHAPES["28 labels"]
    path = run_training("simbench_baselines.vae:VAE", task, steps=1, out=tmp_path, progress=False)
    assert load_weights(path)[1]["model"] == "vae"
    VAE(weights=str(path)).setup(task, "cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    task, other = SHAPES["28 labels"], get_task("mnist")
    with pytest.raises(DataError, match=f"simbench train {name} --task shape"):
        NETWORKS[name]().setup(task, "cpu")
    with pytest.raises(DataError, match="no weights at"):
        NETWORKS[name](weights=str(tmp_path / "absent")).setup(task, "cpu")
    model = untrained(NETWORKS[name], task)
    size = next(name for name in ("latent", "noise", "channels") if name in model.config)
    path = saved(model, tmp_path)
    with pytest.raises(DataError, match="another task"):
        NETWORKS[name](weights=str(path)).setup(other, "cpu")
    with pytest.raises(DataError, match="another model"):
        NETWORKS["vae" if name == "swae" else "swae"](weights=str(path)).setup(task, "cpu")
    for change, message in (
        ({size: 10**7}, "does not fit"),
        ({size: "16"}, "another version"),
        ({size: -1000}, "damaged"),
    ):
        with pytest.raises(DataError, match=message):
            NETWORKS[name](weights=str(saved(model, tmp_path, **change))).setup(task, "cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_cannot_be_written_leave_the_old_ones(name: str, tmp_path: Path) -> None:
    """The disk is full after the first 10 kB, as far as this process can tell."""
    model = untrained(NETWORKS[name], SHAPES["28 labels"])
    before = saved(model, tmp_path).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"weights.safetensors could not be written.*Make room"):
            saved(model, tmp_path, latent=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("where", ["samples", "conditions"])
def test_nan_in_the_data_is_refused(name: str, where: str, tmp_path: Path) -> None:
    class Holes(Shape):
        def load_split(self, split: Split) -> Events:
            events = super().load_split(split)
            getattr(events, where)[5].view(-1)[0] = torch.nan
            return events

    model, task = NETWORKS[name](), Holes((44, 44), ZN, "GeV", "photons")
    with pytest.raises(DataError, match=rf"{where} of shape hold NaN.*1 of 12"):
        train(model, task, Plan(steps=1), out=tmp_path, progress=False)
    assert not (tmp_path / "weights.safetensors").exists()


def test_photon_transform() -> None:
    photons = torch.tensor([0.0, 1.0, 2.0, 1763.0, 20_000.0])
    assert torch.equal(from_log(to_log(photons)), photons)
    assert torch.equal(from_log(torch.tensor([-5.0, 0.4, 0.41, 1e9])), torch.tensor([0.0, 0.0, 1.0, 20_000.0]))


def test_counts_likelihood_is_a_distribution() -> None:
    """A pixel's probabilities sum to 1, its mean is exp(a), its variance mean + exp(b) mean^2; draws follow them."""
    n = torch.arange(400.0)
    decoded = torch.tensor([1.5, -0.5])[None, :, None, None].expand(400, 2, 1, 1)
    logit = torch.tensor(-1.0).expand(400)
    log_p = -Counts.negative_log(decoded, logit, n[:, None, None]) - torch.lgamma(n + 1)
    filled = logit[0].neg().sigmoid()
    p = torch.where(n > 0, log_p.exp() / filled, (-Counts.negative_log(decoded, logit, n[:, None, None])).exp())
    r, mean = torch.tensor(0.5).exp(), torch.tensor(1.5).exp()
    p_zero = (r / (r + mean)) ** r
    assert float(p[0]) == pytest.approx(float(1 - filled), rel=1e-5)  # an empty event costs only the logit
    assert float(p[1:].sum()) == pytest.approx(float(1 - p_zero), rel=1e-4)
    assert float((n * p)[1:].sum()) == pytest.approx(float(mean), rel=1e-4)
    variance = float((n * n * p)[1:].sum()) - float(mean) ** 2
    assert variance == pytest.approx(float(mean + torch.tensor(-0.5).exp() * mean**2), rel=1e-3)

    many = torch.tensor([1.5, -0.5])[None, :, None, None].expand(2000, 2, 10, 10)
    drawn = Counts.draw(many, torch.full((2000,), -1.0), torch.Generator().manual_seed(derive_seed(0, "counts")))
    empty = (drawn == 0).flatten(1).all(1)
    assert float(empty.float().mean()) == pytest.approx(float(1 - filled), abs=4 * 0.01)
    kept = drawn[~empty]
    assert float(kept.mean()) == pytest.approx(float(mean), rel=0.02)
    assert float(kept.var()) == pytest.approx(variance, rel=0.05)


def test_kl_divergence() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    prior_mean, prior_log_variance = torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.3]])
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(prior_mean, (prior_log_variance / 2).exp())
    expected = float(torch.distributions.kl_divergence(posterior, prior).sum())
    assert float(kl_divergence(mean, log_variance, prior_mean, prior_log_variance)) == pytest.approx(expected)
    assert float(kl_divergence(mean, log_variance, mean, log_variance)) == 0
