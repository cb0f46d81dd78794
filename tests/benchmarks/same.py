"""What a change of the code's shape must keep: recorded through the command line, and compared.

    python -m tests.benchmarks.same record before.json --photos photos --small imagenette5/val \\
        --cifar cifar10.npz
    python -m tests.benchmarks.same record after.json --only help,verify
    python -m tests.benchmarks.same compare before.json after.json --only help,verify

A record holds SHA-256 sums and fields, section by section: the text of every help page, the files
that `protect` writes, the answers of `verify`, two small generators, and two small audits. Times,
dates and the places of files are left out. `compare` names every value that differs; what it says
of versions and processors is a note and no difference.

The package is run as `python -m unlearn` from this checkout and never imported, so a record can be
made of any state of it. By default the processor may use AVX2 only, numbers are float32 and there
is one thread, so that machines agree; a processor of another kind may still differ in last bits.
`--native` lets the processor and the package choose, as they do for people.

`--cifar` takes the `cifar10.npz` that the test data unpack to, or a CIFAR-10 python archive.
"""

import argparse
import difflib
import hashlib
import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKOUT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "",
    "protect",
    "verify",
    "audit",
    "train-generator",
    "generators",
    "generators list",
    "generators info",
    "generators path",
    "generators pull",
    "doctor",
    "demo",
)
KEY = bytes(range(32))
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP", "TMPDIR")
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
}
# `protect` has no option for its precision, nor has `audit` for that of its copies, and PyTorch
# names what the processor could do, not what it may.
NOISY = ("protect", "audit")
WITHOUT_BF16 = """
import runpy, torch
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False
runpy.run_module("unlearn", run_name="__main__", alter_sys=True)
"""
WHERE = "import importlib.util; print(importlib.util.find_spec('unlearn').origin)"
VOLATILE = {"seconds", "ms", "started", "timings", "environment"}
LONGEST_SECONDS = 2 * 3600
BATCH = 10_000  # pictures of each of CIFAR-10's five training batches
TRAIN_PICTURES = 200  # taken of each of them
TEST_PICTURES = 200
SMALL_TRAINING = "--arch resnet-small --pictures 200 --batch-size 16 --set schedule.steps=60"
SMALL_AUDIT = (
    "--arch resnet-small --countermeasures none,grey --rho-a 0 --rho-a 4/255 --seeds 1 --steps 20 "
    "--pgd-steps 2 --batch-size 16 --image-size 32 --workers 1"
)
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "jpeglib", "safetensors", "typer", "rich")


@dataclass(frozen=True)
class Given:
    """The folders that a record is made of, and whether the processor chooses."""

    photos: Path | None = None
    small: Path | None = None
    cifar: Path | None = None
    native: bool = False


@dataclass(frozen=True)
class Ended:
    """One run of the command line: its exit code and its standard output."""

    code: int
    stdout: str

    @property
    def answer(self) -> Any:
        """The object that `--json` wrote."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Place:
    """A section's own folder with a home, so that nothing of the person plays a part."""

    room: Path
    given: Given

    def unlearn(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Ended:
        """Run one command in the room; raises RuntimeError for another exit code than `codes`."""
        chooses = self.given.native or arguments[0] not in NOISY
        start = ("-m", "unlearn") if chooses else ("-c", WITHOUT_BF16)
        ended = subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=self.room,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=LONGEST_SECONDS,
            check=False,
        )
        if ended.returncode not in codes:
            told = "\n".join(ended.stderr.splitlines()[-5:])
            raise RuntimeError(f"unlearn {' '.join(arguments)}: exit {ended.returncode}\n{told}")
        return Ended(ended.returncode, ended.stdout)

    def environment(self) -> dict[str, str]:
        """Return all variables that a command sees."""
        home = self.room / "home"
        homes = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
        private = dict.fromkeys(homes, str(home))
        private |= {
            f"XDG_{name}_HOME": str(home / name.lower())
            for name in ("CONFIG", "CACHE", "STATE", "DATA")
        }
        steady = {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        chosen = {} if self.given.native else AVX2
        return passed | private | steady | chosen | {"PYTHONPATH": str(CHECKOUT)}

    @property
    def precision(self) -> str:
        """The value of `--precision`."""
        return "auto" if self.given.native else "fp32"

    def key(self) -> str:
        """Write the key of every record and return its name."""
        (self.room / "key").write_bytes(KEY)
        return "key"

    def demo(self, *more: str) -> Path:
        """Draw the demo folder and return where."""
        self.unlearn("demo", "demo", *more)
        return self.room / "demo"

    def steady(self, value: Any) -> Any:
        """Return a value of JSON without times, and with names in place of folders."""
        if isinstance(value, dict):
            return {k: self.steady(v) for k, v in value.items() if k not in VOLATILE}
        if isinstance(value, list):
            return [self.steady(one) for one in value]
        if isinstance(value, str):
            for name in ("photos", "small"):
                folder = getattr(self.given, name)
                value = value.replace(str(folder), name.upper()) if folder else value
            return value.replace(str(self.room), "ROOM")
        return value


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in files}


