"""The plan: everything that will be read and written, settled and checked before any work."""

import functools
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from unlearn.errors import NothingFound, UsageProblem
from unlearn.files.names import (
    LONGEST_NAME,
    PICTURE_SUFFIXES,
    has_format,
    output_names,
    windows_problem,
)
from unlearn.files.places import check_destination, overlaps
from unlearn.files.tars import sample_of, tar_path
from unlearn.files.text import printable
from unlearn.pictures.choices import FormatChoice
from unlearn.pictures.sniff import LOSSLESS_WEBP
from unlearn.protection.manifest import Manifest, home_of, read_manifest
from unlearn.protection.owners import Claims, Owners
from unlearn.protection.shards import Shard, refuse_others
from unlearn.sources.beside import skipped_text
from unlearn.sources.labels import Labelling, check_choice, label
from unlearn.sources.scan import Refusal, Scan, Selection, Source, scan

_LOOKED_FOR: Final = "jpg png webp tif bmp gif avif heic"
_NOT_KEPT: Final = "lossy {} cannot be kept within the bound; use --format png"
# For each choice: what content (as sniff names it) is written as, and as what if that fails.
_FORMATS: Final[Mapping[str, Mapping[str, tuple[str, str | None]]]] = {
    "auto": {LOSSLESS_WEBP: ("WEBP", None), "TIFF": ("TIFF", None), "JPEG": ("JPEG", "PNG")},
    "keep": {
        LOSSLESS_WEBP: ("WEBP", None),
        "TIFF": ("TIFF", None),
        "JPEG": ("JPEG", None),
        "BMP": ("BMP", "PNG"),
    },
}
_UNSTATED_PIXELS: Final = 50_000_000
_NAMED: Final = 3  # how many names a notice lists before it only counts


