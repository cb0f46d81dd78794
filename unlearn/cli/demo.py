"""`unlearn demo`: draw a small labelled folder to try the tool on."""

import shlex

from unlearn.cli.console import Brief
from unlearn.demo.options import DemoOptions


def demo(options: DemoOptions, output: Brief) -> int:
    """Draw a small labelled folder of pictures to try the other commands on.

    unlearn demo ./photos
    unlearn demo ./photos --seed 7 --per-class 100
    """
    from unlearn.demo.run import demo as work

    result = work(options)
    folder, count = options.folder, sum(result.classes.values())
    output.result(
        f"Drew {count} pictures in {len(result.classes)} classes ({', '.join(result.classes)}) "
        f"in {folder}"
    )
    protected = folder.with_name(f"{folder.name}-protected")
    following = shlex.join(["unlearn", "protect", str(folder), "--out", str(protected)])
    output.next_step(following)
    output.emit(
        {
            "command": "demo",
            "exit_code": 0,
            "folder": str(folder),
            "pictures": count,
            "classes": result.classes,
            "size_bytes": result.size_bytes,
            "seed": options.seed,
            "next": following,
        }
    )
    return 0
