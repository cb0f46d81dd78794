"""The sheet and the page of a run: the most visible pictures before and after."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import TypeVar

from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files.text import printable
from unlearn.pictures.preview import contact_sheet
from unlearn.pictures.preview_page import preview_page
from unlearn.protection import worker
from unlearn.protection.events import Notice, Report
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.worker import Failure, Finished
from unlearn.workers.pool import Pool

T = TypeVar("T")


def most_visible(records: Sequence[PictureRecord], count: int) -> list[PictureRecord]:
    """Return so many protected pictures: the most visible ones, first one of each class."""
    ranked = sorted(records, key=lambda record: -(record.visible or 0))
    return one_of_each(ranked, lambda record: record.label)[:count]


def one_of_each(items: Sequence[T], group: Callable[[T], Hashable]) -> list[T]:
    """Return the items in their order, but first the first of each group, then the second ones."""
    seen = Counter[Hashable]()
    turns = []
    for item in items:
        turns.append((seen[group(item)], item))
        seen[group(item)] += 1
    return [item for _, item in sorted(turns, key=lambda turn: turn[0])]


def draw(jobs: Sequence[Finished], folder: Path, pool: Pool, report: Report) -> tuple[Path, ...]:
    """Draw the sheet and the page in place of those of earlier runs."""
    futures = [pool.submit_shared(worker.preview, job) for job in jobs]
    wait(futures)
    shown = []
    for job, future in zip(jobs, futures, strict=True):
        error = future.exception()
        found = Failure(str(error)) if error else future.result()
        if isinstance(found, Failure):
            report(Notice(f"No preview of {printable(job.source)}: {found.reason}"))
        else:
            shown.append(found)
    if not shown:
        return ()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("[0-9]*-*.png"):  # as earlier versions called their sheets
        old.unlink()
    sheet, page = folder / "sheet.png", folder / "page.html"
    try:
        contact_sheet(shown, sheet)
        preview_page(shown, folder.parent.with_suffix("").name, page)
    except (PictureError, EnvironmentProblem) as error:  # the pictures are what matters
        report(Notice(f"No preview: {error}"))
    return tuple(path for path in (sheet, page) if path.exists())
