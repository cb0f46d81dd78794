"""What `unlearn audit` prints: definition, table, flags."""

from dataclasses import replace

import pytest

from tests.support.reports import hostile, smallest, usual
from unlearn.audits.plan import NONE, WHOLE
from unlearn.audits.report import Flag
from unlearn.cli.audit_text import print_report
from unlearn.cli.console import Output


@pytest.fixture
def printed(capsys, monkeypatch):
    def run(report, width=80, variables=None, **output):
        terminal = {"COLUMNS": str(width), "TTY_COMPATIBLE": "1", "TERM": "dumb"}
        for name, value in (terminal | (variables or {})).items():
            monkeypatch.setenv(name, value)
        print_report(report, Output(**output))
        streams = capsys.readouterr()
        assert streams.err == ""
        return streams.out

    return run


def test_the_definition_comes_first(printed):
    text = " ".join(printed(usual()).split())
    assert text.startswith("Protection accuracy: accuracy on held-out clean pictures of a victim")


def test_a_usual_plan_takes_nine_lines(printed):
    report = usual(fractions=(WHOLE,), countermeasures=(NONE,))
    lines = printed(report).splitlines()
    start = lines.index("resnet18, no countermeasure, 3 seeds")
    assert [line.split() for line in lines[start + 1 : start + 11]] == [
        ["Trained", "on", "ρa", "Last,", "%", "vs", "clean", "Best", "Found", "Train"],
        ["clean", "0", "82.0", "±", "1.0", "84.0", "90.0"],
        ["placebo", "0", "80.0", "±", "1.0", "−2.0", "82.0", "not", "found", "90.0"],
        ["motif", "0", "42.0", "±", "1.0", "−40.0", "44.0", "1", "97.0"],
        ["protected", "0", "22.0", "±", "1.0", "−60.0", "24.0", "1", "98.0"],
        ["clean", "4/255", "77.0", "±", "1.0", "79.0", "90.0"],
        ["placebo", "4/255", "75.0", "±", "1.0", "−2.0", "77.0", "not", "found", "90.0"],
        ["motif", "4/255", "37.0", "±", "1.0", "−40.0", "39.0", "1", "97.0"],
        ["protected", "4/255", "27.0", "±", "1.0", "−50.0", "29.0", "1", "98.0"],
        lines[start + 10].split(),
    ]
    assert lines[start + 10].startswith("vs clean: points against the clean control")


def test_a_full_table_stays_whole_in_a_narrow_terminal(printed):
    countermeasures = (NONE, "early-stopping", "gaussian-noise")
    text = printed(usual(countermeasures=countermeasures))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text.replace("3f9c…", "")
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "protected gaussian-noise 0 1 52.0 ± 1.0 −30.0 54.0 1 98.0" in rows
    assert "+5.0" in text


def test_what_the_owner_sees_stands_below_the_tables(printed):
    rows = [line.split() for line in printed(usual()).splitlines()]
    seen = "protected files at full size 3.0 (3.8) 1.6 (2.3)"
    assert seen.split() in rows
    assert "Measured on" not in printed(smallest())


def test_each_network_has_its_own_table(printed):
    report = usual(architectures=("resnet18", "vit"), decays=("cosine", "constant"))
    text = printed(report)
    for heading in ("resnet18, cosine schedule", "vit, constant schedule"):
        assert f"{heading}, 3 seeds" in text


def test_flags_have_a_line_each_and_many_are_cut_short(printed):
    flags = (Flag("one-seed", "one"), *(Flag("diverged", f"victim {n}") for n in range(5)))
    lines = printed(replace(smallest(), flags=flags)).splitlines()
    assert "One seed only: one" in lines
    assert [line for line in lines if line.startswith("A training diverged")] == [
        "A training diverged: victim 0",
        "A training diverged: victim 1",
        "A training diverged: victim 2",
        "A training diverged: and 2 more, see the report",
    ]
    assert "A training diverged: victim 4" in printed(
        replace(smallest(), flags=flags), verbose=True
    )


def test_flags_are_yellow_in_a_terminal(printed):
    text = printed(smallest(), variables={"TERM": "xterm"})
    assert "\x1b[33mToo few pictures: 20 pictures" in text


def test_too_few_pictures_are_said_above_the_table(printed):
    text = printed(smallest())
    assert text.index("Too few pictures to conclude") < text.index("Trained on")


def test_names_cannot_steer_the_terminal(printed):
    text = printed(hostile())
    assert not {"\x1b", "\u202e", "\udcff"} & set(text)


@pytest.mark.parametrize("way", ["as_json", "quiet"])
def test_nothing_is_printed_where_nothing_was_asked_for(printed, way):
    assert printed(usual(), **{way: True}) == ""
