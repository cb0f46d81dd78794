"""CIFAR-10 and CIFAR-100 python archives, read without running code that hides in a pickle."""

import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.files.replace import replace_file

_TRAIN = {"batches.meta": [f"data_batch_{n}" for n in range(1, 6)], "meta": ["train"]}
_TEST = {"batches.meta": ["test_batch"], "meta": ["test"]}
_NAMES = {"batches.meta": b"label_names", "meta": b"fine_label_names"}
_LABELS = {"batches.meta": b"labels", "meta": b"fine_labels"}
_FOLDERS = ("", "cifar-10-batches-py", "cifar-100-python")
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def find_cifar(folder: Path) -> Path | None:
    """Return the archive folder at or right under a folder, or None if there is none."""
    for name in _FOLDERS:
        if any((folder / name / meta).is_file() for meta in _TRAIN):
            return folder / name
    return None


def load_cifar(archive: Path) -> tuple[LabelledPictures, LabelledPictures]:
    """Return the training and the test pictures; raises UsageProblem for a damaged archive."""
    meta = next(meta for meta in _TRAIN if (archive / meta).is_file())
    names = _read(archive / meta).get(_NAMES[meta])
    if not isinstance(names, list):
        raise UsageProblem(f"{archive / meta}: no class names in it")
    classes = tuple(_text(name) for name in names)
    return tuple(  # type: ignore[return-value]
        _join([_read(archive / name) for name in batches[meta]], _LABELS[meta], classes, archive)
        for batches in (_TRAIN, _TEST)
    )


def save_cifar(pixels: NDArray[np.uint8], archive: Path, out: Path) -> Path:
    """Write the training batches of an archive with other pixels (N, 3, 32, 32); return its folder.

    It has the name and the keys that the field's loaders look for.
    """
    meta = next(meta for meta in _TRAIN if (archive / meta).is_file())
    folder, first = out / _FOLDERS[1 + list(_TRAIN).index(meta)], 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TRAIN[meta]:
        batch = _read(archive / name)
        end = first + len(batch[_LABELS[meta]])
        rows = np.ascontiguousarray(pixels[first:end].reshape(end - first, -1))
        file, first = io.BytesIO(), end
        _AsPython2(file, 2).dump(batch | {b"data": rows})
        replace_file(folder / name, file.getvalue())
    return folder


class _AsPython2(pickle._Pickler):
    """Pickles bytes as Python 2 did its texts.

    Loaders that ask for the encoding "bytes" and those that ask for "latin1" find their keys then.
    """

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 - as the base class has it

    def _save_text(self, text: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)  # type: ignore[attr-defined]
        self.memoize(text)  # type: ignore[attr-defined]

    dispatch[bytes] = _save_text  # type: ignore[assignment]


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) of an archive as a PNG file.

    Its rows are neither filtered nor compressed, so that the file, and what is drawn from its
    digest, is the same whatever Pillow and zlib are installed.
    """
    height, width, _ = pixels.shape
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))  # each begins with its filter, 0
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits a value, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _join(
    batches: list[dict[bytes, Any]], label_key: bytes, classes: tuple[str, ...], archive: Path
) -> LabelledPictures:
    """Put batches of rows uint8 (N, 3072) and their labels together."""
    try:
        rows = np.concatenate([batch[b"data"] for batch in batches])
        labels = [label for batch in batches for label in batch[label_key]]
        pixels = torch.from_numpy(rows.reshape(-1, 3, 32, 32))
        return LabelledPictures(pixels, torch.tensor(labels, dtype=torch.int64), classes)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageProblem(f"{archive}: not a CIFAR python archive ({error})") from error


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


class _Restricted(pickle.Unpickler):
    """Unpickles arrays, lists, texts and numbers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _read(path: Path) -> dict[bytes, Any]:
    """Read one pickled dictionary; raises UsageProblem for anything else."""
    try:
        content = _Restricted(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # a hostile pickle can raise anything
        raise UsageProblem(f"{path}: not a CIFAR python archive ({error})") from error
    if not isinstance(content, dict):
        raise UsageProblem(f"{path}: not a CIFAR python archive")
    return content