def digest(content: bytes) -> str:
    """Return a SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def lines_of(journal: Path) -> list[Any]:
    """Return what the lines of a journal say."""
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]


def keyed(rows: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    """Return rows by the first of the named fields that says something."""
    return {str(next(row[name] for name in names if row.get(name))): row for row in rows}


def help_texts(place: Place) -> dict[str, str]:
    """Record the help of every command."""
    return {
        f"unlearn {command}".strip(): place.unlearn(*command.split(), "--help").stdout
        for command in COMMANDS
    }


def manifest(place: Place, path: Path) -> dict[str, Any]:
    """Return a manifest: the settings of its runs, and its pictures by name."""
    lines = [place.steady(line) for line in lines_of(path)]
    pictures = keyed([line for line in lines if line["type"] == "image"], "src")
    return {"runs": [line for line in lines if line["type"] == "run"], "pictures": pictures}


def protected(place: Place, source: Path, *more: str) -> dict[str, Any]:
    """Protect a folder and return what was written, and what was said of it."""
    out = place.room / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(place.room / "out.unlearn", ignore_errors=True)
    line = ["protect", str(source), "--out", "out", "--key", place.key(), "--workers", "1"]
    ended = place.unlearn(*line, "--device", "cpu", "--json", *more, codes=(0, 1))
    answer = ended.answer
    del answer["pictures"]  # the manifest has more of them
    return {
        "exit_code": ended.code,
        "outputs": sums(out),
        "previews": sums(place.room / "out.unlearn" / "preview"),
        "answer": place.steady(answer),
        "manifest": manifest(place, place.room / "out.unlearn" / "manifest.jsonl"),
    }


def both_formats(place: Place, source: Path) -> dict[str, Any]:
    """Record what `protect` makes of a folder, in its own choice of formats and as PNG."""
    return {
        "inputs": sums(source),
        "default": protected(place, source),
        "png": protected(place, source, "--format", "png"),
    }


def protect_demo(place: Place) -> dict[str, Any]:
    """Record the demo folder, protected."""
    return both_formats(place, place.demo())


def protect_photos(place: Place) -> dict[str, Any]:
    """Record photos, protected."""
    assert place.given.photos is not None
    return both_formats(place, place.given.photos)


def protect_small(place: Place) -> dict[str, Any]:
    """Record small pictures, protected."""
    assert place.given.small is not None
    return both_formats(place, place.given.small)


def verify(place: Place) -> dict[str, Any]:
    """Record what `verify` says of a sound output, by a stricter bound, and of a damaged one."""
    source = place.demo("--per-class", "6")
    protected(place, source)

    def said(*arguments: str) -> dict[str, Any]:
        ended = place.unlearn("verify", *arguments, "--json", codes=(0, 1))
        answer = place.steady(ended.answer)
        files = keyed(answer.pop("files"), "source", "output")
        return {"exit_code": ended.code, "answer": answer, "files": files}

    found = {"sound": said("demo", "out"), "without_source": said("out")}
    found["stricter"] = said("demo", "out", "--rho", "4/255")
    out = place.room / "out"
    lost, clean, other, whole = sorted(
        path for path in out.rglob("*.png") if (source / path.relative_to(out)).is_file()
    )[:4]
    lost.unlink()
    shutil.copyfile(source / clean.relative_to(out), clean)
    shutil.copyfile(whole, other)
    shutil.copyfile(whole, whole.with_name("stranger.png"))
    return found | {"damaged": said("demo", "out")}


def cifar_rows(source: Path) -> tuple[list[tuple[NDArray[np.uint8], list[int]]], list[str]]:
    """Return the first pictures of five training batches and of the test, as rows, and the names.

    Both forms of CIFAR-10 are in the official order, so both give the same rows.
    """
    counts = [*[TRAIN_PICTURES] * 5, TEST_PICTURES]
    if source.is_dir():
        names = [*[f"data_batch_{number}" for number in range(1, 6)], "test_batch"]
        loaded = [_pickled(source / name) for name in names]
        batches = [(one[b"data"], one[b"labels"]) for one in loaded]
        classes = [name.decode() for name in _pickled(source / "batches.meta")[b"label_names"]]
    else:
        with np.load(source) as packed:
            pixels, labels = packed["x_train"], packed["y_train"]
            parts = [slice(first, first + BATCH) for first in range(0, 5 * BATCH, BATCH)]
            batches = [(pixels[part], labels[part]) for part in parts]
            batches.append((packed["x_test"], packed["y_test"]))
            classes = [str(name) for name in packed["classes"]]
        batches = [(x.transpose(0, 3, 1, 2).reshape(len(x), -1), y) for x, y in batches]
    short = zip(batches, counts, strict=True)
    return [(x[:n].copy(), [int(label) for label in y[:n]]) for (x, y), n in short], classes


def _pickled(path: Path) -> Any:
    """Return what a file of the archive holds; the person who runs this chose the archive."""
    return pickle.loads(path.read_bytes(), encoding="bytes")  # noqa: S301


def cifar_archive(place: Place) -> str:
    """Write a small archive in the form of CIFAR-10's and return its name."""
    assert place.given.cifar is not None
    batches, classes = cifar_rows(place.given.cifar)
    folder = place.room / "small-cifar"
    folder.mkdir()
    names = [*[f"data_batch_{number}" for number in range(1, 6)], "test_batch"]
    contents: dict[str, Any] = {
        name: {b"data": rows, b"labels": labels}
        for name, (rows, labels) in zip(names, batches, strict=True)
    }
    contents["batches.meta"] = {b"label_names": [name.encode() for name in classes]}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder.name


