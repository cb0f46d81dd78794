"""The manifest: one JSON line per run and per picture, beside the output; a crash costs one line.

Lines are only ever appended. Paths are relative with forward slashes; bytes that are no text come
back as they were. A line that cannot be read (cut by a crash, or edited) is skipped and counted,
never trusted.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from unlearn import __version__
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.journal import Journal
from unlearn.files.text import printable
from unlearn.protection.shards import Shard, manifest_name, shards_in

VERSION: Final = 1
FILE_NAME: Final = manifest_name(None)
UNBOUNDED: Final = "unbounded"  # the rho of a run whose noise keeps none; see linf of each picture

_END: Final = '{"type": "end"}'

Status = Literal["ok", "failed", "skipped"]
Owner = tuple[str, str | None]  # a source: its name under the inputs, and its own place


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """The settings of one run; what is not stored is not needed to check or continue it."""

    tool: str
    torch: str
    pillow: str
    generator: str
    generator_sha256: str
    rho: str
    seed: int
    labels: str
    format: str
    metadata: str
    max_side: int | None
    grid: int
    noise: (
        int  # the version of the tool's noise, which changes when equal settings give other bytes
    )
    key: str  # the key's fingerprint
    device: str
    inputs: tuple[str, ...]
    argv: tuple[str, ...]
    started: str
    selection: dict[str, Any] = field(default_factory=dict)  # which files were wanted
    shard: str | None = None
    plan: str | None = None  # of a shard: the fingerprint of what is planned for all pictures

    def to_line(self) -> dict[str, Any]:
        """Return the header as the manifest stores it."""
        line = {"type": "run", "v": VERSION, **asdict(self)}
        line["generator"] = {"name": self.generator, "sha256": line.pop("generator_sha256")}
        return line

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> "RunHeader":
        """Read a stored header; raises KeyError, TypeError or ValueError if it is no such."""
        generator = line["generator"]
        if line["v"] > VERSION:
            raise UsageProblem(
                f"was written by a newer unlearn ({line['tool']}); update this one ({__version__})"
            )
        if line["v"] != VERSION:
            raise ValueError(f"manifest version {line['v']}")
        values = {name: line[name] for name in cls.__dataclass_fields__ if name in line}
        values |= {"generator": generator["name"], "generator_sha256": generator["sha256"]}
        values |= {"inputs": tuple(line["inputs"]), "argv": tuple(line["argv"])}
        return _checked(cls(**values))


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureRecord:
    """What became of one picture; without output for anything but status "ok"."""

    src: str
    status: Status
    origin: str | None = None  # the source's own place, see origin_of; None: not known
    reason: str | None = None
    src_sha256: str | None = None
    out: str | None = None
    out_sha256: str | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    label: str | None = None
    settings: str | None = None
    device: str | None = None  # that its noise was computed on, with the precision
    linf: int | None = None
    mean_abs: float | None = None
    psnr: float | None = None
    bytes: int | None = None
    dropped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    ms: int | None = None
    source_format: str | None = None  # as its content tells
    size_ratio: float | None = None  # of the output to the source
    visible: float | None = None  # CIEDE2000 on the plain third of the picture: the mean
    visible_high: float | None = None  # and the 95th percentile
    seen: float | None = None  # both again, blurred as the eye blurs at 60 pixels a degree
    seen_high: float | None = None
    passes: int | None = None  # these three of a JPEG that stayed one, see pictures/jpeg/within
    correlation: float | None = None
    energy: float | None = None

    def to_line(self) -> dict[str, Any]:
        """Return the record as the manifest stores it; linf is measured on the decoded file."""
        bound = "exact" if self.status == "ok" else None
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"type": "image", **values, "bound": bound, "linf_decoded": self.linf}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> "PictureRecord":
        """Read a stored record; raises KeyError, TypeError or ValueError if it is no such."""
        values = {name: line[name] for name in cls.__dataclass_fields__ if name in line}
        for name in _LISTS:
            values[name] = tuple(values.get(name) or ()) or cls.__dataclass_fields__[name].default
        for name in _REPEATED & values.keys():  # a million records then share them
            values[name] = _shared(values[name])
        record = _checked(cls(**values))
        if record.status == "ok" and not (record.out and record.out_sha256):
            raise ValueError("a picture without output")
        _inside(record.out)
        return record


_LISTS: Final = ("dropped", "notices", "size")
_REPEATED: Final = {*_LISTS, "status", "mode", "label", "settings", "device", "source_format"}
_shared: Final = functools.lru_cache(1024)(lambda value: value)
E = TypeVar("E", RunHeader, PictureRecord)
_BROKEN: Final = (KeyError, TypeError, ValueError, RecursionError, AttributeError)
_PLAIN_TYPES: Final[tuple[Any, ...]] = (str, int, str | None, int | None, float | None)
# The fields of each kind of entry, with what they may hold as far as that is plain.
_TYPES: Final[Mapping[type, Sequence[tuple[str, Any]]]] = {
    kind: [(one.name, one.type if one.type in _PLAIN_TYPES else None) for one in fields(kind)]
    for kind in (RunHeader, PictureRecord)
}


@dataclass
class Manifest:
    """What the manifest says: the last run, the last word on each source, who wrote each output."""

    header: RunHeader | None = None
    records: dict[str, PictureRecord] = field(default_factory=dict)  # by source
    outputs: dict[str, PictureRecord | None] = field(
        default_factory=dict
    )  # None: begun, not finished
    owners: dict[str, Owner] = field(default_factory=dict)  # by output
    latest: dict[Owner, str] = field(default_factory=dict)  # the last output of each
    begun: dict[str, Owner] = field(default_factory=dict)  # by output, until it is recorded
    broken_lines: int = 0
    ended: bool = False  # the last run was of a shard and left no picture out
    bytes: int = 0  # of the files, which only grow: another size means another run has written


def origin_of(path: Path) -> str:
    """Return a source's own place: absolute, links to folders followed, its own name kept.

    So it is the same however the input was given, and another where a link leads elsewhere now.
    """
    folder, name = os.path.split(path)
    return os.path.join(home_of(folder), name)  # noqa: PTH118 - bytes that are no text


def home_of(folder: str | Path) -> str:
    """Return a folder's own place, which is that of its files without their names."""
    return os.path.realpath(os.path.abspath(folder))  # noqa: PTH100


