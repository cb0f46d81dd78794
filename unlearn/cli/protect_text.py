"""What `unlearn protect` prints: progress as it comes, and the account of the whole run."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from statistics import fmean
from time import monotonic
from typing import Any, Final

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import Meter, duration_text
from unlearn.cli.notice_text import left_out_line, notice_lines
from unlearn.cli.survival_text import survival_lines
from unlearn.cli.visibility_text import visibility_as_plain, visibility_lines
from unlearn.files.text import printable, size_text
from unlearn.options import DEFAULT_RHO
from unlearn.protection.events import Event, Notice, Progress, ProtectReport, Started
from unlearn.protection.manifest import FILE_NAME, PictureRecord
from unlearn.protection.survival import as_plain as survival_as_plain

# How much must be done until the time can be told; the first picture counts the workers' start.
_MEASURED: Final = 3
_MEASURED_SECONDS: Final = 1.0
_NAMED: Final = 20  # failed pictures named in the table; the manifest has them all
_WIDEST_NAME: Final = 48  # a longer name pushes its own reason aside only


@dataclass
class Telling:
    """Puts what the workflow says on standard error, as it comes."""

    output: Output
    meter: Meter
    dry_run: bool
    _started: Started | None = None
    _began: float = 0.0
    _first: float = 0.0

    def hear(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, Notice):
            self.output.notice(event.text)
        elif isinstance(event, Started):
            self._started, self._began = event, monotonic()
            self.meter.update(0, total=event.pending)
            for line in _opening(event):
                self.output.notice(line)
        else:
            self._progress(event)

    def _progress(self, event: Progress) -> None:
        """Move the bar, and under --verbose print the picture's line."""
        self.output.detail(_detail(event.record))
        self._estimate(event)
        note = f"{size_text(event.written_bytes)}  {printable(event.record.src)}"
        self.meter.update(event.done, note=note)

    def _estimate(self, event: Progress) -> None:
        """Say once how long it will take, as soon as enough is done to tell."""
        now = monotonic()
        if event.done == 1:
            self._first = now
        measured = now - self._first
        if self._started is None or self.dry_run or event.done < _MEASURED:
            return
        if event.done < event.total and measured >= _MEASURED_SECONDS:
            left = measured / (event.done - 1) * (event.total - event.done)
            self.output.notice(_estimate(self._started, now - self._began + left))
            self._started = None


def print_result(result: ProtectReport, output: Output) -> None:
    """Print the account of a run on standard output; in silence only what failed, as errors."""
    if output.quiet:
        for record in result.failed:
            output.complain(f"{printable(record.src)}: not protected: {record.reason}")
    if result.dry_run:
        output.result(*_dry_run(result))
        return
    output.result(*_account(result), *survival_lines(result.survival))
    if result.protected:
        first = "" if len(result.inputs) > 1 else f"{_quoted(result.inputs[0])} "
        output.next_step(f"unlearn verify {first}{_quoted(result.out)}")
    if result.interrupted:
        output.notice(f"Interrupted with {_count(result.left)} left; run again to continue")


def as_plain(result: ProtectReport) -> dict[str, Any]:
    """Return the account as one JSON object."""
    return {
        "command": "protect",
        "tool": __version__,
        "exit_code": result.exit_code,
        "dry_run": result.dry_run,
        "interrupted": result.interrupted,
        "inputs": [str(path) for path in result.inputs],
        "out": str(result.out),
        "manifest": str(result.records / FILE_NAME),
        "previews": [str(path) for path in result.previews],
        "rho": result.rho,
        "labels": result.labels,
        "classes": result.classes,
        "protected": len(result.protected),
        "protected_before": result.earlier,
        "not_protected": len(result.failed),
        "left": result.left,
        "skipped": dict(result.skipped),
        "outdated": list(result.outdated),
        "max_change": result.largest_change,
        "mean_psnr": result.mean_psnr,
        "visibility": visibility_as_plain(result.most_visible),
        "still_jpeg": len(result.kept),
        "png_instead": len(result.fallbacks),
        "survival": survival_as_plain(result.survival) if result.survival else None,
        "bytes": result.needed_bytes if result.dry_run else result.written_bytes,
        "seconds": round(result.seconds, 3),
        "pictures": [_plain_record(record) for record in (*result.protected, *result.failed)],
    }


def _plain_record(record: PictureRecord) -> dict[str, Any]:
    """Return a record without what only the tool itself needs."""
    return {name: value for name, value in asdict(record).items() if name != "settings"}


def _opening(event: Started) -> Iterator[str]:
    """Yield the lines that say what is about to be done."""
    plan = event.plan
    yield (
        f"unlearn {__version__} · generator {printable(event.generator)} "
        f"(sha {event.generator_sha256[:8]}…) · rho {event.rho} · device {event.device}"
    )
    kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in plan.skipped.items())
    others = f" ({sum(plan.skipped.values())} skipped: {kinds})" if kinds else ""
    places = f" in {_count(plan.folders, 'folder')}" if plan.folders else ""
    yield f"Found {_count(len(plan.pictures) + len(plan.refused))}{places}{others}"
    yield f"Labels: {plan.labelling.summary}"


def _estimate(started: Started, seconds: float) -> str:
    """Return how long it will take and how much it will write."""
    kinds = ", ".join(sorted({picture.format for picture in started.plan.pictures}))
    return (
        f"{_count(started.pending)}, about {duration_text(seconds)} on {started.device}, "
        f"about {size_text(started.needed_bytes)} as {kinds} "
        f"(free: {size_text(started.free_bytes)})"
    )


