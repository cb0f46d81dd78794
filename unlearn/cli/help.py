"""Help without what only programmers read: no "<list[str]>", no "<bool>"."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

Context = Any  # Typer's own copy of Click has no public name for what it passes


class PlainCommand(TyperCommand):
    """A command whose help names the types of values by their metavars only."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Return the parameters, what they take described by metavars."""
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A group of commands with such help."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Return the parameters, what they take described by metavars."""
        return _plain(super().get_params(ctx))


def _plain(params: list[Any]) -> list[Any]:
    """Return the parameters with nothing in the column of their types but metavars."""
    for param in params:
        if param.param_type_name == "argument":
            param.display_type_rich = _nothing  # its metavar stands in the column of names
        elif param.metavar is None and param.is_flag:
            param.metavar = ""
    return params


def _nothing(ctx: Context) -> None:
    """Return no type."""
