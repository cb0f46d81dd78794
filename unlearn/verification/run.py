"""Prove from the pixels on disk that every source has an output within the bound, and nothing else.

The manifest is asked for three things only: which radius and which shrinking were used, where the
sources are, and which hash an output had. None of them can make a bad file pass: a radius is
reported with its origin, shrinking shows in the size, and every pixel is compared.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unlearn.errors import NothingFound, UsageProblem
from unlearn.files.tars import is_tar, tar_path
from unlearn.files.text import printable
from unlearn.pictures.read import Preparation
from unlearn.protection.manifest import Manifest, origin_of, read_manifest
from unlearn.protection.packing import tar_problem
from unlearn.protection.plan import records_folder
from unlearn.radius import Radius
from unlearn.sources.scan import Scan, scan
from unlearn.verification.manifest_claims import (
    Origin,
    claimed_radius,
    claimed_selection,
    claimed_shrinking,
    notices,
    of_others,
    others_outputs,
    why_missing,
)
from unlearn.verification.options import VerifyOptions
from unlearn.verification.pairs import Outputs, find_outputs, pair_names
from unlearn.verification.verdicts import Check, Task, check_pair, find_swaps

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class VerifyReport:
    """The verdict on every file; `compared` of the `pairs` of source and output were compared."""

    checks: tuple[Check, ...]
    radius: Radius
    radius_origin: Origin
    pairs: int
    compared: int
    notices: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file is within the bound and none is missing or extra."""
        return all(check.state == "ok" for check in self.checks)

    @property
    def counts(self) -> Counter[str]:
        """How many files there are in each state."""
        return Counter(check.state for check in self.checks)


def verify(
    source: Path | None, out: Path, options: VerifyOptions, report: Report = lambda *_: None
) -> VerifyReport:
    """Compare every output with its source; without a source the manifest says where they are.

    `report` is told how many pairs are done, of how many, and the last one's name. Raises
    UsageProblem for folders that are not there or the same, NothingFound without any source.
    """
    outputs = find_outputs(out)
    manifest = read_manifest(records_folder(out))
    found = _find_sources(source, out, manifest)
    names = [item.name for item in found.sources] + [item.name for item in found.refused]
    recorded = _recorded(found, manifest)
    pairs = _pair(names, outputs, recorded, both_files=_both_files(source, out))
    tasks = _tasks(found, outputs, pairs, manifest)
    chosen = _sample(tasks, options.sample)
    radius, origin = claimed_radius(manifest, options.radius)
    preparation = Preparation(claimed_shrinking(manifest), options.max_pixels)
    checks = _compare(chosen, radius, preparation, options.workers, report)
    others = others_outputs(manifest, out, outputs.pictures.keys() - pairs.values(), found.inputs)
    alone = _unpaired(found, outputs, pairs, manifest)
    checks += [check for check in alone if check.output not in others]
    checks += _tars(found, out, pairs)
    checks.sort(key=lambda check: check.source or check.output or "")
    said = (*notices(manifest, radius, origin), *of_others(others, manifest))
    return VerifyReport(tuple(checks), radius, origin, len(tasks), len(chosen), said)


def paired(source: Path | None, out: Path, manifest: Manifest) -> list[Task]:
    """Return every source that has an output, as verify pairs them; raises as verify does."""
    outputs, found = find_outputs(out), _find_sources(source, out, manifest)
    names = [item.name for item in found.sources]
    pairs = _pair(names, outputs, _recorded(found, manifest), both_files=_both_files(source, out))
    return _tasks(found, outputs, pairs, manifest)


def _find_sources(source: Path | None, out: Path, manifest: Manifest) -> Scan:
    """Return the sources under the given folder, or under those the manifest names."""
    header = manifest.header
    inputs = [source] if source else [Path(text) for text in header.inputs] if header else []
    if not inputs:
        where = printable(records_folder(out) / "manifest.jsonl")
        raise UsageProblem(f"no manifest {where}; name the sources: unlearn verify SRC OUT")
    for folder in inputs:
        if folder.exists() and folder.samefile(out):
            raise UsageProblem(
                f"{printable(folder)} and {printable(out)} are the same; name SRC and OUT"
            )
    found = scan(inputs, claimed_selection(manifest))
    if not found.sources and not found.refused:
        places = ", ".join(printable(folder) for folder in inputs)
        raise NothingFound(f"no pictures in {places}, so there is nothing to compare")
    return found


