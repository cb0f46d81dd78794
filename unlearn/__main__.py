"""The entry point of the `unlearn` script and of `python -m unlearn`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        # Late, because worker processes import this module and need no terminal.
        from unlearn.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the first command could say what to do about it
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
