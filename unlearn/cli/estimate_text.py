"""What `unlearn audit --estimate` prints: the share of noises named rightly, by view and copy."""

from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from unlearn.cli.console import Output

if TYPE_CHECKING:
    from unlearn.audits.estimate import Estimated

_NOTE: Final = (
    "Nothing was trained. One template a class, learned from half of the pictures, names the "
    "noise of the others, wherever it begins. Near guessing, a copier who looks for one pattern a "
    "class finds none; noise of each picture's own may still work, and a large share does not "
    "prove that a network finds the pattern: train one with unlearn audit."
)


def print_estimate(found: "Estimated", output: Output) -> None:
    """Print the shares as a table, and what they mean."""
    from unlearn.audits.estimate import RADII
    from unlearn.audits.render.words import count, percent, radius_text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Noise named rightly", no_wrap=True)
    table.add_column("Pictures", justify="right")
    for radius in RADII:
        table.add_column(f"ρa {radius_text(radius)}", justify="right")
    for left in found.left:
        shares = (percent(share) for share in left.shares)
        table.add_row(f"{left.view} px, {left.copies}", str(left.pictures), *shares)
    uneven = ", the largest named for all" if found.chance * found.classes > 1 else ""
    classes = count(found.classes, "class", "es") + uneven
    output.result(table, f"Guessing: {percent(found.chance)} ({classes}). {_NOTE}")


def as_plain(found: "Estimated") -> dict[str, Any]:
    """Return the same as plain values; shares are in 0…1 by ρa."""
    from unlearn.audits.estimate import RADII

    return {
        "classes": found.classes,
        "chance": round(found.chance, 6),
        "left": [
            {
                "view": left.view,
                "copies": left.copies,
                "pictures": left.pictures,
                "shares": {
                    str(radius): round(share, 4)
                    for radius, share in zip(RADII, left.shares, strict=True)
                },
            }
            for left in found.left
        ],
    }
