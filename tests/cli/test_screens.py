"""Whole runs in a terminal of 60, 80 and 120 columns: nothing torn, nothing cut, nothing left."""

import os
import re
import sys

import pytest
from PIL import Image

from tests.support.terminal import in_pipe, in_terminal
from unlearn import __version__
from unlearn.cli.app import run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "openpty"), reason="has no pseudo-terminals"),
    pytest.mark.slow,
]

WIDTHS = (60, 80, 120)
BAR = re.compile("[━╸╺]")
TITLES = ("Protecting", "Verifying", "Auditing", "Training victims")
FAST = ["--workers", "0", "--device", "cpu", "--key", "key"]
AUDIT = ["--epochs", "1", "--rho-a", "0", "--image-size", "16", "--countermeasures", "none"]
# Every one can be done again and again, and shows the same.
RUNS = {
    "protect": ["protect", "my photos", "-o", "out", "-g", "motifs", "--force", *FAST],
    "again": ["protect", "drawn", "-o", "drawn-out", "-g", "motifs", *FAST],
    "verify": ["verify", "my photos", "out"],
    "audit": ["audit", "drawn", "-g", "motifs", "-o", "report", "--no-resume", *AUDIT, *FAST],
}
CASES = [(name, width) for name in RUNS for width in WIDTHS]


PROTECT_60 = f"""\
unlearn {__version__} · generator motifs (sha 4749730f…) · rho 8/255
  · device cpu (bf16)
Found 15 pictures in 4 folders (1 more will not be
  protected; 1 skipped: 1 .mp4)
Labels: 4 classes from folders: checks (3), discs (3),
  stripes (3), waves (6)
To protect: 15 pictures, about 0 MB as JPEG or PNG (0 GB free)
  Protected         15  changed by at most 8/255, checked in
                        the written files
  Not protected      1  discs/a name that is longer than
                        half of a narrow screen.NEF  camera
                        raw is not a picture to publish;
                        export JPEG, PNG or TIFF first
  Notice             2  where it was taken is kept
                        (--metadata no-location leaves it
                        out): waves/here.jpg,
                        waves/there.jpg
  Skipped            1  1 .mp4
  JPEG              10  4 of 10 stay JPEG, 0 kB → 0 kB,
                        with 70% of the noise's energy; 6
                        become PNG, 0 kB → 0 kB (the
                        record says which and why)
  Visible               easily on plain areas: CIEDE2000 0
                        on average, 0 at worst
                        (waves/waves-03.jpg,
                        waves/waves-01.png,
                        checks/checks-01.png, …)
                        1 is hardly seen, 2.3 easily;
                        blurred as by the eye at arm's
                        length: 0
  Protection            measured on 2,000 photos of five
                        classes: a small classifier trained
                        on such copies named 31.0 ± 6.3 % of
                        new photos rightly; without noise
                        80.8 %, with random noise 81.9 %,
                        guessing 20 %. 'unlearn audit'
                        measures yours
  Written               0 MB in out · 0 s
  Record                out.unlearn/manifest.jsonl, preview/
Next: unlearn verify 'my photos' out"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the demo's pictures, and with what makes a run say more than usual."""
    folder = tmp_path_factory.mktemp("screens")
    for name in ("drawn", "my photos"):
        assert run(["demo", str(folder / name), "--per-class", "3", "-q"]) == 0
    photos = folder / "my photos"
    (folder / "key").write_bytes(bytes(range(32)))
    (photos / "film.mp4").touch()
    (photos / "discs" / "a name that is longer than half of a narrow screen.NEF").touch()
    place = Image.Exif()
    place.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    for name in ("here.jpg", "there.jpg"):
        Image.new("RGB", (48, 48), (90, 140, 60)).save(photos / "waves" / name, exif=place)
    Image.new("RGB", (48, 48), (90, 60, 140)).save(photos / "waves" / "here.png")
    return folder


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """Return the environment of all runs: one home, so that one key makes the noise."""
    home = str(tmp_path_factory.mktemp("home"))
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
    return dict.fromkeys(names, home) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(scope="module")
