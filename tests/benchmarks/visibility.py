"""How visible a generator is at each strength, on a folder of photos.

    python -m tests.benchmarks.visibility photos [--generator casts] [--format png]

CIEDE2000 on the plain third of each picture; printed as a table in Markdown.
"""

import argparse
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import unlearn
from unlearn.options import DEFAULT_GENERATOR
from unlearn.pictures.visibility import EASILY_SEEN
from unlearn.protection.options import STRENGTHS

HEADS = (
    "| Strength | Photos | Mean | Mean of the most visible | 95th percentile, on average | at most "
    f"| Seen at arm's length | 95th percentile of that | Over {EASILY_SEEN} | Stay JPEG | Size |\n"
    + "|---" * 11
    + "|"
)


def row(strength, photos, folder, kind, generator):
    """Return what a run of one strength says of its pictures."""
    report = unlearn.protect(
        photos,
        folder / strength,
        rho=STRENGTHS[strength],
        labels="one",
        format=kind,
        generator=generator,
        preview=0,
        workers=1,
    )
    done = report.protected
    means = [record.visible for record in done]
    highs = [record.visible_high for record in done]
    before = sum((photos / record.src).stat().st_size for record in done)
    cells = (
        f"`{strength}`",
        f"{len(done)}",
        f"{mean(means):.2f}",
        f"{max(means):.2f}",
        f"{mean(highs):.2f}",
        f"{max(highs):.2f}",
        f"{mean(record.seen for record in done):.2f}",
        f"{mean(record.seen_high for record in done):.2f}",
        f"{sum(value > EASILY_SEEN for value in means)}",
        f"{len(report.kept)}",
        f"{report.written_bytes / before:.2f}x",
    )
    return f"| {' | '.join(cells)} |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--format", default="auto", choices=("auto", "keep", "png"))
    parser.add_argument("--generator", default=DEFAULT_GENERATOR)
    given = parser.parse_args()
    print(HEADS)
    with TemporaryDirectory() as folder:
        for strength in STRENGTHS:
            line = row(strength, given.photos, Path(folder), given.format, given.generator)
            print(line, flush=True)


if __name__ == "__main__":
    main()
