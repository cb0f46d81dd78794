"""`unlearn generators`: what noise generators are here, read from their headers alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn.cli import options
from unlearn.cli.console import Output

if TYPE_CHECKING:
    from unlearn.generators import Entry

HELP = "Show the noise generators that are here: list them, describe one, say where one is."
SHORT_HASH = 12

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A name from 'unlearn generators list' or a .safetensors file.",
        rich_help_panel=options.INPUT,
    ),
]


def list_generators(
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> int:
    """List the generators that came with unlearn.

    unlearn generators list
    unlearn generators list --json
    """
    from rich.table import Table

    from unlearn.generators import known

    output = Output(as_json=as_json, quiet=quiet, debug=debug)
    entries = known()
    rows = [_row(entry) for entry in entries]
    table = Table(*rows[0], box=None, pad_edge=False) if rows else Table()
    for row in rows:
        table.add_row(*row.values())
    output.result(table if rows else "No generators are bundled with this installation.")
    output.emit({**_outcome("list"), "generators": [_described(entry) for entry in entries]})
    return 0


def info(
    name: NameArgument,
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> int:
    """Describe one generator: how and on what it was trained, its sizes, licence and hash.

    unlearn generators info base
    unlearn generators info ./mine.safetensors
    """
    from unlearn.generators import entry_of, resolve

    output = Output(as_json=as_json, quiet=quiet, debug=debug)
    described = _described(entry_of(resolve(name)))
    lines = {key: _shown(value) for key, value in described.items()}
    output.result("\n".join(f"{key:<18} {text}" for key, text in lines.items() if text))
    output.emit({**_outcome("info"), "generator": described})
    return 0


def path(
    name: NameArgument,
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> int:
    """Print where a generator's file is.

    unlearn generators path base
    """
    from unlearn.generators import resolve

    output = Output(as_json=as_json, quiet=quiet, debug=debug)
    where = str(resolve(name).absolute())
    output.result(where)
    output.emit({**_outcome("path"), "path": where})
    return 0


def _outcome(command: str) -> dict[str, Any]:
    """Return what every JSON object begins with."""
    return {"command": f"generators {command}", "exit_code": 0}


def _row(entry: "Entry") -> dict[str, str]:
    """Return one generator as columns of the list."""
    from unlearn.data.disk import size_text

    header = entry.header
    return {
        "name": entry.name,
        "status": "bundled",
        "size": size_text(entry.size_bytes),
        "rho": header.rho,
        "rho-a": header.rho_a,
        "working size": f"{header.working_size} px",
        "classes": str(len(header.classes)),
        "licence": header.licence,
        "sha256": entry.sha256[:SHORT_HASH],
    }


def _described(entry: "Entry") -> dict[str, Any]:
    """Return everything that is known of a generator without loading its network."""
    from dataclasses import asdict

    header = asdict(entry.header)
    header.pop("curve")
    return {
        "name": entry.name,
        "path": str(entry.path.absolute()),
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        **{key: value for key, value in header.items() if key != "name"},
    }


def _shown(value: object) -> str:
    """Return a header value as text for people: lists with commas, settings as key=value."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key}=({_shown(item)})" if isinstance(item, Mapping) else f"{key}={_shown(item)}"
            for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)
