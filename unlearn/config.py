"""Frozen dataclasses to plain JSON values and back."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar

from unlearn.errors import UsageProblem
from unlearn.radius import Radius, parse_fraction

Plain = Any  # what json.dumps takes
T = TypeVar("T")


def to_plain(value: Any) -> Plain:
    """Turn a dataclass, Radius, Fraction or plain value into JSON values."""
    if isinstance(value, Radius):
        return str(value)
    if isinstance(value, Fraction):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], plain: Plain, where: str = "config") -> T:
    """Build the dataclass cls from what to_plain made of one; fields left out take their defaults.

    Raises UsageProblem for unknown or missing fields and values of the wrong type, named by their
    place.
    """
    if not isinstance(plain, Mapping):
        raise UsageProblem(f"{where}: expected a table, got {plain!r}")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - names)
    if unknown:
        raise UsageProblem(
            f"{where}: unknown field {unknown[0]!r}; known: {', '.join(sorted(names))}"
        )
    missing = [f.name for f in dataclasses.fields(cls) if _is_required(f) and f.name not in plain]  # type: ignore[arg-type]
    if missing:
        raise UsageProblem(f"{where}: missing field {missing[0]!r}")
    return cls(**{k: _read(hints[k], v, f"{where}.{k}") for k, v in plain.items()})


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _read(hint: Any, plain: Plain, where: str) -> Any:
    """Read one plain value as the type its field has."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(option for option in arguments if option is not type(None))
        return None if plain is None else _read(hint, plain, where)
    if dataclasses.is_dataclass(hint) and hint is not Radius:
        return from_plain(typing.cast(type, hint), plain, where)
    if origin is typing.Literal:
        if plain not in arguments:
            raise UsageProblem(f"{where}: {plain!r} is not one of {', '.join(map(str, arguments))}")
        return plain
    if origin is dict and isinstance(plain, dict):
        return plain
    if origin is tuple and isinstance(plain, list):
        return tuple(_read(arguments[0], item, where) for item in plain)
    return _read_scalar(hint, plain, where)


def _read_scalar(hint: Any, plain: Plain, where: str) -> Any:
    """Read a number, text, Radius or Fraction."""
    if hint is Radius and isinstance(plain, str):
        return Radius.parse(plain)
    if hint is Fraction and isinstance(plain, str):
        return _read_fraction(plain, where)
    if hint is float and isinstance(plain, int | float) and not isinstance(plain, bool):
        return float(plain)
    if type(plain) is hint:
        return plain
    raise UsageProblem(f"{where}: expected {getattr(hint, '__name__', hint)}, got {plain!r}")


def _read_fraction(text: str, where: str) -> Fraction:
    try:
        return parse_fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageProblem(f"{where}: expected Fraction, got {text!r}") from None