def under_inputs(name: str, inputs: Sequence[Path]) -> list[Path]:
    """Return where a source of this name may lie under the inputs, which need not exist."""
    if len(inputs) == 1:
        only = inputs[0]
        return [only if only.name == name and not only.is_dir() else only / name]
    root, _, rest = name.partition("/")
    found = [path / rest for path in inputs if rest and _called(path) == root]
    return found or [path for path in inputs if path.name == name]


def _called(folder: Path) -> str:
    """Return a folder's own name, also if it is given as "."."""
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - links keep theirs


def read_manifest(folder: Path, shard: Shard | None = None) -> Manifest:
    """Read the manifest in the folder of records and the parts of shards, the shard's own last.

    A missing one is empty.
    """
    manifest = Manifest(bytes=manifest_bytes(folder, shard))
    for part in (None, *sorted(shards_in(folder), key=lambda part: (part == shard, part))):
        _read_into(manifest, folder, part)
    return manifest


def read_part(folder: Path, shard: Shard | None) -> Manifest:
    """Read what one shard has written, or what was written or merged without one."""
    manifest = Manifest()
    _read_into(manifest, folder, shard)
    return manifest


def has_ended(folder: Path, shard: Shard) -> bool:
    """Tell whether a shard is done with all its pictures, by the end of its part alone."""
    with (folder / manifest_name(shard)).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END) - 1))
        return file.read() == f"{_END}\n".encode("ascii")


def manifest_bytes(folder: Path, shard: Shard | None = None) -> int:
    """Return the size of the manifest and of its parts, or only that of the shard."""
    sizes = 0
    for part in (None, *([shard] if shard else shards_in(folder))):
        with contextlib.suppress(FileNotFoundError):
            sizes += (folder / manifest_name(part)).stat().st_size
    return sizes


def _read_into(manifest: Manifest, folder: Path, shard: Shard | None) -> None:
    """Add the lines of one file."""
    for line in _journal(folder, shard).lines():
        try:
            _take(manifest, json.loads(line))
        except _BROKEN:
            manifest.broken_lines += 1
        except UsageProblem as error:
            raise UsageProblem(f"{printable(folder / FILE_NAME)} {error}") from error


