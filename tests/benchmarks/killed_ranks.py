"""Whether runs of several processes whose ranks are killed come to the same end.

    nice -n 10 python -m tests.benchmarks.killed_ranks --out killed.jsonl --kills 7
    python -m tests.benchmarks.killed_ranks --out killed.jsonl --only audit --kills 3 --seed 1

Each kill is a run of `torchrun --nproc-per-node 1, 2 or 3 -m unlearn COMMAND` on made pictures,
one of whose ranks gets SIGKILL as soon as a random number of victims, pictures or steps is done.
Then the same line is run again, with as many ranks, with another number or without torchrun, or
`torchrun --max-restarts 1` runs it again by itself. The end is the same if

- `audit`: the report is that of one process but for seconds, and no victim that a rank had
  finished is trained again (the seconds of each are those of before the kill),
- `protect`: outputs and records of pictures are those of one process but for milliseconds, and no
  picture that a rank had recorded is made again,
- `train-generator`: the weights are those of a run without a kill, bit by bit where the number of
  ranks did not change and within TOLERANCE where it did (see docs/scale.md).

It also counts the lines in which a rank says that it lost the others. A line of JSON a kill goes to
--out, and the table to standard output.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.torch
from PIL import Image

TOLERANCE = 2e-2
PICTURES, STEPS = 24, 8
PYTHON = (sys.executable, "-m")
WAYS = ("same", "other", "restart")  # how a killed run goes on
TRAINING = (
    *("--arch", "resnet-small", "--image-size", "16", "--steps", str(STEPS), "--batch-size", "6"),
    *("--set", "noise.attack.views=1", "--set", "noise.attack.steps=1"),
    *("--set", "adversary.steps=1", "--save-every", "0"),
)
AUDIT = (
    *("--rho-a", "0", "--epochs", "2", "--batch-size", "4", "--countermeasures", "none"),
    *("--seeds", "2", "--workers", "0"),
)
LOST = "lost the others of its run"


@dataclass(frozen=True)
class Command:
    """A command line but for --out, its end, what is done so far, and how much there is to do."""

    words: tuple[str, ...]
    end: Callable[[Path], object]
    done: Callable[[Path], dict[str, object]]
    total: int


def commands(folder: Path) -> dict[str, Command]:
    """Draw the pictures, train a generator without a network, and return the commands."""
    stream = np.random.default_rng(0)
    for number in range(PICTURES):
        path = folder / "photos" / ("cats", "dogs")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(stream.integers(40, 216, (8, 8, 3), np.uint8))
        small.resize((32, 32), Image.Resampling.BICUBIC).save(path)
    photos, generator, key = (str(folder / name) for name in ("photos", "lsp.safetensors", "key"))
    Path(key).write_bytes(bytes(range(32)))
    common = ("--device", "cpu", "--precision", "fp32")
    line = ("unlearn", "train-generator", photos, "--out", generator, "--method", "lsp", *common)
    subprocess.run([*PYTHON, *line], check=True, capture_output=True)
    made = ("-g", generator, "--key", key)
    return {
        "audit": Command(("audit", photos, *made, *AUDIT, *common), report_of, victims_of, 8),
        "protect": Command(
            ("protect", photos, *made, "--allow-unbounded", "--workers", "0", *common[:2]),
            pictures_of,
            records_of,
            PICTURES,
        ),
        "train-generator": Command(
            ("train-generator", photos, *TRAINING, *common), weights_of, steps_of, STEPS
        ),
    }


def report_of(out: Path) -> object:
    """Return the report of an audit without what may differ between equal audits."""
    report = json.loads((out / "report.json").read_text())
    del report["timings"]
    for name in ("started", "threads", "command"):
        del report["environment"][name]
    return report


def victims_of(out: Path) -> dict[str, object]:
    """Return the seconds of each victim in the journals of all ranks."""
    found = [
        json.loads(line) for path in sorted(out.glob("journal*.jsonl")) for line in whole(path)
    ]
    return {json.dumps(one["cell"]): one["seconds"] for one in found if "cell" in one}


def pictures_of(out: Path) -> object:
    """Return the bytes of a protected folder, and what its manifest says but for the time."""
    files = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    sums = {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    manifest = out.with_name(f"{out.name}.unlearn") / "manifest.jsonl"
    lines = [json.loads(line) for line in whole(manifest)]
    pictures = {line["src"]: {**line, "ms": 0} for line in lines if line["type"] == "image"}
    return sums, pictures


def records_of(out: Path) -> dict[str, object]:
    """Return the milliseconds of each picture in all parts of the manifest."""
    parts = sorted(out.with_name(f"{out.name}.unlearn").glob("manifest*.jsonl"))
    lines = [json.loads(line) for path in parts for line in whole(path)]
    return {line["src"]: line["ms"] for line in lines if line["type"] == "image"}


def weights_of(out: Path) -> object:
    """Return the bytes of all weights; the header of the file names its command line."""
    tensors = safetensors.torch.load(out.read_bytes())
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def steps_of(out: Path) -> dict[str, object]:
    """Return the steps that the saved state of a training has taken."""
    try:
        saved = out.with_suffix(".ckpt").read_bytes()
    except FileNotFoundError:
        return {}
    size = int.from_bytes(saved[:8], "little")
    head = json.loads(saved[8 : 8 + size])["__metadata__"]["unlearn-checkpoint"]
    return dict.fromkeys(map(str, range(json.loads(head)["finished"])))


def whole(path: Path) -> Iterator[bytes]:
    """Yield the lines of a journal that no crash tore; one that was just taken in has none."""
    with suppress(FileNotFoundError):
        yield from (line for line in path.read_bytes().splitlines(True) if line.endswith(b"\n"))


def line_of(command: Command, out: Path, ranks: int, *more: str) -> list[str]:
    """Return a command line for so many ranks; 0 is a process without torchrun."""
    words = ["unlearn", *command.words, "--out", str(out)]
    if not ranks:
        return [*PYTHON, *words]
    agent = ("torch.distributed.run", "--nproc-per-node", str(ranks), "--rdzv-backend", "c10d")
    return [*PYTHON, *agent, "--rdzv-endpoint", "localhost:0", *more, "-m", *words]


def finished(line: list[str]) -> None:
    """Run a line to its end; raises CalledProcessError with what was said."""
    try:
        subprocess.run(line, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise


def killed(
    command: Command, line: list[str], out: Path, after: int, choice: random.Random
) -> tuple[str, dict[str, object], int] | None:
    """Run a line and kill one of its ranks; return what was said, done by then, and the code.

    None if the run was over before.
    """
    with TemporaryDirectory() as name:
        said = Path(name) / "said"
        with said.open("w") as file:
            agent = subprocess.Popen(line, stdout=file, stderr=file)
        while agent.poll() is None and len(command.done(out)) < after:
            time.sleep(0.02)
        while agent.poll() is None and not ranks_of(agent):
            time.sleep(0.02)
        if agent.poll() is not None:
            return None
        os.kill(choice.choice(ranks_of(agent)), signal.SIGKILL)
        done = command.done(out)
        code = agent.wait()
        return said.read_text(), done, code


def ranks_of(agent: "subprocess.Popen[bytes]") -> list[int]:
    """Return the processes that torchrun has started as ranks; it starts others too."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    found = []
    for number in map(int, children):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"\0LOCAL_RANK=" in Path(f"/proc/{number}/environ").read_bytes():
                found.append(number)
    return found


