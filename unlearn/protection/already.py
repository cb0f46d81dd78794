"""Pictures that are protected already: noise on noise leaves the bound against the original."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from unlearn.files.replace import file_sha256
from unlearn.files.text import printable
from unlearn.protection.manifest import FILE_NAME, read_manifest
from unlearn.protection.plan import Plan, records_folder
from unlearn.sources.scan import Refusal


def without_protected(plan: Plan) -> Plan:
    """Return the plan with the pictures refused that an earlier run wrote.

    They are known by the manifest beside a folder they are in, whatever they are called now.
    """
    find = _finder()
    refused = {
        picture.name: Refusal(picture.name, _reason(records))
        for picture in plan.pictures
        if (records := find(picture.source)) is not None
    }
    pictures = tuple(picture for picture in plan.pictures if picture.name not in refused)
    return replace(plan, pictures=pictures, refused=(*plan.refused, *refused.values()))


def _finder() -> Callable[[Path], Path | None]:
    """Return a function that finds the records of the run that wrote a file, None if none did."""

    @cache
    def written(folder: Path) -> frozenset[str]:
        """Return the hashes of what runs wrote into a folder."""
        manifest = read_manifest(records_folder(folder))
        return frozenset(
            record.out_sha256
            for record in (*manifest.outputs.values(), *manifest.records.values())
            if record is not None and record.out_sha256
        )

    def find(path: Path) -> Path | None:
        """Return where the manifest is that knows a file."""
        folders = [folder for folder in path.absolute().parents[:-1] if written(folder)]
        sha256 = file_sha256(path) if folders else None
        known = (folder for folder in folders if sha256 in written(folder))
        folder = next(known, None)
        return None if folder is None else records_folder(folder)

    return find


def _reason(records: Path) -> str:
    """Return why a picture is refused."""
    return (
        f"is protected already (see {printable(records / FILE_NAME)}); noise on noise leaves the "
        "bound against the original. Protect the original, or use --again"
    )
