"""The options of an audit, and how the shares and lists among them are read."""

import os
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from unlearn.errors import UsageProblem
from unlearn.options import (
    DEFAULT_GENERATOR,
    INPUT,
    NOISE,
    OUTPUT,
    VICTIMS,
    CompileOption,
    DeviceOption,
    GeneratorOption,
    KeyOption,
    LabelsOption,
    Option,
    PrecisionOption,
    read_bound,
)
from unlearn.radius import Radius, parse_fraction
from unlearn.workers.ranks import rank_here

LARGEST_VIEW = 512  # pixels a side of what a network sees
Adversary = Literal["pgd", "n-fgsm"]
CounteredAt = Literal["smallest", "all"]


def read_share(text: str) -> Fraction:
    """Read a share in (0, 1], "1/2" or "0.5"; raises UsageProblem for anything else."""
    try:
        share = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageProblem(f"{text!r} is no share; write 1/2 or 0.5") from None
    if not 0 < share <= 1:
        raise UsageProblem(f"{text} is not above 0 and at most 1")
    return share


def read_held_out(text: str) -> Path | Fraction:
    """Read a folder, or a share below 1 of the pictures to hold out; raises UsageProblem."""
    if Path(text).is_dir():
        return Path(text)
    try:
        share = parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageProblem(f"there is no folder {text!r}, and it is no share") from None
    if not 0 < share < 1:
        raise UsageProblem(f"{text} of the pictures cannot be held out; write 1/5 or 0.2")
    return share


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What to audit and how; None leaves a setting to the budget."""

    clean: Annotated[
        Path,
        Option(
            "Clean pictures in one folder per class, or a CIFAR-10/100 python archive.",
            details="Parts such as train and val may lie above the class folders.",
            positional=True,
            metavar="CLEAN",
        ),
    ]
    protected: Annotated[
        Path | None,
        Option(
            "Their protected copies; without it copies are made for the audit.",
            details="They are made in 'DIR/protected'.",
            positional=True,
            metavar="[PROTECTED]",
        ),
    ] = None
    test: Annotated[
        Path | Fraction | None,
        Option(
            "Clean pictures to try victims on: a folder with the same classes, or the share of "
            "CLEAN to hold out, chosen by content.",
            details="So the same ones are held out every time.",
            panel=INPUT,
            metavar="DIR|SHARE",
            read=read_held_out,
            default_text="the data's own test pictures, else 1/5",
        ),
    ] = None
    labels: LabelsOption = "auto"
    against: Annotated[
        Path | None,
        Option(
            "Pictures of others, for a CLEAN without classes: victims learn to tell yours from "
            "theirs, and only yours are protected.",
            panel=INPUT,
            metavar="FOLDER",
        ),
    ] = None
    pictures: Annotated[
        int | None,
        Option(
            "Train on N pictures, evenly from the classes.",
            panel=INPUT,
            metavar="N",
            minimum=2,
            default_text="by budget",
        ),
    ] = None
    budget: Annotated[
        Literal["quick", "standard", "thorough", "paper"],
        Option(
            "What it may cost: minutes on a CPU, an hour or a day on a GPU, or the authors' "
            "schedule. The other options override parts of it.",
            details="See below.",
            panel=VICTIMS,
        ),
    ] = "quick"
    rho_a: Annotated[
        tuple[Radius, ...],
        Option(
            "Radius of the victims' adversarial training, 0 for ordinary; repeatable.",
            panel=VICTIMS,
            metavar="FRACTION",
            default_text="0 and 4/255",
        ),
    ] = (Radius.of_levels(0), Radius.of_levels(4))
    architectures: Annotated[
        tuple[str, ...] | None,
        Option(
            "Network: resnet18, resnet50, vgg16, densenet121, wrn-34-10, vit, resnet-small, each "
            "also with -imagenet for photos where it has that form; torchvision:NAME; "
            "finetune:NAME or probe:NAME for pretrained ones; NAME@SIDE for what it sees of "
            "photos; repeatable.",
            details="There are resnet18-thin and resnet-small-imagenet64 too, and "
            "'torchvision:NAME' is any classifier of torchvision. 'finetune' trains a network "
            "whole, 'probe' its last layer only. So '--arch resnet-small-imagenet64 --arch "
            "resnet-small-imagenet@224' is a copier at 64 and one at 224 pixels.",
            panel=VICTIMS,
            flag="--arch",
            metavar="NAME",
            default_text="by budget",
        ),
    ] = None
    weights: Annotated[
        Path | None,
        Option(
            "Pretrained weights for finetune: and probe:.",
            details="A '.safetensors' or a plain '.pth' state.",
            panel=VICTIMS,
            metavar="FILE",
            default_text="torchvision's download",
        ),
    ] = None
    countermeasures: Annotated[
        tuple[str, ...] | None,
        Option(
            "What the copier tries, by commas: none, grey, grey-world, colour-jitter, jpeg75, "
            "jpeg10, bits2, resize256, blur, median, gaussian-noise, cutout, mixup, cutmix, "
            "randaugment, ueraser, projection, projection2, notch, crop8, whole, label-noise, "
            "early-stopping, diffusion; all; or photos, the suite of docs/countermeasures.md.",
            details="'diffusion' needs '--purifier', and 'all' is all but it. Each has a clean "
            "control that suffers the same.",
            panel=VICTIMS,
            metavar="LIST",
            commas=True,
            default_text="by budget",
        ),
    ] = None
    countermeasures_at: Annotated[
        CounteredAt, Option("ρa at which countermeasures are tried.", panel=VICTIMS)
    ] = "smallest"
    purifier: Annotated[
        Path | None,
        Option(
            "The diffusion model for diffusion, see docs/purification.md.",
            panel=VICTIMS,
            metavar="FOLDER",
        ),
    ] = None
    fractions: Annotated[
        tuple[Fraction, ...],
        Option(
            "Share of the training pictures that is protected; below 1 the clean rest alone is a "
            "control; repeatable.",
            details="The number that matters is mixed minus remainder.",
            panel=VICTIMS,
            flag="--fraction",
            metavar="SHARE",
            read=read_share,
        ),
    ] = (Fraction(1),)
    seeds: Annotated[
        int | None,
        Option(
            "Victims of each kind.",
            details="Their seeds start at 101.",
            panel=VICTIMS,
            metavar="N",
            minimum=1,
            maximum=100,
            default_text="by budget",
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Option(
            "Passes over the training pictures.",
            details="Also where ρa > 0.",
            panel=VICTIMS,
            metavar="N",
            minimum=1,
            default_text="by budget",
        ),
    ] = None
    steps: Annotated[
        int | None,
        Option("Training steps, instead of --epochs.", panel=VICTIMS, metavar="N", minimum=1),
    ] = None
    pgd_steps: Annotated[
        int | None,
        Option(
            "Steps of the victims' adversary, each 2/N of its radius.",
            panel=VICTIMS,
            metavar="N",
            minimum=1,
            default_text="by budget",
        ),
    ] = None
    adversary: Annotated[
        Adversary,
        Option(
            "How victims attack themselves where ρa > 0: pgd, or n-fgsm, one step from wide noise.",
            details="N-FGSM (de Jorge et al., 2022) costs one pass a picture, not '--pgd-steps'.",
            panel=VICTIMS,
        ),
    ] = "pgd"
    image_size: Annotated[
        int | None,
        Option(
            "Side of what the networks see, in pixels.",
            details="Pictures up to 64 pixels are shown whole, with flips and padded crops; larger "
            "ones are stored at up to 224 pixels (256 in the paper budget), or at the size if that "
            "is larger, and shown as random resized crops.",
            panel=VICTIMS,
            metavar="N",
            minimum=8,
            maximum=LARGEST_VIEW,
            default_text="by budget and pictures",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option("Pictures a step.", panel=VICTIMS, metavar="N", minimum=1, default_text="by budget"),
    ] = None
    placebo: Annotated[
        bool, Option("Also train on random noise of the same strength.", panel=VICTIMS)
    ] = True
    motif: Annotated[
        bool,
        Option(
            "Also train on a random motif a class, of the same radius, that nobody trained.",
            panel=VICTIMS,
        ),
    ] = True
    rho: Annotated[
        Radius | None,
        Option(
            "Bound that copies are held to, and the radius of copies made here.",
            panel=NOISE,
            short="-r",
            metavar="FRACTION",
            read=read_bound,
            default_text="the manifest's, else 8/255",
        ),
    ] = None
    generator: GeneratorOption = DEFAULT_GENERATOR
    method: Annotated[
        str | None,
        Option(
            "Train a generator on these very pictures instead of taking --generator.",
            details="As published, or small under the quick budget; 'unlearn generators methods' "
            "lists the names.",
            panel=NOISE,
            metavar="NAME",
        ),
    ] = None
    recipe: Annotated[
        str | None,
        Option(
            "Recipe of the methods that are trained here.",
            panel=NOISE,
            metavar="NAME",
            default_text="quick in the quick budget, else paper",
        ),
    ] = None
    train_steps: Annotated[
        int | None,
        Option(
            "Train generators for at most N steps.",
            panel=NOISE,
            metavar="N",
            minimum=1,
            default_text="the recipe's",
        ),
    ] = None
    key: KeyOption = None
    out: Annotated[
        Path,
        Option(
            "Folder for the report, the journal and what the audit works with.",
            panel=OUTPUT,
            short="-o",
            metavar="DIR",
            default_text="audit-YYYYMMDD-HHMM",
        ),
    ] = field(default_factory=lambda: Path(time.strftime("audit-%Y%m%d-%H%M")))
    resume: Annotated[
        bool,
        Option(
            "Go on where a killed audit of the same line stopped.",
            details="Off forgets its journal.",
        ),
    ] = True
    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    compiled: CompileOption = False
    workers: Annotated[
        int,
        Option(
            "Victims trained at a time on the CPU, one thread each; changes no number.",
            metavar="N",
            minimum=0,
            default_text="cores; under torchrun 1 a rank",
        ),
    ] = field(default_factory=lambda: 1 if rank_here() else os.cpu_count() or 1)
    offline: Annotated[bool, Option("Download nothing.", variable="UNLEARN_OFFLINE")] = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.protected is not None and self.method is not None:
            raise UsageProblem(
                f"--method makes copies of its own; leave out {self.protected}, or --method"
            )