def _both_files(source: Path | None, out: Path) -> bool:
    """Tell whether two single files are to be compared, whatever they are called."""
    files = source is not None and source.is_file() and out.is_file()
    return files and not is_tar(out.name)


def _pair(
    names: Sequence[str], outputs: Outputs, recorded: Mapping[str, str], *, both_files: bool
) -> dict[str, str]:
    """Return the output of each source that has one."""
    found = list(outputs.pictures)
    if both_files and names and found:
        return {names[0]: found[0]}
    return pair_names(names, found, recorded)


def _recorded(found: Scan, manifest: Manifest) -> dict[str, str]:
    """Return the output that the manifest names for each source.

    Two folders may hold a source of one name: the one that lies here counts, else the last.
    """
    recorded = {name: record.out for name, record in manifest.records.items() if record.out}
    for item in found.sources:
        own = manifest.latest.get((item.name, origin_of(item.path)))
        if own is not None:
            recorded[item.name] = own
    return recorded


def _tasks(found: Scan, outputs: Outputs, pairs: dict[str, str], manifest: Manifest) -> list[Task]:
    """Return the pairs to compare, with the hash each output had when it was written."""
    tasks = []
    for item in found.sources:
        if item.name in pairs:
            record = manifest.outputs.get(pairs[item.name])
            path = outputs.pictures[pairs[item.name]]
            sha256 = record.out_sha256 if record else None
            tasks.append(Task(item.name, item.path, pairs[item.name], path, sha256))
    return tasks


def _sample(tasks: list[Task], count: int | None) -> list[Task]:
    """Return so many pairs, chosen so that nobody can know which, or all of them."""
    if count is None or count >= len(tasks):
        return tasks
    chosen = set(secrets.SystemRandom().sample(range(len(tasks)), count))
    return [task for i, task in enumerate(tasks) if i in chosen]


def _compare(
    tasks: Sequence[Task],
    radius: Radius,
    preparation: Preparation,
    workers: int,
    report: Report,
) -> list[Check]:
    """Compare the pairs in threads, since decoding runs outside Python's lock; find swaps."""
    checks: list[Check] = []
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for check in pool.map(lambda task: check_pair(task, radius, preparation), tasks):
            checks.append(check)
            report(len(checks), len(tasks), check.source or "")
    finally:
        pool.shutdown(cancel_futures=True)
    return find_swaps(checks, tasks, radius, preparation)


def _tars(found: Scan, out: Path, pairs: Mapping[str, str]) -> list[Check]:
    """Return the tars in which anything but the pictures is not as in their sources."""
    outs: dict[str, dict[str, str]] = {}
    paths: dict[str, Path] = {}
    for item in found.sources:
        if item.tar and item.name in pairs:
            outs.setdefault(item.tar, {})[item.name] = pairs[item.name]
            paths[item.tar] = tar_path(item.path, item.name, item.tar)
    checks = []
    for tar, path in paths.items():
        problem = tar_problem(path, out / tar if out.is_dir() else out, tar, outs[tar])
        if problem is not None:
            checks.append(Check(tar, tar, "changed", problem))
    return checks


def _unpaired(
    found: Scan, outputs: Outputs, pairs: dict[str, str], manifest: Manifest
) -> list[Check]:
    """Return sources without output, outputs without source, and sources beyond reading."""
    checks: list[Check] = []
    refused = {item.name: item.reason for item in found.refused}
    for name in [*refused, *(item.name for item in found.sources)]:
        if name not in pairs:
            checks.append(Check(name, None, "missing", why_missing(name, refused, manifest)))
        elif name in refused:
            checks.append(Check(name, pairs[name], "unreadable", f"source: {refused[name]}"))
    for name in outputs.pictures.keys() - pairs.values():
        origin = manifest.owners.get(name, ("", None))[1]
        why = f"made from {printable(origin)}, not compared" if origin else "no source of this name"
        checks.append(Check(None, name, "extra", why))
    return checks + [Check(None, name, "extra", why) for name, why in outputs.foreign.items()]
