"""Which output belongs to which source, told by names; the pixels are somebody else's business."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unlearn.errors import PictureError, UsageProblem
from unlearn.files.names import PICTURE_SUFFIXES
from unlearn.files.replace import TEMPORARY_PREFIX
from unlearn.files.tars import is_tar, opened, plain_name, read_tar, status
from unlearn.files.text import printable
from unlearn.pictures.kinds import HEAD_BYTES, KINDS

# Kinds whose first bytes also begin ordinary texts, or that are no pixels.
_NOT_TELLING = frozenset({"PDF", "SVG", "video", "PNM", "PFM", "QOI", "SGI", "ICO"})


@dataclass
class Outputs:
    """What lies in an output folder: pictures by name, and things that never belong there."""

    pictures: dict[str, Path] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)  # name -> what it is


def find_outputs(out: Path) -> Outputs:
    """Find every picture in an output folder, hidden ones too; links to folders are not entered.

    `out` may also be a single file. Raises UsageProblem if it is not there.
    """
    if not out.exists():
        raise UsageProblem(f"there is no file or folder {printable(out)}; check the path")
    found = Outputs()
    if not out.is_dir():
        _add(found, out.name, out)
        return found
    for folder, folders, files in os.walk(out):
        for name in sorted(folders):
            if (path := Path(folder) / name).is_symlink():
                found.foreign[path.relative_to(out).as_posix()] = "a link to a folder"
        for name in sorted(files):
            path = Path(folder) / name
            if name.startswith(TEMPORARY_PREFIX):
                found.foreign[path.relative_to(out).as_posix()] = "left by an interrupted run"
            else:
                _add(found, path.relative_to(out).as_posix(), path)
    return found


def _add(found: Outputs, name: str, path: Path) -> None:
    """Add a file if it is a picture, or the pictures in it if it is a tar."""
    if is_tar(name):
        try:
            inside = [plain_name(member.name) for member in read_tar(path) if member.isreg()]
        except PictureError as error:
            found.foreign[name] = str(error)
            return
        members = {f"{name}/{one}": path / one for one in inside}
    else:
        members = {name: path}
    found.pictures |= {one: at for one, at in members.items() if _may_be_picture(at)}


def _may_be_picture(path: Path) -> bool:
    """Tell whether a file is a picture by its content, or claims to be one by its name."""
    claims = path.suffix.lower() in PICTURE_SUFFIXES
    try:
        if not stat.S_ISREG(status(path).st_mode):
            return claims
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return claims
    return claims or any(kind.begins.match(head) for kind in KINDS if kind.name not in _NOT_TELLING)


def pair_names(
    sources: Sequence[str], outputs: Sequence[str], recorded: Mapping[str, str]
) -> dict[str, str]:
    """Return the output of each source that has one; no output is used twice.

    A recorded pair counts only if its names agree, so that no record can pair a source with the
    output of another. Then a.jpg goes with a.jpg.png, a.jpg, and a.png, in this order.
    """
    pairs: dict[str, str] = {}
    free = dict.fromkeys(sorted(outputs))
    for candidates in (
        ((source, recorded.get(source, "")) for source in sources),
        _by_full_name(sources, outputs),
        ((source, source) for source in sources),
        _by_stem(sources, outputs),
    ):
        for source, output in candidates:
            if source not in pairs and output in free and _names_agree(source, output):
                pairs[source] = output
                del free[output]
    return pairs


def _names_agree(source: str, output: str) -> bool:
    """Tell whether an output lies where its source does and begins with its stem."""
    one, two = PurePosixPath(source), PurePosixPath(output)
    return one.parent == two.parent and two.name.startswith(one.stem)


def _by_full_name(sources: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a.jpg with a.jpg.png."""
    known = set(sources)
    for output in sorted(outputs):
        source = str(PurePosixPath(output).with_suffix(""))
        if source in known:
            yield source, output


def _by_stem(sources: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a.jpg with a.png."""
    by_stem: dict[str, list[str]] = {}
    for output in sorted(outputs):
        by_stem.setdefault(str(PurePosixPath(output).with_suffix("")), []).append(output)
    for source in sorted(sources):
        for output in by_stem.get(str(PurePosixPath(source).with_suffix("")), ()):
            yield source, output
