"""The gate that every change passes, for people and for CI: python -m tests.gate [--quick].

Formatting, lint, strict types, then all tests with coverage; stops at the first step that fails.
--quick leaves out the tests that are marked slow, as `python -m pytest` does.
"""

import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def steps(*, quick: bool) -> dict[str, list[str]]:
    """Return the steps as arguments of `python -m`."""
    marker = "not slow and not gpu" if quick else "not gpu"
    return {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types": ["mypy"],
        "tests": ["pytest", "-m", marker, "-n", "auto", "--cov", "--durations=15"],
    }


def say(text: str) -> None:
    """Print a line at once, so that it stands in order with what the steps print."""
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    """Run the steps and return the exit code of the first that fails, or 0."""
    unknown = [argument for argument in arguments if argument != "--quick"]
    if unknown:
        say(__doc__ or "")
        return 2
    for name, command in steps(quick="--quick" in arguments).items():
        say(f"== {name}: {' '.join(command)}")
        start = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", *command], cwd=CHECKOUT, check=False
        ).returncode
        say(f"== {name}: {time.monotonic() - start:.0f} s, exit code {code}")
        if code:
            return code
    say("== The gate is passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