def piped(place, variables):
    """Return the code and the text of each command line in a pipe; each was done once before."""
    first = in_pipe([RUNS["again"], *RUNS.values()], place, variables)
    return dict(zip(RUNS, first[1:], strict=True))


@pytest.fixture(scope="module")
def screens(place, variables, piped):
    """Return what each command line shows at each width."""
    lines = [(width, RUNS[name]) for name, width in CASES]
    return dict(zip(CASES, in_terminal(lines, place, variables), strict=True))


def masked(text):
    """Return a text without what differs from run to run: times, free space, a pipe's progress.

    A line that breaks here or there, since a time has one figure or two, is whole.
    """
    text = re.sub(rf"^({'|'.join(TITLES)}) \d.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"pictures,\s+a\s+few\s+seconds,", "pictures,", text)
    text = re.sub(
        r"pictures,\s+about\s+\d+ (min|s)\s+at\s+the\s+rate\s+of\s+the\s+last\s+run,",
        "pictures,",
        text,
    )
    free = r"JPEG\s+or\s+PNG\s+\([\d.]+\s+[MGT]B\s+free\)"
    text = re.sub(free, "JPEG or PNG (0 GB free)", text)
    return re.sub(r"\d+(\.\d+)?(?=\s+(min|s)\b)", "0", text)


@pytest.mark.parametrize(("name", "width"), CASES)
def test_a_screen_shows_the_words_of_a_pipe_and_cuts_none(screens, piped, name, width):
    shown, (code, text) = screens[name, width], piped[name]
    assert shown.code == code
    assert masked("\n".join(shown.lines)).split() == masked(text).split()
    assert not BAR.search("\n".join(shown.lines))


@pytest.mark.parametrize(("name", "width"), CASES)
def test_a_bar_has_a_line_of_its_own_at_every_moment(screens, name, width):
    bars = [
        [line for line in moment if BAR.search(line)] for moment in screens[name, width].moments
    ]
    assert all(len(lines) <= 1 for lines in bars)
    shape = re.compile(rf"({'|'.join(TITLES)})( \d+(/\d+)?)? +[━╸╺]+( +.*)?")
    for line in filter(None, (lines[0] for lines in bars if lines)):
        assert shape.fullmatch(line), line
        assert not re.search("unlearn|Found|Labels|To protect|Cost", line)
        assert not re.search(r"\d:\d\d|about \d+ (s|min)[^ ]*…", line)  # time left is whole
    assert name in ("again", "verify") or any(bars)


def test_a_protect_run_looks_like_this(screens):
    text = masked("\n".join(screens["protect", 60].lines))
    numbers = r"(?<=CIEDE2000 )[\d.]+|[\d.]+(?= at worst)|(?<=length: )[\d.]+"
    numbers += r"|[\d.]+(?= [kM]B)|\d(?=% of the noise)"
    assert re.sub(numbers, "0", text) == PROTECT_60


def test_a_rerun_with_nothing_to_do_says_just_that(screens):
    lines = screens["again", 80].lines
    assert lines[-2:] == [
        "Nothing to do: all 12 pictures are protected already, in drawn-out",
        "Next: unlearn verify drawn drawn-out",
    ]
    assert len(lines) == 5


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "screen-256color"}])
def test_tmux_shows_the_same_and_colour_can_be_switched_off(place, variables, screens, variable):
    (shown,) = in_terminal([(80, RUNS["verify"])], place, variables | variable)
    assert shown.lines == screens["verify", 80].lines
    coloured = re.search(rb"\x1b\[[\d;]*3[0-8][;m]", shown.received)
    assert bool(coloured) == ("NO_COLOR" not in variable)


def test_a_pipe_gets_whole_lines_and_no_control_codes(piped):
    for code, text in piped.values():
        assert code in (0, 1)
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert max(map(len, piped["audit"][1].splitlines())) > 200
