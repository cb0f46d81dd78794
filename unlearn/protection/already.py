"""Pictures that are protected already: with a second noise they may be over the bound."""

import contextlib
from collections.abc import Callable, Mapping, Set
from functools import cache
from pathlib import Path

from unlearn.files.replace import file_sha256
from unlearn.files.tars import status
from unlearn.files.text import printable
from unlearn.protection.manifest import FILE_NAME, records_in
from unlearn.protection.plan import Plan, PlannedPicture


def without_protected(plan: Plan) -> Plan:
    """Return the plan with the pictures refused that an earlier run wrote.

    They are known by any manifest beside a folder they are in, whatever they and that folder are
    called now.
    """
    find = _finder()
    reasons = {
        picture.name: _reason(manifest)
        for picture in plan.pictures
        if (manifest := find(picture)) is not None
    }
    return plan.without(reasons)


def _finder() -> Callable[[PlannedPicture], Path | None]:
    """Return a function that finds the manifest of the run that wrote a file, None if none did."""

    @cache
    def written(folder: Path) -> tuple[Mapping[str, Path], Set[int | None]]:
        """Return the hashes and the sizes of what runs wrote whose records lie in a folder."""
        found, sizes = dict[str, Path](), set[int | None]()
        parts = folder.glob("*.unlearn/manifest*.jsonl")  # of a whole run, or of shards
        for path in sorted({part.with_name(FILE_NAME) for part in parts}):
            with contextlib.suppress(OSError):
                for record in records_in(path.parent):
                    if record.out_sha256:
                        found[record.out_sha256] = path
                        sizes.add(record.bytes)  # most pictures need no hash to tell them
        return found, sizes

    def find(picture: PlannedPicture) -> Path | None:
        """Return the manifest that knows a file."""
        path = picture.source.absolute()
        own = {status(path).st_size, None}
        known = [written(folder) for folder in path.parents]
        near = [found for found, sizes in known if not own.isdisjoint(sizes)]
        sha256 = (picture.claims.sha256 or file_sha256(path) or "") if near else ""
        return next((found[sha256] for found in near if sha256 in found), None)

    return find


def _reason(manifest: Path) -> str:
    """Return why a picture is refused."""
    return (
        f"is protected already (see {printable(manifest)}); with a second noise it may be over "
        "the bound. Protect the original, or use --again"
    )
