"""CIFAR archives through `protect`: unpacked into class folders, protected, and packed again."""

import shutil
from dataclasses import replace
from pathlib import Path

from unlearn.errors import UsageProblem
from unlearn.files.names import windows_problem
from unlearn.files.places import check_destination, overlaps
from unlearn.files.replace import replace_file
from unlearn.files.text import printable
from unlearn.protection.events import Notice, ProtectReport, Report
from unlearn.protection.options import ProtectOptions
from unlearn.protection.plan import records_folder


def archive_of(options: ProtectOptions) -> Path | None:
    """Return the archive that is the only input, or None."""
    folder = Path(options.inputs[0]) if len(options.inputs) == 1 else None
    metas = ("batches.meta", "meta")
    return folder if folder and any((folder / meta).is_file() for meta in metas) else None


def unpacked(options: ProtectOptions, archive: Path) -> ProtectOptions:
    """Write the training pictures as PNG files beside the output; return how to protect these.

    They are the same bytes each time, so a run can be continued. Raises UsageProblem for a damaged
    archive, class names that are no folders, and options that archives have no use for.
    """
    from unlearn.datasets.cifar import as_png, load_cifar

    if options.dry_run or options.max_side or options.shard:
        raise UsageProblem(
            "an archive is protected whole: leave out --dry-run, --max-side, --shard and torchrun"
        )
    folder = _beside(options.out, "unpacked")
    check_destination(options.out, folder)
    if overlaps(options.out, archive):
        raise UsageProblem(f"{printable(options.out)} lies in or around {printable(archive)}")
    data, _ = load_cifar(archive)
    for name in data.classes:
        if windows_problem(name) or Path(name).name != name or "\\" in name:
            raise UsageProblem(f"{archive}: {printable(name)!r} cannot be the folder of a class")
    for number, (pixels, label) in enumerate(zip(data.pixels, data.labels.tolist(), strict=True)):
        path, content = (
            folder / data.classes[label] / f"{number:06d}.png",
            as_png(pixels.permute(1, 2, 0).numpy()),
        )
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
    return replace(options, inputs=(str(folder),), labels="folders")


def packed(archive: Path, result: ProtectReport, report: Report) -> None:
    """Write an archive like the given one with the protected pictures, if there are all of them."""
    import numpy as np

    from unlearn.datasets.cifar import save_cifar
    from unlearn.pictures.decoded import Preparation, eight_bit
    from unlearn.pictures.read import prepare

    if result.failed or result.interrupted or result.left:
        report(Notice("No archive was written, since not all of its pictures are protected"))
        return
    records = sorted(result.protected, key=lambda record: Path(record.src).stem)
    rows = [
        eight_bit(prepare(result.out / (record.out or ""), Preparation()).pixels)
        for record in records
    ]
    pixels = np.stack(rows).transpose(0, 3, 1, 2)
    written = save_cifar(pixels, archive, _beside(result.out, "archive"))
    report(Notice(f"The archive of the protected pictures is {printable(written)}"))
    for kept in archive.iterdir():
        if kept.is_file() and not (written / kept.name).exists():
            shutil.copyfile(kept, written / kept.name)


def _beside(out: Path, what: str) -> Path:
    """Return the folder beside the output, as its records are."""
    return records_folder(out).with_suffix(f".{what}")
