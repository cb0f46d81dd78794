"""The entry point of the `unlearn` script and of `python -m unlearn`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Late, because worker processes import this module and need no terminal.
    from unlearn.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
