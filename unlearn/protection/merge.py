"""Merge: one manifest, one preview and one account of what shards have done."""

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.journal import Journal
from unlearn.files.lock import LOCK_NAME, locked, refuse_if_locked
from unlearn.files.places import remove_empty, remove_leftovers
from unlearn.files.replace import replacing
from unlearn.files.text import printable
from unlearn.pictures.read import Preparation
from unlearn.protection.drawing import draw, most_visible
from unlearn.protection.events import Notice, ProtectReport, Report
from unlearn.protection.manifest import (
    FILE_NAME,
    Manifest,
    PictureRecord,
    RunHeader,
    has_ended,
    read_manifest,
    read_part,
)
from unlearn.protection.plan import records_folder
from unlearn.protection.shards import (
    PATIENCE_SECONDS,
    Shard,
    manifest_name,
    shards_in,
    writing,
)
from unlearn.protection.worker import MOST_SHOWN_PIXELS, Finished, Shared
from unlearn.workers.pool import Pool

# What may differ between the parts of one run: where and when each was made, and of which it is.
_OWN: Final = ("shard", "started", "argv", "device", "inputs")


class NotYet(UsageProblem):
    """There is a part to wait for."""


def merge(
    out: Path, report: Report, *, workers: int = 0, previews: int = 3, patient: bool = False
) -> ProtectReport:
    """Join the parts of all shards of an output folder, and draw its preview.

    Raises UsageProblem, before anything is written, if a part is of another run, NotYet if one is
    missing or not finished, and Busy if a run is writing the folder. The `patient` are ranks, each
    of which has a part: they wait for a merge under way, and it leaves them nothing.
    """
    began = time.monotonic()
    records = records_folder(out)
    _refuse_none(out, records)
    with writing(out, records, patient=patient):
        _refuse_none(out, records)
        _forget(records, _joined(out, records, all_have_parts=patient))
        remove_leftovers(out)
        whole = read_manifest(records)
        _tell_devices(whole, report)
        remove_empty(out, whole.records)
        result = _account(out, whole)
        shown = _draw(result, whole, report, workers, previews)
    return replace(result, previews=shown, seconds=time.monotonic() - began)


def _refuse_none(out: Path, records: Path) -> None:
    """Raise NotYet if there are no parts."""
    if not shards_in(records):
        raise NotYet(f"{printable(out)} has no parts of shards to merge")


def _joined(out: Path, records: Path, *, all_have_parts: bool) -> list[Shard]:
    """Put all parts into the manifest, unless they are in it, and return their shards."""
    parts = {shard: read_part(records, shard) for shard in shards_in(records)}
    whole = read_part(records, None)
    merged = _is_merged(whole, list(parts.values()))
    if all_have_parts or not merged:
        _check(out, parts, Manifest() if all_have_parts else whole)
    if not merged:
        _join(records, _lines(list(parts.values())))
    return list(parts)


def absorb(records: Path) -> None:
    """Put what shards have written so far into the manifest; only under the lock of the whole."""
    shards = shards_in(records)
    if shards:
        texts = ((records / manifest_name(shard)).read_bytes() for shard in shards)
        _join(records, (line for text in texts for line in text.split(b"\n") if line))
        _forget(records, shards)


def absorb_earlier(out: Path, count: int) -> None:
    """Put what an earlier run has done into the manifest, once for all `count` ranks that ask.

    Raises Busy if another number of shards is at work.
    """
    records = records_folder(out)
    if not _are_earlier(records, count):
        return
    with locked(out, records, patience_seconds=PATIENCE_SECONDS):
        if _are_earlier(records, count):  # and no other rank of this run was here before
            for shard in shards_in(records, LOCK_NAME):
                refuse_if_locked(out, records, shard.mark)
            absorb(records)


def _are_earlier(records: Path, count: int) -> bool:
    """Tell whether there are parts of another number of shards, or all of this one are finished.

    A rank that begins has no finished part, so these were finished before and not merged.
    """
    shards = shards_in(records)
    return any(shard.count != count for shard in shards) or (
        len(shards) == count and all(has_ended(records, shard) for shard in shards)
    )


def _check(out: Path, parts: dict[Shard, Manifest], whole: Manifest) -> None:
    """Raise UsageProblem unless these are all the parts of one run, each finished.

    Where a merge of the same plan was before, shards that found nothing to do may have no part.
    """
    shards = list(parts)
    first, last = shards[0], shards[-1]
    if first.count != last.count:
        raise UsageProblem(
            f"{printable(out)} has parts of {first.count} and of {last.count} shards; run it once "
            "without --shard"
        )
    for shard in (Shard(first.count, number) for number in range(1, first.count + 1)):
        if shard not in parts and _has_merged(whole, parts[first]):
            continue
        if shard not in parts or parts[shard].header is None:
            raise NotYet(
                f"{printable(out)}: the part of shard {shard} is missing; run its line, then merge"
            )
        if not parts[shard].ended:
            raise NotYet(
                f"{printable(out)}: shard {shard} is not finished; run its line again, then merge"
            )
    _check_alike(out, parts)


