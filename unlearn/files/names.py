"""Names: how outputs are called, and what another system cannot store."""

import itertools
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from unlearn.files.text import printable

SUFFIXES_OF_FORMAT: Final[Mapping[str, tuple[str, ...]]] = {
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp", ".dib"),
}
PICTURE_SUFFIXES: Final = frozenset(
    {".mpo", ".gif", ".avif", ".heic", ".heif"}.union(*SUFFIXES_OF_FORMAT.values())
)
LONGEST_NAME: Final = 255  # bytes of one name; ext4, APFS and NTFS agree closely enough

_RESERVED: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)
_FORBIDDEN: Final = frozenset('<>:"|?*\\')


def same_name_key(name: str) -> str:
    """Return a key that is equal for two names which some file system takes for one.

    Case is folded (Windows, macOS) and Unicode is brought to one normal form (macOS).
    """
    if name.isascii():
        return name if (key := name.lower()) == name else key  # no second text of a million
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def output_names(
    sources: Sequence[tuple[str, str]],
    held: Mapping[int, str] = MappingProxyType({}),
    reserved: Collection[str] = (),
) -> list[str]:
    """Return one output name for each (source name, output format); names use forward slashes.

    The stem stays, and so does a suffix that already says the output's format. Where two sources
    would meet (a.jpg and a.png), those whose format changes keep their full name (a.jpg.png); where
    even these meet, a number is put before the suffix. No two results are equal on any file system,
    none is a folder of another, and the result for a source depends neither on the order of the
    sources nor on which of them hold the names that they would be given. `held` are names that
    sources have already, by their place; nothing else gets one of these, nor one that is
    `reserved`.
    """
    wishes = [_with_format(*source) for source in sources]
    short = [held.get(i, wish) for i, wish in enumerate(wishes)] if held else wishes
    folders = _folder_keys([*short, *reserved])
    keys = [same_name_key(name) for name in short]
    met = _repeated(keys, (same_name_key(wishes[i]) for i in held if wishes[i] != short[i]))
    if not (met or held or reserved) and folders.isdisjoint(keys):
        return short  # of a million nothing else is made
    order = sorted(range(len(sources)), key=sources.__getitem__)
    order.sort(key=lambda i: short[i] != sources[i][0])
    names = [held.get(i, "") for i in range(len(sources))]
    taken = folders | {same_name_key(name) for name in (*reserved, *held.values())}
    for i in order:
        if i in held:
            continue
        meets = keys[i] in met or keys[i] in folders
        if meets or keys[i] in taken:
            names[i] = _free_name(_full_name(*sources[i]) if meets else short[i], taken)
            taken.add(same_name_key(names[i]))
        else:
            names[i] = short[i]
            taken.add(keys[i])
    return names


def _repeated(*keys: Iterable[str]) -> set[str]:
    """Return the keys that are there more than once."""
    ordered = sorted(itertools.chain(*keys))
    return {one for one, two in itertools.pairwise(ordered) if one == two}


def windows_problem(name: str) -> str | None:
    """Return why Windows could not store this relative path, or None if it could."""
    for part in name.split("/"):
        if part.split(".")[0].rstrip(" ").lower() in _RESERVED:
            return f"{printable(part)} is a reserved name on Windows"
        if part[-1] in ". ":
            return f"{printable(part)} ends in a dot or a space, which Windows removes"
        if not _FORBIDDEN.isdisjoint(part) or any(map(" ".__gt__, part)):
            return f"{printable(part)} has a character that Windows does not allow"
    return None


def has_format(name: str, kind: str) -> bool:
    """Tell whether a name's suffix says the format."""
    return _suffix(name).lower() in SUFFIXES_OF_FORMAT[kind]


def _suffix(name: str) -> str:
    """Return what PurePosixPath calls the suffix, many times as fast."""
    base = name.rpartition("/")[2]
    at = base.rfind(".")
    return base[at:] if 0 < at < len(base) - 1 else ""


def _with_format(name: str, kind: str) -> str:
    """Return the name with a suffix of the format, unless it has one; foreign suffixes are kept."""
    suffix = _suffix(name)
    if suffix.lower() in SUFFIXES_OF_FORMAT[kind]:
        return name
    stem = name.removesuffix(suffix) if suffix.lower() in PICTURE_SUFFIXES else name
    return stem + SUFFIXES_OF_FORMAT[kind][0]


def _full_name(name: str, kind: str) -> str:
    """Return the source's whole name with the format's suffix behind it, unless it has that."""
    short = _with_format(name, kind)
    return name if short == name else name + SUFFIXES_OF_FORMAT[kind][0]


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number before its suffix if something else has it already."""
    path, number = PurePosixPath(name), 1
    while same_name_key(name) in taken:
        number += 1
        name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return name


def _folder_keys(names: Sequence[str]) -> set[str]:
    """Return the keys of every folder that the names lie in."""
    folders = {PurePosixPath(text) for text in {name.rpartition("/")[0] for name in names}}
    parents = {parent for folder in folders for parent in (folder, *folder.parents)}
    return {same_name_key(str(parent)) for parent in parents}