@dataclass(frozen=True)
class PlanRequest:
    """What the person asked for, as far as it decides which files are read and written."""

    inputs: tuple[str, ...]
    out: Path
    selection: Selection = Selection()
    labels: str = "auto"
    format: FormatChoice = "auto"
    shard: Shard | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPicture:
    """One picture: where it is read, what it is called, and what is written for it."""

    folder: Path  # that it is read from
    name: str  # under the inputs, with forward slashes
    out: str  # under the output folder, with forward slashes
    format: str  # of the output: "PNG", "WEBP", "TIFF", "JPEG" or "BMP"
    label: str
    fallback: str | None = None  # the name of a PNG that is written if that format cannot be
    size: tuple[int, int] | None = None  # as the source's header states it
    tar: str = ""  # the name of the tar that it is read from, and written to
    claims: Claims = Claims("")  # what earlier runs wrote for it

    @property
    def source(self) -> Path:
        """The file."""
        return self.folder / self.name.rpartition("/")[2]

    @property
    def origin(self) -> str:
        """The source's own place, see origin_of."""
        return os.path.join(self.claims.home, self.name.rpartition("/")[2])  # noqa: PTH118

    @property
    def outs(self) -> tuple[str, ...]:
        """Every name that may be written, the wanted one first."""
        return (self.out,) if self.fallback is None else (self.out, self.fallback)

    @property
    def tar_path(self) -> Path:
        """The tar that it is read from."""
        return tar_path(self.source, self.name, self.tar)

    @property
    def pixels(self) -> int:
        """How many pixels the source's header states, or a guess."""
        return math.prod(self.size) if self.size else _UNSTATED_PIXELS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole of a run before it starts; `refused` fails for sure, `skipped` counts the rest."""

    inputs: tuple[Path, ...]
    out: Path
    records: Path
    pictures: tuple[PlannedPicture, ...]
    refused: tuple[Refusal, ...]
    skipped: Mapping[str, int]
    labelling: Labelling
    notices: tuple[str, ...]
    manifest: Manifest = field(default_factory=Manifest)  # of earlier runs
    digest: str | None = None  # of a shard: the fingerprint of the plan for all pictures

    @property
    def folders(self) -> int:
        """How many folders hold the pictures."""
        return len({picture.folder for picture in self.pictures})

    @property
    def staged(self) -> Path:
        """The folder of what is written for tars that are not whole yet."""
        return self.records / "staged"

    def without(self, reasons: Mapping[str, str]) -> "Plan":
        """Return the plan with pictures refused, for the reasons by their names."""
        refused = (Refusal(name, reason) for name, reason in reasons.items())
        pictures = tuple(picture for picture in self.pictures if picture.name not in reasons)
        return replace(self, pictures=pictures, refused=(*self.refused, *refused))

    def place(self, picture: PlannedPicture, out: str) -> Path:
        """Return where an output of a picture lies now."""
        waiting = self.staged / out
        return waiting if picture.tar and waiting.is_file() else self.out / out


def records_folder(out: Path) -> Path:
    """Return the folder of records, beside the output and never inside."""
    absolute = Path(os.path.abspath(out))  # noqa: PTH100 - a link keeps its own name
    name = f"{absolute.name}.unlearn"
    return out.with_name(name) if out.name == absolute.name else absolute.with_name(name)


def make_plan(request: PlanRequest) -> Plan:
    """Settle what will be read and written, without decoding anything and without writing.

    The manifest of earlier runs decides which names are taken. Raises UsageProblem for missing or
    overlapping paths and labels that do not fit, NothingFound without pictures,
    EnvironmentProblem for a destination that cannot be written.
    """
    check_choice(request.labels)
    out, records = request.out, records_folder(request.out)
    check_destination(out, records)
    found = scan(request.inputs, request.selection)
    _refuse_overlap(found, out, records)
    if not found.sources and not found.refused:
        raise NothingFound(_nothing(found, request.selection))
    labelling = label(found, request.labels)
    refuse_others(out, records, request.shard)
    owners = Owners.of(read_manifest(records, request.shard))
    reserved = [name for name in owners.manifest.outputs if os.path.lexists(out / name)]
    pictures, lossy = _pictures(found.sources, labelling.labels, request.format, owners, reserved)
    writable, too_long = _split_unfit(pictures)
    refused = (*found.refused, *lossy, *too_long)
    earlier = [owners.of_refused(refusal.name, found.inputs) for refusal in refused]
    notices = (
        *labelling.notices,
        *_notices(writable),
        *_changed_formats(found.sources, request.format),
        *_raws(found.raws),
        *_sidecars(found.skipped.get(".xmp", 0)),
        *_staying(out, frozenset().union(*earlier)),
    )
    plan = Plan(
        inputs=found.inputs,
        out=out,
        records=records,
        pictures=writable,
        refused=refused,
        skipped=found.skipped,
        labelling=labelling,
        notices=notices,
        manifest=owners.manifest,
    )
    return plan if request.shard is None else _part(plan, request.shard)


def _part(plan: Plan, shard: Shard) -> Plan:
    """Return what one shard does of a plan for all pictures."""
    whole = hashlib.sha256()
    for picture in plan.pictures:
        named = picture.name, picture.out, picture.fallback, picture.label
        whole.update(json.dumps(named).encode())
    for refusal in plan.refused:
        whole.update(json.dumps((refusal.name, refusal.reason)).encode())
    pictures = tuple(p for p in plan.pictures if shard.takes(p.tar or p.name))
    said = f"Shard {shard}: {len(pictures)} of {len(plan.pictures)} pictures"
    return replace(
        plan,
        pictures=pictures,
        refused=tuple(r for r in plan.refused if shard.takes(r.tar or r.name)),
        notices=(said, *plan.notices),
        digest=whole.hexdigest()[:16],
    )


def _pictures(
    sources: Sequence[Source],
    labels: Sequence[str],
    choice: FormatChoice,
    owners: Owners,
    reserved: Sequence[str],
) -> tuple[tuple[PlannedPicture, ...], tuple[Refusal, ...]]:
    """Return what is planned for every source, and what a choice of format excludes.

    Names for a failure are reserved like all others, so that none ever takes another's place. What
    a source has already it keeps; what others have published it never gets.
    """
    lossy = {"WEBP": "WebP", "AVIF": "AVIF"} if choice == "keep" else {}
    refused = tuple(
        Refusal(s.name, _NOT_KEPT.format(lossy[s.format]), s.tar)
        for s in sources
        if s.format in lossy
    )
    if refused:
        labels = [c for s, c in zip(sources, labels, strict=True) if s.format not in lossy]
        sources = [s for s in sources if s.format not in lossy]
    formats = [_output_formats(source.format, choice) for source in sources]
    claims = owners.claims(sources)
    wanted = [(source.name, kind) for source, (kind, _) in zip(sources, formats, strict=True)]
    claimed = [claim.shows for claim in claims]
    for source, (_, other), claim in zip(sources, formats, claims, strict=True):
        if other is not None:
            wanted.append((source.name, other))
            claimed.append(claim.shows)
    names = output_names(wanted, _held(wanted, claimed), reserved)
    del wanted, claimed  # before as much again is made
    spares = iter(names[len(sources) :])
    return tuple(
        PlannedPicture(
            folder=source.folder,
            name=source.name,
            out=name,
            format=kind,
            label=cls,
            fallback=None if other is None else next(spares),
            size=source.size,
            tar=source.tar,
            claims=claim,
        )
        for source, cls, name, (kind, other), claim in zip(
            sources, labels, names, formats, claims, strict=False
        )
    ), refused


def _held(wanted: Sequence[tuple[str, str]], claimed: Sequence[Sequence[str]]) -> dict[int, str]:
    """Return the names that sources have already and that fit the format they get, by place."""
    held = {}
    for place, ((_, kind), outs) in enumerate(zip(wanted, claimed, strict=True)):
        fitting = next((out for out in outs if has_format(out, kind)), None)
        if fitting is not None:
            held[place] = fitting
    return held


def _output_formats(content: str, choice: FormatChoice) -> tuple[str, str | None]:
    """Return the output's format for content as sniff names it, and what is tried if that fails."""
    table = _FORMATS.get(choice)
    return (choice.upper(), None) if table is None else table.get(content, ("PNG", None))


