"""What `unlearn protect` prints in the end: the account of the whole run."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from statistics import fmean
from typing import Any, Final

from unlearn import __version__
from unlearn.cli.console import Output
from unlearn.cli.meter import duration_text
from unlearn.cli.notice_text import left_out_line, notice_lines
from unlearn.cli.survival_text import survival_lines
from unlearn.cli.visibility_text import visibility_as_plain, visibility_lines
from unlearn.files.text import printable, size_text
from unlearn.generators.measured import measured
from unlearn.protection.events import ProtectReport
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.shards import manifest_name
from unlearn.protection.survival import as_plain as survival_as_plain
from unlearn.sources.beside import skipped_text

_NAMED: Final = 20  # failed pictures named in the table; the manifest has them all
_TEXT_AT: Final = 24  # the column where the texts of the account begin
_WIDEST_NAME: Final = 48  # a longer name pushes its own reason aside only


def print_result(result: ProtectReport, output: Output) -> None:
    """Print the account of a run on standard output; in silence only what failed, as errors."""
    if output.quiet:
        for record in result.failed:
            output.complain(f"{printable(record.src)}: not protected: {record.reason}")
    if result.dry_run:
        output.result(*_dry_run(result))
        return
    if is_idle(result):
        output.result(_idle(result))
    else:
        output.result(*_account(result), hang=_TEXT_AT)
    output.result(*survival_lines(result.survival), hang=_TEXT_AT)
    _print_next(result, output)
    if result.interrupted:
        left = f"{count_text(result.left)} {'is' if result.left == 1 else 'are'} left"
        output.notice(f"Interrupted; {left}. The same line goes on with what is left.")


def _print_next(result: ProtectReport, output: Output) -> None:
    """Print what to do now, or who does it."""
    if result.awaited:
        output.notice(
            f"Shard {result.shard} is done; the last one to finish merges, if all of them write to "
            f"{printable(result.out)}"
        )
    elif result.shard is not None:
        output.next_step("protect", "--merge", result.out)
    elif result.protected:
        sources = result.inputs if len(result.inputs) == 1 else ()
        output.next_step("verify", *sources, result.out)


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
        "manifest": str(result.records / manifest_name(result.shard)),
        "shard": None if result.shard is None else str(result.shard),
        "previews": [str(path) for path in result.previews],
        "rho": result.rho,
        "protection": _protection(result),
        "labels": result.labels,
        "classes": result.classes,
        "class_counts": dict(result.class_counts),
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


def _account(result: ProtectReport) -> Iterator[str]:
    """Yield the lines of the end table; none is broken, since paths are copied from it."""
    most = f"changed by at most {result.largest_change}/255, checked in the written files"
    yield _row("Protected", len(result.protected), most if result.protected else "")
    if result.earlier:
        yield _row("", result.earlier, "of them by earlier runs, left as they are")
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
        yield _row("Skipped", sum(result.skipped.values()), skipped_text(result.skipped))
    yield from _formats(result)
    yield from _worth(result)
    yield from _closing(result)


def _worth(result: ProtectReport) -> Iterator[str]:
    """Yield how visible the noise is, and what such noise was measured to do, if anything."""
    for place, text in enumerate(visibility_lines(result.most_visible)):
        yield _row("" if place else "Visible", "", text)
    if result.protected:
        yield _row("Protection", "", _protection(result))


def _protection(result: ProtectReport) -> str:
    """Return what such noise was measured to do to a copier, and with what beside it."""
    found = measured(result.generator_sha256, result.rho)
    if found is None:
        return f"none measured of this generator at {result.rho}; 'unlearn audit' measures it"
    if result.classes == 1:
        return "none measured where all pictures are of one class"
    text = (
        "measured on 2,000 photos of five classes: a small classifier trained on such copies "
        f"named {_share(found.protected)} of new photos rightly; without noise {found.clean[0]} %, "
        f"with random noise {found.placebo[0]} %, guessing 20 %. "
    )
    if found.adversarial:
        share, clean = found.adversarial
        text += f"Trained adversarially (4/255): {_share(share)}, without noise {clean[0]} %. "
    return f"{text}'unlearn audit' measures yours"


def _share(found: tuple[float, float]) -> str:
    """Return a mean and its spread as people write them."""
    return f"{found[0]} ± {found[1]} %"


def _formats(result: ProtectReport) -> Iterator[str]:
    """Yield what became of the JPEG sources, in one line; the record has each with the reason."""
    kept, left = result.kept, result.left_jpeg
    if not kept and not left:
        return
    parts, jpegs = [], len(kept) + len(left)
    if kept:
        energy = fmean(record.energy or 0 for record in kept)
        parts.append(
            f"{_many(kept, jpegs)}{_verb('stay', kept)} JPEG, {_sizes(kept)}, "
            f"with {energy:.0%} of the noise's energy"
        )
    if left:
        kinds = " or ".join(sorted({_suffix(record) for record in left}))
        many = f"{len(left)} " if kept else _many(left, jpegs)
        parts.append(f"{many}{_verb('become', left)} {kinds}, {_sizes(left)}")
    why = " (the record says which and why)" if result.fallbacks else ""
    yield _row("JPEG", jpegs, f"{'; '.join(parts)}{why}")


def _many(records: Sequence[PictureRecord], jpegs: int) -> str:
    """Return how many of the JPEGs these are; nothing of one alone, whose number stands before."""
    if len(records) < jpegs:
        return f"{len(records)} of {jpegs} "
    return "all " if jpegs > 1 else ""


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
    manifest = result.records / manifest_name(result.shard)
    if manifest.exists():
        sheets = ", preview/" if (result.records / "preview").is_dir() else ""
        yield _row("Record", "", f"{printable(manifest)}{sheets}")


def is_idle(result: ProtectReport) -> bool:
    """Return whether there was nothing to do."""
    others = result.failed or result.left or result.outdated or result.interrupted
    return not others and 0 < len(result.protected) == result.earlier


def _idle(result: ProtectReport) -> str:
    """Return that nothing was left to do, in one line."""
    many = f"all {result.earlier} pictures are" if result.earlier != 1 else "the one picture is"
    return f"Nothing to do: {many} protected already, in {printable(result.out)}"


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
    if is_idle(result):
        yield _idle(result)
        return
    size = size_text(result.needed_bytes)
    parts = [f"{count_text(len(planned))} would be protected (about {size})"] if planned else []
    if result.earlier:
        parts.append(f"{result.earlier} {'is' if result.earlier == 1 else 'are'} already")
    if result.failed:
        parts.append(f"{len(result.failed)} cannot be")
    yield f"Dry run, nothing was written: {', '.join(parts) or 'nothing would be protected'}"


def count_text(number: int, noun: str = "picture", plural: str = "s") -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else plural)
