"""Commands whose options may also be set in a file: what it sets is a default like any other.

Click's own order does the rest: command line, then environment, then `default_map`, which holds the
settings of the file, then the default of the option.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

from unlearn.cli.console import Output
from unlearn.cli.help import Context, PlainCommand
from unlearn.errors import UnlearnError, UsageProblem

if TYPE_CHECKING:
    from unlearn.settings_file import Setting

_META: Final = "unlearn.settings"
_SHOWN: Final = 60  # characters of one value in the notice


class ConfiguredCommand(PlainCommand):
    """A command with a table in the settings file that is named like it."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse with the settings of the file as defaults; --help works whatever it holds."""
        problem: UnlearnError | None = None
        try:
            settings = {} if ctx.resilient_parsing else _settings(ctx)
        except UnlearnError as error:
            settings, problem = {}, error
        names = {key: param.name for param in self.params if (key := _key(param))}
        ctx.meta[_META] = {names[key]: (key, setting) for key, setting in settings.items()}
        ctx.default_map = {names[key]: setting.value for key, setting in settings.items()}
        try:
            rest = super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise (problem or _located(error, ctx)) from error
        if problem is not None:
            raise problem
        return rest

    def get_help(self, ctx: Context) -> str:
        """Return the help with the defaults of the program, not those of the file."""
        ctx.default_map = None
        return super().get_help(ctx)

    def invoke(self, ctx: Context) -> Any:
        """Say what was taken from the file, then run."""
        _announce(ctx)
        return super().invoke(ctx)


def _settings(ctx: Context) -> "Mapping[str, Setting]":
    """Return the settings of the file for this command; all of its tables must be right."""
    from unlearn.cli.commands import tables
    from unlearn.settings_file import load

    return load(tables())[str(ctx.info_name)]


def _key(param: Any) -> str | None:
    """Return how a file calls an option, None for an argument."""
    long = (flag[2:] for flag in param.opts if flag.startswith("--"))
    return next(long, None) if param.param_type_name == "option" else None


def _from_file(ctx: Context, name: str) -> bool:
    """Return whether the value of a parameter came from a file."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def _located(error: typer.TyperException, ctx: Context) -> Exception:
    """Return the error with the place in the file, if that is where the wrong value stands."""
    name = getattr(getattr(error, "param", None), "name", None)
    if name is None or name not in ctx.meta[_META] or not _from_file(ctx, name):
        return error
    key, setting = ctx.meta[_META][name]
    return UsageProblem(f"{setting.where}: [{ctx.info_name}] {key}: {error.message}")


def _announce(ctx: Context) -> None:
    """Name the settings in effect that the file made, on request."""
    from unlearn.settings_file import place

    asked = {flag: bool(ctx.params.get(flag)) for flag in ("quiet", "verbose", "debug")}
    taken = []
    for name, (key, setting) in ctx.meta[_META].items():
        if _from_file(ctx, name):
            text = json.dumps(setting.given, default=str)
            taken.append(f"{key} = {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}")
    if taken:
        told = f"Settings of {place()}: {', '.join(taken)}"
        Output(**asked).detail(told.replace("\n", "\\n"))
