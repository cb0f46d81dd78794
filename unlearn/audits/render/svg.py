"""Inline SVG charts: lines over a number, and pairs of bars; told apart by shape, not by colour.

Colours and fonts come from the page's style sheet through class names, so that a chart follows the
page's theme.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 420
LEFT, RIGHT, BOTTOM = 54, 14, 52
PLOT_HEIGHT = 250
_LEGEND_ROW, _LEGEND_COLUMNS, _KEY = 24, 2, 34  # a row's height, entries in it, a key's length
_DODGE = 8  # pixels between points that share their place on the axis
_MARKERS_APART = 42  # a curve is marked so often, in pixels, that its shape can be told
_STAGGER = 14  # and each a little after the one before, so that curves in one place are told apart
_BAR, _BAR_GAP, _GROUP_GAP, _NAME_ROW = 14, 3, 14, 20
_BARS_RIGHT = 68  # room for the number behind the longest bar
_BARS_LEFT = 2

DASHES = {
    "clean": "10 4",
    "placebo": "2 4",
    "motif": "5 3",
    "remainder": "9 3 2 3",
    "protected": "none",
}
_SHAPES = {
    "clean": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "placebo": "M-4.5 -4.5h9v9h-9z",
    "motif": "M0 6l5.5 -10h-11z",
    "remainder": "M0 -6l5.5 10h-11z",
    "protected": "M0 -6.5l5.5 6.5l-5.5 6.5l-5.5 -6.5z",
}


_HATCHING = {"clean": 45, "placebo": 90, "motif": 0, "remainder": -45}  # degrees


@dataclass(frozen=True)
class Place:
    """A point of a line: accuracy in 0…1, and its spread over seeds, if there is one."""

    x: float
    accuracy: float
    spread: float | None = None


@dataclass(frozen=True)
class Series:
    """A line or a row of bars; kind is the arm, which decides shape, dash and colour."""

    kind: str
    name: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Chart:
    """What a chart shows; ticks are places on the x axis (or groups of bars) with their texts."""

    identifier: str
    title: str
    description: str
    x_title: str
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    chance: float


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element with everything escaped; class_ stands for class, x_y for x-y."""
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
    )
    inner = Markup("").join(children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), pairs, inner)


def _plain(value: object) -> object:
    """Return a number short enough for a drawing, and anything else as it is."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def line_chart(chart: Chart) -> Markup:
    """Draw one line a series, with whiskers where a spread is known."""
    return _lines(chart, dodge=True)


def curve_chart(chart: Chart) -> Markup:
    """Draw one curve a series, marked here and there."""
    return _lines(chart, dodge=False)


def _lines(chart: Chart, *, dodge: bool) -> Markup:
    """Draw axes, chance, series and legend."""
    top = _legend_height(chart) + 36
    frame = Frame(top, *span(chart))
    drawn = [*axes(chart, frame), chance_line(chart, frame)]
    for number, series in enumerate(chart.series):
        shift = (number - (len(chart.series) - 1) / 2) * _DODGE if dodge else 0.0
        first = number * _STAGGER if len(series.places) > 1 else 0.0
        drawn += _series(series, frame, shift, None if dodge else first)
    return picture(chart, top + PLOT_HEIGHT + BOTTOM, [*_legend(chart), *drawn])


@dataclass(frozen=True)
class Frame:
    """Where the plot lies, and how values become places in it."""

    top: float
    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        return self.top + (1 - min(1.0, max(0.0, accuracy))) * PLOT_HEIGHT


def span(chart: Chart) -> tuple[float, float]:
    """Return the ends of the x axis, a little beyond the outermost places."""
    places = [place for place, _ in chart.ticks]
    places += [place.x for series in chart.series for place in series.places]
    margin = (max(places) - min(places)) * 0.06 or 1.0
    return min(places) - margin, max(places) + margin


def axes(chart: Chart, frame: Frame) -> Iterator[Markup]:
    """Yield grid, ticks and titles of both axes."""
    yield tag("text", "accuracy", x=0, y=frame.top - 16, class_="title")
    for percent in (0, 25, 50, 75, 100):
        y = frame.y(percent / 100)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        yield tag("text", f"{percent} %", x=LEFT - 6, y=y + 5, text_anchor="end")
    bottom = frame.y(0)
    for place, text in chart.ticks:
        x = frame.x(place)
        yield tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis")
        yield tag("text", text, x=x, y=bottom + 21, text_anchor="middle")
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield tag("text", chart.x_title, x=middle, y=bottom + 43, text_anchor="middle", class_="title")


def chance_line(chart: Chart, frame: Frame) -> Markup:
    """Return the line of guessing."""
    y = frame.y(chart.chance)
    return tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="chance")


def _series(
    series: Series, frame: Frame, shift: float, marked_after: float | None
) -> Iterator[Markup]:
    """Yield a series' line, whiskers and markers: all, or now and then after so many pixels."""
    points = [(frame.x(place.x) + shift, frame.y(place.accuracy)) for place in series.places]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    style = f"line {series.kind}"
    yield tag("path", d=path, class_=style, stroke_dasharray=DASHES[series.kind])
    wanted = points[0][0] + (marked_after or 0.0)
    for place, (x, y) in zip(series.places, points, strict=True):
        if place.spread:
            ends = frame.y(place.accuracy - place.spread), frame.y(place.accuracy + place.spread)
            yield whisker(series.kind, (x, x), ends)
        if marked_after is None or x >= wanted:
            yield marker(series.kind, x, y)
            wanted = x + _MARKERS_APART


