"""Cache: a labelled set on disk, mapped into memory by every process that reads it.

Sets that were read from many files are kept in the person's cache folder, under the facts of these
files; the last few of them, whoever reads them next.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
from PIL import __version__ as pillow

from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import EnvironmentProblem
from unlearn.files.homes import own_folder
from unlearn.files.places import check_space
from unlearn.files.replace import replacing
from unlearn.files.tars import status

_WORTH_IT = 1000  # files; fewer are read faster than anybody waits for
_KEPT = 4  # sets in the cache folder
_SETTLED_SECONDS = 2  # two changes of one file within this may have one time


def store(data: LabelledPictures, path: Path) -> None:
    """Write a set as one file, through a temporary one; raises EnvironmentProblem without room."""
    check_space(stored_bytes(data), path.parent)
    tensors = {"pixels": data.pixels, "labels": data.labels, "ids": data.ids}
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:  # straight to disk: a set may fill half of the memory
            safetensors.torch.save_file(whole, temporary, {"classes": json.dumps(data.classes)})
    except (OSError, safetensors.SafetensorError) as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error})") from error


def load(path: Path) -> LabelledPictures:
    """Return a stored set; its pixels stay on disk until they are read."""
    with safetensors.safe_open(path, framework="pt") as file:
        classes = tuple(json.loads(file.metadata()["classes"]))
        pixels, labels, ids = (file.get_tensor(name) for name in ("pixels", "labels", "ids"))
    return LabelledPictures(pixels, labels, classes, ids)


def stored_bytes(data: LabelledPictures) -> int:
    """Return about how many bytes a set takes on disk."""
    return data.pixels.numel() + 16 * len(data) + 4096


def place_for(files: Sequence[Path], reading: str) -> Path | None:
    """Return where the set that files make, read in some way, is kept; None if it is not to be.

    Its name holds path, size and times of change of each file, so a changed file is another set's.
    """
    folder = own_folder("cache")
    if folder is None or len(files) < _WORTH_IT:
        return None
    digest, last = hashlib.sha256(f"1 {pillow} {reading}".encode()), 0.0
    for file in files:
        try:
            facts = status(file)
        except OSError:
            return None
        times = facts.st_mtime_ns, facts.st_ctime_ns
        digest.update(repr((str(file.absolute()), facts.st_size, facts.st_ino, times)).encode())
        last = max(last, facts.st_mtime, facts.st_ctime)
    if last > time.time() - _SETTLED_SECONDS:
        return None
    return folder / f"pictures-{digest.hexdigest()[:32]}.safetensors"


def recall(place: Path) -> LabelledPictures | None:
    """Return the set that is kept at a place, or None if there is none that can be read."""
    try:
        return load(place)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None


def keep(data: LabelledPictures, place: Path) -> None:
    """Keep a set for the next time, and only the last few; without room or leave keep nothing."""
    with contextlib.suppress(OSError, EnvironmentProblem):
        place.parent.mkdir(parents=True, exist_ok=True)
        store(data, place)
        kept = sorted(place.parent.glob("pictures-*.safetensors"), key=lambda p: p.stat().st_mtime)
        for old in kept[:-_KEPT]:
            old.unlink(missing_ok=True)