def difference(one: Path, other: Path) -> float:
    """Return the largest difference of any weight of two generators."""
    found, expected = (safetensors.torch.load(path.read_bytes()) for path in (one, other))
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


class Trial:
    """One command in a folder of its own: the ends of runs that nobody killed, then the kills."""

    def __init__(self, name: str, command: Command, folder: Path) -> None:
        self.name, self.command, self.folder = name, command, folder
        self.trains = name == "train-generator"

    def reference(self, ranks: int) -> Path:
        """Return where a run that nobody killed came to its end, of so many ranks if they count."""
        ranks = ranks if self.trains else 0
        out = self.out(f"whole{ranks}")
        if not out.exists():
            finished(line_of(self.command, out, ranks))
        return out

    def out(self, name: str) -> Path:
        """Return where a run writes."""
        suffix = ".safetensors" if self.trains else ""
        return self.folder / f"{self.name}-{name}{suffix}"

    def kill(self, number: int, choice: random.Random) -> dict[str, object]:
        """Kill a rank once and go on; return what came of it."""
        ranks, way = choice.choice((2, 3, 1)), WAYS[number % len(WAYS)]
        more = ("--max-restarts", "1") if way == "restart" else ()
        after = choice.randrange(self.command.total)
        out, found = self.out(f"killed{number}"), None
        while found is None:
            out = self.out(f"killed{number}-{after}")
            line = line_of(self.command, out, ranks, *more)
            found, after = killed(self.command, line, out, after, choice), after // 2
        said, done, code = found
        again = choice.choice([n for n in (0, 2, 3) if n != ranks]) if way == "other" else ranks
        if way != "restart" and not (self.trains and out.exists()):  # it was killed at its very end
            finished(line_of(self.command, out, again))
        now = self.command.done(out)
        return {
            "command": self.name,
            "ranks": ranks,
            "way": way,
            "then": again,
            "done": len(done),
            "kept": all(now.get(name) == value for name, value in done.items()),
            "same": self.same(out, ranks, again),
            "code": code,
            "lines": said.count(LOST),
            "traces": said.count("a bug in unlearn"),
        }

    def same(self, out: Path, ranks: int, again: int) -> bool | float:
        """Tell whether a run came to the end of one without a kill, or how far it is from that."""
        whole = self.reference(ranks)
        if self.trains and ranks != again:
            return difference(out, whole)
        return self.command.end(out) == self.command.end(whole)


