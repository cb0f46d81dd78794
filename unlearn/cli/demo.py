"""`unlearn demo`: draw a small labelled folder to try the tool on."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unlearn.cli import options
from unlearn.cli.console import Output


def demo(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder to draw into: new, or empty.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            metavar="N",
            help="Another seed draws other pictures.",
            rich_help_panel=options.INPUT,
        ),
    ] = 0,
    per_class: Annotated[
        int,
        typer.Option(
            "--per-class",
            min=1,
            max=1000,
            metavar="N",
            help="Pictures in each of the four classes.",
            rich_help_panel=options.INPUT,
        ),
    ] = 24,
    force: options.ForceFlag = False,
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> int:
    """Draw a small labelled folder of pictures to try the other commands on.

    unlearn demo ./photos
    unlearn demo ./photos --seed 7 --per-class 100
    """
    from unlearn.demo import DemoOptions
    from unlearn.demo import demo as draw_demo

    output = Output(as_json=as_json, quiet=quiet, debug=debug)
    result = draw_demo(DemoOptions(folder, seed, per_class, force))
    count = sum(result.classes.values())
    output.result(
        f"Drew {count} pictures in {len(result.classes)} classes ({', '.join(result.classes)}) "
        f"in {folder}"
    )
    protected = folder.with_name(f"{folder.name}-protected")
    following = shlex.join(["unlearn", "protect", str(folder), "--out", str(protected)])
    output.next_step(following)
    output.emit(
        {
            "command": "demo",
            "exit_code": 0,
            "folder": str(folder),
            "pictures": count,
            "classes": result.classes,
            "size_bytes": result.size_bytes,
            "seed": seed,
            "next": following,
        }
    )
    return 0