def whisker(kind: str, across: tuple[float, float], along: tuple[float, float]) -> Markup:
    """Return a line with a cap at both ends, upright or lying."""
    (x1, x2), (y1, y2) = across, along
    cap = "v8m0 -4" if y1 == y2 else "h8m-4 0"
    back = "m0 -4" if y1 == y2 else "m-4 0"
    path = f"M{x1:.1f} {y1:.1f}{back}{cap}L{x2:.1f} {y2:.1f}{back}{cap}"
    return tag("path", d=path, class_=f"whisker {kind}")


def marker(kind: str, x: float, y: float) -> Markup:
    """Return the shape of an arm."""
    moved = f"translate({x:.1f} {y:.1f})"
    return tag("path", d=_SHAPES[kind], transform=moved, class_=f"mark {kind}")


def _legend_height(chart: Chart) -> int:
    """Return how much room the legend takes, guessing included."""
    return -(-(len(chart.series) + 1) // _LEGEND_COLUMNS) * _LEGEND_ROW


def _legend_places(chart: Chart) -> Iterator[tuple[float, float]]:
    """Yield where each entry begins: its left end and the middle of its row."""
    for number in range(len(chart.series) + 1):
        row, column = divmod(number, _LEGEND_COLUMNS)
        yield column * WIDTH / _LEGEND_COLUMNS, row * _LEGEND_ROW + _LEGEND_ROW / 2


def _legend(chart: Chart) -> Iterator[Markup]:
    """Yield a key and a name for each series, and for guessing."""
    *places, (x, y) = _legend_places(chart)
    for series, (left, middle) in zip(chart.series, places, strict=True):
        ends = {"x1": left, "x2": left + _KEY, "y1": middle, "y2": middle}
        dash = DASHES[series.kind]
        yield tag("line", class_=f"line {series.kind}", stroke_dasharray=dash, **ends)
        yield marker(series.kind, left + _KEY / 2, middle)
        yield tag("text", series.name, x=left + _KEY + 8, y=middle + 5)
    yield tag("line", x1=x, x2=x + _KEY, y1=y, y2=y, class_="chance")
    yield tag("text", _chance_name(chart), x=x + _KEY + 8, y=y + 5)


def _chance_name(chart: Chart) -> str:
    return f"guessing ({100 * chart.chance:.1f} %)"


def bar_chart(chart: Chart) -> Markup:
    """Draw a group of lying bars for each tick, one bar a series, its number behind it."""
    top = float(_legend_height(chart) + 8)
    group = _NAME_ROW + len(chart.series) * (_BAR + _BAR_GAP) + _GROUP_GAP
    bottom = top + group * len(chart.ticks)
    drawn = [*_hatchings(chart), *_bar_legend(chart)]
    for percent in (0, 25, 50, 75, 100):
        x = _along(percent / 100)
        drawn.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        drawn.append(tag("text", f"{percent} %", x=x, y=bottom + 20, text_anchor="middle"))
    x = _along(chart.chance)
    drawn.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="chance"))
    for number, (place, name) in enumerate(chart.ticks):
        drawn += _group(chart, place, name, top + number * group)
    title = {"x": _along(0.5), "y": bottom + 42, "text_anchor": "middle", "class_": "title"}
    drawn.append(tag("text", chart.x_title, **title))
    return picture(chart, bottom + BOTTOM, drawn)


