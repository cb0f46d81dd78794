"""The cases of networks: PGD, a step of the generator, an adversarial step of a victim."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn
from torchvision import transforms

from tests.benchmarks.speed import naive
from tests.benchmarks.speed.agreement import agreements
from tests.benchmarks.speed.floors import attack_operations, training_operations
from tests.benchmarks.speed.measure import Bench, Record, Way, auto_precision, take_turns
from unlearn.attack import Pgd, frozen, pgd
from unlearn.audits.plan import WHOLE, Cell, Training
from unlearn.audits.victim import Surroundings, step_losses
from unlearn.countermeasures import NONE
from unlearn.device import Run
from unlearn.methods import MinMaxMin, Spec
from unlearn.models import build_classifier
from unlearn.models.classifier import channels_last
from unlearn.models.folding import Precision
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Batch, StepLosses
from unlearn.views import Views

CLASSES = 10
PUBLISHED = MinMaxMin()
RHO_A, VICTIM_STEPS = Radius.of_levels(4), 10
_PHOTO_CROP = 0.08  # torchvision's default for RandomResizedCrop


@dataclass(frozen=True)
class Size:
    """How large a case is: network, side and number of pictures, and PGD steps of one timing.

    alone is how many pictures the naive one-by-one PGD gets, alone_steps its steps each.
    """

    network: str
    side: int
    pictures: int
    steps: int = 0
    alone: int = 0
    alone_steps: int = PUBLISHED.noise.attack.steps


@dataclass(frozen=True)
class Material:
    """Random pictures uint8 (N, 3, S, S) on the device and the same (N, S, S, 3) as arrays."""

    pixels: Tensor
    labels: Tensor
    streams: Rng

    @classmethod
    def drawn(cls, size: Size, device: torch.device) -> "Material":
        """Draw as many as the size asks for."""
        ids = torch.arange(size.pictures)
        pixels = Rng.for_images(1, ids).integers(256, 3, size.side, size.side).to(torch.uint8)
        streams = Rng.for_images(0, ids.to(device))
        return cls(pixels.to(device), (ids % CLASSES).to(device), streams)

    @property
    def batch(self) -> Batch:
        """The pictures as a step of training takes them."""
        index = torch.arange(len(self.labels), device=self.labels.device)
        return Batch(self.pixels, self.labels, index, 0, self.streams.fork(0))

    def arrays(self, steps: list[Callable], count: int | None = None) -> naive.Pictures:
        """Return the first pictures as published code reads them."""
        arrays = self.pixels[:count].permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return naive.Pictures(arrays, self.labels[:count].cpu(), transforms.Compose(steps))


def precisions(bench: Bench) -> dict[str, Precision]:
    """Return our ways by name: as the tool chooses, and in float32 if that is another."""
    auto = auto_precision(bench.device)
    return {"ours": auto} | ({"ours fp32": "fp32"} if auto != "fp32" else {})


@dataclass(frozen=True)
class Job:
    """What the ways of a case do: a setting, a shorter one over the same shapes, and how much."""

    setting: Pgd | MinMaxMin
    short: Pgd | MinMaxMin
    pictures: int
    passes: int
    operations: int

    def way(self, what: str, work: Callable[..., object], precision: str = "fp32") -> Way:
        """Return a way to do it: work takes the setting as its last argument."""
        run, warm_up = partial(work, self.setting), partial(work, self.short)
        return Way(what, run, self.pictures, self.passes, self.operations, precision, warm_up)


def attack_case(size: Size, bench: Bench) -> Record:
    """Time PGD over random views: one picture at a time, batched, and ours."""
    torch.manual_seed(0)
    model = build_classifier(size.network, CLASSES).to(bench.device)
    material = Material.drawn(size, bench.device)
    images = to_images(material.pixels)
    with torch.no_grad():  # batch-norm statistics of a network that has seen pictures
        model.train()(images)
    cost = attack_operations(model, (1, 3, size.side, size.side))
    attack = replace(PUBLISHED.noise.attack, views=1)
    one = replace(attack, steps=1)

    def job(together: int, total: int, steps: int) -> Job:
        passes = total * steps
        return Job(replace(attack, steps=steps), one, together, passes, passes * cost)

    alone = job(1, size.alone, size.alone_steps)
    batched = job(size.pictures, size.pictures, size.steps)
    crop = _PHOTO_CROP if size.network.endswith("imagenet") else 1.0
    view, to_tensor = naive.view_of(size.side, crop), [transforms.ToTensor()]
    few, all_of_them = material.arrays(to_tensor, size.alone), material.arrays(to_tensor)
    by_file = partial(naive.one_by_one, model, few, view)
    in_a_batch = partial(naive.in_a_batch, model, all_of_them, view)
    ways = {
        "naive": alone.way("naive, one PGD per file", by_file),
        "plain": batched.way("plain, batched", in_a_batch),
    }
    for name, precision in precisions(bench).items():
        ours = partial(our_attack, model, material, Views(smallest_crop=crop), precision)
        ways[name] = batched.way(f"ours, {precision}", ours, precision)
    return {
        "ways": take_turns(ways, bench),
        "passes_a_picture": PUBLISHED.noise.attack.steps,
        "agreement": agreements(model, images, material.labels),
    }


def our_attack(
    model: nn.Module, material: Material, views: Views, precision: Precision, attack: Pgd
) -> Tensor:
    """Run PGD as the generator does, from stored pictures to δ."""
    rng, images = material.streams.fork(0), to_images(material.pixels)
    with frozen(model, precision) as network:
        return pgd(
            lambda x: cross_entropy(network(views(x, rng)), material.labels),
            images,
            attack,
            "minimise",
            rng,
        )


def generator_case(size: Size, bench: Bench) -> Record:
    """Time a step of the published generator's training."""
    material = Material.drawn(size, bench.device)
    short = replace(
        PUBLISHED,
        noise=replace(PUBLISHED.noise, attack=replace(PUBLISHED.noise.attack, steps=1, views=1)),
        adversary=replace(PUBLISHED.adversary, steps=1),
    )
    stored = material.arrays([transforms.ToTensor()])
    learner = naive.Learner(size.network, stored, bench.device)
    passes = PUBLISHED.passes_per_step
    attacks = PUBLISHED.noise.attack.passes + PUBLISHED.adversary.passes
    shape = (size.pictures, 3, size.side, size.side)
    cost = attacks * attack_operations(learner.model, shape)
    cost += (passes - attacks) * training_operations(learner.model, shape)
    job = Job(PUBLISHED, short, size.pictures, passes * size.pictures, cost)
    precision = auto_precision(bench.device)
    theirs = partial(naive.generator_step, learner, naive.view_of(size.side))
    ours = our_generator(size, material, Run(bench.device, precision))
    ways = {
        "naive": job.way("naive, the authors' loop", theirs),
        "ours": job.way(f"ours, {precision}", ours, precision),
    }
    return {"ways": take_turns(ways, bench), "passes_a_picture": passes}


