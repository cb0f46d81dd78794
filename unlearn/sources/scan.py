"""Scan: find every picture among files, folders and patterns, and account for the rest."""

import functools
import glob
import itertools
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from unlearn.errors import PictureError, UsageProblem
from unlearn.files.names import PICTURE_SUFFIXES
from unlearn.files.tars import is_tar, opened, plain_name, read_tar, sample_of
from unlearn.files.text import printable
from unlearn.pictures.kinds import NO_RAW
from unlearn.pictures.sniff import picture_size, sniff
from unlearn.sources.beside import (
    FOLDER_LINK,
    files_in,
    passed_file,
    passed_folder,
    unsupported_content,
    unsupported_suffix,
)
from unlearn.sources.samples import stated_labels


@dataclass(frozen=True)
class Selection:
    """Which files under the inputs are wanted; patterns match paths and names in any case."""

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_symlinks: bool = False

    def wants(self, relative: str) -> bool:
        """Tell whether the patterns let a file through; they may also name a folder above it."""
        if not self.include and not self.exclude:
            return True
        place = PurePosixPath(relative)
        texts = [place, *place.parents[:-1]]
        candidates = {t.lower() for path in texts for t in (str(path), path.name)}

        def matched(plain: frozenset[str], patterns: Sequence[str]) -> bool:
            """Tell whether a candidate is a plain name, or any pattern matches one."""
            return not plain.isdisjoint(candidates) or any(
                fnmatchcase(c, p) for p in patterns for c in candidates
            )

        return (not self.include or matched(*_sorted_out(self.include))) and not matched(
            *_sorted_out(self.exclude)
        )


