"""Help without what only programmers read: no "<list[str]>", no "<bool>"; whole on any terminal."""

from shutil import get_terminal_size
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

Context = Any  # Typer's own copy of Click has no public name for what it passes
PANELS_FIT: Final = 110  # columns; panels on fewer cut names and tear choices
_WHOLE: Final = "\u2011"  # a hyphen at which no line is broken, while lines are broken
_BESIDE: Final = 80  # columns from which on meanings stand beside the options, not below


class PlainCommand(TyperCommand):
    """A command whose help names the types of values by their metavars only."""

    def format_help(self, ctx: Context, formatter: Any) -> None:
        """Write the help: in panels, or as lists where these do not fit."""
        if get_terminal_size().columns < PANELS_FIT:
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return what stands behind the command: options, and the arguments as help calls them."""
        pieces = super().collect_usage_pieces(ctx)
        bare = [piece.replace("[[", "[").replace("]]", "]") for piece in pieces]
        return [piece.partition("}")[0].lstrip("{") for piece in bare]

    def format_options(self, ctx: Context, formatter: Any) -> None:
        """Write a list of the options of each panel."""
        panels: dict[str, list[Any]] = {}
        for param in self.get_params(ctx):
            usual = "Options" if param.param_type_name == "option" else "Arguments"
            record = param.get_help_record(ctx)
            panels.setdefault(param.rich_help_panel or usual, []).append(record)
        beside = 30 if get_terminal_size().columns >= _BESIDE else 4
        for name, records in panels.items():
            rows = [(names, text.replace("-", _WHOLE)) for names, text in filter(None, records)]
            with formatter.section(name):
                formatter.write_dl(rows, col_max=beside)
        formatter.buffer[:] = [text.replace(_WHOLE, "-") for text in formatter.buffer]

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
