"""What a manifest claims about a run, each claim taken only as far as it can do no harm."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from unlearn.config import from_plain
from unlearn.errors import UsageProblem
from unlearn.files.text import printable
from unlearn.protection.manifest import UNBOUNDED, Manifest
from unlearn.radius import WIDEST, Radius
from unlearn.sources.scan import Selection

DEFAULT_RADIUS = Radius.of_levels(8)
Origin = Literal["given", "manifest", "measured", "default"]


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
