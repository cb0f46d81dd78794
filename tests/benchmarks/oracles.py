"""How near each method is to its authors' code: the tests' own comparisons, counted and measured.

    python -m tests.benchmarks.oracles docs/results/methods.md

Runs the test files of the oracles with every assert_close that allows 1e-9 listened to. A row tells
which arrays of the oracle the tests read, how many comparisons there were, the largest difference
in them, and how many mutations were caught: tests whose name says so, each a deliberate mistake.
"""

import argparse
import sys
from pathlib import Path

import pytest
import torch

from tests.support.oracles import EXACT, FACTS, ROOT, Oracle

FILES = {
    "ar": "ar",
    "clusters": "clusters",
    "cuda": "cuda",
    "em": "em",
    "entf": "entf",
    "lsp": "lsp",
    "mi-ue": "mi_ue",
    "min-max-min": "seed_oracle",
    "ntga": "ntga",
    "ops": "ops",
    "rem, sem": "rem",
    "tap": "tap",
    "tue": "tue",
}
SINGLE = ("lsp", "ops")  # numbers of single precision there: other tolerances count too
BEGIN, END = "<!-- oracles -->", "<!-- end of oracles -->"


class Listener:
    """What the tests of one file read, compared and caught; a plugin of pytest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, single: bool) -> None:
        self.single = single
        self.read: set[str] = set()
        self.differences: list[float] = []
        self.caught = self.passed = self.failed = 0
        self.mutation = False
        real, close = Oracle.__getitem__, torch.testing.assert_close

        def reading(oracle, name):
            self.read.add(name)
            return real(oracle, name)

        def comparing(found, wanted, **options):
            close(found, wanted, **options)
            exact = options.get("atol") == EXACT["atol"]
            if (exact or self.single) and not self.mutation and found.numel():
                apart = (found.detach().double() - wanted.detach().double()).abs()
                self.differences.append(float(apart.max()))

        monkeypatch.setattr(Oracle, "__getitem__", reading)
        monkeypatch.setattr(torch.testing, "assert_close", comparing)

    def pytest_runtest_setup(self, item):
        self.mutation = "_catch" in item.name

    def pytest_runtest_logreport(self, report):
        self.failed += report.failed
        if report.when == "call" and report.passed:
            self.passed += 1
            self.caught += self.mutation


def row(name: str, file: str) -> tuple[str, bool]:
    """Run a test file; return its row, and whether all of its tests passed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        heard = Listener(monkeypatch, single=name in SINGLE)
        path = ROOT / "tests" / "methods" / f"test_{file}.py"
        pytest.main([str(path), "-q", "-p", "no:cacheprovider"], plugins=[heard])
    most = f"{max(heard.differences):.0e}" if heard.differences else "none"
    cells = [name, f"{len(heard.read)}", f"{len(heard.differences)}", most, f"{heard.caught}"]
    return f"| {' | '.join(cells)} |", heard.passed > 0 and not heard.failed


def main(arguments: list[str] | None = None) -> int:
    """Write the table in the place of the old one, or after all."""
    parser = argparse.ArgumentParser(prog="oracles", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    out, good = parser.parse_args(arguments).out, True
    head = ("method", "arrays read", "comparisons", "largest difference", "mutations caught")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, file in FILES.items():
        found, fine = row(name, file)
        print(found, flush=True)
        rows.append(found)
        good &= fine
    size = sum(path.stat().st_size for path in FACTS.iterdir())
    rows += ["", f"`tests/methods/facts`: {size / 1000:.0f} kB of 300 kB."]
    text = out.read_text("utf-8") if out.exists() else ""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] or "\n"
    out.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}", "utf-8")
    return not good


if __name__ == "__main__":
    sys.exit(main())
