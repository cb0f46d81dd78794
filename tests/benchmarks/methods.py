"""Every method through the command line: train-generator, protect, verify, audit --generator.

    python -m tests.benchmarks.methods docs/results/methods.md
    python -m tests.benchmarks.methods out.md --only rem,sem

The pictures are those of `unlearn demo`, 24 of four classes, at 32 pixels; the trainings are cut to
a few steps and the audit to one epoch, so no number says how well a method protects. Rows go into
the file's part between two marks as they come; those of other methods stay. The exit code is 1 if a
command's was not 0.
"""

import argparse
import io
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.benchmarks.situations import said_by
from unlearn.demo.run import pictures
from unlearn.methods import METHODS, Method
from unlearn.training import Schedule

SIDE, PER_CLASS, STEPS = 32, 6, 4
COMMANDS = ("train-generator", "protect", "verify", "audit")
AUDIT = "--epochs 1 --seeds 1 --rho-a 0 --arch resnet-small --countermeasures none --workers 1 "
AUDIT += "--no-placebo --no-motif"
BEGIN, END = "<!-- commands -->", "<!-- end of commands -->"


def kinds() -> dict[str, tuple[str, Method]]:
    """Return what is run: each method's quick recipe, or its published one, and EM by class."""
    rows: dict[str, tuple[str, Method]] = {}
    for name, method in METHODS.items():
        recipes = method.recipes()
        wanted = ["quick" if "quick" in recipes else "paper", *recipes.keys() & {"by-class"}]
        rows |= {f"{name} ({recipe})": (name, recipes[recipe]) for recipe in wanted}
    return rows


def draw(folder: Path) -> None:
    """Write the demo's pictures as small PNG files."""
    for name, data in pictures(0, PER_CLASS):
        target = (folder / name).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE)).save(target)


def lines(name: str, recipe: str, method: Method, clean: Path, work: Path) -> list[str]:
    """Return the four command lines for a method."""
    shown = vars(method).items()
    lengths = [field for field, value in shown if isinstance(value, Schedule)]
    short = " ".join(f"--set {field}.steps={STEPS}" for field in lengths)
    leave = "" if method.bound else "--allow-unbounded"
    made, out, key = work / "made.safetensors", work / "protected", work / "key"
    return [
        f"train-generator {clean} --method {name} --recipe {recipe} --arch resnet-small {short} "
        f"--image-size {SIDE} --out {made}",
        f"protect {clean} --generator {made} --out {out} --key {key} --workers 1 {leave}",
        f"verify {clean} {out}",
        f"audit {clean} --generator {made} --key {key} --out {work / 'audit'} {AUDIT}",
    ]


def largest_change(clean: Path, protected: Path) -> str:
    """Return the largest change of a value over all pictures, in levels, from the files alone."""
    changes = [
        np.abs(np.asarray(Image.open(path), int) - np.asarray(Image.open(other), int)).max()
        for path in sorted(clean.rglob("*.png"))
        if (other := protected / path.relative_to(clean)).exists()
    ]
    return str(max(changes)) if changes else "–"


def row(label: str, name: str, method: Method, clean: Path) -> tuple[str, bool]:
    """Run one method; return its row, and whether all commands ended with 0."""
    recipe, cells, good = label.rpartition("(")[2][:-1], [], True
    with TemporaryDirectory() as folder:
        (Path(folder) / "key").write_bytes(bytes(32))
        for line in lines(name, recipe, method, clean, Path(folder)):
            began = time.perf_counter()
            code, said = said_by(line.split())
            cells.append(f"{code} · {time.perf_counter() - began:.1f} s")
            if code:
                good = False
                print(f"unlearn {line}\n{said}", file=sys.stderr)
        cells.append(largest_change(clean, Path(folder) / "protected"))
    return f"| {label} | {' | '.join(cells)} |", good


def with_row(text: str, label: str, found: str) -> str:
    """Return the text of a page with a row in its table, which is begun if there is none."""
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")}
    rows[label] = found
    head = ["method (recipe)", *COMMANDS, "largest change"]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    table += [rows[label] for label in kinds() if label in rows]
    said = f"PyTorch {version('torch')}, one thread; exit code · seconds; largest change in levels."
    return f"{before}{BEGIN}\n{said}\n\n" + "\n".join(table) + f"\n{END}{after or chr(10)}"


def main(arguments: list[str] | None = None) -> int:
    """Run the methods and write their rows."""
    parser = argparse.ArgumentParser(prog="methods", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--only", default=",".join(METHODS), metavar="NAME,…")
    chosen, good = parser.parse_args(arguments), True
    with TemporaryDirectory() as folder:
        draw(clean := Path(folder) / "pictures")
        for label, (name, method) in kinds().items():
            if name in chosen.only.split(","):
                found, fine = row(label, name, method, clean)
                good &= fine
                print(found, flush=True)
                before = chosen.out.read_text("utf-8") if chosen.out.exists() else ""
                chosen.out.write_text(with_row(before, label, found), "utf-8")
    return not good


if __name__ == "__main__":
    sys.exit(main())
