"""Tars of samples for the tests: drawn pictures with classes, captions and facts beside them."""

import io
import json
import tarfile
from pathlib import Path

from tests.support.protecting import make_picture

LARGE = {"size": (320, 240), "quality": 98, "subsampling": 0}  # a JPEG that can stay one


def picture_bytes(folder: Path, name: str, seed: int, **how) -> bytes:
    """Return a drawn picture as a file of the format that the name says."""
    return make_picture(folder / "drawn" / f"{seed}-{Path(name).name}", seed, **how).read_bytes()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """Return an entry without content, such as a link or a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def write_tar(path: Path, members: "list[tuple[str, bytes] | tarfile.TarInfo]") -> Path:
    """Write a tar of files, or of entries that are given as they are, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = entry(member[0])
                info.size, info.mtime = len(member[1]), 1_700_000_000
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def read_members(path: Path) -> dict[str, bytes]:
    """Return the files of a tar in their order."""
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar]
        return {name: file.read() for name, file in files if file is not None}


def sample(folder: Path, number: int, seed: int) -> list[tuple[str, bytes]]:
    """Return the members of a sample: class, picture, facts and caption."""
    key, suffix = f"{number:06}", "png" if number % 2 else "jpg"
    how = {} if number else LARGE
    return [
        (f"{key}.cls", str(seed % 3).encode()),
        (f"{key}.{suffix}", picture_bytes(folder, f"{key}.{suffix}", seed, **how)),
        (f"{key}.json", json.dumps({"key": key, "seed": seed}).encode()),
        (f"{key}.txt", f"picture {seed}".encode()),
    ]


def make_shards(folder: Path, count: int = 2, samples: int = 3) -> Path:
    """Fill folder/shards with tars: of each the first picture is a JPEG that can stay one."""
    for shard in range(count):
        found = [sample(folder, number, 100 * shard + number) for number in range(samples)]
        write_tar(
            folder / "shards" / f"{shard:05}.tar", [one for members in found for one in members]
        )
    return folder / "shards"
