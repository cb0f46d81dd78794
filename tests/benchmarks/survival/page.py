"""docs/results/survival.md, made from the record: tables, and what they say in words."""

import textwrap
from collections.abc import Iterator

from tests.benchmarks.survival.noises import DEFAULT, GRID, NOISES
from unlearn.pictures.survival import TRANSFORMATIONS, Summary, Survival, summary

TARGET = 0.8
WIDTH = 99
FLAT = 1.0  # levels of spread
JUDGED = "box256-jpeg95"
TITLES = {"jpeg75": "JPEG 75", "box256-jpeg95": "256 px + JPEG 95", "webp80": "WebP 80"}

OPENING = """# How much of the noise survives

A website or a scraper stores a picture anew, and some of the noise is lost. Three things that they
do, to the clean and to the protected file alike: JPEG of quality 75 with colour at half resolution
(Pillow's default); shrinking to 256 pixels on the long side (area means) and JPEG of quality 95
(img2dataset's default, but that smaller pictures stay as they are); WebP of quality 80 (Pillow's
default). What is left is the difference between the two.

*Share* is the part of the noise that is still there in its own pattern: 1 is all, 0 nothing. It is
*strength* times *correlation*: strength is how large what is left is beside the noise, whatever
its pattern, and correlation how much of it has the noise's own. Strength alone flatters: an
encoder treats two different files differently, and what it adds is counted too, so that it may
exceed 1. The exact definitions are in `unlearn/pictures/survival.py`.

**This is the strength of the noise, not protection.** Noise can survive and teach nothing, and
weak noise can work. What a model learns from pictures that were stored anew is measured by
`unlearn audit --countermeasures "jpeg75,resize256"`.
"""


def page(record: dict) -> str:
    """Return the page."""
    parts = [OPENING, f"    {record['command']}\n"]
    for kind, title in (("photos", "Photos of cameras"), ("small", "Small pictures")):
        if any(line["set"] == kind for line in record["lines"]):
            parts.append("\n".join(section(record, kind, title)))
    parts.append(
        f"{record['versions']}, {record['machine']}; generator "
        f"`{record['generator_sha256'][:12]}`. Every number: [survival.json](survival.json).\n"
    )
    return "\n".join(parts)


def section(record: dict, kind: str, title: str) -> Iterator[str]:
    """Yield the tables of one set of pictures, and whether the target is met."""
    lines = record["lines"]
    sizes = [max(line["size"]) for line in lines if line["set"] == kind]
    pictures = len({line["picture"] for line in lines if line["set"] == kind})
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    box = TRANSFORMATIONS[JUDGED].longest
    note = " (so nothing is left to shrink)" if max(sizes) <= box else ""
    yield f"## {title}\n"
    yield f"{pictures} pictures, long side {span} pixels{note}. Share left, mean (worst picture):\n"
    yield f"| noise of 8/255 | {' | '.join(TITLES[name] for name in TRANSFORMATIONS)} |"
    yield "|---" * (1 + len(TRANSFORMATIONS)) + "|"
    for noise in NOISES:
        cells = [sums(lines, kind, noise, name) for name in TRANSFORMATIONS]
        row = " | ".join(f"{one.mean_share:.2f} ({one.worst_share:.2f})" for one in cells)
        yield f"| {bold(noise)} | {row} |"
    yield "\nThe same as strength and correlation, means:\n"
    yield f"| noise of 8/255 | {' | '.join(TITLES[name] for name in TRANSFORMATIONS)} |"
    yield "|---" * (1 + len(TRANSFORMATIONS)) + "|"
    for noise in NOISES:
        cells = [sums(lines, kind, noise, name) for name in TRANSFORMATIONS]
        row = " | ".join(f"{one.mean_strength:.2f}, {one.mean_correlation:.2f}" for one in cells)
        yield f"| {bold(noise)} | {row} |"
    yield f"\n{verdict(lines, kind)}\n"
    yield f"{each_class([line for line in record['classes'] if line['set'] == kind])}\n"


def verdict(lines: list[dict], kind: str) -> str:
    """Say how each grid stands to the target, with one class for each picture."""
    total = sums(lines, kind, DEFAULT, JUDGED)
    short = below(lines, kind, DEFAULT)
    missed = f"missed on {len(short)} of {total.pictures}" if short else "met on every picture"
    others = [noise for noise in NOISES if noise.startswith("base") and noise != DEFAULT]
    counts = [f"{len(below(lines, kind, noise))} with {noise.split(', ')[1]}" for noise in others]
    return filled(
        f"Target: a share of at least {TARGET} after shrinking to 256 pixels and JPEG 95. The "
        f"default grid of 64 leaves {total.mean_share:.2f} on average and "
        f"{total.worst_share:.2f} at worst ({total.worst_picture}): {missed}. "
        f"Pictures below it: {', '.join(counts)}."
    )


def each_class(found: list[dict]) -> str:
    """Say the same of the default noise of every class, and what is below the target and why."""
    shares = [share for line in found for share in line["shares"]]
    classes = len(found[0]["shares"])
    short = [line for line in found if min(line["shares"]) < TARGET]
    count = sum(share < TARGET for share in shares)
    text = (
        f"Every picture with the default noise of each of the generator's {classes} classes: "
        f"{sum(shares) / len(shares):.2f} on average, {min(shares):.2f} at worst, "
        f"{count} of {len(shares)} below the target."
    )
    for line in short:
        width, height = line["size"]
        flat = ", one flat colour" if line["spread"] < FLAT else ""
        text += (
            f" {line['picture']} ({width} x {height}{flat}, a cell of the grid is "
            f"{cell_pixels(width, height):.1f} pixels wide after the shrinking) "
            f"has {min(line['shares']):.2f} to {max(line['shares']):.2f}; with colour at full "
            f"resolution in that JPEG {min(line['full_colour']):.2f} to "
            f"{max(line['full_colour']):.2f}."
        )
    if short:
        rest = [min(line["shares"]) for line in found if line not in short]
        text += f" All other pictures keep at least {min(rest):.2f} with every class."
    return filled(text)


def cell_pixels(width: int, height: int) -> float:
    """Return how wide a cell of the default grid is after the judged transformation."""
    return min(TRANSFORMATIONS[JUDGED].size(width, height)) / min(GRID, width, height)


def below(lines: list[dict], kind: str, noise: str) -> list[str]:
    """Return the pictures that have less than the target left."""
    return [name for name, one in measured(lines, kind, noise, JUDGED) if one.share < TARGET]


def sums(lines: list[dict], kind: str, noise: str, name: str) -> Summary:
    return summary(measured(lines, kind, noise, name))


def measured(lines: list[dict], kind: str, noise: str, name: str) -> list[tuple[str, Survival]]:
    """Return what one transformation left of one kind of noise, by picture."""
    return [
        (line["picture"], Survival(*line[name]))
        for line in lines
        if (line["set"], line["noise"]) == (kind, noise) and line[name] is not None
    ]


def filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def bold(noise: str) -> str:
    return f"**{noise} (the default)**" if noise == DEFAULT else noise
