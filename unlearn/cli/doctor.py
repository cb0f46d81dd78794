"""`unlearn doctor`: show what is here and whether it works."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from unlearn.cli.console import Brief
from unlearn.options import DEFAULT_GENERATOR, GeneratorOption

if TYPE_CHECKING:
    from unlearn.doctor.run import DoctorResult


_TEXT_AT: Final = 21  # the column where what was found begins


def doctor(*, generator: GeneratorOption = DEFAULT_GENERATOR, output: Brief) -> int:
    """Show versions, devices and places, and test that protecting works on this machine.

    unlearn doctor
    unlearn doctor --json          for a report of a problem

    Nothing is written and the network is not used. Exit code 4 if something does not work.
    """
    from unlearn.cli.commands import tables
    from unlearn.doctor.run import doctor as examine
    from unlearn.errors import EnvironmentProblem

    result = examine(generator, tables())
    output.result(_text(result), hang=_TEXT_AT)
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
        for line in (title, *(f"  {name:<{_TEXT_AT - 3}} {value}" for name, value in rows.items()))
    ]
    count = len(result.problems)
    verdict = f"{count} problem{'s' * (count > 1)}" if count else "Everything works."
    return "\n".join([*lines, verdict])
