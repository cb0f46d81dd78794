"""What a manifest claims about a run, each claim taken only as far as it can do no harm."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from unlearn.config import from_plain
from unlearn.errors import UsageProblem
from unlearn.files.replace import file_sha256
from unlearn.files.text import printable
from unlearn.protection.manifest import UNBOUNDED, Manifest, origin_of
from unlearn.radius import WIDEST, Radius
from unlearn.sources.scan import Selection

DEFAULT_RADIUS = Radius.of_levels(8)
Origin = Literal["given", "manifest", "measured", "default"]
_NAMED: Final = 3  # how many folders a notice lists before it only counts


def claimed_radius(manifest: Manifest, given: Radius | None) -> tuple[Radius, Origin]:
    """Return the radius to hold the outputs to, and who says so.

    Of noise without a bound it is the largest change that was measured when it was written.
    """
    if given is not None:
        return given, "given"
    if manifest.header is None:
        return DEFAULT_RADIUS, "default"
    if manifest.header.rho == UNBOUNDED:
        claims = (record.linf or 0 for record in manifest.outputs.values() if record)
        return Radius.of_levels(min(WIDEST.levels, max(claims, default=0))), "measured"
    try:
        return Radius.parse(str(manifest.header.rho)), "manifest"
    except UsageProblem:
        return DEFAULT_RADIUS, "default"


def claimed_shrinking(manifest: Manifest) -> int | None:
    """Return the longest side the outputs were shrunk to, as far as the manifest makes sense."""
    side = manifest.header.max_side if manifest.header else None
    return side if isinstance(side, int) and side > 0 else None


def claimed_selection(manifest: Manifest) -> Selection:
    """Return which files were wanted; every file if the manifest makes no sense."""
    try:
        return from_plain(Selection, manifest.header.selection if manifest.header else {})
    except UsageProblem:
        return Selection()


def why_missing(name: str, refused: Mapping[str, str], manifest: Manifest) -> str:
    """Return why a source has no output, as far as anybody knows."""
    record = manifest.records.get(name)
    if record and record.status != "ok" and record.reason:
        return f"{record.status}: {record.reason}"
    return refused.get(name, "there is no output")


def others_outputs(
    manifest: Manifest, out: Path, names: Iterable[str], inputs: Sequence[Path]
) -> dict[str, str]:
    """Return the outputs whose sources lie under none of the inputs, each with its source's place.

    Only files that are what was written count: whatever else lies in the folder is still extra.
    """
    places = (os.path.realpath(path) if path.is_dir() else origin_of(path) for path in inputs)
    ours = tuple(f"{place.rstrip(os.sep)}{os.sep}" for place in places)
    found = {}
    for name in names:
        record, place = manifest.outputs.get(name), manifest.owners.get(name, ("", None))[1]
        if record is None or place is None or f"{place}{os.sep}".startswith(ours):
            continue
        if file_sha256(out / name) == record.out_sha256:
            found[name] = place
    return found


def of_others(others: Mapping[str, str], manifest: Manifest) -> tuple[str, ...]:
    """Return which outputs were not compared, and how to compare them."""
    if not others:
        return ()
    folders = Counter(
        printable(place.removesuffix(manifest.owners[name][0])) for name, place in others.items()
    )
    listed = [f"{count} from {folder}" for folder, count in sorted(folders.items())[:_NAMED]]
    more = [f"{len(folders) - _NAMED} more folders"] if len(folders) > _NAMED else []
    belong = "s of other sources are" if len(others) > 1 else " of another source is"
    return (
        f"{len(others)} output{belong} in this folder by the manifest, and not compared: "
        f"{', '.join([*listed, *more])}; name that folder as SRC to compare it",
    )


def notices(manifest: Manifest, radius: Radius, origin: Origin) -> tuple[str, ...]:
    """Return what the person should know about what the manifest says."""
    found = []
    if origin == "manifest" and radius > DEFAULT_RADIUS:
        found.append(f"the bound {radius} is the manifest's word; --rho sets your own")
    if replace(claimed_selection(manifest), follow_symlinks=False) != Selection():
        found.append("sources that the manifest says were not wanted are not looked for")
    header = manifest.header
    if origin == "measured":
        found.append(
            f"the noise keeps no bound; {radius} is the largest change that the manifest claims"
        )
    if origin == "given" and header is not None and str(header.rho) != str(radius):
        found.append(f"the manifest says rho {printable(header.rho)}; {radius} was checked")
    if manifest.broken_lines:
        found.append(f"{manifest.broken_lines} lines of the manifest could not be read")
    return tuple(found)
