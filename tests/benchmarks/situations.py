"""Run situations from public bug reports through `protect`, and read back what was written.

    python -m tests.benchmarks.situations reports

The outputs are read by Pillow, exiftool and ImageMagick. The exit code is 1 unless everything is as
expected.
"""

import argparse
import contextlib
import io
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, PngImagePlugin

from tests.support.protecting import tree
from unlearn.cli.app import run

# Name, folder, further options, exit code expected, words expected on the screen.
RUNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("F01", "F01-train-val-root/data", "", 0, "church (2), tench (2)"),
    ("F02", "F02-second-album-overwrites/100CANON", "", 0, "Protected"),
    ("F02", "F02-second-album-overwrites/101CANON", "", 0, "IMG_0001-2.png"),
    ("F03", "F03-adobe-rgb-dcf", "", 0, "Protected"),
    ("F06", "F06-motion-photo-xmp", "", 0, "motion video"),
    ("F08", "F08-resolution", "", 0, "Protected"),
    ("F09", "F09-png-large-text-or-profile", "", 0, "Protected"),
    ("F10", "F10-copyright-in-xmp", "--metadata copyright", 0, "Protected"),
    ("F14", "F14-tiff-thumbnail-page", "", 0, "thumbnail"),
    ("F15", "F15-other-jpeg-decoders", "", 0, "Protected"),
    ("F16", "F16-skipped-formats", "", 1, "pic.jpx"),
    ("F18", "F18-synology-eadir", "", 0, "2 in @eaDir"),
    ("F19", "F19-twice", "", 0, "Protected"),
    ("F23", "F23-csv", "", 0, "cat (1), dog (1)"),
    ("F24", "F24-mtime", "--times keep", 0, "Protected"),
    ("F26", "F26-jpeg-comment", "", 0, "Protected"),
)
# Output folder, tag that exiftool prints, value expected of all pictures; "" if none may have it.
TAGS: tuple[tuple[str, str, str], ...] = (
    ("F03", "InteropIndex", "R03 - DCF option file (Adobe RGB)"),
    ("F06", "MotionPhoto", ""),
    ("F06", "MicroVideo", ""),
    ("F26", "Comment", "*"),
    ("F10", "DataMining", "*"),
)


def said_by(line: list[str]) -> tuple[int, str]:
    """Return the exit code of a command line, and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(line)
    return code, said.getvalue()


def tool(*line: str) -> str:
    """Return what another program prints."""
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def pictures(folder: Path) -> list[Path]:
    """Return the files of an output folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_back(folder: Path) -> bool:
    """Return whether Pillow and ImageMagick read all pictures of a folder with the same size."""
    for path in pictures(folder):
        with Image.open(path) as image:
            image.load()
            if tool("identify", "-format", "%w %h", str(path)) != "{} {}".format(*image.size):
                return False
    return bool(pictures(folder))


def tags_fit(folder: Path, tag: str, value: str) -> bool:
    """Return whether exiftool reads the tag of every picture as expected."""
    found = [tool("exiftool", "-s3", f"-{tag}", str(path)) for path in pictures(folder)]
    return all(bool(text) if value == "*" else text == value for text in found)


def checks(reports: Path, out: Path) -> list[tuple[str, bool]]:
    """Run everything; return what is expected, and whether it happened."""
    (out / "key").write_bytes(bytes(32))
    common = ["--generator", "motifs", "--workers", "0", "--key", str(out / "key")]
    PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # Pillow opens the profile of F09, as given, only so
    done: list[tuple[str, bool]] = []
    stood: list[bool] = []
    for name, folder, more, wanted, words in RUNS:
        before = tree(out / name)
        line = ["protect", str(reports / folder), "--out", str(out / name), *common, *more.split()]
        code, said = said_by(line)
        done.append(
            (
                f"{folder} {more}: code {wanted}, {words!r} said",
                code == wanted and words in " ".join(said.split()),
            )
        )
        if before:
            stood.append(before.items() <= tree(out / name).items())
    done.append(("F02: the first album stands as it was", bool(stood) and all(stood)))
    names = {name for name, *_ in RUNS}
    done += [
        (f"{name}: Pillow and ImageMagick agree", read_back(out / name)) for name in sorted(names)
    ]
    done += [
        (f"{name}: exiftool reads {tag} as {value!r}", tags_fit(out / name, tag, value))
        for name, tag, value in TAGS
    ]
    dpi = {round(Image.open(path).info["dpi"][0]) for path in pictures(out / "F08")}
    done.append(("F08: 300 dpi stay 300 dpi", dpi == {300}))
    times = [
        (reports / "F24-mtime/x.jpg").stat().st_mtime,
        *(path.stat().st_mtime for path in pictures(out / "F24")),
    ]
    done.append(("F24: the time is kept", len(set(map(int, times))) == 1))
    twice = said_by(["protect", str(out / "F19"), "--out", str(out / "F19b"), *common])
    done.append(("F19: protecting twice is refused", twice[0] == 1 and "--again" in twice[1]))
    return done


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each expectation."""
    parser = argparse.ArgumentParser(prog="situations", description=__doc__.split("\n")[0])
    parser.add_argument("reports", type=Path)
    with TemporaryDirectory() as folder:
        found = checks(parser.parse_args(arguments).reports, Path(folder))
    for expected, happened in found:
        print(f"| {expected} | {'as expected' if happened else '**not**'} |")
    return not all(happened for _, happened in found)


if __name__ == "__main__":
    sys.exit(main())
