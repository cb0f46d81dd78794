"""`unlearn doctor`: show what is here and whether it works."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from unlearn.cli import options
from unlearn.cli.configured import tables
from unlearn.cli.console import Output

if TYPE_CHECKING:
    from unlearn.doctor.run import DoctorResult


def doctor(
    context: typer.Context,
    generator: options.GeneratorOption = options.DEFAULT_GENERATOR,
    as_json: options.JsonFlag = False,
    quiet: options.QuietFlag = False,
    debug: options.DebugFlag = False,
) -> int:
    """Show versions, devices and places, and test that protecting works on this machine.

    unlearn doctor
    unlearn doctor --json          for a report of a problem

    Nothing is written and the network is not used. Exit code 4 if something does not work.
    """
    from unlearn.doctor.run import doctor as examine
    from unlearn.errors import EnvironmentProblem

    output = Output(as_json=as_json, quiet=quiet, debug=debug)
    result = examine(generator, tables(context.find_root().command))
    output.result(_text(result))
    code = EnvironmentProblem.exit_code if result.problems else 0
    output.emit({"command": "doctor", "exit_code": code, "ok": code == 0, **asdict(result)})
    for problem in result.problems:
        output.complain(problem)
    return code


def _text(result: "DoctorResult") -> str:
    """Return the findings as aligned lines under headings."""
    from unlearn.files.text import size_text

    devices = {
        device.name: device.description
        + (f", {size_text(device.memory_bytes)}" if device.memory_bytes else "")
        for device in result.devices
    }
    tests = {
        test.device: f"{'works' if test.ok else 'FAILS'}: {test.detail} ({test.seconds:.1f} s)"
        for test in result.tests
    }
    places = {
        place.name: f"{place.path}  "
        f"({'' if place.writable else 'NOT '}writable, {size_text(place.free_bytes)} free)"
        for place in result.places
    }
    sections: dict[str, Mapping[str, str]] = {
        "Versions": result.versions,
        "Devices": devices,
        "Self-test": tests,
        "Formats": {name: found or "MISSING" for name, found in result.codecs.items()},
        "Places": places | {"your key": result.key},
        "Configuration": result.configuration,
        "Environment": result.environment,
    }
    lines = [
        line
        for title, rows in sections.items()
        if rows
        for line in (title, *(f"  {name:<18} {value}" for name, value in rows.items()))
    ]
    count = len(result.problems)
    verdict = f"{count} problem{'s' * (count > 1)}" if count else "Everything works."
    return "\n".join([*lines, verdict])
