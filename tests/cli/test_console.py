"""What gets printed where, and progress."""

import io
import json
import math
import re
from pathlib import Path

import pyte
import pytest
from rich.console import Console
from rich.table import Table

from unlearn.cli import console, meter
from unlearn.cli.console import (
    Output,
    OutputClosed,
    emit_json,
    folded,
    one_line,
    print_error,
    printable,
)
from unlearn.cli.meter import Meter, duration_text, rate_text


def test_results_go_to_standard_output_and_the_rest_beside(capsys):
    output = Output()
    table = Table("name")
    table.add_row("value")
    output.result("one [bold]two[/bold] :smile:", table)
    output.notice("beside")
    output.detail("hidden")
    output.next_step("doctor")
    output.emit({"never": "printed"})
    captured = capsys.readouterr()
    assert captured.out.startswith("one [bold]two[/bold] :smile:\n")
    assert "value" in captured.out
    assert captured.out.endswith("Next: unlearn doctor\n")
    assert captured.err == "beside\n"


def test_a_long_line_is_not_wrapped(capsys):
    Output().result("x" * 500)
    print_error("y" * 500)
    captured = capsys.readouterr()
    assert captured.out == "x" * 500 + "\n"
    assert captured.err == "Error: " + "y" * 500 + "\n"


