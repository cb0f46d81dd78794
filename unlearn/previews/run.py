"""Show what was done to a folder of pictures, whoever did it and whenever it was.

The pictures shown are those in which the change is seen most, by the manifest where it says so,
else by measuring some that are spread over the folder.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from unlearn.errors import NothingFound, PictureError, UsageProblem
from unlearn.files.places import overlaps
from unlearn.files.text import printable
from unlearn.pictures.compare import mismatch
from unlearn.pictures.decoded import Picture, Preparation
from unlearn.pictures.preview import Shown, contact_sheet, show
from unlearn.pictures.preview_page import preview_page
from unlearn.pictures.read import prepare
from unlearn.pictures.visibility import PlainAreas
from unlearn.previews.options import PreviewOptions
from unlearn.protection.drawing import one_of_each
from unlearn.protection.manifest import Manifest, read_manifest
from unlearn.protection.plan import records_folder
from unlearn.verification.manifest_claims import claimed_shrinking
from unlearn.verification.run import paired
from unlearn.verification.verdicts import Task

MEASURED: Final = 32  # pictures of which the manifest says nothing that are looked at

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class PreviewResult:
    """The files that were written, what they show, and what could not be shown."""

    files: tuple[Path, ...]
    shown: tuple[Shown, ...]
    pairs: int
    notices: tuple[str, ...]


def preview(
    source: Path | None, out: Path, options: PreviewOptions, report: Report
) -> PreviewResult:
    """Draw the most visible pictures; without a source the manifest says where they are.

    Raises UsageProblem for a file in one of the folders or in the way, NothingFound if there is no
    pair of pictures or none can be shown.
    """
    _check_target(source, out, options)
    manifest = read_manifest(records_folder(out))
    tasks = paired(source, out, manifest)
    if not tasks:
        raise NothingFound(f"no picture in {printable(out)} belongs to one of the sources")
    preparation = Preparation(claimed_shrinking(manifest), options.max_pixels)
    notices: list[str] = []
    shown: list[Shown] = []
    for task in _ranked(tasks, manifest, preparation, options.workers):
        if len(shown) < options.pictures:
            report(len(shown), options.pictures, task.source)
            try:
                shown.append(show(*_both(task, preparation), printable(task.source)))
            except PictureError as error:
                notices.append(f"{printable(task.source)} is not shown: {error}")
    if not shown:
        raise NothingFound(f"no picture can be shown; {notices[0]}")
    files = _targets(out, options)
    for file in files:
        _draw(shown, out, file)
    return PreviewResult(files, tuple(shown), len(tasks), tuple(notices))


def _check_target(source: Path | None, out: Path, options: PreviewOptions) -> None:
    """Raise UsageProblem for a file among the pictures, or one that is there already."""
    if options.to is None:
        return
    if options.to.exists() and not options.force:
        raise UsageProblem(f"{printable(options.to)} is there already; --force replaces it")
    for folder in (source, out):
        if folder is not None and folder.is_dir() and overlaps(options.to, folder) is not None:
            raise UsageProblem(
                f"{printable(options.to)} would lie in {printable(folder)}; a preview holds clean "
                "crops, so write it elsewhere"
            )


def _ranked(
    tasks: Sequence[Task], manifest: Manifest, preparation: Preparation, workers: int
) -> list[Task]:
    """Return the pairs whose visibility is known, the most visible first, one of each class."""
    visible: dict[str, float] = {}
    for task in tasks:
        record = manifest.outputs.get(task.output)
        if record is not None and record.visible is not None:
            visible[task.output] = record.visible
    unknown = [task for task in tasks if task.output not in visible]
    some = unknown[:: max(1, -(-len(unknown) // MEASURED))]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = pool.map(partial(_visible, preparation), some)
        visible |= {task.output: one for task, one in zip(some, found, strict=True)}
    known = [task for task in tasks if task.output in visible]
    known.sort(key=lambda task: -visible[task.output])
    return one_of_each(known, lambda task: PurePosixPath(task.source).parent)


def _visible(preparation: Preparation, task: Task) -> float:
    """Return how visible the change of one picture is; what cannot be read comes last."""
    try:
        source, protected = _both(task, preparation)
    except PictureError:
        return -1.0
    return PlainAreas(source).compared(protected).mean


def _both(task: Task, preparation: Preparation) -> tuple[Picture, Picture]:
    """Return the source and its output; raises PictureError if they cannot be compared."""
    source = prepare(task.source_path, preparation)
    protected = prepare(task.output_path, Preparation(None, preparation.max_pixels))
    problem = mismatch(source, protected)
    if problem is not None:
        raise PictureError(f"the {problem} of source and output differ")
    return source, protected


def _targets(out: Path, options: PreviewOptions) -> tuple[Path, ...]:
    """Return the files to write, their folder made."""
    if options.to is not None:
        return (options.to,)
    folder = records_folder(out) / "preview"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "sheet.png", folder / "page.html"


def _draw(shown: Sequence[Shown], out: Path, file: Path) -> None:
    """Write a sheet or a page, as the file's name asks for."""
    if file.suffix.lower() == ".png":
        contact_sheet(shown, file)
    else:
        preview_page(shown, out.name, file)
