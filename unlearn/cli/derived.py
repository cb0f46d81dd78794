"""A command line derived from options dataclasses: Typer's signature and the table of settings.

A command is a function whose parameters are dataclasses with described fields (see
`unlearn.options`), single described values, and Typer's context. Typer sees every described field
as an option of its own; the command gets the dataclasses filled. An option that is left out is left
to the dataclass, which alone knows the defaults.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from unlearn.errors import UsageProblem
from unlearn.options import Option
from unlearn.radius import Radius

if TYPE_CHECKING:
    from unlearn.settings_file import Kind

ARGUMENTS: Final = "Arguments"  # the panel of what has no flag


@dataclass(frozen=True)
class Described:
    """One option: the field that it fills, the type of one value, its default, its description."""

    name: str
    type: Any  # of one value
    several: bool  # the field holds a tuple of them
    default: object  # MISSING if it is required, None if the dataclass finds it
    option: Option

    @property
    def flags(self) -> tuple[str, ...]:
        """What it is called on the command line, its opposite last; none for an argument."""
        if self.option.positional:
            return ()
        long = self.option.flag or f"--{self.name.replace('_', '-')}"
        short = (self.option.short,) if self.option.short else ()
        opposite = (f"--no-{long[2:]}",) if self.is_switch and self.default is not False else ()
        return (long, *short, *opposite)

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.type is bool

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.several and not self.option.commas

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a Literal, else none."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()

    @property
    def metavar(self) -> str | None:
        """What stands for a value in help and documents."""
        return self.option.metavar or "|".join(self.choices) or ("" if self.is_switch else None)

    @property
    def kind(self) -> "Kind":
        """What a file of settings gives as its value, if it may set it."""
        if not self.option.in_file:
            return "line"
        return "switch" if self.is_switch else "list" if self.is_repeatable else "value"

    @property
    def default_text(self) -> str | None:
        """The default in words, None where it is a plain value or nothing."""
        if self.option.default_text is None and isinstance(self.default, tuple):
            return ", ".join(map(str, self.default)) or None
        return self.option.default_text

    @property
    def plain_default(self) -> object:
        """The default as Typer may know it: None where the dataclass is to fill it in."""
        return None if self.default_text or isinstance(self.default, tuple) else self.default


@dataclass(frozen=True)
class Part:
    """One parameter of a command: a dataclass with described fields, or one described value."""

    name: str
    options: tuple[Described, ...]
    made: Callable[..., Any] | None  # the dataclass

    def value(self, given: Mapping[str, Any]) -> Any:
        """Return what the command gets for what Typer read."""
        values = {
            option.name: tuple(value) if option.several else value
            for option in self.options
            if (value := given[option.name]) is not None
        }
        return self.made(**values) if self.made else values.get(self.name)


@dataclass(frozen=True)
class Derived:
    """A command with all its options, and the function that Typer takes for it."""

    options: tuple[Described, ...]
    function: Callable[..., int]

    @property
    def settings(self) -> "dict[str, Kind]":
        """What a file of settings may hold for the command, and the kinds of the values."""
        kinds = {o.flags[0][2:]: o.kind for o in self.options if not o.option.positional}
        return {"help": "line", **kinds}


def derived(command: Callable[..., int]) -> Derived:
    """Return the command as Typer and the settings file need it."""
    parameters = inspect.signature(command).parameters.values()
    passed = [p for p in parameters if p.annotation is typer.Context]
    parts = [_part(p) for p in parameters if p.annotation is not typer.Context]
    options = tuple(option for part in parts for option in part.options)

    @functools.wraps(command)
    def function(**given: Any) -> int:
        """Fill the dataclasses and run the command."""
        whole = {parameter.name: given[parameter.name] for parameter in passed}
        return command(**whole, **{part.name: part.value(given) for part in parts})

    signature = inspect.Signature([*passed, *map(_parameter, options)])
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return Derived(options, function)


def described(cls: type) -> tuple[Described, ...]:
    """Return the described fields of a dataclass; a field without description is no option."""
    return tuple(
        _described(field.name, field.type, _default(field))
        for field in dataclasses.fields(cls)
        if _description(field.type) is not None
    )


def _part(parameter: inspect.Parameter) -> Part:
    """Return what a parameter of a command asks for."""
    name, annotation = parameter.name, parameter.annotation
    if dataclasses.is_dataclass(annotation):
        cls = typing.cast(type, annotation)
        return Part(name, described(cls), cls)
    default = MISSING if parameter.default is parameter.empty else parameter.default
    return Part(name, (_described(name, annotation, default),), None)


def _described(name: str, annotation: Any, default: object) -> Described:
    """Return one option by its annotated type."""
    option = _description(annotation)
    if option is None:
        raise TypeError(f"{name} has no Option in its type {annotation!r}")
    hint = _without_none(typing.get_args(annotation)[0])
    several = typing.get_origin(hint) is tuple
    return Described(name, typing.get_args(hint)[0] if several else hint, several, default, option)


def _description(annotation: Any) -> Option | None:
    """Return the description in an annotated type, if it has one."""
    found = getattr(annotation, "__metadata__", ())
    return next((item for item in found if isinstance(item, Option)), None)


def _default(field: "dataclasses.Field[Any]") -> object:
    """Return the default of a field, None if the dataclass makes it, MISSING if it is required."""
    made = field.default_factory is not MISSING
    return None if made else field.default


def _without_none(hint: Any) -> Any:
    """Return a type as it is when it is not None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    left = [option for option in typing.get_args(hint) if option is not type(None)]
    return left[0] if len(left) == 1 else typing.Union[tuple(left)]  # noqa: UP007 - made here


