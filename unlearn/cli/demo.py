"""`unlearn demo`: draw a small labelled folder to try the tool on."""

from unlearn.cli.console import Brief
from unlearn.demo.options import DemoOptions


def demo(options: DemoOptions, output: Brief) -> int:
    """Draw a small labelled folder of pictures to try the other commands on.

    unlearn demo ./photos
    unlearn demo ./photos --seed 7 --per-class 100
    """
    from unlearn.demo.run import demo as work
    from unlearn.files.text import beside, command_line

    result = work(options)
    folder, count = options.folder, sum(result.classes.values())
    output.result(
        f"Drew {count} pictures in {len(result.classes)} classes ({', '.join(result.classes)}) "
        f"in {folder}"
    )
    following = ("protect", folder, "--out", beside(folder, "-protected"))
    output.next_step(*following)
    output.emit(
        {
            "command": "demo",
            "exit_code": 0,
            "folder": str(folder),
            "pictures": count,
            "classes": result.classes,
            "size_bytes": result.size_bytes,
            "seed": options.seed,
            "next": command_line("unlearn", *following),
        }
    )
    return 0
