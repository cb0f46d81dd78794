"""A scatter chart: methods by a cost and by what the copier learned, with the Pareto front."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from unlearn.audits.render.svg import (
    BOTTOM,
    LEFT,
    PLOT_HEIGHT,
    RIGHT,
    WIDTH,
    Chart,
    Frame,
    Place,
    axes,
    chance_line,
    marker,
    picture,
    span,
    tag,
    whisker,
)

_TOP: Final = 36
_LETTER, _LINE, _GAP = 8.6, 15.0, 9.0  # of a label in pixels: a letter's width, height, distance
_KIND: Final = {True: "protected", False: "remainder"}  # bounded, and not

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Dot:
    """A method: what it costs, what the copier reached, and whether its noise keeps the bound."""

    name: str
    place: Place
    bounded: bool


def pareto(dots: Sequence[Dot]) -> list[Dot]:
    """Return the dots that no other beats in both, from the cheapest on."""
    front: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.place.x, dot.place.accuracy)):
        if not front or dot.place.accuracy < front[-1].place.accuracy:
            front.append(dot)
    return front


def scatter_chart(chart: Chart, dots: Sequence[Dot], clean: float) -> Markup:
    """Draw dots with their names, the steps of the Pareto front, guessing and the clean control."""
    frame = Frame(_TOP, *span(chart))
    y = frame.y(clean)
    drawn = [
        *axes(chart, frame),
        chance_line(chart, frame),
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="line clean"),
        _front(pareto(dots), frame),
        *_labels(dots, frame),
    ]
    for dot in dots:
        x, place = frame.x(dot.place.x), dot.place
        if place.spread:
            ends = frame.y(place.accuracy - place.spread), frame.y(place.accuracy + place.spread)
            drawn.append(whisker(_KIND[dot.bounded], (x, x), ends))
        drawn.append(marker(_KIND[dot.bounded], x, frame.y(place.accuracy)))
    return picture(chart, _TOP + PLOT_HEIGHT + BOTTOM, drawn)


def _front(front: Sequence[Dot], frame: Frame) -> Markup:
    """Return the border of what is not beaten: steps from dot to dot."""
    steps = [f"M{frame.x(front[0].place.x):.1f} {frame.y(front[0].place.accuracy):.1f}"]
    for dot in front[1:]:
        steps.append(f"H{frame.x(dot.place.x):.1f}V{frame.y(dot.place.accuracy):.1f}")
    return tag("path", d="".join(steps), class_="front")


def _labels(dots: Sequence[Dot], frame: Frame) -> Iterator[Markup]:
    """Yield the names, each where it covers least of dots and of names before it."""
    centres = [(frame.x(dot.place.x), frame.y(dot.place.accuracy)) for dot in dots]
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    for dot, (x, y) in zip(dots, centres, strict=True):
        width = _LETTER * len(dot.name)
        boxes = [_boxed(x, y, width, across, down) for across, down in _PLACES]
        box = min(boxes, key=lambda box: sum(_shared(box, other) for other in taken) + _out(box))
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        if abs(middle - y) > 1.5 * _LINE:  # so far away that it could be another dot's
            ends = {"x1": x, "x2": min(max(x, box[0]), box[2]), "y1": y, "y2": middle}
            yield tag("line", class_="chance", **ends)
        yield tag("text", dot.name, x=box[0], y=box[3] - 3)


_PLACES: Final = tuple(
    (across, down) for down in (0, -1, 1, -2, 2, -3, 3) for across in (1, -1, 0) if across or down
)


def _boxed(x: float, y: float, width: float, across: int, down: int) -> Box:
    """Return where a label lies that is moved by so many steps from its dot."""
    left = x + _GAP if across > 0 else x - _GAP - width if across < 0 else x - width / 2
    top = y - _LINE / 2 + down * _LINE
    return left, top, left + width, top + _LINE


def _shared(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _out(box: Box) -> float:
    """Return how bad it is that a box sticks out of the plot."""
    left, top, right, bottom = box
    out = max(0.0, LEFT - left) + max(0.0, right - WIDTH + RIGHT)
    out += max(0.0, _TOP - top) + max(0.0, bottom - _TOP - PLOT_HEIGHT)
    return out * _LINE