def our_generator(size: Size, material: Material, run: Run) -> Callable[..., None]:
    """Return a step of the generator's training as `train` takes it."""
    torch.manual_seed(0)
    built = PUBLISHED.build(Spec(size.network, CLASSES, size.side))
    model = channels_last(built.to(run.device)).train()
    optimiser = _sgd(model)

    def step(method: MinMaxMin) -> None:
        terms = method.step_losses(model, material.batch, run)
        _descend(optimiser, terms["loss"])

    return step


def victim_case(size: Size, bench: Bench) -> Record:
    """Time an adversarial step of a victim's training."""
    material = Material.drawn(size, bench.device)
    crops = material.arrays([*naive.random_crops(size.side), transforms.ToTensor()])
    field, plain = (naive.Learner(size.network, crops, bench.device) for _ in range(2))
    attack = Pgd(RHO_A, Radius(RHO_A.value / 5), VICTIM_STEPS)
    shape = (size.pictures, 3, size.side, size.side)
    cost = VICTIM_STEPS * attack_operations(field.model, shape)
    cost += training_operations(field.model, shape)
    passes = VICTIM_STEPS + 1
    short = replace(attack, steps=1)
    job = Job(attack, short, size.pictures, passes * size.pictures, cost)
    ready = to_images(material.pixels), material.labels
    through = partial(naive.victim_step_through_weights, plain, *ready)
    ways = {
        "naive": job.way("naive, the field's loop", partial(naive.victim_step, field)),
        "plain": job.way("plain, with gradients of weights", through),
    }
    for name, precision in precisions(bench).items():
        ours = our_victim(size, material, Run(bench.device, precision))
        ways[name] = job.way(f"ours, {precision}", ours, precision)
    return {"ways": take_turns(ways, bench), "passes_a_picture": passes}


def our_victim(size: Size, material: Material, run: Run) -> Callable[..., None]:
    """Return a step of a victim's training as an audit takes it."""
    torch.manual_seed(0)
    model = channels_last(build_classifier(size.network, CLASSES).to(run.device)).train()
    optimiser = _sgd(model)
    cell = Cell("clean", size.network, RHO_A, WHOLE, "none", "cosine", 101)

    @cache
    def losses(steps: int) -> StepLosses:
        training = Training(size.side, size.side, pgd_steps=steps)
        return step_losses(cell, training, CLASSES, Surroundings(run, NONE))

    def step(attack: Pgd) -> None:
        found = losses(attack.steps)(model, material.batch)
        _descend(optimiser, found["loss"])

    return step


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