def is_good(found: dict) -> bool:
    """Tell whether a kill cost nothing but time."""
    same = found["same"] if isinstance(found["same"], bool) else found["same"] <= TOLERANCE
    code = found["code"] == 0 if found["way"] == "restart" else found["code"] != 0
    return bool(same and found["kept"] and code and not found["traces"])


def table(found: list[dict]) -> str:
    """Return the kills as Markdown, a row for each command."""
    rows = [
        "| command | kills | with 1, 2, 3 ranks | again: same, other number, `--max-restarts` | "
        "done by then | same end | largest difference with another number |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one["command"] for one in found):
        own = [one for one in found if one["command"] == name]
        ranks = ", ".join(str(sum(one["ranks"] == n for one in own)) for n in (1, 2, 3))
        ways = ", ".join(str(sum(one["way"] == way for one in own)) for way in WAYS)
        done = ", ".join(str(n) for n in sorted(one["done"] for one in own))
        apart = [one["same"] for one in own if not isinstance(one["same"], bool)]
        good, most = sum(map(is_good, own)), f"{max(apart):.1e}" if apart else "0"
        rows.append(f"| `{name}` | {len(own)} | {ranks} | {ways} | {done} | {good} | {most} |")
    return "\n".join(rows)


def main() -> None:
    """Kill, write a line for each, and print the table of all lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=7, help="of each command")
    parser.add_argument("--only", default="audit,protect,train-generator")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    with TemporaryDirectory() as name:
        known = commands(Path(name))
        for command in args.only.split(","):
            trial = Trial(command, known[command], Path(name))
            choice = random.Random(f"{command} {args.seed}")
            for number in range(args.kills):
                found = trial.kill(number, choice)
                with args.out.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(json.dumps(found), flush=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(table([json.loads(line) for line in args.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
