"""What `unlearn verify` prints and writes: lines by state, a JSON object, a CSV table."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from unlearn.cli.console import Output
from unlearn.errors import UsageProblem
from unlearn.files.replace import replacing
from unlearn.files.text import printable
from unlearn.verification.run import VerifyReport
from unlearn.verification.verdicts import Check, State

TITLES: Final[dict[State, str]] = {
    "ok": "Within bound",
    "over": "Over bound",
    "unchanged": "Unchanged",
    "missing": "Missing",
    "extra": "Extra",
    "swapped": "Swapped",
    "changed": "Changed since written",
    "alpha": "Alpha changed",
    "incomparable": "Not comparable",
    "unreadable": "Unreadable",
}
_TEXT_AT: Final = 32  # the column where the texts begin
_NAMED: Final = 10  # files named per state; --verbose, --json and --csv name all
_COLUMNS: Final = ("source", "output", "state", "reason", "linf", "x", "y", "channel", "psnr")
_ORIGINS: Final = {
    "given": "given by --rho",
    "manifest": "from the manifest",
    "measured": "the largest change that the manifest claims",
    "default": "the default, since no manifest says otherwise",
}


def print_result(result: VerifyReport, output: Output) -> None:
    """Print the table and the verdict on standard output, notices on standard error."""
    for notice in result.notices:
        output.notice(f"Notice: {notice}")
    named = len(result.checks) if output.verbose else _NAMED
    output.result(*_rows(result, named), hang=_TEXT_AT)
    output.result(_verdict(result))


def _rows(result: VerifyReport, named: int) -> Iterator[Text]:
    """Yield a line for each state, and one for each file that is not well."""
    for state, title in TITLES.items():
        checks = [check for check in result.checks if check.state == state]
        if checks and state == "ok":
            yield _row(title, len(checks), _summary(checks), "green")
            continue
        for place, check in enumerate(checks[:named]):
            name, reason = printable(check.source or check.output or ""), printable(check.reason)
            first = place == 0
            yield _row(title * first, len(checks) if first else "", f"{name}  {reason}", "bold red")
        if len(checks) > named:
            yield _row("", "", f"and {len(checks) - named} more, see --verbose", "")


def _row(title: str, count: int | str, text: str, style: str) -> Text:
    """Return one line."""
    return Text(f"  {title:<{_TEXT_AT - 11}} {count:>6}  {text}".rstrip(), style=style)


def _summary(checks: list[Check]) -> str:
    """Return the largest change and the mean PSNR of the files within the bound."""
    largest = max(check.linf or 0 for check in checks)
    ratios = [check.psnr for check in checks if check.psnr is not None]
    return f"max change {largest}/255, mean PSNR {sum(ratios) / len(ratios):.1f} dB"


def _verdict(result: VerifyReport) -> str:
    """Return the last line: how many were verified, against which bound and on whose word."""
    bound = f"rho {result.radius} ({_ORIGINS[result.radius_origin]})"
    good, files = result.counts["ok"], len(result.checks)
    sampled = (
        f"; {result.compared} of {result.pairs} pairs compared, chosen at random"
        if result.compared < result.pairs
        else ""
    )
    return f"{good} of {files} {'file is' if files == 1 else 'files are'} within {bound}{sampled}"


def as_plain(result: VerifyReport, source: Path | None, out: Path) -> dict[str, Any]:
    """Return the verdict as one JSON object."""
    return {
        "command": "verify",
        "exit_code": 0 if result.ok else 1,
        "ok": result.ok,
        "source": None if source is None else str(source),
        "out": str(out),
        "rho": str(result.radius),
        "rho_from": result.radius_origin,
        "pairs": result.pairs,
        "compared": result.compared,
        "counts": dict(result.counts),
        "notices": list(result.notices),
        "files": [asdict(check) for check in result.checks],
    }


def write_csv(result: VerifyReport, target: Path) -> None:
    """Write one row a file; raises UsageProblem rather than replace anything but such a table."""
    if target.exists() and not _is_table(target):
        raise UsageProblem(f"{printable(target)} exists and is no table of verify; choose another")
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for check in result.checks:
        worst = check.worst or ("", "", "")
        row = (check.source, check.output, check.state, check.reason, check.linf, *worst)
        rows.writerow([*("" if value is None else value for value in row), _number(check.psnr)])
    with replacing(target) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))


def _is_table(path: Path) -> bool:
    """Tell whether a file is empty or a table that was written here."""
    header = ",".join(_COLUMNS).encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(header)) in (b"", header)


def _number(value: float | None) -> str:
    """Return a ratio with three places, nothing where there is none."""
    return "" if value is None else f"{value:.3f}"
