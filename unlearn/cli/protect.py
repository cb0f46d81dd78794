"""`unlearn protect`: noise for a folder of pictures, its bound checked on the files."""

import sys
from dataclasses import replace
from typing import Annotated, Literal

import typer

from unlearn.cli.console import Output
from unlearn.errors import UsageProblem
from unlearn.options import NOISE, Option, PlanOptions
from unlearn.protection.options import NOTHING_GIVEN, STRENGTHS, ProtectOptions
from unlearn.radius import Radius

StrengthOption = Annotated[
    Literal["subtle", "balanced", "strong"] | None,
    Option(
        "A bound by name, instead of --rho. subtle: 2/255, CIEDE2000 about 0.9 on plain areas of "
        "photos with the generator base, 2.7 with casts; base protects nothing then. balanced: "
        "4/255, about 1.8 and 5.0; base takes 9 points from a small classifier. strong: 8/255, "
        "about 2.9 and 8.3; see docs/results.md. 1 is hardly seen, 2.3 easily.",
        panel=NOISE,
        default_text="strong",
    ),
]


def protect(
    options: ProtectOptions,
    *,
    strength: StrengthOption = None,
    planning: PlanOptions,
    output: Output,
    context: typer.Context,
) -> int:
    """Add noise to pictures so that classifiers trained on them do badly on clean ones.

    unlearn protect ./photos --out ./protected

    unlearn protect ./photos --out ./protected --strength balanced --max-side 2048

    Sources are only read. Run the same line again to continue or to add new pictures.
    """
    from unlearn.workers.ranks import helps

    if options.merge is None and not options.inputs:
        raise UsageProblem(NOTHING_GIVEN)
    rho = _bound(options.rho, strength, context)
    options = replace(options, rho=rho, argv=tuple(sys.argv[1:]))
    if (planning.plan or options.dry_run) and helps():
        return 0
    if not planning.plan:
        return _run(options, output)
    from unlearn.cli.forecast_text import print_forecast
    from unlearn.protection.forecast import forecast

    print_forecast("protect", forecast(options), planning.deadline, output)
    return 0


def _bound(rho: Radius, strength: str | None, context: typer.Context) -> Radius:
    """Return the bound that was asked for; of two, the one on the command line.

    Raises UsageProblem if both stand in one place and differ.
    """
    if strength is None:
        return rho
    asked = STRENGTHS[strength]
    places = [_place(context, name) for name in ("rho", "strength")]
    if places[0] == "DEFAULT" or rho == asked:
        return asked
    if places[0] == places[1]:
        raise UsageProblem(f"--strength {strength} is --rho {asked}, not {rho}; give one of them")
    return asked if places[1] == "COMMANDLINE" else rho


def _place(context: typer.Context, name: str) -> str | None:
    """Return where the value of an option comes from, in Click's words."""
    source = context.get_parameter_source(name)
    return None if source is None else source.name


def _run(options: ProtectOptions, output: Output) -> int:
    """Protect with progress on standard error, and print the account."""
    from unlearn.cli.progress_text import Telling
    from unlearn.cli.protect_text import as_plain, print_result
    from unlearn.protection.ranks import protect_here as work

    title = "Reading" if options.dry_run else "Protecting"
    with output.meter(title, None) as meter:
        telling = Telling(output, meter, options)
        result = work(options, telling.hear)
    telling.remember()
    output.emit(as_plain(result))
    print_result(result, output)
    return result.exit_code
