"""How visible the noise of a run is, in words, from the protected pictures themselves."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Final

from unlearn.files.text import printable
from unlearn.pictures.visibility import EASILY_SEEN, HARDLY_SEEN
from unlearn.protection.manifest import PictureRecord

_NAMED: Final = 3
_SCALE: Final = f"{HARDLY_SEEN:g} is hardly seen, {EASILY_SEEN:g} easily"


def visibility_lines(most_visible: Sequence[PictureRecord]) -> Iterator[str]:
    """Yield what a person sees of the noise on plain areas, the worst pictures named."""
    if not most_visible:
        return
    known = [record.visible or 0 for record in most_visible]
    average, worst = fmean(known), known[0]
    found = f"CIEDE2000 {average:.1f}"
    if len(known) > 1:
        names = ", ".join(printable(record.src) for record in most_visible[:_NAMED])
        rest = ", …" if len(known) > _NAMED else ""
        found += f" on average, {worst:.1f} at worst ({names}{rest})"
    seen = fmean(record.seen or 0 for record in most_visible)
    yield f"{in_words(average)} on plain areas: {found}"
    yield f"{_SCALE}; blurred as by the eye at arm's length: {seen:.1f}"


def visibility_as_plain(most_visible: Sequence[PictureRecord]) -> dict[str, Any] | None:
    """Return the same as plain values, None if nothing is known."""
    if not most_visible:
        return None
    return {
        "ciede2000": round(fmean(record.visible or 0 for record in most_visible), 2),
        "ciede2000_p95": round(fmean(record.visible_high or 0 for record in most_visible), 2),
        "seen": round(fmean(record.seen or 0 for record in most_visible), 2),
        "seen_p95": round(fmean(record.seen_high or 0 for record in most_visible), 2),
        "worst": most_visible[0].src,
        "worst_ciede2000": most_visible[0].visible,
    }


def in_words(difference: float) -> str:
    """Return how visible a colour difference is."""
    if difference < HARDLY_SEEN:
        return "hardly"
    return "by a careful eye" if difference < EASILY_SEEN else "easily"
