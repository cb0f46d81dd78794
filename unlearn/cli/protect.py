"""`unlearn protect`: noise for a folder of pictures, its bound checked on the files."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import typer

from unlearn.cli.console import Output
from unlearn.cli.options import (
    DEFAULT_GENERATOR,
    DEFAULT_RHO,
    INPUT,
    NOISE,
    OUTPUT,
    RUN,
    DebugFlag,
    DeviceOption,
    DryRunFlag,
    ForceFlag,
    GeneratorOption,
    JsonFlag,
    KeyOption,
    QuietFlag,
    RhoOption,
    SeedOption,
    VerboseFlag,
    WorkersOption,
)

if TYPE_CHECKING:
    from unlearn.protection.options import ProtectOptions

_MOST_WORKERS: Final = 8
_FORMATS: Final = ("auto", "keep", "png", "webp", "tiff")
_METADATA: Final = ("keep", "copyright", "none")


def _choice(*allowed: str) -> Callable[[str], str]:
    """Return a parser that takes one of these words and names them all otherwise."""

    def parse(text: str) -> str:
        """Return the word; raises a usage error with all the words otherwise."""
        if text not in allowed:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return parse


def protect(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Pictures, folders and patterns, mixed.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Where the protected pictures go; made if absent, apart from the inputs.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ],
    rho: RhoOption = DEFAULT_RHO,
    generator: GeneratorOption = DEFAULT_GENERATOR,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="SOURCE",
            help="Where classes come from: folders, one (all alike), csv:FILE with rows "
            "path,label, or auto: folders if there are at least two, else one.",
            rich_help_panel=NOISE,
        ),
    ] = "auto",
    grid: Annotated[
        int | None,
        typer.Option(
            "--grid",
            min=8,
            metavar="N",
            show_default="the generator's",
            help="Short side of the grid that noise is made on.",
            rich_help_panel=NOISE,
        ),
    ] = None,
    seed: SeedOption = 0,
    key: KeyOption = None,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            parser=_choice(*_FORMATS),
            metavar="|".join(_FORMATS),
            help="keep: JPEG stays JPEG within the bound, or fails; auto: or becomes PNG. "
            "Lossless WebP and TIFF stay; all else is PNG.",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    max_side: Annotated[
        int | None,
        typer.Option(
            "--max-side",
            min=16,
            metavar="PIXELS",
            show_default="as it is",
            help="Shrink to this long side first.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    metadata: Annotated[
        str,
        typer.Option(
            "--metadata",
            parser=_choice(*_METADATA),
            metavar="|".join(_METADATA),
            help="Colour profiles always stay; embedded previews always go.",
            rich_help_panel=OUTPUT,
        ),
    ] = "keep",
    force: ForceFlag = False,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive/--no-recursive",
            metavar="",
            help="Look into sub-folders.",
            rich_help_panel=INPUT,
        ),
    ] = True,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="GLOB", help="Only these; repeatable.", rich_help_panel=INPUT
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="GLOB", help="Not these; repeatable.", rich_help_panel=INPUT
        ),
    ] = None,
    follow_symlinks: Annotated[
        bool,
        typer.Option(
            "--follow-symlinks",
            metavar="",
            help="Follow links to folders too.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels",
            min=1,
            metavar="N",
            help="Refuse larger pictures.",
            rich_help_panel=INPUT,
        ),
    ] = 512_000_000,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            metavar="N",
            show_default="twice --workers",
            help="Pictures under way at a time; does not change their bytes.",
            rich_help_panel=RUN,
        ),
    ] = None,
    workers: WorkersOption = None,
    preview: Annotated[
        int,
        typer.Option(
            "--preview",
            min=0,
            metavar="N",
            help="Sheets with before, after and noise, beside the output.",
            rich_help_panel=RUN,
        ),
    ] = 3,
    report_survival: Annotated[
        bool,
        typer.Option(
            "--report-survival",
            metavar="",
            help="Measure on up to 16 pictures how much of the noise is left after JPEG, shrinking "
            "and WebP.",
            rich_help_panel=RUN,
        ),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option(
            "--fail-fast",
            metavar="",
            help="Stop at the first picture that fails.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> int:
    """Add noise to pictures so that classifiers trained on them do badly on clean ones.

    unlearn protect ./photos --out ./protected

    unlearn protect ./photos --out ./protected --rho 4/255 --max-side 2048

    Sources are only read. Run the same line again to continue or to add new pictures.
    """
    from unlearn.protection.options import ProtectOptions
    from unlearn.protection.scan import Selection

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose, debug=debug)
    options = ProtectOptions(
        inputs=tuple(inputs),
        out=out,
        generator=_generator_path(generator),
        generator_name=generator,
        rho=rho,
        labels=labels,
        format=cast(Literal["auto", "keep", "png", "webp", "tiff"], image_format),
        metadata=cast(Literal["keep", "copyright", "none"], metadata),
        max_side=max_side,
        selection=Selection(recursive, tuple(include or ()), tuple(exclude or ()), follow_symlinks),
        key=key,
        grid=grid,
        seed=seed,
        device=device,
        workers=_most_workers() if workers is None else workers,
        batch_size=batch_size,
        preview=preview,
        max_pixels=max_pixels,
        force=force,
        fail_fast=fail_fast,
        dry_run=dry_run,
        report_survival=report_survival,
        argv=tuple(sys.argv[1:]),
    )
    return _run(options, output)


def _generator_path(name: str) -> Path:
    """Return the file of a generator by its name or path."""
    from unlearn.generators import catalogue

    return catalogue.resolve(name)


def _most_workers() -> int:
    """Return how many processes read and write unless told otherwise."""
    return min(_MOST_WORKERS, os.cpu_count() or 1)


def _run(options: "ProtectOptions", output: Output) -> int:
    """Run the workflow with progress on standard error, and print its account."""
    from unlearn.cli.protect_text import Telling, as_plain, print_result
    from unlearn.protection import run as workflow

    title = "Reading" if options.dry_run else "Protecting"
    with output.meter(title, None) as meter:
        result = workflow.protect(options, Telling(output, meter, options.dry_run).hear)
    output.emit(as_plain(result))
    print_result(result, output)
    return result.exit_code