def artefact(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file as SHA-256 sums, and its header by fields."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:start])
    metadata = {name: _parsed(text) for name, text in head.pop("__metadata__", {}).items()}
    tensors = {}
    for name, about in sorted(head.items()):
        first, last = about["data_offsets"]
        shape = "x".join(str(side) for side in about["shape"])
        tensors[name] = f"{about['dtype']} {shape} {digest(content[start + first : start + last])}"
    return {"all_tensors": digest(repr(tensors).encode()), "tensors": tensors, "header": metadata}


def _parsed(text: str) -> Any:
    """Return what a text says as JSON, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def trained(place: Place, recipe: str) -> dict[str, Any]:
    """Train a small generator and return its artefact."""
    line = ["train-generator", cifar_archive(place), "--out", "small.safetensors"]
    line += [*SMALL_TRAINING.split(), "--recipe", recipe, "--seed", "3"]
    place.unlearn(*line, "--precision", place.precision, "--device", "cpu")
    return artefact(place.room / "small.safetensors")


def train_paper(place: Place) -> dict[str, Any]:
    """Record a generator of the published recipe."""
    return trained(place, "paper")


def train_fast(place: Place) -> dict[str, Any]:
    """Record a generator of the fast recipe."""
    return trained(place, "fast")


def audited(place: Place, source: str, *more: str) -> dict[str, Any]:
    """Audit a set and return the journal, the report, and the sums of what victims were given."""
    line = ["audit", source, "--out", "report", "--key", place.key(), *SMALL_AUDIT.split(), *more]
    place.unlearn(*line, "--precision", place.precision, "--device", "cpu", "--json")
    out = place.room / "report"
    head, *victims = (place.steady(line) for line in lines_of(out / "journal.jsonl"))
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {
        "journal": {"head": head, "victims": {_cell(one): one for one in victims}},
        "report": place.steady(found),
        "sets": sums(out / "sets"),
        "copies": sums(out / "protected"),
    }


def _cell(line: dict[str, Any]) -> str:
    """Return which victim a line of the journal is about."""
    return " ".join(str(line["cell"][name]) for name in sorted(line["cell"]))


def audit_folders(place: Place) -> dict[str, Any]:
    """Record an audit of the demo folder, with copies that it makes itself."""
    return audited(place, place.demo().name)


def audit_archive(place: Place) -> dict[str, Any]:
    """Record an audit of an archive."""
    return audited(place, cifar_archive(place), "--pictures", "200")


SECTIONS: dict[str, tuple[Callable[[Place], dict[str, Any]], str | None]] = {
    "help": (help_texts, None),
    "verify": (verify, None),
    "protect-demo": (protect_demo, None),
    "protect-photos": (protect_photos, "photos"),
    "train-fast": (train_fast, "cifar"),
    "train-paper": (train_paper, "cifar"),
    "audit-folders": (audit_folders, None),
    "audit-archive": (audit_archive, "cifar"),
    "protect-small": (protect_small, "small"),
}


def about(given: Given) -> dict[str, Any]:
    """Return what a reader needs to judge a record: the code, the versions, the processor."""
    return {
        "commit": _git("log", "-1", "--format=%H", "--", "unlearn"),
        "changed_files": _git("status", "--porcelain", "--", "unlearn").splitlines(),
        "chosen_by": "the processor" if given.native else "this script: AVX2 and float32",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def _git(*arguments: str) -> str:
    """Return what git says of this checkout; nothing without git."""
    try:
        line = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(name: str) -> str:
    """Return the version of a package, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not there"


def processor() -> dict[str, Any]:
    """Return the processor's name and the instructions that numbers depend on."""
    path = Path("/proc/cpuinfo")
    known = path.read_text().splitlines() if path.is_file() else []
    fields = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in known}
    flags = fields.get("flags", fields.get("Features", "")).split()
    telling = ("avx", "amx", "fma", "f16c", "sse", "asimd", "sve", "bf16")
    name = fields.get("model name", platform.processor())
    return {"name": name, "flags": sorted(flag for flag in flags if flag.startswith(telling))}


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def check_package(place: Place) -> None:
    """Raise RuntimeError if a command would run another package than this checkout's."""
    line = [sys.executable, "-c", WHERE]
    where = subprocess.run(
        line, cwd=place.room, env=place.environment(), capture_output=True, text=True, check=True
    ).stdout.strip()
    if CHECKOUT not in Path(where).resolve().parents:
        raise RuntimeError(f"commands would run {where}, not {CHECKOUT}")


