"""python -m tests.benchmarks.paper: fill in the next missing cells of the published tables."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.paper.journal import Journal
from tests.benchmarks.paper.material import archives
from tests.benchmarks.paper.plan import SCALES, TABLES, Noise, Scale, Unit, matches, units
from tests.benchmarks.paper.run import (
    Bench,
    Deadline,
    Outcome,
    commit_of_checkout,
    open_run,
    run_units,
    say,
)
from tests.benchmarks.paper.table import page
from unlearn.files.replace import replace_file

_EXIT_CODES: dict[Outcome, int] = {"done": 0, "failed": 1, "stopped": 75}  # 75: run it again


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when all that was asked for is done, 75 when time was up, 1 if something failed."""
    args = _parser().parse_args(arguments)
    deadline = Deadline(args.minutes)
    scale = SCALES[args.scale]
    stem = args.journal.with_name(args.journal.name + ("_mini" if scale.name == "mini" else ""))
    journal = Journal(stem.with_suffix(".jsonl"))
    wanted = _wanted(args, scale)
    if args.list:
        _list(wanted, journal, scale)
        return 0
    try:
        outcome = _run(wanted, args, scale, journal, deadline) if wanted else "done"
    finally:
        stem.parent.mkdir(parents=True, exist_ok=True)
        replace_file(stem.with_suffix(".md"), page(journal, scale).encode())
    return _EXIT_CODES[outcome]


def _wanted(args: argparse.Namespace, scale: Scale) -> list[Unit]:
    """Return the units that are asked for."""
    if args.plan == "report":
        return []
    try:
        return [unit for unit in units(args.plan, scale) if matches(unit, args.only)]
    except ValueError as error:
        raise SystemExit(str(error)) from error


def _run(
    wanted: list[Unit], args: argparse.Namespace, scale: Scale, journal: Journal, deadline: Deadline
) -> Outcome:
    """Make the units and say what could not be made for want of pictures."""
    work = args.work / scale.name
    work.mkdir(parents=True, exist_ok=True)
    found = archives(args.data, scale, work)
    lacking = sorted({unit.data for unit in wanted} - found.keys())
    if lacking:
        say(f"no --data for {' and '.join(lacking)}: these cells stay empty")
    run = open_run(args.device, args.precision)
    commit = args.commit or commit_of_checkout()
    bench = Bench(scale, found, work, run, journal, deadline, commit)
    return run_units(wanted, bench)


def _list(wanted: list[Unit], journal: Journal, scale: Scale) -> None:
    """Print the plan: done or not, passes, name."""
    for unit in wanted:
        mark = "done" if journal.of(unit, scale) else "open"
        kind = "generator" if isinstance(unit, Noise) else "victim"
        name = " ".join(f"{k}={v}" for k, v in unit.fields.items() if v)
        say(f"{mark} {scale.passes(unit) / 1e6:8.2f} M passes  {kind} {name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.paper", description=__doc__)
    parser.add_argument("plan", choices=[*TABLES, "all", "report"])
    parser.add_argument("--scale", choices=list(SCALES), default="paper")
    parser.add_argument(
        "--data", type=Path, action="append", default=[], help="a CIFAR python archive; repeatable"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE]",
        help="data, method, surrogate, network, rho-a, share, rate or seed; repeatable",
    )
    parser.add_argument("--minutes", type=float, help="stop, with all state saved, before these")
    parser.add_argument("--journal", type=Path, default=Path("docs/results/paper"))
    parser.add_argument("--work", type=Path, default=Path("paper_work"), help="state and sets")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--commit", help="what to note where the checkout has no git")
    parser.add_argument("--list", action="store_true", help="print the plan and do nothing")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