def _changed_formats(sources: Sequence[Source], choice: FormatChoice) -> tuple[str, ...]:
    """Return what the person should know about formats that cannot be kept."""
    counts = Counter(s.format for s in sources if s.format in ("GIF", "HEIC"))
    if choice != "keep":
        return ()
    return tuple(
        f"{count} {kind} {'is' if count == 1 else 'are'} written as PNG, since {kind} cannot hold "
        "the noise within the bound"
        for kind, count in sorted(counts.items())
    )


def _raws(names: Sequence[str]) -> tuple[str, ...]:
    """Return what the person should know about raw files beside pictures that are protected."""
    if not names:
        return ()
    many = f"{len(names)} camera raw files are" if len(names) > 1 else "1 camera raw file is"
    return (
        f"{many} not protected, but the picture of the same name beside is: "
        f"{listed(list(map(printable, names)), ', ')}",
    )


def _sidecars(count: int) -> tuple[str, ...]:
    """Return what the person should know about XMP files beside pictures."""
    if not count:
        return ()
    many, hold = (
        (f"{count} .xmp files are", "they hold") if count > 1 else ("1 .xmp file is", "it holds")
    )
    return (
        f"{many} not read: what only {hold}, such as a copyright, is not in the copies; let the "
        "program that made such files write into the pictures",
    )


def _staying(out: Path, names: frozenset[str]) -> tuple[str, ...]:
    """Return what the person should know about what refused sources have published before."""
    there = [printable(out / name) for name in sorted(names) if os.path.lexists(out / name)]
    if not there:
        return ()
    many = f"{len(there)} outputs" if len(there) > 1 else "1 output"
    stay = "stay as they are, since their sources" if len(there) > 1 else "stays, since its source"
    return (f"{many} of an earlier run {stay} cannot be protected now: {listed(there, ', ')}",)