def _detail(record: PictureRecord) -> str:
    """Return one picture's line under --verbose."""
    if record.status != "ok":
        return f"{printable(record.src)}: not protected: {record.reason}"
    line = f"{printable(record.src)} -> {printable(record.out)}"
    if record.linf is not None:
        line += f"  max change {record.linf}/255"
    if record.visible is not None:
        line += (
            f"  CIEDE2000 {record.visible:.1f} on plain areas, seen at a distance {record.seen:.1f}"
        )
    if record.passes is not None:
        line += (
            f"  JPEG in {_count(record.passes, 'pass', 'es')}, "
            f"correlation {record.correlation:.2f}, {record.energy:.0%} of the noise's energy, "
            f"{record.size_ratio:.2f}x the size"
        )
    if record.dropped:
        line += f"  left out: {', '.join(record.dropped)}"
    return "  ".join([line, *map(printable, record.notices)])


def _account(result: ProtectReport) -> Iterator[str]:
    """Yield the lines of the end table; none is broken, since paths are copied from it."""
    most = f"noise written, max change {result.largest_change}/255, checked on the written files"
    yield _row("Protected", len(result.protected), most if result.protected else "")
    if result.earlier:
        yield _row("", result.earlier, "of these by an earlier run, left as they are")
    named = [(printable(record.src), record.reason or "") for record in result.failed[:_NAMED]]
    width = min(_WIDEST_NAME, max((len(name) for name, _ in named), default=0))
    for place, (name, reason) in enumerate(named):
        title, count = ("", "") if place else ("Not protected", len(result.failed))
        yield _row(title, count, f"{name:<{width}}  {reason}")
    if len(result.failed) > _NAMED:
        yield _row("", "", f"and {len(result.failed) - _NAMED} more, see the record")
    if line := left_out_line(result.protected):
        yield _row("Left out", "", line)
    for place, (count, text) in enumerate(notice_lines(result.protected)):
        yield _row("" if place else "Notice", count, text)
    if result.left:
        yield _row("Not reached", result.left)
    if result.skipped:
        kinds = ", ".join(f"{n} {printable(kind)}" for kind, n in result.skipped.items())
        yield _row("Skipped", sum(result.skipped.values()), kinds)
    yield from _formats(result)
    yield from _worth(result)
    yield from _closing(result)


def _worth(result: ProtectReport) -> Iterator[str]:
    """Yield how visible the noise is, and that a bound's protection is unknown where it is."""
    for place, text in enumerate(visibility_lines(result.most_visible)):
        yield _row("" if place else "Visible", "", text)
    if result.protected and result.rho != str(DEFAULT_RHO):
        yield _row("Protection", "", f"none measured at {result.rho}; 'unlearn audit' measures it")


def _formats(result: ProtectReport) -> Iterator[str]:
    """Yield what became of the JPEG sources, in one line; --verbose names them and says why."""
    kept, left = result.kept, result.left_jpeg
    if not kept and not left:
        return
    parts, jpegs = [], len(kept) + len(left)
    if kept:
        energy = fmean(record.energy or 0 for record in kept)
        parts.append(
            f"{len(kept)} of {jpegs} {_verb('stay', kept)} JPEG, {_sizes(kept)}, "
            f"with {energy:.0%} of the noise's energy"
        )
    if left:
        kinds = " or ".join(sorted({_suffix(record) for record in left}))
        stay = "" if kept else f" of {jpegs}"
        parts.append(f"{len(left)}{stay} {_verb('become', left)} {kinds}, {_sizes(left)}")
    why = " (-v says which and why)" if result.fallbacks else ""
    yield _row("JPEG", jpegs, f"{'; '.join(parts)}{why}")


def _verb(verb: str, records: Sequence[PictureRecord]) -> str:
    """Return a verb as it goes with so many."""
    return verb + "s" * (len(records) == 1)


def _suffix(record: PictureRecord) -> str:
    """Return what the output's name says of its format."""
    return PurePosixPath(record.out or "").suffix[1:].upper()


def _sizes(records: Sequence[PictureRecord]) -> str:
    """Return how large the sources are, and what was made of them."""
    before = sum((record.bytes or 0) / (record.size_ratio or 1) for record in records)
    return f"{size_text(round(before))} → {size_text(sum(record.bytes or 0 for record in records))}"


def _row(title: str, count: int | str = "", text: str = "") -> str:
    """Return one line of the end table."""
    return f"  {title:<13} {count:>6}  {text}".rstrip()


def _closing(result: ProtectReport) -> Iterator[str]:
    """Yield the last lines: what was written, and where the record is."""
    parts = [f"{size_text(result.written_bytes)} in {printable(result.out)}"]
    parts.append(duration_text(result.seconds))
    yield _row("Written", "", " · ".join(parts))
    if (result.records / FILE_NAME).exists():
        sheets = ", preview/" if (result.records / "preview").is_dir() else ""
        yield _row("Record", "", f"{printable(result.records / FILE_NAME)}{sheets}")


def _dry_run(result: ProtectReport) -> Iterator[str]:
    """Yield what the real run would write, one file a line, and the sum."""
    planned = [record for record in result.protected if record.out_sha256 is None]
    for record in planned:
        others = "".join(f" ({printable(notice)})" for notice in record.notices)
        yield f"{printable(record.src)} -> {printable(result.out / str(record.out))}{others}"
    for record in result.failed:
        yield f"{printable(record.src)}: cannot be protected: {record.reason}"
    for out in result.outdated:
        yield f"{printable(result.out / out)}: outdated, would be removed or replaced"
    yield (
        f"Dry run, nothing written: {_count(len(planned))} to protect, "
        f"{result.earlier} done before, {len(result.failed)} that cannot be; "
        f"about {size_text(result.needed_bytes)}"
    )


def _count(number: int, noun: str = "picture", plural: str = "s") -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else plural)


def _quoted(path: object) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(printable(path))
