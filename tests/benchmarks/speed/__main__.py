"""Speed of the engine: ours and a naive implementation in turn, beside the machine's floor.

    python -m tests.benchmarks.speed                      all cases on one CPU thread
    python -m tests.benchmarks.speed pgd-32 --device cuda
    python -m tests.benchmarks.speed victim --full        steps of 128 pictures
    python -m tests.benchmarks.speed --quick              see that it runs; writes nothing

Cases: pgd-32, pgd-224, generator, victim, protect-photos, protect-small; with CUDA also
pgd-32-large. OUT_cpu.json and OUT_cuda.json keep the last record of each case, and OUT.md shows
them. Nothing else should run meanwhile.
"""

# Worker processes import this module before their first task: it must stay as light as it is.
import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path("docs/results/speed")
DEVICES = ("cpu", "cuda")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the page, and write it; return the exit code."""
    args = _parser().parse_args(arguments)

    import torch

    from tests.benchmarks.speed.measure import Bench, load, say
    from tests.benchmarks.speed.plan import plan
    from unlearn.device import select_device
    from unlearn.errors import UnlearnError

    began = time.monotonic()
    try:
        device = select_device(args.device)
    except UnlearnError as error:
        raise SystemExit(str(error)) from error
    bench = Bench(device, args.threads, args.repeats, args.quick, args.full, load())
    cases = plan(bench, args.photos, args.small)
    unknown = sorted(set(args.names) - set(cases))
    if unknown:
        raise SystemExit(f"no case {unknown[0]!r} on {args.device}; there are {', '.join(cases)}")
    out = args.out or (None if args.quick else RESULTS)
    threads, journals = torch.get_num_threads(), _journals(out)
    try:
        for name in args.names or cases:
            say(f"{name}: {cases[name].title}")
            journals[args.device][name] = cases[name].measure(bench)
            _write(out, journals, args.device)
    finally:
        torch.set_num_threads(threads)
    _tell(journals)
    say(f"{time.monotonic() - began:.0f} s in all")
    return 0


def _journals(out: Path | None) -> dict[str, dict[str, Any]]:
    """Return the records that are there, by device and case."""
    found: dict[str, dict[str, Any]] = {}
    for device in DEVICES:
        path = out and _journal(out, device)
        found[device] = json.loads(path.read_text()) if path and path.exists() else {}
    return found


def _write(out: Path | None, journals: dict[str, dict[str, Any]], device: str) -> None:
    """Write the records of a device and the page, if they are to be kept."""
    from tests.benchmarks.speed.table import page

    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(journals[device], indent=1, allow_nan=False)
    _journal(out, device).write_text(text + "\n")
    out.with_name(f"{out.name}.md").write_text(page(journals), encoding="utf-8")


def _journal(out: Path, device: str) -> Path:
    return out.with_name(f"{out.name}_{device}.json")


def _tell(journals: dict[str, dict[str, Any]]) -> None:
    from tests.benchmarks.speed.table import page

    print(page(journals))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases; all without any")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's, on the CPU")
    parser.add_argument("--repeats", type=int, default=5, help="runs; slow cases stop at three")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photos of 8 megapixels and up")
    parser.add_argument("--small", type=Path, metavar="DIR", help="pictures of 224 px")
    parser.add_argument("--out", type=Path, help=f"file without suffix; default {RESULTS}")
    parser.add_argument(
        "--full", action="store_true", help="128 pictures a step on a CPU too; a long run"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes; no result")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