def _parameter(described: Described) -> inspect.Parameter:
    """Return an option as a parameter that Typer understands."""
    option, read = described.option, _reader(described)
    one = str if read else described.type
    default = described.plain_default
    kind = list[one] if described.is_repeatable else one  # type: ignore[valid-type]
    settings: dict[str, Any] = {
        "metavar": described.metavar,
        "help": option.help,
        "min": option.minimum,
        "max": option.maximum,
        "parser": read,
        "envvar": option.variable,
        "show_default": described.default_text or True,
        "autocompletion": _completion(described.choices),
    }
    info = (
        typer.Argument(**settings, rich_help_panel=ARGUMENTS)
        if option.positional
        else typer.Option(*_declared(described.flags), **settings, rich_help_panel=option.panel)
    )
    return inspect.Parameter(
        described.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind | None if default is None else kind, info],
    )


def _declared(flags: Sequence[str]) -> tuple[str, ...]:
    """Return flags as Typer wants them: an option and its opposite in one text."""
    if flags[-1].startswith("--no-"):
        return (f"{flags[0]}/{flags[-1]}", *flags[1:-1])
    return tuple(flags)


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    """Return what a shell asks for the choices that begin like a word."""

    def matching(incomplete: str) -> list[str]:
        """Return the choices that begin so."""
        return [choice for choice in choices if choice.startswith(incomplete)]

    return matching if choices else None


def _reader(described: Described) -> Callable[[object], object] | None:
    """Return what reads one text, None for types that Typer reads itself."""
    read = described.option.read
    if described.type is Radius:
        read = read or Radius.parse
    if described.choices:
        read = read or functools.partial(_read_choice, described.choices)
    if described.option.commas:
        read = functools.partial(_read_list, read or str)
    return _checked(read) if read else None


def _read_choice(choices: tuple[str, ...], text: str) -> str:
    """Read one of these words; raises UsageProblem with all the words otherwise."""
    if text not in choices:
        raise UsageProblem(f"{text!r} is not one of {', '.join(choices)}")
    return text


def _read_list(read: Callable[[str], object], text: str) -> tuple[object, ...]:
    """Read several values with commas between."""
    return tuple(read(item.strip()) for item in text.split(",") if item.strip())


def _checked(read: Callable[[str], object]) -> Callable[[object], object]:
    """Return a reader for Typer: defaults pass as they are, problems become usage errors."""

    def parse(text: object) -> object:
        """Read a text."""
        if not isinstance(text, str):
            return text
        try:
            return read(text)
        except UsageProblem as error:
            raise typer.BadParameter(str(error)) from error

    return parse