def records_in(folder: Path) -> Iterator[PictureRecord]:
    """Yield what the lines in a folder of records say of pictures, one by one."""
    for part in (None, *shards_in(folder)):
        for text in _journal(folder, part).lines():
            with contextlib.suppress(*_BROKEN):
                line = json.loads(text)
                if line["type"] == "image":
                    yield PictureRecord.from_line(line)


class ManifestWriter:
    """Appends lines to the manifest in a folder, or to a shard's part of it, one by one.

    A line that cannot be written raises EnvironmentProblem; what got onto the disk of it is ended
    by the next line, so that it costs nothing but itself.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self._journal = _journal(folder, shard)

    def header(self, header: RunHeader) -> None:
        """Append the header of a run and bring it to the disk."""
        self._append(header.to_line(), sync=True)

    def begin(self, src: str, out: str, origin: str | None = None) -> None:
        """Note that an output is about to be written, so that after a crash it is known as ours."""
        self._append({"type": "begin", "src": src, "out": out, "origin": origin})

    def record(self, record: PictureRecord) -> None:
        """Append what became of one picture."""
        self._append(record.to_line())

    def end(self) -> None:
        """Note that a shard is done with all its pictures, and bring that to the disk."""
        self._append(json.loads(_END), sync=True)

    def _append(self, line: Mapping[str, Any], *, sync: bool = False) -> None:
        """Write one line and hand it to the system."""
        try:
            self._journal.append(json.dumps(line, allow_nan=False), sync=sync)
        except OSError as error:
            raise EnvironmentProblem(f"{self._journal.path}: {error.strerror or error}") from error


def _journal(folder: Path, shard: Shard | None) -> Journal:
    """Return the lines of the manifest in a folder, or of a shard's part."""
    return Journal(folder / manifest_name(shard), keep_torn=True)


def _take(manifest: Manifest, line: Mapping[str, Any]) -> None:
    """Add one line to what is known; raises what read_manifest counts if it is broken."""
    kind = line["type"]
    manifest.ended = kind == "end"
    if kind == "run":
        manifest.header = RunHeader.from_line(line)
    elif kind == "begin":
        out = str(_inside(line["out"]))
        owner = _owner(manifest, str(line["src"]), _text(line.get("origin")))
        if manifest.owners.get(out) != owner:  # a name that was free, or free again
            manifest.outputs[out] = None
            manifest.owners[out] = owner
        manifest.begun[out] = owner
    elif kind == "image":
        _take_record(manifest, PictureRecord.from_line(line))


def _take_record(manifest: Manifest, record: PictureRecord) -> None:
    """Add what became of one picture; a name that was held ready and not needed is free again."""
    owner = _owner(manifest, record.src, record.origin)
    manifest.records[record.src] = record
    for out in [out for out, beginner in manifest.begun.items() if beginner == owner]:
        del manifest.begun[out]
        if manifest.outputs.get(out, record) is None:
            del manifest.outputs[out]
            del manifest.owners[out]
    if record.out:
        manifest.outputs[record.out] = record
        manifest.owners[record.out] = owner
        manifest.latest[owner] = record.out


def _owner(manifest: Manifest, src: str, origin: str | None) -> Owner:
    """Return the source of a line; earlier versions only told the inputs of the whole run."""
    if origin is None and manifest.header is not None:
        places = under_inputs(src, [Path(text) for text in manifest.header.inputs])
        origin = origin_of(places[0]) if len(places) == 1 else None
    return src, origin


def _text(value: object) -> str | None:
    """Return a text; raises TypeError for anything else that is something."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _checked(entry: E) -> E:
    """Return the entry; raises TypeError if a field holds what the tool would never store."""
    for name, allowed in _TYPES[type(entry)]:
        value = getattr(entry, name)
        if allowed is not None and not isinstance(value, allowed):
            raise TypeError(f"{name} is {value!r}")
        if isinstance(value, tuple) and not all(type(item) in (str, int) for item in value):
            raise TypeError(f"{name} holds {value!r}")
    return entry


def _inside(out: str | None) -> str | None:
    """Return the path; raises ValueError if it leads outside: outdated outputs get removed."""
    parts = {"."} if out is None else set(out.split("/"))
    if (out or "").startswith("/") or ".." in parts or (out and parts <= {"", "."}):
        raise ValueError(f"output outside: {out}")
    return out
