"""Labels: which class each picture belongs to, from folders, from a CSV file, or one for all."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from unlearn.errors import UsageProblem
from unlearn.files.text import printable
from unlearn.protection.scan import Scan, Source

LabelMode = Literal["folders", "one", "csv"]

ONE_CLASS: Final = "all"  # the class of every picture when there is only one
LOOSE_CLASS: Final = "."  # the class of pictures that lie beside class folders
_LARGEST_CSV: Final = 64 << 20
_NAMED: Final = 3  # how many pictures an error names before it only counts


@dataclass(frozen=True)
class Labelling:
    """The class of each picture, in the order of the scan's sources, and where it came from."""

    mode: LabelMode
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in use, sorted."""
        return tuple(sorted(set(self.labels)))


def check_choice(choice: str) -> None:
    """Raise UsageProblem unless the choice is auto, folders, one or csv:FILE."""
    if choice not in ("auto", "folders", "one") and not (choice.startswith("csv:") and choice[4:]):
        raise UsageProblem(
            f"{choice!r} is not a source of labels; use auto, folders, one or csv:FILE"
        )


def label(scan: Scan, choice: str) -> Labelling:
    """Give every source its class; "auto" means folders if there are at least two, else one.

    Raises UsageProblem for loose pictures under an explicit "folders" and for a CSV file that does
    not fit.
    """
    check_choice(choice)
    if choice.startswith("csv:"):
        return Labelling("csv", _from_csv(scan, Path(choice[4:])))
    folders = _from_folders(scan.sources)
    if choice == "folders":
        _refuse_loose(scan.sources, folders)
    if choice == "folders" or (choice == "auto" and len(set(folders) - {LOOSE_CLASS}) >= 2):
        return Labelling("folders", folders)
    return Labelling("one", (ONE_CLASS,) * len(scan.sources))


def check_classes(labelling: Labelling, room: int, generator: str) -> None:
    """Raise UsageProblem if there are more classes than the generator knows; 0 knows any."""
    count = len(labelling.classes)
    if room and count > room:
        raise UsageProblem(
            f"{count} classes ({labelling.mode}), but the generator {printable(generator)} has "
            f"{room}; "
            f"use --labels one, --labels csv:FILE with at most {room} classes, or a generator "
            f"trained on at least {count} classes (unlearn train-generator)"
        )


def _from_folders(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the sub-folder of each source directly under its input; "." for what lies loose there.

    Several input folders without any sub-folder (`photos/*`) are the class folders themselves.
    """
    nested = any("/" in source.relative for source in sources)
    several = len({source.root for source in sources}) > 1
    if several and not nested:
        return tuple(source.root or LOOSE_CLASS for source in sources)
    return tuple(
        PurePosixPath(source.relative).parts[0] if "/" in source.relative else LOOSE_CLASS
        for source in sources
    )


def _refuse_loose(sources: Sequence[Source], folders: Sequence[str]) -> None:
    """Raise UsageProblem if a picture lies in no class folder."""
    loose = [
        source.path for source, name in zip(sources, folders, strict=True) if name == LOOSE_CLASS
    ]
    if loose:
        more = f" (and {len(loose) - 1} more)" if len(loose) > 1 else ""
        raise UsageProblem(
            f"{printable(loose[0])}{more} is in no class folder; move it into one, or use "
            "--labels auto"
        )


def _from_csv(scan: Scan, path: Path) -> tuple[str, ...]:
    """Return the label of each source from rows of path and label."""
    rows = _read_csv(path)
    names = {_normal(source.name) for source in scan.sources}
    for name, (_, line) in rows.items():
        if name not in names and not _is_there(scan, name):
            raise UsageProblem(
                f"{printable(path)} line {line}: there is no picture {printable(name)}"
            )
    missing = [source.name for source in scan.sources if _normal(source.name) not in rows]
    if missing:
        some = ", ".join(printable(name) for name in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UsageProblem(
            f"{printable(path)} has no label for {some}{more}; add a row path,label for each "
            "picture"
        )
    return tuple(rows[_normal(source.name)][0] for source in scan.sources)


def _is_there(scan: Scan, name: str) -> bool:
    """Tell whether a picture that the CSV names exists, though the options leave it out."""
    single = scan.inputs[0] if len(scan.inputs) == 1 else None
    folders = [single] if single else [i.parent for i in scan.inputs]
    return any((folder / name).is_file() for folder in folders)


def _read_csv(path: Path) -> Mapping[str, tuple[str, int]]:
    """Return label and line number of each path; raises UsageProblem with the line otherwise."""
    rows: dict[str, tuple[str, int]] = {}
    for line, cells in _cells(path):
        where = f"{printable(path)} line {line}"
        if len(cells) != 2 or not all(cells):
            raise UsageProblem(f"{where}: expected path,label, two columns that are not empty")
        if line == 1 and [cell.lower() for cell in cells] == ["path", "label"]:
            continue
        name = _inside(cells[0], where)
        if rows.get(name, (cells[1], 0))[0] != cells[1]:
            raise UsageProblem(
                f"{where}: {printable(name)} is {printable(cells[1])} here and "
                f"{printable(rows[name][0])} on line {rows[name][1]}"
            )
        rows[name] = (cells[1], line)
    if not rows:
        raise UsageProblem(f"{printable(path)} has no rows; write path,label for each picture")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped cells of each row that is not empty."""
    try:
        if not path.is_file():
            raise UsageProblem(f"There is no CSV file {printable(path)}")
        if path.stat().st_size > _LARGEST_CSV:
            raise UsageProblem(
                f"{printable(path)} is larger than 64 MB; write one row path,label a picture"
            )
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UsageProblem(f"{printable(path)}: cannot be read ({error.strerror})") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UsageProblem(f"{printable(path)} line {reader.line_num}: {error}") from error


def _inside(text: str, where: str) -> str:
    """Return a relative path in normal form; raises UsageProblem if it leads outside the input."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\0" in text or ":" in path.parts[0][1:2]:
        raise UsageProblem(
            f"{where}: {printable(text)} leads outside; paths are relative to the input folder"
        )
    return _normal(str(path))


def _normal(name: str) -> str:
    """Return the name in one Unicode form: a CSV file of another system may use the other."""
    return unicodedata.normalize("NFC", name)