def _check_alike(out: Path, parts: dict[Shard, Manifest]) -> None:
    """Raise UsageProblem unless all parts are of one run."""
    first = next(iter(parts))
    one = _compared(parts[first])
    for shard, part in parts.items():
        other = _compared(part)
        name = next((name for name in one if one[name] != other[name]), None)
        if name == "plan":
            raise UsageProblem(
                f"{printable(out)}: shards {first} and {shard} saw other pictures under the "
                "inputs; run the lines of all shards again, then merge"
            )
        if name is not None:
            raise UsageProblem(
                f"{printable(out)}: shard {shard} is of another run, its {name} is "
                f"{printable(str(other[name]))} and {printable(str(one[name]))} in shard {first}; "
                "run its line again as the others"
            )


def _compared(part: Manifest) -> dict[str, Any]:
    """Return what all parts of one run share."""
    header = asdict(part.header) if part.header else {}
    return {name: value for name, value in header.items() if name not in _OWN}


def _has_merged(whole: Manifest, part: Manifest) -> bool:
    """Tell whether the manifest was merged by the plan of a part.

    What was taken in without a merge has the header of a shard.
    """
    one, other = whole.header, part.header
    return bool(one and other and one.shard is None and one.plan and one.plan == other.plan)


def _is_merged(whole: Manifest, parts: Sequence[Manifest]) -> bool:
    """Tell whether a merge was ended between writing the manifest and removing the parts."""
    return all(
        part.ended
        and _has_merged(whole, part)
        and all(whole.records.get(name) == record for name, record in part.records.items())
        for part in parts
    )


def _lines(parts: Sequence[Manifest]) -> Iterator[bytes]:
    """Yield a header and all records, in order of names."""
    header = parts[0].header
    if header is not None:
        yield json.dumps(replace(header, shard=None).to_line()).encode("ascii")
    records = [record for part in parts for record in part.records.values()]
    for record in sorted(records, key=lambda record: record.src):
        yield json.dumps(record.to_line(), allow_nan=False).encode("ascii")


def _join(records: Path, lines: Iterable[bytes]) -> None:
    """Add lines to the manifest, all or none; raises EnvironmentProblem."""
    target = records / FILE_NAME
    try:
        with replacing(target) as temporary:
            if target.exists():
                shutil.copyfile(target, temporary)
            Journal(temporary, keep_torn=True).extend(lines)
    except OSError as error:
        raise EnvironmentProblem(
            f"{printable(target)}: cannot be written ({error.strerror})"
        ) from error


def _forget(records: Path, shards: Sequence[Shard]) -> None:
    """Remove the files of shards; nobody holds them under the lock of the whole."""
    for shard in shards:
        (records / manifest_name(shard)).unlink(missing_ok=True)
    for shard in shards_in(records, LOCK_NAME):
        (records / f"{LOCK_NAME}{shard.mark}").unlink(missing_ok=True)


def _tell_devices(whole: Manifest, report: Report) -> None:
    """Say if not all noise was computed alike."""
    devices = {record.device for record in whole.records.values() if record.device}
    kinds = sorted({re.sub(r":\d+", "", device) for device in devices})
    if len(kinds) > 1:
        report(
            Notice(
                f"The noise was computed on {' and on '.join(kinds)}, whose last digits differ; "
                "the manifest says where that of each picture was"
            )
        )


def _account(out: Path, whole: Manifest) -> ProtectReport:
    """Return the account of all that the manifest holds."""
    header, records = _header(whole), sorted(whole.records.values(), key=lambda r: r.src)
    return ProtectReport(
        out=out,
        records=records_folder(out),
        inputs=tuple(map(Path, header.inputs)),
        protected=tuple(record for record in records if record.status == "ok"),
        failed=tuple(record for record in records if record.status != "ok"),
        earlier=0,
        left=0,
        skipped={},
        outdated=(),
        labels=header.labels,
        classes=len({record.label for record in records if record.label is not None}),
        rho=header.rho,
        generator_sha256=header.generator_sha256,
    )


def _header(whole: Manifest) -> RunHeader:
    """Return the header of the last run; a merged manifest has one."""
    if whole.header is None:
        raise AssertionError("a merged manifest without a run")
    return whole.header


def _draw(
    result: ProtectReport, whole: Manifest, report: Report, workers: int, count: int
) -> tuple[Path, ...]:
    """Draw the preview from sources where they were; one that is gone is a notice."""
    header = _header(whole)
    shared = Shared(
        out=result.out,
        preparation=Preparation(header.max_side),
        grid=header.grid,
        levels=0,
        metadata="none",
    )
    small = [record for record in result.protected if _pixels(record) <= MOST_SHOWN_PIXELS]
    jobs = [
        Finished(
            source=Path(record.origin or record.src),
            protected=result.out / str(record.out),
            pixels=_pixels(record),
            name=printable(record.src),
        )
        for record in most_visible(small, count)
    ]
    with Pool(workers, shared=shared) as pool:
        return draw(jobs, result.records / "preview", pool, report)


def _pixels(record: PictureRecord) -> int:
    """Return how many pixels a protected picture has."""
    width, height = record.size or (0, 0)
    return width * height
