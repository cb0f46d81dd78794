"""What each flag means and what to do about it; docs/audit-flags.md says it too."""

from dataclasses import dataclass
from typing import Final

from unlearn.audits.flags import (
    FEWEST_TESTED,
    FEWEST_TRAINED,
    FITTED,
    FITTED_HARDER,
    MARGIN,
    NOTICEABLE,
    PEAK,
)


def _percent(share: float) -> str:
    return f"{100 * share:g}"


@dataclass(frozen=True)
class FlagText:
    """What a flag is called, when it is raised, what that means, and what to do.

    Options stand in backticks.
    """

    title: str
    raised: str
    means: str
    do: str

    @property
    def paragraph(self) -> str:
        """The three as one paragraph."""
        return f"Raised if {self.raised} It means {self.means} Do: {self.do}"


FLAG_TEXTS: Final[dict[str, FlagText]] = {
    "diverged": FlagText(
        "A training diverged",
        "the loss of a victim is no longer a finite number.",
        "that its training broke down; its accuracy says nothing about the pictures.",
        "leave this number out, and train again with other `--epochs`, `--batch-size` or `--arch`.",
    ),
    "control-did-not-learn": FlagText(
        "The clean control did not learn",
        "the 95 % interval of a victim that trained on clean pictures reaches down to "
        f"{_percent(MARGIN)} points above guessing or less, or half-way from there to perfect if "
        "that is less (where guessing gets at most 25 %, also if its accuracy is at most twice "
        "that).",
        "that the audit cannot show protection in this setting: a network that learns little from "
        "clean pictures looks just like one that was kept from learning.",
        "train longer, on more pictures or at a smaller ρa, until the clean control is well above "
        "guessing.",
    ),
    "victim-did-not-fit": FlagText(
        "A victim did not learn its own pictures",
        "a victim that trained on clean or on protected pictures does badly on these very "
        f"pictures: below {_percent(FITTED)} % of the way from guessing to perfect, or below "
        f"{_percent(FITTED_HARDER)} % of it with an adversary or a countermeasure.",
        "that it was not trained to the end, so that a low accuracy on held-out pictures may come "
        "from too little training and not from the noise.",
        "raise `--epochs` and look at the training curves; protection shows as a high accuracy on "
        "the protected pictures and a low one on clean ones.",
    ),
    "control-below-protected": FlagText(
        "The clean control does worse than the protected victim",
        "the clean control is below the victim that trained on protected pictures, their 95 % "
        "intervals apart.",
        "that this setting shows no protection, or that the control trained badly.",
        "look at the training curve of the clean control, use more seeds, and claim no protection "
        "in this setting unless the order turns.",
    ),
    "no-effect": FlagText(
        "No effect",
        "a victim of wholly protected pictures ends less than "
        f"{_percent(NOTICEABLE)} points below its clean control.",
        "that the pictures are not protected against a copier who trains like this one, although "
        "the noise is there and within its bound.",
        "claim nothing for this setting; noise often shows only after long training, so try more "
        "`--epochs`, and a generator that was made for pictures and a ρa like these.",
    ),
    "placebo-as-strong": FlagText(
        "Random noise does as much",
        f"protected pictures cost the copier at least {_percent(NOTICEABLE)} points, and random "
        "noise of the same size costs at least half as much.",
        "that much of the effect is that of any noise of this size.",
        "do not credit the generator with it; use one that was made for pictures and a ρa like "
        "these.",
    ),
    "motif-as-strong": FlagText(
        "A random motif does as much",
        "a victim of wholly protected pictures is not below that of the random motif, neither at "
        "the end nor in its best epoch, by more than the spread between seeds (with one seed: half "
        "of the 95 % interval).",
        "that a few random signs a class, repeated, which cost nothing, do as well in this "
        "setting: what the method learned is not worth its passes.",
        "use `--generator` motifs or a method that beats the control; where both leave the copier "
        "near guessing, compare how visible they are.",
    ),
    "best-far-above-last": FlagText(
        "The best epoch is far above the last",
        "the best epoch of a victim that trained on protected pictures is at least "
        f"{_percent(PEAK)} points above its last.",
        "that the network learned something useful early and lost it later; a copier who stops in "
        "time keeps it.",
        "quote the best epoch beside the last, and try `--countermeasures early-stopping`, which "
        "chooses the epoch on a few clean pictures.",
    ),
    "protected-helps": FlagText(
        "Protected pictures help the copier",
        "a partly protected set gives a better victim than its unprotected pictures alone.",
        "that the protected pictures still help a copier who mixes them with clean ones.",
        "protect a larger share, and do not call the protected pictures of a mixed set useless.",
    ),
    "below-chance": FlagText(
        "Worse than guessing",
        "the 95 % interval of a victim lies wholly below guessing on held-out clean pictures.",
        "that it learned to be wrong in a regular way, by reading the noise, which a copier who "
        "notices can turn round; or, where classes are of uneven sizes, that it knows less than "
        "their sizes.",
        "read the number as no better than guessing, and look at the training curve.",
    ),
    "test-in-training": FlagText(
        "Held-out pictures are in the training set",
        "held-out pictures are also in the training set, by their contents.",
        "that a part of the test measures memory; accuracies are too high, most of all that of the "
        "clean control.",
        "remove the duplicates from the data set and audit again.",
    ),
    "too-few": FlagText(
        "Too few pictures",
        f"there are fewer than 2 classes, fewer than {FEWEST_TRAINED} training pictures in the "
        f"smallest class, or fewer than {FEWEST_TESTED} held-out pictures.",
        "that there are too few pictures to conclude: any of the numbers may be chance.",
        "audit with more pictures; until then take the report for a test of the set-up only.",
    ),
    "one-seed": FlagText(
        "One seed only",
        "a setting was trained with one seed only.",
        "that nobody knows how far its numbers move from one training to the next.",
        "use `--seeds 3` or more before you quote a difference.",
    ),
}


def title_of(name: str) -> str:
    """Return what a flag is called where people read it."""
    return FLAG_TEXTS[name].title if name in FLAG_TEXTS else name
