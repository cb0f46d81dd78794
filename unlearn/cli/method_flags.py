"""The options of train-generator that decide the method: a recipe, and what differs from it."""

from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from unlearn.generators.options import TrainOptions
from unlearn.options import DEFAULT_RHO, NOISE, Option, RhoOption
from unlearn.radius import Radius

RECIPE: Final = "the recipe's"
_FINAL: Final = "the recipe's, or as in training"


@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """A recipe of min-max-min and its changes; None leaves a setting to the recipe."""

    recipe: Annotated[
        Literal["paper", "fast"],
        Option(
            "Where the settings come from that no other option names: fast shares most of the "
            "noise by class and makes a tenth of the passes of paper, which is as published.",
            details="See above.",
            panel=NOISE,
        ),
    ] = "fast"
    rho: RhoOption = DEFAULT_RHO
    rho_a: Annotated[
        Radius | None,
        Option(
            "Radius of the adversary in training; must be below --rho.",
            details="4/255 in both recipes.",
            panel=NOISE,
            metavar="FRACTION",
            default_text=RECIPE,
        ),
    ] = None
    unlearn_steps: Annotated[
        int | None,
        Option(
            "PGD steps of the noise.",
            details="10 in paper, 0 in fast. More or fewer go the same way: each is the shorter or "
            "longer for it.",
            panel=NOISE,
            metavar="N",
            minimum=1,
            default_text=RECIPE,
        ),
    ] = None
    adversary_steps: Annotated[
        int | None,
        Option(
            "PGD steps of the adversary.",
            details="10 in paper, 3 in fast; likewise.",
            panel=NOISE,
            metavar="N",
            minimum=0,
            default_text=RECIPE,
        ),
    ] = None
    views: Annotated[
        int | None,
        Option(
            "Random views summed for a step of the noise.",
            details="5 in paper, 1 in fast.",
            panel=NOISE,
            metavar="N",
            minimum=1,
            default_text=RECIPE,
        ),
    ] = None
    final_steps: Annotated[
        int | None,
        Option(
            "PGD steps of the noise to publish.",
            details="As in training in paper, 4 in fast.",
            panel=NOISE,
            metavar="N",
            minimum=1,
            default_text=_FINAL,
        ),
    ] = None
    final_views: Annotated[
        int | None,
        Option(
            "Views summed for a step of the noise to publish.",
            details="As in training in paper, 1 in fast.",
            panel=NOISE,
            metavar="N",
            minimum=1,
            default_text=_FINAL,
        ),
    ] = None
    final_crop: Annotated[
        float | None,
        Option(
            "Smallest crop in the views of the noise to publish.",
            panel=NOISE,
            metavar="SHARE",
            minimum=0.01,
            maximum=1.0,
            default_text="--smallest-crop",
        ),
    ] = None
    smallest_crop: Annotated[
        float | None,
        Option(
            "Views are random resized crops of at least this share; 1: padded crops.",
            details="1 in both recipes.",
            panel=NOISE,
            metavar="SHARE",
            minimum=0.01,
            maximum=1.0,
            default_text=RECIPE,
        ),
    ] = None
    grey: Annotated[
        float | None,
        Option(
            "Share of grey views.",
            details="0 in both recipes.",
            panel=NOISE,
            metavar="SHARE",
            minimum=0.0,
            maximum=1.0,
            default_text=RECIPE,
        ),
    ] = None
    window: Annotated[
        int | None,
        Option(
            "Noise averages to nothing over N x N pixels of its grid, so that no larger area "
            "changes its colour (odd; 0: as published).",
            details="0 in both recipes.",
            panel=NOISE,
            metavar="N",
            minimum=0,
            default_text=RECIPE,
        ),
    ] = None
    randomness: Annotated[
        Literal["norm", "squared", "mse"] | None,
        Option(
            "Form of the randomness term; mse is Eq. 7 as printed.",
            details="norm in both recipes.",
            panel=NOISE,
            default_text=RECIPE,
        ),
    ] = None
    randomness_weight: Annotated[
        float | None,
        Option(
            "Weight of the randomness term.",
            details="1 in both recipes.",
            panel=NOISE,
            metavar="W",
            minimum=0.0,
            default_text=RECIPE,
        ),
    ] = None
    shared: Annotated[
        Radius | None,
        Option(
            "Radius of a part of the noise that all pictures of a class share; 0: as published.",
            details="0 in paper, 8/255 in fast. Each picture's own noise starts from it.",
            panel=NOISE,
            metavar="FRACTION",
            default_text=RECIPE,
        ),
    ] = None
    joint: Annotated[
        bool | None,
        Option(
            "Attacked and clean pictures in one forward pass.",
            details="Off in paper, on in fast.",
            panel=NOISE,
            default_text=RECIPE,
        ),
    ] = None
    settings: Annotated[
        tuple[str, ...],
        Option(
            "Any other setting of the method, see docs/cli.md; repeatable.",
            details="It is stronger than an option that means the same.",
            panel=NOISE,
            flag="--set",
            metavar="NAME=VALUE",
        ),
    ] = ()
    arch: Annotated[
        tuple[str, ...],
        Option(
            "resnet18, resnet18-thin, resnet-small or any other of 'unlearn audit --arch'; several "
            "are trained in turn.",
            details="Noise is then made against all of them. Pretrained ones will not do; "
            "resnet18-thin and resnet-small are made for CPUs.",
            panel=NOISE,
            metavar="NAME",
            default_text="resnet18",
        ),
    ] = ("resnet18",)
    steps: Annotated[
        int | None,
        Option(
            "Training steps.",
            details="5000 in paper, 4000 in fast.",
            metavar="N",
            minimum=1,
            default_text=RECIPE,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option(
            "Pictures a step.",
            details="128 in both recipes.",
            metavar="N",
            minimum=1,
            default_text=RECIPE,
        ),
    ] = None


def with_method(options: TrainOptions, flags: MethodFlags) -> TrainOptions:
    """Return the options with the method and the network that the flags come to.

    Raises UsageProblem for unknown settings and for some that contradict another.
    """
    from unlearn.generators.recipes import Attacks, method_of

    first, *others = flags.arch
    named = {
        "randomness": flags.randomness,
        "randomness_weight": flags.randomness_weight,
        "joint": None if flags.joint is None else str(flags.joint).lower(),
        "shared": flags.shared,
        "window": flags.window,
        "views.smallest_crop": flags.smallest_crop,
        "views.grey": flags.grey,
        "final_views.smallest_crop": flags.final_crop,
        "architectures": ",".join(others) or None,
        "schedule.steps": flags.steps,
        "schedule.batch_size": flags.batch_size,
    }
    chosen = [f"{field}={value}" for field, value in named.items() if value is not None]
    attacks = Attacks(
        rho=flags.rho,
        rho_a=flags.rho_a,
        unlearn_steps=flags.unlearn_steps,
        adversary_steps=flags.adversary_steps,
        views=flags.views,
        final_steps=flags.final_steps,
        final_views=flags.final_views,
    )
    method = method_of(flags.recipe, attacks, [*chosen, *flags.settings])
    return replace(options, method=method, architecture=first)
