"""Packing: copies of tars, with their pictures protected and all else as it was.

A picture that is not protected never gets into a copy, nor does the rest of its sample.
"""

import copy
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn.errors import PictureError
from unlearn.files.places import remove_empty
from unlearn.files.replace import file_sha256
from unlearn.files.tars import opened, plain_name, read_tar, same_bytes, sample_of
from unlearn.files.text import printable
from unlearn.pictures.write import placing
from unlearn.protection.manifest import PictureRecord
from unlearn.protection.plan import Plan, PlannedPicture
from unlearn.sources.scan import is_picture


@dataclass(frozen=True)
class Layout:
    """What the copy of a tar holds: members, with their names there and the outputs they become."""

    members: tuple[tuple[tarfile.TarInfo, str, str | None], ...]
    left_out: tuple[str, ...]  # the keys of samples with a picture that is not protected


def layout(source: Path, tar: str, outs: Mapping[str, str]) -> Layout:
    """Return what the copy of a tar of this name holds if these are the outputs of its pictures.

    Raises PictureError if the tar cannot be read.
    """
    found = [(one, outs.get(f"{tar}/{plain_name(one.name)}")) for one in read_tar(source)]
    clean = {
        sample_of(name): None
        for one, out in found
        if one.isreg() and out is None and is_picture(source / (name := plain_name(one.name)))
    }
    kept = [
        (one, out)
        for one, out in found
        if one.isdir() or sample_of(plain_name(one.name)) not in clean
    ]
    return Layout(
        tuple(
            (one, one.name if out is None else _renamed(one.name, out), out) for one, out in kept
        ),
        tuple(clean),
    )


def _renamed(name: str, out: str) -> str:
    """Return a member's name with the last part of its output's."""
    folder, slash, _ = name.rpartition("/")
    return f"{folder}{slash}{out.rpartition('/')[2]}"


def pack(
    plan: Plan, tar: str, done: Sequence[tuple[PlannedPicture, PictureRecord]], *, keep_time: bool
) -> Layout:
    """Write the copy of a tar with these pictures, some at least, and return what it holds.

    Raises PictureError if the tar or an output is not what it was, EnvironmentProblem for the disk.
    """
    source, target = done[0][0].tar_path, plan.out / tar
    outs = {record.src: str(record.out) for _, record in done}
    places = {str(record.out): (plan.place(p, str(record.out)), record) for p, record in done}
    target.parent.mkdir(parents=True, exist_ok=True)
    with placing(target) as temporary:
        with (
            source.open("rb") as old,
            tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as new,
        ):
            planned = layout(source, tar, outs)
            for member, name, out in planned.members:
                if out is None:
                    old.seek(member.offset_data)
                    new.addfile(member, old if member.isreg() else None)
                else:
                    _add_picture(new, member, name, *places[out])
        problem = tar_problem(source, temporary, tar, outs)
        if problem is not None:
            raise PictureError(f"the copy would not be whole: {problem}")
    if keep_time:
        os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    shutil.rmtree(plan.staged / tar, ignore_errors=True)
    remove_empty(plan.records, [(plan.staged / tar).relative_to(plan.records).as_posix()])
    return planned


def _add_picture(
    new: tarfile.TarFile, member: tarfile.TarInfo, name: str, path: Path, record: PictureRecord
) -> None:
    """Add an output in the place of its source; raises PictureError if it was changed since."""
    if file_sha256(path) != record.out_sha256:
        raise PictureError(f"the output for {printable(member.name)} was changed; run again")
    with opened(path) as file:
        info = copy.copy(member)
        info.name, info.size = name, file.seek(0, os.SEEK_END)
        stale = ("path", "size")
        info.pax_headers = {key: v for key, v in member.pax_headers.items() if key not in stale}
        file.seek(0)
        new.addfile(info, file)


def tar_problem(source: Path, target: Path, tar: str, outs: Mapping[str, str]) -> str | None:
    """Return how a copy differs from what it has to hold, its pictures' pixels apart, or None."""
    try:
        wanted, there = layout(source, tar, outs).members, read_tar(target)
    except PictureError as error:
        return str(error)
    for (member, name, _), other in zip(wanted, there, strict=False):
        if (name, member.type) != (other.name, other.type):
            return f"it has {printable(other.name)} where {printable(name)} belongs"
    if len(wanted) != len(there):
        return f"it has {len(there)} members and not {len(wanted)}"
    with source.open("rb") as one, target.open("rb") as two:
        for (member, name, out), other in zip(wanted, there, strict=True):
            one.seek(member.offset_data)
            two.seek(other.offset_data)
            same = member.size == other.size and same_bytes(one, two, member.size)
            if out is None and member.isreg() and not same:
                return f"its {printable(name)} is not the source's"
    return None
