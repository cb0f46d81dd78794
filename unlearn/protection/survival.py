"""How much noise the web leaves of a sample of the protected pictures, told and kept in a file."""

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from unlearn import __version__
from unlearn.files.replace import replacing
from unlearn.files.text import printable
from unlearn.pictures.survival import TRANSFORMATIONS, Survival
from unlearn.protection import worker
from unlearn.protection.events import Notice, ProtectReport, Report, SurvivalReport
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.options import ProtectOptions
from unlearn.protection.plan import Plan
from unlearn.protection.worker import MOST_SHOWN_PIXELS, Failure, Finished
from unlearn.workers.pool import Interruption, Pool

FILE_NAME: Final = "survival.json"
SAMPLE: Final = 16
_DIGITS: Final = 4
_DIED: Final = "a worker process died; not enough memory, or a damaged file"

Found = dict[str, Survival | None]


def with_survival(
    result: ProtectReport, plan: Plan, options: ProtectOptions, report: Report
) -> ProtectReport:
    """Return the result with what the web leaves of the noise of a sample; keep it in a file too.

    A picture that cannot be measured is only a notice. Nothing is measured after an interruption.
    """
    if result.interrupted:
        return result
    if options.dry_run or not result.protected:
        why = "a dry run writes nothing" if options.dry_run else "no picture is protected"
        report(Notice(f"Survival was not measured: {why}"))
        return result
    chosen = sample([record for record in result.protected if _pixels(record) <= MOST_SHOWN_PIXELS])
    pictures = "1 picture" if len(chosen) == 1 else f"{len(chosen)} pictures"
    report(Notice(f"Measuring how much noise survives the web, on {pictures}"))
    sources = {picture.name: picture.source for picture in plan.pictures}
    jobs = [
        Finished(source=sources[one.src], protected=plan.out / str(one.out), pixels=_pixels(one))
        for one in chosen
    ]
    stopping = Notice("Stopping the measurement; press Ctrl-C again to stop at once")
    with (
        Interruption(lambda: report(stopping)) as interruption,
        Pool(options.workers, shared=options.preparation) as pool,
    ):
        outcomes = list(_measured(jobs, pool, interruption))
    if interruption.requested:
        return replace(result, interrupted=True)
    found = _sorted_out(chosen, outcomes, report)
    survival = SurvivalReport(len(result.protected), found) if found else None
    if survival is not None:
        _save(survival, plan.records, report)
    return replace(result, survival=survival)


def sample(records: Sequence[PictureRecord]) -> list[PictureRecord]:
    """Return at most 16 pictures spread over all; which ones depends on their names alone."""

    def place(record: PictureRecord) -> bytes:
        """Return what the picture's name comes to."""
        return hashlib.sha256(os.fsencode(record.src)).digest()

    chosen = set(map(place, sorted(records, key=place)[:SAMPLE]))
    return [record for record in records if place(record) in chosen]


def _pixels(record: PictureRecord) -> int:
    """Return how many pixels the output has."""
    return math.prod(record.size or ())


def as_plain(survival: SurvivalReport) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "measured": len(survival.found),
        "protected": survival.protected,
        "transformations": {
            name: {"title": TRANSFORMATIONS[name].title, **_rounded(asdict(one))}
            for name, one in survival.summaries.items()
        },
        "pictures": [
            {
                "src": record.src,
                "out": record.out,
                "out_sha256": record.out_sha256,
                **{name: one and _rounded(asdict(one)) for name, one in found.items()},
            }
            for record, found in survival.found
        ],
    }


def _measured(
    jobs: Sequence[Finished], pool: Pool, interruption: Interruption
) -> Iterator[Found | Failure]:
    """Yield what becomes of each job, in order, with few under way; ends early if interrupted."""
    started: deque[Future[Found | Failure] | Failure] = deque()
    for job in jobs:
        if interruption.requested:
            break
        started.append(_started(job, pool))
        if len(started) >= pool.capacity:
            yield _outcome(started.popleft())
    yield from map(_outcome, started)


def _started(job: Finished, pool: Pool) -> "Future[Found | Failure] | Failure":
    """Start a job, with fresh workers if one has died."""
    for _ in range(2):
        try:
            return pool.submit_shared(worker.measure_survival, job)
        except BrokenProcessPool:
            pool.restart()
    return Failure(_DIED)


def _outcome(started: "Future[Found | Failure] | Failure") -> Found | Failure:
    """Return the result of a job; whatever went wrong is its failure."""
    if isinstance(started, Failure):
        return started
    error = started.exception()
    if error is None:
        return started.result()
    died = isinstance(error, BrokenProcessPool)
    return Failure(_DIED if died else f"unexpected {type(error).__name__}: {error}")


def _sorted_out(
    chosen: Sequence[PictureRecord], outcomes: Sequence[Found | Failure], report: Report
) -> tuple[tuple[PictureRecord, Found], ...]:
    """Return what was found, and say what could not be."""
    found = []
    for record, outcome in zip(chosen, outcomes, strict=True):
        if isinstance(outcome, Failure):
            report(
                Notice(f"Survival of {printable(record.src)} was not measured: {outcome.reason}")
            )
        else:
            found.append((record, outcome))
    return tuple(found)


def _save(survival: SurvivalReport, folder: Path, report: Report) -> None:
    """Write the report beside the manifest in place of an earlier one."""
    text = json.dumps({"tool": __version__, **as_plain(survival)}, indent=1, allow_nan=False)
    try:
        with replacing(folder / FILE_NAME) as temporary:
            temporary.write_text(text + "\n", encoding="ascii")
    except OSError as error:
        report(
            Notice(f"{printable(folder / FILE_NAME)} was not written: {error.strerror or error}")
        )


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with floats to four digits."""
    return {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in values.items()
    }
