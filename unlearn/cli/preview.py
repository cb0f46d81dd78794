"""`unlearn preview`: pictures before and after, where the noise is seen most."""

from unlearn.cli.console import Output
from unlearn.cli.verify import PathsArgument
from unlearn.errors import UsageProblem
from unlearn.previews.options import PreviewOptions


def preview(paths: PathsArgument, options: PreviewOptions, *, output: Output) -> int:
    """Show pictures before and after, where the noise is seen most, and the noise ten times.

    unlearn preview ./photos ./protected

    unlearn preview ./photos ./protected --to look.html

    The preview holds clean crops of your pictures: it is written beside OUT and never in it.
    """
    from unlearn.cli.preview_text import as_plain, print_result
    from unlearn.previews.run import preview as work

    if len(paths) > 2:
        raise UsageProblem(f"one or two folders are shown, not {len(paths)}: preview SRC OUT")
    source, out = paths[0] if len(paths) == 2 else None, paths[-1]
    with output.meter("Drawing", None) as meter:
        result = work(source, out, options, lambda done, total, _: meter.update(done, total=total))
    output.emit(as_plain(result))
    print_result(result, output)
    return 0
