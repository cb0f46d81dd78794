"""The records of a comparison: what is known of each part, in its folder."""

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from unlearn.audits.comparison.values import Entry, Record
from unlearn.audits.options import AuditOptions
from unlearn.audits.study import forget
from unlearn.config import from_plain, to_plain
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.replace import replace_file
from unlearn.methods import METHODS

_RECORD: Final = "record.json"


def record_of(options: AuditOptions, record: Record) -> Record:
    """Return what an earlier run left of a part, or the given record of nothing.

    Raises UsageProblem for a part with another identity.
    """
    path = options.out / _RECORD
    if not options.resume:
        forget(options.out)
        path.unlink(missing_ok=True)
    found = _read(path)
    if found is None:
        return record
    if found.identity != record.identity:
        raise UsageProblem(
            f"{path.parent} belongs to a comparison with other settings or pictures; use "
            "--no-resume to start over, or another --out"
        )
    return found


def others(out: Path, fingerprint: str, names: Collection[str]) -> Iterator[Entry]:
    """Yield the methods that earlier lines left in a folder with results, but for some names."""
    for path in sorted(out.glob(f"methods/*/{_RECORD}")):
        record = _read(path)
        if record is None or not record.results or record.name in names:
            continue
        if record.common == fingerprint:
            yield Entry(record.name, METHODS[record.name.partition(":")[0]].summary, record)


def keep(options: AuditOptions, record: Record) -> Record:
    """Write the record of a part."""
    text = json.dumps(to_plain(record), sort_keys=True, allow_nan=False)
    replace_file(options.out / _RECORD, text.encode("ascii"))
    return record


def finished(options: AuditOptions, record: Record) -> Record:
    """Write a record with results and drop what only the victims needed."""
    keep(options, record)
    for name in ("sets", "state"):
        shutil.rmtree(options.out / name, ignore_errors=True)
    return record


def _read(path: Path) -> Record | None:
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    try:
        return from_plain(Record, json.loads(text), "record")
    except (ValueError, UsageProblem) as error:
        raise EnvironmentProblem(f"{path}: damaged; delete it or use --no-resume") from error
