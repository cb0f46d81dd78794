"""Resume: what an earlier run finished, what is left, and what in the output no longer fits."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from unlearn.errors import PictureError, UsageProblem
from unlearn.files.replace import file_sha256
from unlearn.files.text import printable
from unlearn.pictures.read import Preparation, prepare
from unlearn.protection.manifest import Manifest, PictureRecord
from unlearn.protection.owners import in_threads
from unlearn.protection.packing import tar_problem
from unlearn.protection.plan import Plan


@dataclass(frozen=True)
class Work:
    """The plan's pictures, by number: finished before, or still to do; and outdated outputs."""

    finished: Mapping[int, PictureRecord]
    pending: tuple[int, ...]
    outdated: tuple[str, ...]
    edited: tuple[str, ...]  # outdated, but changed by somebody else since: left alone
    changed: Mapping[str, str]  # sources whose output somebody else changed, and that output
    tars: tuple[str, ...] = ()  # all of their pictures are finished, and they are not whole


def sort_work(
    plan: Plan, manifest: Manifest, fingerprints: Sequence[str | None], *, force: bool
) -> Work:
    """Compare the plan with the disk; a picture is finished if source, settings and output agree.

    An outdated output belongs to a picture that has to be done again. Raises UsageProblem where an
    output would replace something that unlearn did not write, unless `force`.
    """
    current = _current(plan, manifest, fingerprints)
    finished = {} if force else current
    pending = tuple(n for n in range(len(plan.pictures)) if n not in finished)
    _refuse_clashes(plan, pending, force=force)
    outdated, edited = _outdated(plan, manifest, current, pending)
    changed = {} if force else _changed(plan, manifest, pending)
    return Work(finished, pending, outdated, edited, changed, _not_whole(plan, finished))


def _current(
    plan: Plan, manifest: Manifest, fingerprints: Sequence[str | None]
) -> dict[int, PictureRecord]:
    """Return the records of the pictures whose output is what a run now would write."""
    candidates = []
    for number, picture in enumerate(plan.pictures):
        for out in reversed(picture.outs):  # a fallback that was needed is needed again
            record, asked = manifest.outputs.get(out), fingerprints[number]
            if record and out in picture.claims.shows and asked == record.settings is not None:
                candidates.append((number, record))

    def agrees(candidate: tuple[int, PictureRecord]) -> bool:
        """Tell whether source and output still are what the record says."""
        number, record = candidate
        picture = plan.pictures[number]
        return (
            file_sha256(plan.place(picture, str(record.out))) == record.out_sha256
            and picture.claims.sha256 == record.src_sha256
        )

    verdicts = in_threads(agrees, candidates)
    return {n: r for (n, r), verdict in zip(candidates, verdicts, strict=True) if verdict}


def _changed(plan: Plan, manifest: Manifest, pending: Sequence[int]) -> dict[str, str]:
    """Return the sources of outputs that were written, and are other pictures now."""
    changed = {}
    for picture in (plan.pictures[number] for number in pending):
        for out in set(picture.outs) & set(picture.claims.shows) if not picture.tar else ():
            record, path = manifest.outputs[out], plan.out / out
            if record and path.is_file() and file_sha256(path) != record.out_sha256:
                with suppress(OSError, PictureError):  # what is cut or damaged is made again
                    prepare(path, Preparation())
                    changed[picture.name] = out
    return changed


def _not_whole(plan: Plan, finished: Mapping[int, PictureRecord]) -> tuple[str, ...]:
    """Return the tars whose pictures are all finished and whose copies do not hold them."""
    outs: dict[str, dict[str, str]] = defaultdict(dict)
    tars = {picture.tar: picture.tar_path for picture in plan.pictures if picture.tar}
    for number, picture in enumerate(plan.pictures):
        if number not in finished:
            tars.pop(picture.tar, None)
        elif picture.tar:
            outs[picture.tar][picture.name] = str(finished[number].out)
    return tuple(
        tar
        for tar, path in tars.items()
        if (plan.staged / tar).exists() or tar_problem(path, plan.out / tar, tar, outs[tar])
    )


def _refuse_clashes(plan: Plan, pending: Sequence[int], *, force: bool) -> None:
    """Raise UsageProblem for outputs that would replace what unlearn did not write."""
    loose = [plan.pictures[number] for number in pending if not plan.pictures[number].tar]
    tars = list(dict.fromkeys(p.tar for number in pending if (p := plan.pictures[number]).tar))
    outs = [out for picture in loose for out in picture.outs] + tars
    parents = {str(parent) for out in outs for parent in PurePosixPath(out).parents}
    there = [p for p in sorted(parents) if os.path.lexists(plan.out / p)]
    _refuse(plan, [p for p in there if not (plan.out / p).is_dir()], "no folder")
    _refuse(plan, [p for p in there if p != "." and (plan.out / p).is_symlink()], "a link")
    _refuse(plan, [out for out in outs if (plan.out / out).is_dir()], "a folder")
    if not force:
        ours = {picture.tar for picture in plan.pictures if picture.claims.shows}
        foreign = [out for p in loose for out in p.outs if out not in p.claims.shows]
        foreign += [tar for tar in tars if tar not in ours]
        there = [out for out in foreign if os.path.lexists(plan.out / out)]
        _refuse(plan, there, "in no record of unlearn", "or --force to replace it")


def _refuse(plan: Plan, outs: Sequence[str], what: str, otherwise: str = "") -> None:
    """Raise UsageProblem that names the first of these outputs, if there is one."""
    if outs:
        more = f" (and {len(outs) - 1} more like it)" if len(outs) > 1 else ""
        advice = ", ".join(filter(None, ["choose another --out", otherwise]))
        raise UsageProblem(f"{printable(plan.out / outs[0])} exists and is {what}{more}; {advice}")


def _outdated(
    plan: Plan,
    manifest: Manifest,
    current: Mapping[int, PictureRecord],
    pending: Sequence[int],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return earlier outputs that belong to no current picture, and those edited since."""
    kept = {record.out for record in current.values()}
    planned = {out for number in pending for out in plan.pictures[number].outs}
    candidates = set[str]()
    for picture in (plan.pictures[number] for number in pending):
        candidates.update(picture.claims.removable)
        candidates.update(set(picture.outs) & set(picture.claims.shows))
    outdated: list[str] = []
    edited: list[str] = []
    for out in sorted(candidates - kept):
        if not os.path.lexists(plan.out / out):
            continue
        record = manifest.outputs[out]
        ours = record is None or file_sha256(plan.out / out) == record.out_sha256
        (outdated if ours or out in planned else edited).append(out)
    return tuple(outdated), tuple(edited)
