"""What is derived from described options: flags, values, settings, rows of documents."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.main import get_command

from unlearn.cli.commands import COMMANDS
from unlearn.cli.derived import derived, described
from unlearn.cli.reference import EVERY, main, rewritten, table
from unlearn.errors import UsageProblem
from unlearn.options import Option
from unlearn.radius import Radius


@dataclass(frozen=True, kw_only=True)
class Options:
    """One option of every kind."""

    inputs: Annotated[tuple[str, ...], Option("What to read.", positional=True, metavar="INPUT")]
    out: Annotated[Path, Option("Where to write.", short="-o", metavar="DIR")]
    size: Annotated[int, Option("How large.", metavar="N", minimum=2, maximum=9)] = 4
    share: Annotated[
        Fraction | None,
        Option("How much.", flag="--part", metavar="SHARE", read=Fraction, default_text="all"),
    ] = None
    radii: Annotated[
        tuple[Radius, ...], Option("How far.", metavar="FRACTION", default_text="0")
    ] = (Radius.of_levels(0),)
    names: Annotated[tuple[str, ...], Option("Which.", metavar="LIST", commas=True)] = ("a", "b")
    mode: Annotated[Literal["one", "two"] | None, Option("How, see docs/cli.md.")] = None
    keep: Annotated[bool, Option("Keep '--out' as it is.")] = True
    force: Annotated[bool, Option("Replace.", details="Or a|b.", in_file=False)] = False
    sure: Annotated[bool | None, Option("Whether.", default_text="as before")] = None
    workers: Annotated[int, Option("How many.", metavar="N", default_text="cores")] = field(
        default_factory=lambda: 7
    )
    note: str = "not an option"


@pytest.fixture
def parsed():
    """A command line as a function from its words to what the command got."""

    def parse(*words):
        got = []

        def command(options: Options, *, extra: Annotated[int, Option("More.")] = 1) -> int:
            """Keep what came."""
            got.append((options, extra))
            return 0

        app = typer.Typer()
        app.command()(derived(command).function)
        get_command(app)(args=list(words), standalone_mode=False)
        return got[0]

    return parse


def test_what_is_left_out_is_left_to_the_dataclass(parsed):
    options, extra = parsed("a", "b", "--out", "o")
    assert options == Options(inputs=("a", "b"), out=Path("o"))
    assert (options.workers, options.names, options.keep, extra) == (7, ("a", "b"), True, 1)


def test_every_kind_of_value_is_read(parsed):
    words = ["-o", "o", "a", "--size", "2", "--part", "1/3", "--radii", "1/255", "--radii", "2/255"]
    words += ["--names", "x, y,,z", "--mode", "two", "--no-keep", "--force", "--no-sure"]
    options, extra = parsed(*words, "--workers", "0", "--extra", "5")
    assert options == Options(
        inputs=("a",),
        out=Path("o"),
        size=2,
        share=Fraction(1, 3),
        radii=(Radius.of_levels(1), Radius.of_levels(2)),
        names=("x", "y", "z"),
        mode="two",
        keep=False,
        force=True,
        sure=False,
        workers=0,
    )
    assert extra == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "1"], "Input should be greater than or equal to 2"),
        (["--radii", "8"], "did you mean 8/255?"),
        (["--mode", "three"], "'three' is not one of one, two"),
        (["--no-force"], "No such option: --no-force"),
        (["--note", "x"], "No such option: --note"),
    ],
)
def test_wrong_values_are_usage_errors(parsed, words, message):
    with pytest.raises(typer.TyperException) as caught:
        parsed("a", "--out", "o", *words)
    assert message in caught.value.format_message()


def test_a_parameter_without_description_is_refused():
    def command(options: Options, other: int = 1) -> int:
        return 0

    with pytest.raises(TypeError, match="other has no Option"):
        derived(command)


def test_the_context_is_passed_on():
    def command(context: typer.Context, name: Annotated[str, Option("Who.")] = "me") -> int:
        seen.append((context.info_name, name))
        return 0

    seen = []
    app = typer.Typer()
    app.command()(derived(command).function)
    get_command(app)(args=["--name", "you"], prog_name="program", standalone_mode=False)
    assert seen == [("program", "you")]


def test_settings_are_named_like_long_options_and_know_what_they_hold():
    def command(options: Options) -> int:
        return 0

    assert derived(command).settings == {
        "help": "line",
        "out": "value",
        "size": "value",
        "part": "value",
        "radii": "list",
        "names": "value",
        "mode": "value",
        "keep": "switch",
        "force": "line",
        "sure": "switch",
        "workers": "value",
    }


def test_fields_without_description_are_no_options():
    assert [option.name for option in described(Options)][-1] == "workers"


def test_rows_say_flags_value_default_and_meaning(monkeypatch):
    def command(options: Options) -> int:
        return 0

    monkeypatch.setattr("unlearn.cli.reference.COMMANDS", {"try": derived(command)})
    assert table("try").splitlines()[2:] == [
        "| `INPUT` | required | What to read. |",
        "| `--out`, `-o` | `DIR` · required | Where to write. |",
        "| `--size` | `N` · 4 | How large. |",
        "| `--part` | `SHARE` · all | How much. |",
        "| `--radii` | `FRACTION` · 0 | How far. |",
        "| `--names` | `LIST` · a, b | Which. |",
        r"| `--mode` | `one\|two` · none | How, see below. |",
        "| `--keep`, `--no-keep` | on | Keep `--out` as it is. |",
        r"| `--force` | off | Replace. Or a\|b. |",
        "| `--sure`, `--no-sure` | as before | Whether. |",
        "| `--workers` | `N` · cores | How many. |",
    ]


def test_what_every_command_has_is_in_no_other_table():
    assert "`--json`" in table(EVERY)
    assert not any("`--json`" in table(name) for name in COMMANDS)


def test_only_the_tables_of_a_document_are_rewritten():
    text = "# A\n<!-- options of demo -->\nold\n<!-- end -->\nB\n"
    assert rewritten(text) == f"# A\n<!-- options of demo -->\n{table('demo')}<!-- end -->\nB\n"
    with pytest.raises(UsageProblem, match="there is no command 'dmo'; known: protect, verify"):
        rewritten("<!-- options of dmo -->\n<!-- end -->")


def test_every_option_has_a_sentence_of_help():
    options = [option for command in COMMANDS.values() for option in command.options]
    assert [o.name for o in options if not o.option.help.endswith(".")] == []


def test_shells_are_told_the_choices():
    line = {"COMP_WORDS": "unlearn audit --budget p", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "unlearn"],
        env={**os.environ, **line, "_UNLEARN_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["paper"], "")


def test_the_tables_of_a_file_are_rewritten_in_place(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text("<!-- options of doctor -->\n<!-- end -->\n")
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path} has the options as they are now\n"
    assert path.read_text() == f"<!-- options of doctor -->\n{table('doctor')}<!-- end -->\n"
