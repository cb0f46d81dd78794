"""What `unlearn protect --report-survival` adds to the account of a run."""

from collections.abc import Iterator

from unlearn.files.text import printable
from unlearn.pictures.survival import TRANSFORMATIONS
from unlearn.protection.events import SurvivalReport


def survival_lines(survival: SurvivalReport | None) -> Iterator[str]:
    """Yield a line for each transformation, mean and worst, below one that says what they are."""
    if survival is None:
        return
    measured = f"of {survival.protected} measured: how much of the noise is left, mean and worst"
    yield f"  {'Survival':<13} {len(survival.found):>6}  {measured}"
    for name, one in survival.summaries.items():
        title, worst = TRANSFORMATIONS[name].title, printable(one.worst_picture)
        others = len(survival.found) - one.pictures
        missing = f"; {others} too large for it" if others else ""
        shares = f"{_percent(one.mean_share):>6}  {_percent(one.worst_share):>5}"
        yield f"  {'':<13} {shares}  after {title} (worst: {worst}{missing})"
    yield f"  {'':<22}That is how strong the noise is; what it does, 'unlearn audit' measures"


def _percent(share: float) -> str:
    """Return a share in whole percent."""
    return f"{share:.0%}".replace("%", " %").replace("-0 ", "0 ")