def record(out: Path, given: Given, names: list[str]) -> int:
    """Write the sections into a file, one after the other; return 1 if one failed."""
    found: dict[str, Any] = {"about": about(given), "sections": {}}
    failed = []
    for name in names:
        began = time.monotonic()
        say(f"{name}: begun")
        found["sections"][name] = section(name, given)
        if "failed" in found["sections"][name]:
            failed.append(name)
            say(found["sections"][name]["failed"])
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
        temporary = out.with_name(f"{out.name}.part")
        temporary.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
        temporary.replace(out)
        outcome = "failed" if name in failed else "recorded"
        say(f"{name}: {outcome} after {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def section(name: str, given: Given) -> dict[str, Any]:
    """Return one section, or why it failed, so that the others still get their turn."""
    with TemporaryDirectory(prefix="same-", ignore_cleanup_errors=True) as room:
        place = Place(Path(room).resolve(), given)
        (place.room / "home").mkdir()
        try:
            check_package(place)
            return SECTIONS[name][0](place)
        except Exception:  # noqa: BLE001  whatever it was, the next section may work
            return {"failed": traceback.format_exc(limit=-3)}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value of an object of JSON with its path; empty ones are values too."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{path}/{name}" if path else name)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from flat(inner, f"{path}/{number}")
    else:
        yield path, value