@functools.cache
def _sorted_out(patterns: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return patterns in lower case, plain names apart: those may be thousands."""
    lower = [pattern.lower() for pattern in patterns]
    plain = frozenset(p for p in lower if not glob.has_magic(p))
    return plain, tuple(p for p in lower if p not in plain)


@dataclass(frozen=True, slots=True)
class Source:
    """One file that may be a picture."""

    folder: Path  # that it lies in, one object for all of its files
    name: str  # its place under the inputs, with forward slashes
    relative: str  # the same under its own input folder
    root: str  # that input folder's name; "" for a file that was given by itself
    format: str  # by content, as sniff names it; "" if only the suffix says picture
    size: tuple[int, int] | None = None  # as the header states it
    tar: str = ""  # the name of the tar that it lies in
    label: str | None = None  # as its sample in the tar states it

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / self.name.rpartition("/")[2]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it lies in under its input, the outermost first; a tar is none."""
        folders = self.relative.split("/")[:-1]
        if self.tar:
            del folders[self.relative.count("/") - self.name.removeprefix(self.tar).count("/")]
        return tuple(folders)


@dataclass(frozen=True)
class Refusal:
    """Something that is wanted and cannot be protected, known before it is decoded."""

    name: str
    reason: str
    tar: str = ""  # the name of the tar that it lies in, or is


@dataclass(frozen=True)
class Scan:
    """What the inputs hold; `skipped` counts other files by suffix.

    `raws` are camera raw files that lie beside a picture of the same name: that one is published.
    """

    inputs: tuple[Path, ...]
    sources: tuple[Source, ...]
    refused: tuple[Refusal, ...]
    skipped: Mapping[str, int]
    raws: tuple[str, ...] = ()


@dataclass
class _Findings:
    """What has been found so far."""

    selection: Selection
    sources: dict[str, Source] = field(default_factory=dict)  # by absolute path
    refused: list[Refusal] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    tars: list[tuple[Path, str, str]] = field(default_factory=list)


def expand(inputs: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the inputs as paths, patterns that the shell left alone expanded, in the given order.

    Raises UsageProblem for an input that is not there.
    """
    found: list[Path] = []
    for text in map(str, inputs):
        matches = [text] if os.path.lexists(text) else []
        if not matches and glob.has_magic(text):
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        if not matches:
            kind = "Nothing matches" if glob.has_magic(text) else "There is no file or folder"
            raise UsageProblem(f"{kind} {printable(text)}; check the path")
        found += map(Path, matches)
    return tuple(dict.fromkeys(found))


def scan(inputs: Sequence[str | Path], selection: Selection) -> Scan:
    """Find the candidates in files, folders and patterns, sorted by name; nothing is decoded.

    One folder is mirrored as it is; of several inputs each folder keeps its own name in front.
    Raises UsageProblem for a missing input and for two inputs whose pictures would have the same
    name.
    """
    paths = expand(inputs)
    findings = _Findings(selection)
    alone = len(paths) == 1
    for path in paths:
        if is_tar(path.name) and path.is_file():
            findings.tars.append((path, path.name, ""))
        elif path.is_dir():
            root = Path(os.path.abspath(path)).name  # noqa: PTH100 - "." has a name, links keep theirs
            _scan_folder(path, "" if alone else f"{root}/", root, findings)
        else:
            _consider(path.parent, path.name, ("", ""), findings)
    _consider_tars(findings, given=frozenset(paths))
    sources = sorted(findings.sources.values(), key=lambda source: source.name)
    for one, two in itertools.pairwise(sources):
        if one.name == two.name:
            raise UsageProblem(
                f"{printable(one.path)} and {printable(two.path)} would both become "
                f"{printable(one.name)}; protect them into two folders"
            )
    raws, refused = _without_raws(sources, sorted(findings.refused, key=lambda r: r.name))
    skipped = {kind: count for kind, count in sorted(findings.skipped.items()) if count}
    return Scan(paths, tuple(sources), refused, skipped, raws)


def _without_raws(
    sources: Sequence[Source], refused: Sequence[Refusal]
) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
    """Part the raw files that have a picture of their name beside them from what is refused."""
    if not any(refusal.reason == NO_RAW for refusal in refused):
        return (), tuple(refused)
    pictures = {_stem(source.name) for source in sources}
    raws = tuple(
        refusal.name
        for refusal in refused
        if refusal.reason == NO_RAW and {_stem(refusal.name), refusal.name.lower()} & pictures
    )
    return raws, tuple(refusal for refusal in refused if refusal.name not in raws)


def _stem(name: str) -> str:
    """Return a path without its suffix, in lower case."""
    return str(PurePosixPath(name).with_suffix("")).lower()


def _scan_folder(folder: Path, prefix: str, root: str, findings: _Findings) -> None:
    """Consider every file under the folder."""
    for place, relative in _walk(folder, "", (), prefix, findings):
        name = relative.rpartition("/")[2]
        if is_tar(name) and (place / name).is_file():
            findings.tars.append((place / name, relative, prefix))
        else:
            _consider(place, relative, (prefix, root), findings)


def _consider_tars(findings: _Findings, given: Collection[Path]) -> None:
    """Consider the tars if they are all there is: one beside photos of a folder is a backup.

    Raises UsageProblem for tars that were `given` beside other pictures, and for two of one name.
    """
    loose = next(iter(findings.sources.values()), None)
    named = next((path for path, _, _ in findings.tars if path in given), None)
    if loose and named:
        raise UsageProblem(
            f"{printable(named)} is a tar and {printable(loose.path)} lies in none; protect them "
            "in two runs"
        )
    seen: dict[str, Path] = {}
    for path, relative, prefix in findings.tars:
        name = f"{prefix}{relative}"
        if loose or not _consider_tar(path, relative, prefix, findings):
            findings.skipped[path.suffix.lower()] += 1
        elif seen.setdefault(name, path) != path:
            raise UsageProblem(
                f"{printable(seen[name])} and {printable(path)} would both become "
                f"{printable(name)}; protect them into two folders"
            )


def _consider_tar(path: Path, relative: str, prefix: str, findings: _Findings) -> bool:
    """Sort the pictures of a tar into sources and refusals; False if there are none."""
    tar, before = f"{prefix}{relative}", len(findings.sources) + len(findings.refused)
    try:
        members = read_tar(path)
    except PictureError as error:
        findings.refused.append(Refusal(tar, str(error), tar))
        return True
    stated = stated_labels(path, members)
    inside = replace(findings, skipped=Counter())  # what is no picture there is copied
    folders: dict[str, Path] = {}
    for member in members:
        if member.isreg():
            name, label = plain_name(member.name), stated.get(sample_of(member.name))
            above = name.rpartition("/")[0]
            folder = folders.setdefault(above, path / above)
            _consider(folder, f"{relative}/{name}", (prefix, ""), inside, (tar, label))
    return len(findings.sources) + len(findings.refused) > before


def _walk(
    folder: Path,
    relative: str,
    above: tuple[str, ...],
    prefix: str,
    findings: _Findings,
) -> Iterator[tuple[Path, str]]:
    """Yield the files under a folder in the order of their names, without what is passed over.

    Each comes as its folder and its place under the input; `relative` is that of this folder, with
    a slash behind it. `above` are the real paths of the folders above, so that links cannot lead in
    a circle.
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        reason = f"folder cannot be read: {(error.strerror or str(error)).lower()}"
        name = f"{prefix}{relative.removesuffix('/') or '.'}"
        findings.refused.append(Refusal(name, reason))
        return
    above = (*above, os.path.realpath(folder))
    for entry in entries:
        place = f"{relative}{entry.name}"
        if not _is_folder(entry):
            if (passed := passed_file(entry.name)) is None:
                yield folder, place
            else:
                findings.skipped[passed] += 1
        elif not _is_passed(path := folder / entry.name, above, findings):
            yield from _walk(path, f"{place}/", above, prefix, findings)


def _is_passed(folder: Path, above: Collection[str], findings: _Findings) -> bool:
    """Tell whether a folder is passed over, and count what that leaves out."""
    passed = passed_folder(folder)
    if passed is not None:
        findings.skipped[passed] += files_in(folder, passed)
    elif folder.is_symlink() and not findings.selection.follow_symlinks:
        findings.skipped[FOLDER_LINK] += 1
    elif os.path.realpath(folder) in above:
        findings.skipped["circular folder link"] += 1
    else:
        return not findings.selection.recursive
    return True


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Tell whether this is a folder or a link to one; False where that cannot be found out."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _consider(
    folder: Path,
    relative: str,
    origin: tuple[str, str],
    findings: _Findings,
    tar: tuple[str, str | None] = ("", None),
) -> None:
    """Sort one file of a folder into sources, refusals or skips.

    `origin` is its prefix and its root's name, `tar` the name of the one it is in and its label.
    """
    if not findings.selection.wants(relative):
        return
    prefix, root = origin
    path = folder / relative.rpartition("/")[2]
    suffix, name = path.suffix.lower(), f"{prefix}{relative}"
    try:
        regular = bool(tar[0]) or stat.S_ISREG(path.stat().st_mode)
        content, size, unsupported = _look(path, suffix) if regular else ("", None, None)
    except OSError as error:
        if suffix in PICTURE_SUFFIXES or unsupported_suffix(suffix):
            why = "a link to nothing" if path.is_symlink() else f"{error.strerror or error}".lower()
            findings.refused.append(Refusal(name, f"cannot be read: {why}", tar[0]))
        else:
            findings.skipped["unreadable"] += 1
        return
    if not regular:
        findings.skipped["special file"] += 1
    elif unsupported is not None:
        findings.refused.append(Refusal(name, unsupported, tar[0]))
    elif content or suffix in PICTURE_SUFFIXES:
        key = os.path.abspath(path)  # noqa: PTH100 - links must not be resolved here
        inner = name.removeprefix(prefix)
        source = Source(folder, name, inner, root, content, size, *tar)
        findings.sources.setdefault(key, source)
    else:
        findings.skipped[suffix or "without suffix"] += 1


def is_picture(path: Path) -> bool:
    """Tell whether a file shows something by its name or its content, readable here or not."""
    suffix = path.suffix.lower()
    content, _, unsupported = _look(path, suffix)
    return bool(content or unsupported) or suffix in PICTURE_SUFFIXES


def _look(path: Path, suffix: str) -> tuple[str, tuple[int, int] | None, str | None]:
    """Return what a file is by its content, the size that it states, and why it is refused."""
    with opened(path) as file:
        content = sniff(file)
        unsupported = _why_not(file, suffix, content)
        wanted = unsupported is None and (content or suffix in PICTURE_SUFFIXES)
        return content, _shared(picture_size(file)) if wanted else None, unsupported


@functools.lru_cache(4096)
def _shared(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return an equal size that other pictures have: most of a million repeat."""
    return size


def _why_not(file: BinaryIO, suffix: str, content: str) -> str | None:
    """Return why a file is a picture that cannot be protected, by its name or its content."""
    named = unsupported_suffix(suffix)
    if content:  # most cameras write TIFF with the pixels where only they find them
        return named if content == "TIFF" and named == NO_RAW else None
    return named or unsupported_content(file)