def test_json_mode_prints_one_object_and_nothing_else(capsys):
    output = Output(as_json=True)
    output.result("hidden")
    output.emit({"path": Path("a"), "worst": [math.inf, {"psnr": math.nan}], "name": "é\udc80"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "path": "a",
        "worst": [None, {"psnr": None}],
        "name": "é\udc80",
    }
    assert captured.out.isascii()


def test_quiet_prints_errors_only(capsys):
    output = Output(quiet=True, verbose=True)
    output.result("hidden")
    output.notice("hidden")
    output.detail("hidden")
    output.complain("wrong")
    assert capsys.readouterr() == ("", "Error: wrong\n")


@pytest.mark.parametrize("output", [Output(verbose=True), Output(debug=True)])
def test_details_are_printed_on_request(output, capsys):
    output.detail("more")
    assert capsys.readouterr().err == "more\n"


def test_names_cannot_steer_the_terminal():
    assert printable("a\x1b[31m\udc80ü\nb") == "a\\x1b[31m\\udc80ü\nb"
    assert one_line(" a\n\n  b\r\nc\x07 ") == "a b c\\x07"


def test_a_closed_pipe_is_told_apart(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(OutputClosed):
        Output().result("text")
    with pytest.raises(OutputClosed):
        emit_json({})


def terminal(monkeypatch, *, dumb=False):
    """Put a terminal of its own behind the meter and return what it receives."""
    received = io.StringIO()
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    monkeypatch.setattr(
        meter, "stderr_console", lambda: Console(file=received, force_terminal=True, width=140)
    )
    return received


def clock(monkeypatch):
    """Replace the meter's clock by one that the returned function sets."""
    now = [0.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_terminal_gets_a_bar(monkeypatch):
    received = terminal(monkeypatch)
    with Output().meter("Protecting", 4) as progress:
        progress.update(2, "a/[b].jpg")
        progress._live.refresh()
        assert "Protecting 2/4" in received.getvalue()
        assert "a/[b].jpg" in received.getvalue()
        progress.update(3, total=8)
        progress._live.refresh()
    assert "Protecting 3/8" in received.getvalue()


def bar(width, progress):
    """Return the line that a meter draws in a terminal of so many columns."""
    shown = Console(file=io.StringIO(), width=width)
    shown.print(progress)
    (line,) = shown.file.getvalue().splitlines()
    return line.rstrip()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_time_left_is_whole_at_any_width(width, monkeypatch):
    set_clock = clock(monkeypatch)
    progress = Meter("Training victims", 12, "victims")
    for second in range(0, 50, 10):
        set_clock(second)
        progress.update(second / 10, "protected, resnet-small, ρa 4/255, seed 101: 25.0%")
    line = bar(width, progress)
    assert line.startswith("Training victims 4/12 ")
    assert " about 1 min 20 s left" in line
    assert len(line) <= width
    assert ("0.1 victims/s" in line) == (width >= 80)
    assert ("  protected, resnet" in line and line.endswith("…")) == (width == 120)


def test_one_piece_of_work_says_nothing_of_the_speed(monkeypatch):
    set_clock = clock(monkeypatch)
    progress = Meter("Protecting", 14, "pictures")
    said = []
    for done, second in enumerate([0, 5, 5.02, 7, 9, 12]):
        set_clock(second)
        progress.update(done)
        said.append(re.sub(r"^Protecting \d+/14\s*[━╸╺ ]*", "", bar(80, progress)))
    assert said == [
        *([""] * 4),
        "about 13 s left  0.8 pictures/s",
        "about 16 s left  0.6 pictures/s",
    ]


def test_the_time_left_is_what_was_expected_until_it_is_measured(monkeypatch):
    set_clock = clock(monkeypatch)
    progress = Meter("Protecting", None, "pictures")
    progress.begin("Protecting", "pictures", 10, expected=60)
    set_clock(20)
    progress.update(1, share=0.5)
    assert "about 40 s left" in bar(80, progress)
    for second in (21, 22, 23):
        set_clock(second)
        progress.update(second - 19, share=0.5 + (second - 20) / 10)
    assert "about 2 s left" in bar(80, progress)
    set_clock(24)
    assert "about 1 s left" in bar(80, progress)


def test_lines_are_broken_between_words_and_never_within_one():
    text = "  Record             2  a/long/path.png and another one"
    assert folded(text, 40, 24) == "\n".join(
        ["  Record             2  a/long/path.png", " " * 24 + "and another one"]
    )
    assert folded("one two", 3) == "one\ntwo"
    assert folded("a " + "x" * 50 + " b", 10, 2) == f"a\n  {'x' * 50}\n  b"
    assert folded("reaches 25.0 %, so", 12) == "reaches\n25.0 %, so"
    assert folded("29 kB → 155 kB (both)", 13) == "29 kB →\n155 kB (both)"
    assert folded("3 min 51 s left", 9) == "3 min\n51 s left"
    assert folded("from folders: cats (1,008), dogs (2)", 24) == (
        "from folders:\ncats (1,008), dogs (2)"
    )
    assert folded("on 2 sides", 4) == "on 2\nsides"
    assert folded("猫猫猫 猫猫", 8) == "猫猫猫\n猫猫"
    assert folded("a 猫猫猫 猫", 7) == "a\n猫猫猫\n猫"
    assert folded("a\n\n  b", 10) == "a\n\n  b"


def test_a_notice_stands_above_the_bar(monkeypatch):
    received = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", received)
    received.isatty = lambda: True
    with Output().meter("Protecting", 4) as progress:
        progress.update(2)
        progress._live.refresh()
        Output().notice("Found 4 pictures")
        progress.update(3)
    screen = pyte.Screen(60, 5)
    pyte.Stream(screen).feed(received.getvalue().replace("\n", "\r\n"))
    assert [line.rstrip() for line in screen.display] == ["Found 4 pictures", "", "", "", ""]


@pytest.mark.parametrize("dumb", [True, False])
def test_anything_else_gets_lines_that_become_rarer(dumb, monkeypatch, capsys):
    received = terminal(monkeypatch, dumb=True) if dumb else None
    set_clock = clock(monkeypatch)
    with Output().meter("Protecting", 100) as progress:
        for second in range(0, 91, 5):
            set_clock(second)
            progress.update(second, f"{second}.jpg")
    shown = received.getvalue() if received else capsys.readouterr().err
    assert shown.splitlines() == [
        "Protecting 10/100  10%  1.0 pictures/s  about 1 min 30 s left  10.jpg",
        "Protecting 30/100  30%  1.0 pictures/s  about 1 min 10 s left  30.jpg",
        "Protecting 70/100  70%  1.0 pictures/s  about 30 s left  70.jpg",
    ]


def test_a_day_of_work_is_a_line_every_five_minutes_and_none_twice(monkeypatch, capsys):
    set_clock = clock(monkeypatch)
    with Output().meter("Training victims", 12, "victims") as progress:
        for second in range(1200):
            set_clock(second)
            progress.update(0)
        for second in range(1200, 87_600):
            set_clock(second)
            progress.update(second // 7300, share=second / 87_600)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Training victims 0/12"
    assert lines[1].startswith("Training victims 0/12  1%")
    # After 10 s; 1200 s, when there is news; 1240, 1320 and 1480 s; then every 300 s.
    assert len(lines) == len(set(lines)) == 5 + (87_599 - 1480) // 300


def test_progress_without_a_known_end(monkeypatch, capsys):
    set_clock = clock(monkeypatch)
    with Meter("Reading", None, "files") as progress:
        set_clock(20)
        progress.update(0)
    assert capsys.readouterr().err == "Reading 0\n"


def test_silence_has_no_progress(monkeypatch, capsys):
    set_clock = clock(monkeypatch)
    received = terminal(monkeypatch)
    with Output(quiet=True).meter("Protecting", 4) as progress:
        set_clock(60)
        progress.update(2)
    assert received.getvalue() + capsys.readouterr().err == ""


def test_durations_and_rates_read_well():
    assert [duration_text(s) for s in (-1, 8.4, 60, 231, 7500)] == [
        "0 s",
        "8 s",
        "1 min",
        "3 min 51 s",
        "2 h 5 min",
    ]
    assert rate_text(0, 9, "pictures") == rate_text(9, 0, "pictures") == ""
    assert rate_text(30, 10, "pictures") == "3.0 pictures/s"
    assert rate_text(1, 30, "pictures") == "30 s each"


def test_consoles_follow_the_streams(capsys):
    console.stdout_console().print("out")
    console.stderr_console().print("err")
    assert capsys.readouterr() == ("out\n", "err\n")
