"""Remembering: what is made of equal arguments again and again is made once in a process."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unlearn.errors import PictureError
from unlearn.pictures.jpeg import within

_fitted: dict[bytes, Any] = {}


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit equal JPEGs once, in folders whose conftest imports this; fitting takes most time."""
    monkeypatch.setattr(within, "encode_within", _remembered(within.encode_within))


def _remembered(fit: Callable[..., Any]) -> Callable[..., Any]:
    def look_up(pixels, protected, source, *others):
        key = hashlib.sha256(repr((pixels.shape, others)).encode())
        for part in (pixels, protected):
            key.update(np.ascontiguousarray(part))
        key.update(source)
        name = key.digest()
        if name not in _fitted:
            try:
                _fitted[name] = fit(pixels, protected, source, *others)
            except PictureError as problem:
                _fitted[name] = PictureError(str(problem))
        if isinstance(_fitted[name], PictureError):
            raise PictureError(str(_fitted[name]))
        return _fitted[name]

    return look_up