def _along(accuracy: float) -> float:
    """Return the place of an accuracy on the lying axis."""
    return _BARS_LEFT + min(1.0, max(0.0, accuracy)) * (WIDTH - _BARS_LEFT - _BARS_RIGHT)


def _group(chart: Chart, place: float, name: str, top: float) -> Iterator[Markup]:
    """Yield a countermeasure's name and its bars."""
    yield tag("text", name, x=_BARS_LEFT, y=top + 14, class_="title")
    for number, series in enumerate(chart.series):
        found = [value for value in series.places if value.x == place]
        y = top + _NAME_ROW + number * (_BAR + _BAR_GAP)
        for value in found:
            yield from _bar(chart, series.kind, value, y)


def _bar(chart: Chart, kind: str, value: Place, y: float) -> Iterator[Markup]:
    """Yield a bar, its whisker and its number."""
    yield _box(chart, kind, (_BARS_LEFT, y), _along(value.accuracy) - _BARS_LEFT)
    spread, middle = value.spread or 0.0, y + _BAR / 2
    ends = _along(value.accuracy - spread), _along(value.accuracy + spread)
    if spread:
        yield whisker("ink", ends, (middle, middle))
    yield tag("text", f"{100 * value.accuracy:.1f} %", x=ends[1] + 7, y=middle + 5)


def _box(chart: Chart, kind: str, corner: tuple[float, float], width: float) -> Markup:
    """Return a bar's rectangle: hatched, but for the protected, which are solid."""
    x, y = corner
    style = {} if kind == "protected" else {"fill": f"url(#{chart.identifier}-{kind})"}
    return tag("rect", x=x, y=y, width=width, height=_BAR, class_=f"bar {kind}", **style)


def _hatchings(chart: Chart) -> Iterator[Markup]:
    """Yield the pattern that fills each kind of bar but the protected."""
    for kind in {series.kind: None for series in chart.series}:
        line = tag("path", d="M0 0V6", class_=f"hatch {kind}")
        size = {"width": 6, "height": 6, "patternUnits": "userSpaceOnUse"}
        turn = f"rotate({_HATCHING.get(kind, 0)})"
        turned = {"id": f"{chart.identifier}-{kind}", "patternTransform": turn}
        yield tag("pattern", line, **size, **turned)


def _bar_legend(chart: Chart) -> Iterator[Markup]:
    """Yield a box and a name for each series, and guessing's line."""
    *places, (x, y) = _legend_places(chart)
    for series, (left, middle) in zip(chart.series, places, strict=True):
        yield _box(chart, series.kind, (left, middle - _BAR / 2), float(_KEY))
        yield tag("text", series.name, x=left + _KEY + 8, y=middle + 5)
    key = x + _KEY / 2
    yield tag("line", x1=key, x2=key, y1=y - 9, y2=y + 9, class_="chance")
    yield tag("text", _chance_name(chart), x=x + _KEY + 8, y=y + 5)


def picture(chart: Chart, height: float, drawn: Sequence[Markup]) -> Markup:
    """Return the whole drawing with its name and description for those who do not see it."""
    names = f"{chart.identifier}-title {chart.identifier}-description"
    return tag(
        "svg",
        tag("title", chart.title, id=f"{chart.identifier}-title"),
        tag("desc", chart.description, id=f"{chart.identifier}-description"),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_labelledby=names,
    )