def differences(before: Any, after: Any) -> list[str]:
    """Return a line, or for texts some, for every value that two objects do not share."""
    old, new = dict(flat(before)), dict(flat(after))
    told = []
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in new:
            told.append(f"{path}: gone (was {shown(old[path])})")
        elif path not in old:
            told.append(f"{path}: new ({shown(new[path])})")
        elif type(old[path]) is not type(new[path]) or old[path] != new[path]:
            told.append(f"{path}: {changed(old[path], new[path])}")
    return told


def changed(old: Any, new: Any) -> str:
    """Return what became of a value; of a long text, its changed lines."""
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        rows = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
        return "\n".join(["other lines", *(f"    {row}" for row in rows)])
    return f"{shown(old)} -> {shown(new)}"


def shown(value: Any) -> str:
    """Return a value in so many letters that it can be told from others."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:90]}… ({len(text)} letters)"


def compare(before: dict[str, Any], after: dict[str, Any], names: list[str] | None) -> int:
    """Print what differs between two records; return 1 if anything does."""
    for line in differences(before["about"], after["about"]):
        say(f"note: {line}")
    old, new = before["sections"], after["sections"]
    count = 0
    asked = [*old, *(name for name in new if name not in old)] if names is None else names
    for name in asked:
        if name not in old or name not in new:
            told = [f"recorded in {'the first' if name in old else 'the second'} only"]
            told = told if name in old or name in new else ["recorded in neither"]
        elif "failed" in old[name] or "failed" in new[name]:
            told = ["failed while it was recorded, so nothing is known"]
        else:
            told = differences(old[name], new[name])
        for line in told:
            say(f"{name}: {line}")
        count += len(told)
        if not told:
            say(f"{name}: same ({sum(1 for _ in flat(new[name]))} values)")
    say(f"{count} difference{'s' if count > 1 else ''}." if count else "Nothing differs.")
    return 1 if count else 0


def main(arguments: list[str] | None = None) -> int:
    """Record, or compare two records."""
    parser = argparse.ArgumentParser(
        prog="same", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    recording = parts.add_parser("record", help="record this checkout into OUT")
    recording.add_argument("out", type=Path, metavar="OUT")
    recording.add_argument("--photos", type=Path, help="folder of photos")
    recording.add_argument("--small", type=Path, help="folder of class folders, small pictures")
    recording.add_argument("--cifar", type=Path, help="cifar10.npz or a CIFAR-10 python archive")
    recording.add_argument("--native", action="store_true", help="let the processor choose")
    comparing = parts.add_parser("compare", help="print what differs; exit code 1 if anything does")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    for one in (recording, comparing):
        one.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,…")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.only or () if name not in SECTIONS]
    if unknown:
        parser.error(f"--only {','.join(unknown)}: the sections are {', '.join(SECTIONS)}")
    if chosen.part == "compare":
        before, after = (
            json.loads(path.read_text("utf-8")) for path in (chosen.before, chosen.after)
        )
        return compare(before, after, chosen.only)
    return _record(parser, chosen)


def _record(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    """Record the sections that are asked for and whose pictures are given."""
    folders = {name: getattr(chosen, name) for name in ("photos", "small", "cifar")}
    for name, folder in folders.items():
        if folder is not None and not folder.exists():
            parser.error(f"--{name} {folder}: there is no such file or folder")
    names = []
    for name, (_, needed) in SECTIONS.items():
        if chosen.only is not None and name not in chosen.only:
            continue
        if needed is None or folders[needed] is not None:
            names.append(name)
        elif chosen.only is not None:
            parser.error(f"{name} needs --{needed}")
        else:
            say(f"{name}: left out, it needs --{needed}")
    found = {name: folder and folder.resolve() for name, folder in folders.items()}
    return record(chosen.out, Given(**found, native=chosen.native), names)


if __name__ == "__main__":
    sys.exit(main())
