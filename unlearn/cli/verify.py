"""`unlearn verify`: the bound proved again, from the pixels of the files."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unlearn.cli.console import Output
from unlearn.cli.options import (
    INPUT,
    NOISE,
    OUTPUT,
    RUN,
    DebugFlag,
    JsonFlag,
    QuietFlag,
    VerboseFlag,
    parse_bound,
)
from unlearn.errors import UsageProblem
from unlearn.radius import Radius


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[SRC] OUT",
            help="The clean and the protected pictures; without SRC, the manifest beside OUT says "
            "where the clean ones are.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ],
    rho: Annotated[
        Radius | None,
        typer.Option(
            "--rho",
            "-r",
            parser=parse_bound,
            metavar="FRACTION",
            show_default="the manifest's, else 8/255",
            help="Largest change of any colour value that is allowed.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            metavar="N",
            show_default="all",
            help="Compare the pixels of so many pairs only, chosen at random.",
            rich_help_panel=RUN,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            show_default=False,
            help="Write one row a file.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> int:
    """Compare protected pictures with their sources, value by value.

    unlearn verify ./photos ./protected

    unlearn verify ./protected

    Exit code 0 only if every source has an output within the bound, and nothing else is there.
    """
    from unlearn.cli.verify_text import as_plain, print_result, write_csv
    from unlearn.verification import run as workflow

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose, debug=debug)
    if len(paths) > 2:
        raise UsageProblem(f"one or two folders are compared, not {len(paths)}: verify SRC OUT")
    source, out = paths[0] if len(paths) == 2 else None, paths[-1]
    options = workflow.VerifyOptions(rho, sample)
    with output.meter("Verifying", None) as meter:
        result = workflow.verify(
            source, out, options, lambda done, total, _: meter.update(done, total=total)
        )
    if csv is not None:
        write_csv(result, csv)
    output.emit(as_plain(result, source, out))
    print_result(result, output)
    if result.ok and source is not None and _has_classes(source):
        output.next_step(f"unlearn audit {shlex.quote(str(source))} {shlex.quote(str(out))}")
    return 0 if result.ok else 1


def _has_classes(folder: Path) -> bool:
    """Return whether a folder holds folders that may be classes, as an audit needs them."""
    return folder.is_dir() and sum(1 for path in folder.iterdir() if path.is_dir()) > 1
