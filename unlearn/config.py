"""Frozen dataclasses to plain JSON values and back."""

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

from unlearn.errors import UsageProblem
from unlearn.radius import Radius, parse_fraction

Plain = Any  # what json.dumps takes
T = TypeVar("T")


def to_plain(value: Any) -> Plain:
    """Turn a dataclass, Radius, Fraction or plain value into JSON values."""
    if isinstance(value, Radius | Fraction):
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
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(plain.keys() - fields.keys())
    if unknown:
        raise UsageProblem(
            f"{where}: unknown field {unknown[0]!r}; known: {', '.join(sorted(fields))}"
        )
    for name, field in fields.items():
        if name not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise UsageProblem(f"{where}: missing field {name!r}")
    return cls(**{k: _read(hints[k], v, f"{where}.{k}") for k, v in plain.items()})


def apply_settings(cls: type, plain: Plain, settings: Sequence[str]) -> None:
    """Change what to_plain made of a cls as texts "name=value" say, in place.

    Fields of inner tables are named by their path ("views.grey=1"), "none" is None, and commas part
    the values of a tuple. The parts of a field that is None and has the metadata {"like": path}
    begin as those of the field at that path, whatever the order of settings. Raises UsageProblem
    for unknown fields; from_plain checks the values.
    """
    pairs = [_parted(setting) for setting in settings]
    copied = {f.name: f.metadata["like"] for f in dataclasses.fields(cls) if "like" in f.metadata}
    for path, text in sorted(pairs, key=lambda pair: pair[0].partition(".")[0] in copied):
        name, _, rest = path.partition(".")
        if rest and name in copied and plain[name] is None:
            plain[name] = copy.deepcopy(_at(plain, copied[name]))
        _apply(cls, plain, path, text)


def _parted(setting: str) -> tuple[str, str]:
    """Return name and value of a setting."""
    path, equals, text = setting.partition("=")
    if not equals:
        raise UsageProblem(f"{setting!r} is no setting; write name=value")
    return path.strip(), text.strip()


def _at(plain: Plain, path: str) -> Plain:
    """Return what lies at a path of names."""
    for name in path.split("."):
        plain = plain[name]
    return plain


def _apply(cls: type, plain: Plain, path: str, text: str) -> None:
    """Change one field, named by its path."""
    name, _, rest = path.partition(".")
    hints = typing.get_type_hints(cls)
    names = sorted(f.name for f in dataclasses.fields(cls))
    if name not in names:
        raise UsageProblem(f"unknown field {name!r}; known: {', '.join(names)}")
    if not rest:
        plain[name] = _plain_of(hints[name], text)
    elif isinstance(plain[name], dict):
        _apply(_inner(hints[name]), plain[name], rest, text)
    else:
        raise UsageProblem(f"{name} has no field {rest!r}; it is {plain[name]!r}")


def _plain_of(hint: Any, text: str) -> Plain:
    """Return what JSON would hold for a text typed by a person."""
    inner = _inner(hint)
    if inner is not hint:
        return None if text == "none" else _plain_of(inner, text)
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        return [_plain_of(arguments[0], item.strip()) for item in text.split(",") if item]
    if hint in (bool, int, float):
        try:
            return json.loads(text)
        except ValueError:
            return text  # refused as no number
    return text


def _inner(hint: Any) -> Any:
    """Return the type that a field has when it is not None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return next(option for option in typing.get_args(hint) if option is not type(None))


def _read(hint: Any, plain: Plain, where: str) -> Any:
    """Read one plain value as the type its field has."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if _inner(hint) is not hint:
        return None if plain is None else _read(_inner(hint), plain, where)
    if dataclasses.is_dataclass(hint) and hint is not Radius:
        return from_plain(typing.cast(type, hint), plain, where)
    if origin is typing.Literal:
        if plain not in arguments:
            raise UsageProblem(f"{where}: {plain!r} is not one of {', '.join(map(str, arguments))}")
        return plain
    if origin is dict and isinstance(plain, dict):
        return plain
    if origin is tuple and isinstance(plain, list):
        if Ellipsis not in arguments and len(plain) != len(arguments):
            raise UsageProblem(f"{where}: expected {len(arguments)} values, got {plain!r}")
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
