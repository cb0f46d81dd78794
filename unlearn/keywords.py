"""An options dataclass filled from the keywords of a Python call, by the types of its fields."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from unlearn.errors import UsageProblem
from unlearn.options import Option
from unlearn.radius import Radius

T = TypeVar("T")
_UNDESCRIBED: Final = Option("")
_Numbers = int | float | Fraction


def filled(kind: type[T], given: Mapping[str, object], where: str, **known: object) -> T:
    """Return the dataclass with the given fields read, and those that are `known` as they are.

    Texts stand for paths, radii and shares, and one value for a tuple of one. Raises UsageProblem
    for names that it does not have and values that do not fit.
    """
    names = [field.name for field in fields(kind) if field.name not in known]  # type: ignore[arg-type]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            raise UsageProblem(f"{where} has no option {name!r}; {hint}")
    # "Method" is a name for type checkers only, and always among the known.
    hints = get_type_hints(kind, localns={"Method": object}, include_extras=True)
    read = {name: _read(hints[name], value, f"{where}: {name}") for name, value in given.items()}
    return kind(**read, **known)


def _read(hint: Any, value: object, where: str) -> Any:
    """Return the value as a field of this type has it."""
    option = _UNDESCRIBED
    if get_origin(hint) is Annotated:
        option, hint = hint.__metadata__[0], hint.__origin__
    kinds = set(get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
    if value is None and NoneType in kinds:
        return None
    if Path in kinds and isinstance(value, os.PathLike):
        return Path(value)
    kind = next(iter(kinds - {NoneType, Path}), Path)
    if get_origin(kind) is not tuple:
        return _read_one(kind, value, option, where)
    return tuple(
        _read_one(get_args(kind)[0], one, option, where) for one in _several(value, option)
    )


def _several(value: object, option: Option) -> Iterable[object]:
    """Return the values of a tuple, of which one may stand for itself."""
    if isinstance(value, str) and option.commas:
        return value.split(",")
    alone = isinstance(value, str | os.PathLike) or not isinstance(value, Iterable)
    return (value,) if alone else value  # type: ignore[return-value]


def _read_one(kind: Any, value: object, option: Option, where: str) -> Any:
    """Return one value; a text is read as the option says, else as its type does."""
    if kind is Fraction and isinstance(value, _Numbers):
        value = str(value)  # 0.2 is what is written, one fifth
    reading = option.read or (Radius.parse if kind is Radius else None)
    if isinstance(value, str) and reading is not None:
        return reading(value)
    if kind in (Path, str) and isinstance(value, str | os.PathLike):
        return kind(os.fspath(value))
    if kind is float and type(value) is int:
        value = float(value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            choices = ", ".join(map(repr, get_args(kind)))
            raise UsageProblem(f"{where}: {value!r} is not one of {choices}")
    elif type(value) is not kind:
        expected = 'a Radius or a text such as "8/255"' if kind is Radius else kind.__name__
        raise UsageProblem(f"{where}: expected {expected}, got {value!r}")
    _check_range(value, option, where)
    return value


def _check_range(value: object, option: Option, where: str) -> None:
    """Raise UsageProblem for a number outside the option's range."""
    if not isinstance(value, int | float):
        return
    if option.minimum is not None and value < option.minimum:
        raise UsageProblem(f"{where}: {value} is too small; use at least {option.minimum}")
    if option.maximum is not None and value > option.maximum:
        raise UsageProblem(f"{where}: {value} is too large; use at most {option.maximum}")
