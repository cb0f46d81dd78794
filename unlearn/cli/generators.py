"""`unlearn generators`: what noise generators are here, by their headers, and fetching others."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from unlearn.cli.console import Brief, printable
from unlearn.generators.options import PullRequest
from unlearn.options import INPUT, Option

if TYPE_CHECKING:
    from unlearn.generators.catalogue import Entry

HELP = "Show the noise generators that are here, describe one, say where one is, fetch others."
SHORT_HASH = 12
MEGABYTE = 1_000_000
_TEXT_AT = 13  # the column where what is said of a generator or method begins
_VALUE_AT = 19  # and of a property
_TITLES = {
    "sha256": "SHA-256",
    "size_bytes": "bytes",
    "config": "settings",
    "data_count": "training pictures",
    "format": "file format",
    "tool": "made by unlearn",
}

NameArgument = Annotated[
    str,
    Option(
        "A name from 'unlearn generators list' or a .safetensors file.",
        positional=True,
        metavar="NAME|FILE",
    ),
]

MethodArgument = Annotated[
    str | None,
    Option(
        "One method, to see all its settings.",
        positional=True,
        metavar="[NAME]",
    ),
]
RecipeOption = Annotated[str, Option("Whose settings to show.", panel=INPUT, metavar="NAME")]


def list_generators(output: Brief) -> int:
    """List the generators that came with unlearn, that were pulled, and that can be pulled.

    unlearn generators list
    unlearn generators list --json
    """
    from unlearn.generators.catalogue import damaged, known

    entries = known()
    lines = [_line(entry.name, _facts(entry)) for entry in entries]
    lines += _available({entry.name for entry in entries})
    lines = lines or ["No generators are bundled with this installation."]
    output.result(*lines, hang=_TEXT_AT)
    for problem in damaged():
        output.complain(problem)
    output.emit({**_outcome("list"), "generators": [_described(entry) for entry in entries]})
    return 0


def info(name: NameArgument, output: Brief) -> int:
    """Describe one generator: how and on what it was trained, its sizes, licence and hash.

    unlearn generators info base
    unlearn generators info ./mine.safetensors
    """
    from unlearn.generators.catalogue import entry_of, resolve

    described = _described(entry_of(resolve(name)))
    titles = {key: _TITLES.get(key, key.replace("_", " ")) for key in described}
    lines = {titles[key]: _shown(value) for key, value in described.items()}
    texts = (f"{key:<{_VALUE_AT - 1}} {text}" for key, text in lines.items() if text)
    output.result(*texts, hang=_VALUE_AT)
    output.emit({**_outcome("info"), "generator": described})
    return 0


def methods(output: Brief, name: MethodArgument = None, recipe: RecipeOption = "paper") -> int:
    """List the ways to make noise that train-generator knows, or describe one of them.

    unlearn generators methods
    unlearn generators methods min-max-min --recipe fast
    """
    from rich.table import Table

    from unlearn.generators.recipes import described, settings_of

    if name is None:
        found = described()
        output.result(*map(_method_lines, found), hang=_TEXT_AT)
        output.emit({**_outcome("methods"), "methods": found})
        return 0
    settings = settings_of(name, recipe)
    table = Table("setting", recipe, box=None, pad_edge=False)
    for setting, value in settings.items():
        table.add_row(setting, "none" if value is None else _shown(value))
    output.result(table)
    output.emit({**_outcome("methods"), "method": name, "recipe": recipe, "settings": settings})
    return 0


def _method_lines(row: Mapping[str, Any]) -> str:
    """Return what one method is, and below it what one chooses by."""
    passes = row["passes_a_picture"]
    needs = ["labels"] * row["needs_labels"] + ["a surrogate"] * bool(passes)
    parts = (
        f"rho {row['rho']}" if row["rho"] != "none" else "no bound",
        f"needs {' and '.join(needs) or 'nothing'}",
        f"{passes:,} passes a picture" if passes else "no network",
        f"recipes {', '.join(row['recipes'])}",
    )
    return f"{_line(row['name'], row['summary'])}\n{_line('', ' · '.join(parts))}"


def path(name: NameArgument, output: Brief) -> int:
    """Print where a generator's file is.

    unlearn generators path base
    """
    from unlearn.generators.catalogue import resolve

    where = str(resolve(name).absolute())
    output.result(where)
    output.emit({**_outcome("path"), "path": where})
    return 0


def pull(request: PullRequest, output: Brief) -> int:
    """Fetch a generator, so that protect --generator NAME finds it.

    unlearn generators pull https://HOST/mine.safetensors --sha256 HEX

    It gets its name only after its hash was right and it could be loaded, which runs no code of
    its own.
    """
    from dataclasses import asdict

    from unlearn.files.text import command_line, size_text
    from unlearn.generators.pull import pull as fetch

    with output.meter("Downloading", None, "MB") as meter:
        pulled = fetch(
            request,
            lambda done, total: meter.update(
                done / MEGABYTE, total=None if total is None else -(-total // MEGABYTE)
            ),
        )
    what = "Pulled" if pulled.state == "pulled" else "Already here:"
    size, digest = size_text(pulled.size_bytes), pulled.sha256[:SHORT_HASH]
    output.result(f"{what} {pulled.name}  ({size}, SHA-256 {digest})  {pulled.path}")
    generator = command_line("--generator", pulled.name)
    output.result(f"It is taken by protect and audit with {generator}")
    output.emit({**_outcome("pull"), **asdict(pulled)})
    return 0


def _outcome(command: str) -> dict[str, Any]:
    """Return what every JSON object begins with."""
    return {"command": f"generators {command}", "exit_code": 0}


def _line(name: str, text: str) -> str:
    """Return a name with what is said of it."""
    return f"{printable(name):<{_TEXT_AT - 1}} {printable(text)}"


def _facts(entry: "Entry") -> str:
    """Return what is known of a generator that is here, in one line."""
    from unlearn.files.text import size_text

    header = entry.header
    place = "bundled" if entry.bundled else "pulled"
    classes = f"{len(header.classes)} classes" if header.classes else "any classes"
    bound = f"rho {header.rho}" if header.rho else "no bound"
    facts = [f"{name} {value}" for name, value in header.facts.items()]
    method = [header.method] if header.method != entry.name else []
    parts = [*method, bound, *facts, classes, header.licence]
    return " · ".join([f"{place}, {size_text(entry.size_bytes)}", *parts])


def _available(here: set[str]) -> list[str]:
    """Return a line for each generator that can be pulled by name and is not here."""
    from unlearn.files.text import size_text
    from unlearn.generators.index import INDEX

    return [
        _line(
            name,
            f"available, {size_text(remote.size_bytes)} · SHA-256 {remote.sha256[:SHORT_HASH]}",
        )
        for name, remote in INDEX.items()
        if name not in here
    ]


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
