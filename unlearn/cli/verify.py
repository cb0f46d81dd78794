"""`unlearn verify`: the bound proved again, from the pixels of the files."""

from pathlib import Path
from typing import Annotated

from unlearn.cli.console import Output
from unlearn.errors import UsageProblem
from unlearn.options import OUTPUT, Option
from unlearn.verification.options import VerifyOptions

PathsArgument = Annotated[
    tuple[Path, ...],
    Option(
        "The clean and the protected pictures; without SRC, the manifest beside OUT says where the "
        "clean ones are.",
        positional=True,
        metavar="[SRC] OUT",
    ),
]
CsvOption = Annotated[Path | None, Option("Write one row a file.", panel=OUTPUT, metavar="FILE")]


def verify(
    paths: PathsArgument, options: VerifyOptions, *, csv: CsvOption = None, output: Output
) -> int:
    """Compare protected pictures with their sources, value by value.

    unlearn verify ./photos ./protected

    unlearn verify ./protected

    Exit code 0 only if every source has an output within the bound, and nothing else is there.
    """
    from unlearn.cli.verify_text import as_plain, print_result, write_csv
    from unlearn.verification.run import verify as work

    if len(paths) > 2:
        raise UsageProblem(f"one or two folders are compared, not {len(paths)}: verify SRC OUT")
    source, out = paths[0] if len(paths) == 2 else None, paths[-1]
    with output.meter("Verifying", None) as meter:
        result = work(source, out, options, lambda done, total, _: meter.update(done, total=total))
    if csv is not None:
        write_csv(result, csv)
    output.emit(as_plain(result, source, out))
    print_result(result, output)
    if result.ok and source is not None and _has_classes(source):
        output.next_step("audit", source, out)
    return 0 if result.ok else 1


def _has_classes(folder: Path) -> bool:
    """Return whether a folder holds folders that may be classes, as an audit needs them."""
    return folder.is_dir() and sum(1 for path in folder.iterdir() if path.is_dir()) > 1