def _refuse_overlap(found: Scan, out: Path, records: Path) -> None:
    """Raise UsageProblem if output and inputs share a folder, by whatever path."""
    for path in found.inputs:
        for ours, what in ((out, "Output folder"), (records, "Folder of records")):
            how = overlaps(ours, path)
            if how is not None:
                raise UsageProblem(
                    f"{what} {printable(ours)} {how} the input {printable(path)}; choose a folder "
                    "beside it"
                )
    inside = tuple(os.path.join(os.path.realpath(path), "") for path in (out, records))  # noqa: PTH118
    home = functools.cache(lambda folder: os.path.join(home_of(folder), ""))  # noqa: PTH118
    for source in found.sources:
        linked = os.path.islink(source.path)  # noqa: PTH114 - a million of them
        place = os.path.realpath(source.path) if linked else home(source.folder)
        if place.startswith(inside):
            raise UsageProblem(
                f"{printable(source.path)} is a link into the output folder {printable(out)}; "
                "choose another --out, or leave it out with --exclude"
            )


def _nothing(found: Scan, selection: Selection) -> str:
    """Return the sentence for inputs without pictures, with a hint where one is known."""
    others = skipped_text(found.skipped) or "nothing else"
    places = ", ".join(printable(path) for path in found.inputs)
    text = f"No pictures in {places} (looked for {_LOOKED_FOR}; {others} there)."
    if selection.include or selection.exclude:
        return f"{text} Check --include and --exclude"
    for path in found.inputs:
        for folder in sorted(path.iterdir()) if path.is_dir() and not selection.recursive else []:
            if folder.is_dir() and any(
                f.suffix.lower() in PICTURE_SUFFIXES for f in folder.iterdir()
            ):
                return f"{text} Did you mean {printable(folder)}?"
    return text


def _split_unfit(
    pictures: Sequence[PlannedPicture],
) -> tuple[tuple[PlannedPicture, ...], tuple[Refusal, ...]]:
    """Part what can be written from what has a name that would not do."""
    problems = {p.name: problem for p in pictures if (problem := _name_problem(p))}
    refused = tuple(
        Refusal(p.name, problems[p.name], p.tar) for p in pictures if p.name in problems
    )
    return tuple(p for p in pictures if p.name not in problems), refused


def _name_problem(picture: PlannedPicture) -> str | None:
    """Return why an output cannot have its name: no file system, or no sample, would take it."""
    if any(len(os.fsencode(out.rpartition("/")[2])) > LONGEST_NAME for out in picture.outs):
        return f"output name would be longer than {LONGEST_NAME} bytes; rename it"
    if picture.tar and {sample_of(picture.name)} != set(map(sample_of, picture.outs)):
        return "its name is another member's, but for case or suffix; rename it"
    return None


def _notices(pictures: Sequence[PlannedPicture]) -> tuple[str, ...]:
    """Return what the person should know about the names."""
    problems = [problem for p in pictures if (problem := windows_problem(p.out))]
    renamed = [p for p in pictures if p.out.rpartition(".")[0] != p.name.rpartition(".")[0]]
    full = sum(p.out.startswith(p.name) for p in renamed)
    numbered = [
        f"{printable(p.name)}{'' if out == p.out else ', as PNG,'} is called {printable(out)}"
        for p in pictures
        for out in p.outs
        if not out.startswith((p.name, f"{p.name.rpartition('.')[0]}."))
    ]
    notices = [listed(problems)] if problems else []
    if full:
        keep = f"{full} pictures keep their" if full > 1 else "1 picture keeps its"
        notices.append(f"{keep} full name, since two would have had the same one")
    if numbered:
        notices.append(f"{listed(numbered)}, since another picture has its name")
    return tuple(notices)


def listed(problems: Sequence[str], between: str = "; ") -> str:
    """Return the first few texts in one line, with the number of the others."""
    distinct = list(Counter(problems))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return between.join(distinct[:_NAMED]) + more
