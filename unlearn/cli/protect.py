"""`unlearn protect`: noise for a folder of pictures, its bound checked on the files."""

import sys
from dataclasses import replace

from unlearn.cli.console import Output
from unlearn.protection.options import ProtectOptions


def protect(options: ProtectOptions, output: Output) -> int:
    """Add noise to pictures so that classifiers trained on them do badly on clean ones.

    unlearn protect ./photos --out ./protected

    unlearn protect ./photos --out ./protected --rho 4/255 --max-side 2048

    Sources are only read. Run the same line again to continue or to add new pictures.
    """
    return _run(replace(options, argv=tuple(sys.argv[1:])), output)


def _run(options: ProtectOptions, output: Output) -> int:
    """Protect with progress on standard error, and print the account."""
    from unlearn.cli.protect_text import Telling, as_plain, print_result
    from unlearn.protection.run import protect as work

    title = "Reading" if options.dry_run else "Protecting"
    with output.meter(title, None) as meter:
        result = work(options, Telling(output, meter, options.dry_run).hear)
    output.emit(as_plain(result))
    print_result(result, output)
    return result.exit_code
