"""What `unlearn preview` prints."""

from typing import Any

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.files.text import printable
from unlearn.previews.run import PreviewResult


def print_result(result: PreviewResult, output: Output) -> None:
    """Print what is shown and where."""
    for text in result.notices:
        output.notice(text)
    output.result(
        f"{len(result.shown)} of {result.pairs} pictures, those in which the noise is seen most "
        "(CIEDE2000 on plain areas):",
        *(f"  {one.visibility.mean:4.1f}  {one.name}" for one in result.shown),
        *(f"  Written  {printable(file)}" for file in result.files),
        "The preview holds clean crops of your pictures: keep it to yourself.",
    )


def as_plain(result: PreviewResult) -> dict[str, Any]:
    """Return the result as one JSON object."""
    return {
        "command": "preview",
        "tool": __version__,
        "files": [str(file) for file in result.files],
        "pairs": result.pairs,
        "notices": list(result.notices),
        "pictures": [
            {
                "name": one.name,
                "box": list(one.box),
                "max_change": one.linf,
                "ciede2000": round(one.visibility.mean, 2),
                "ciede2000_p95": round(one.visibility.high, 2),
                "seen": round(one.visibility.seen_mean, 2),
                "seen_p95": round(one.visibility.seen_high, 2),
            }
            for one in result.shown
        ],
    }
