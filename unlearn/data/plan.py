"""The plan: everything that will be read and written, settled and checked before any work."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from unlearn.data.disk import check_destination, overlaps
from unlearn.data.labels import Labelling, check_choice, label
from unlearn.data.naming import LONGEST_NAME, PICTURE_SUFFIXES, output_names, shown, windows_problem
from unlearn.data.scan import Refusal, Scan, Selection, scan
from unlearn.data.sniff import LOSSLESS_WEBP
from unlearn.errors import NothingFound, UsageProblem

FormatChoice = Literal["auto", "png", "webp", "tiff"]

_LOOKED_FOR: Final = "jpg png webp tif bmp gif avif heic"
_NAMED: Final = 3  # how many names a notice lists before it only counts


@dataclass(frozen=True)
class PlanRequest:
    """What the person asked for, as far as it decides which files are read and written."""

    inputs: tuple[str, ...]
    out: Path
    selection: Selection = Selection()
    labels: str = "auto"
    format: FormatChoice = "auto"


@dataclass(frozen=True)
class PlannedPicture:
    """One picture: where it is read, what it is called, and what is written for it."""

    source: Path
    name: str  # under the inputs, with forward slashes
    out: str  # under the output folder, with forward slashes
    format: str  # of the output: "PNG", "WEBP" or "TIFF"
    label: str


@dataclass(frozen=True)
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

    @property
    def folders(self) -> int:
        """How many folders hold the pictures."""
        return len({picture.source.parent for picture in self.pictures})


def records_folder(out: Path) -> Path:
    """Return the folder of records, beside the output and never inside."""
    absolute = Path(os.path.abspath(out))  # noqa: PTH100 - a link keeps its own name
    name = f"{absolute.name}.unlearn"
    return out.with_name(name) if out.name == absolute.name else absolute.with_name(name)


def make_plan(request: PlanRequest) -> Plan:
    """Settle what will be read and written, without decoding anything and without writing.

    Raises UsageProblem for missing or overlapping paths and labels that do not fit, NothingFound
    without pictures, EnvironmentProblem for a destination that cannot be written.
    """
    check_choice(request.labels)
    out, records = request.out, records_folder(request.out)
    check_destination(out, records)
    found = scan(request.inputs, request.selection)
    _refuse_overlap(found, out, records)
    if not found.sources and not found.refused:
        raise NothingFound(_nothing(found, request.selection))
    labelling = label(found, request.labels)
    formats = [_output_format(source.format, request.format) for source in found.sources]
    wanted = [(source.name, kind) for source, kind in zip(found.sources, formats, strict=True)]
    names = output_names(wanted)
    pictures = tuple(
        PlannedPicture(source.path, source.name, name, kind, cls)
        for source, name, kind, cls in zip(
            found.sources, names, formats, labelling.labels, strict=True
        )
    )
    writable, too_long = _split_long(pictures)
    refused = (*found.refused, *too_long)
    return Plan(
        found.inputs, out, records, writable, refused, found.skipped, labelling, _notices(writable)
    )


def _output_format(content: str, choice: FormatChoice) -> str:
    """Return the format of the output for content as sniff names it; always one without loss."""
    if choice != "auto":
        return choice.upper()
    return {LOSSLESS_WEBP: "WEBP", "TIFF": "TIFF"}.get(content, "PNG")


def _refuse_overlap(found: Scan, out: Path, records: Path) -> None:
    """Raise UsageProblem if output and inputs share a folder, by whatever path."""
    for path in found.inputs:
        for ours, what in ((out, "Output folder"), (records, "Folder of records")):
            how = overlaps(ours, path)
            if how is not None:
                raise UsageProblem(
                    f"{what} {shown(ours)} {how} the input {shown(path)}; choose a folder beside it"
                )
    ours_real = [os.path.join(os.path.realpath(path), "") for path in (out, records)]  # noqa: PTH118
    for source in found.sources:
        if os.path.realpath(source.path).startswith(tuple(ours_real)):
            raise UsageProblem(
                f"{shown(source.path)} is a link into the output folder {shown(out)}; "
                "choose another --out, or leave it out with --exclude"
            )


def _nothing(found: Scan, selection: Selection) -> str:
    """Return the sentence for inputs without pictures, with a hint where one is known."""
    others = sum(found.skipped.values())
    places = ", ".join(shown(path) for path in found.inputs)
    text = f"No pictures in {places} (looked for {_LOOKED_FOR}; {others} other files)."
    if selection.include or selection.exclude:
        return f"{text} Check --include and --exclude"
    for path in found.inputs:
        for folder in sorted(path.iterdir()) if path.is_dir() and not selection.recursive else []:
            if folder.is_dir() and any(
                f.suffix.lower() in PICTURE_SUFFIXES for f in folder.iterdir()
            ):
                return f"{text} Did you mean {shown(folder)}?"
    return text


def _split_long(
    pictures: Sequence[PlannedPicture],
) -> tuple[tuple[PlannedPicture, ...], tuple[Refusal, ...]]:
    """Part what can be written from what has a name that no file system would take."""
    reason = f"output name would be longer than {LONGEST_NAME} bytes; rename it"
    long = {p.name for p in pictures if len(os.fsencode(p.out.rpartition("/")[2])) > LONGEST_NAME}
    refused = tuple(Refusal(p.name, reason) for p in pictures if p.name in long)
    return tuple(p for p in pictures if p.name not in long), refused


def _notices(pictures: Sequence[PlannedPicture]) -> tuple[str, ...]:
    """Return what the person should know about the names."""
    problems = [problem for p in pictures if (problem := windows_problem(p.out))]
    renamed = sum(p.out.rpartition(".")[0] != p.name.rpartition(".")[0] for p in pictures)
    notices = [_listed(problems)] if problems else []
    if renamed:
        notices.append(
            f"{renamed} pictures keep their full name, since two would have had the same one"
        )
    return tuple(notices)


def _listed(problems: Sequence[str]) -> str:
    """Return the first few problems in one line, with the number of the others."""
    distinct = list(Counter(problems))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return "; ".join(distinct[:_NAMED]) + more
