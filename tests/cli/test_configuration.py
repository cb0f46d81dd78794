"""Settings in a file: what wins, what is refused and with which words, what is said."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.made_pictures import noise_image
from unlearn.cli.app import run
from unlearn.cli.commands import tables
from unlearn.errors import UsageProblem
from unlearn.radius import Radius
from unlearn.settings_file import load

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
LINE = ["protect", "photos", "--out", "out"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def own(home):
    """The user's own file, not yet there."""
    folder = home / "config" / "unlearn"
    folder.mkdir(parents=True)
    return folder / "config.toml"


@pytest.fixture
def asked(monkeypatch):
    """What commands were asked to do, in place of doing it."""
    options = []

    def keep(asked_for, *_):
        options.append(asked_for)
        return 0

    def stop(asked_for, *_):
        options.append(asked_for)
        raise UsageProblem("that is enough")

    monkeypatch.setattr("unlearn.cli.protect._run", keep)
    monkeypatch.setattr("unlearn.cli.audit._run", keep)
    monkeypatch.setattr("unlearn.generators.train.train_generator", stop)
    return options


def protect(asked, *arguments):
    """Return the options that a protect line comes to."""
    assert run([*LINE, *arguments]) == 0
    return asked[-1]


def refusal(capsys, *arguments):
    """Return the only line that a refused line prints."""
    assert run([*LINE, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("Error: ").removesuffix("\n")


def test_no_file_no_settings_and_nothing_said(asked, capsys):
    assert protect(asked).rho == Radius.of_levels(8)
    assert capsys.readouterr() == ("", "")


SOURCES = ("own", "environment", "line")


@pytest.mark.parametrize(
    "given",
    [set(c) for n in range(4) for c in itertools.combinations(SOURCES, n)],
    ids=lambda given: "+".join(sorted(given)) or "nothing",
)
def test_the_strongest_source_wins(given, own, asked, monkeypatch):
    names = dict(zip(SOURCES, ("cuda:1", "cuda:2", "cuda:3"), strict=True))
    if "own" in given:
        own.write_text(f'[protect]\ndevice = "{names["own"]}"\n')
    if "environment" in given:
        monkeypatch.setenv("UNLEARN_DEVICE", names["environment"])
    line = ["--device", names["line"]] if "line" in given else []
    strongest = [name for name in SOURCES if name in given]
    assert protect(asked, *line).device == (names[strongest[-1]] if strongest else "auto")


@pytest.mark.parametrize(("line", "expected"), [("3/255", 3), (None, 2)])
def test_the_noise_has_no_variable(line, expected, own, asked, monkeypatch):
    own.write_text('[protect]\nrho = "2/255"\n')
    monkeypatch.setenv("UNLEARN_RHO", "7/255")
    monkeypatch.setenv("UNLEARN_PROTECT_RHO", "7/255")
    options = protect(asked, *(["--rho", line] if line else []))
    assert options.rho == Radius.of_levels(expected)


def test_each_command_takes_its_own_table(own, asked):
    own.write_text("[protect]\nseed = 5\n[audit]\nseeds = 3\n")
    assert protect(asked).seed == 5
    assert run(["audit", "photos"]) == 0
    assert asked[-1].seeds == 3


def test_a_list_on_the_line_replaces_that_of_a_file(own, asked):
    own.write_text('[protect]\nexclude = ["a", "b"]\nrecursive = false\n')
    assert protect(asked, "--exclude", "c").selection.exclude == ("c",)
    assert protect(asked).selection.recursive is False
    assert protect(asked, "--recursive").selection.recursive is True


SETTINGS = ["--set", "joint=true", "--set", "final=none"]
CASES = [
    ("protect", "rho", '"4/255"', ["--rho", "4/255"]),
    ("protect", "rho", "0.03", ["--rho", "0.03"]),
    ("protect", "generator", '"base"', ["--generator", "base"]),
    ("protect", "labels", '"one"', ["--labels", "one"]),
    ("protect", "grid", "32", ["--grid", "32"]),
    ("protect", "seed", "7", ["--seed", "7"]),
    ("protect", "key", '"k"', ["--key", "k"]),
    ("protect", "format", '"webp"', ["--format", "webp"]),
    ("protect", "max-side", "99", ["--max-side", "99"]),
    ("protect", "metadata", '"none"', ["--metadata", "none"]),
    ("protect", "force", "true", ["--force"]),
    ("protect", "recursive", "false", ["--no-recursive"]),
    ("protect", "include", '["*.jpg", "x"]', ["--include", "*.jpg", "--include", "x"]),
    ("protect", "follow-symlinks", "true", ["--follow-symlinks"]),
    ("protect", "max-pixels", "1_000", ["--max-pixels", "1000"]),
    ("protect", "device", '"cpu"', ["--device", "cpu"]),
    ("protect", "batch-size", "3", ["--batch-size", "3"]),
    ("protect", "workers", "0", ["--workers", "0"]),
    ("protect", "preview", "0", ["--preview", "0"]),
    ("protect", "fail-fast", "true", ["--fail-fast"]),
    ("audit", "rho-a", '["0", "2/255"]', ["--rho-a", "0", "--rho-a", "2/255"]),
    ("audit", "fraction", "[0.5, 1]", ["--fraction", "0.5", "--fraction", "1"]),
    ("audit", "test", "0.25", ["--test", "0.25"]),
    ("audit", "budget", '"paper"', ["--budget", "paper"]),
    ("audit", "placebo", "false", ["--no-placebo"]),
    ("audit", "countermeasures", '"grey,blur"', ["--countermeasures", "grey,blur"]),
    ("audit", "weights", '"w.pth"', ["--weights", "w.pth"]),
    ("audit", "offline", "true", ["--offline"]),
    ("audit", "out", '"report"', ["--out", "report"]),
    ("train-generator", "set", '["joint=true", "final=none"]', SETTINGS),
    ("train-generator", "arch", '"vit"', ["--arch", "vit"]),
    ("train-generator", "recipe", '"paper"', ["--recipe", "paper"]),
    ("train-generator", "save-every", "2", ["--save-every", "2"]),
    ("train-generator", "resume", "false", ["--no-resume"]),
    ("train-generator", "licence", '"MIT"', ["--licence", "MIT"]),
]


@pytest.mark.parametrize(("command", "key", "value", "line"), CASES, ids=lambda v: str(v)[:24])
def test_a_setting_means_what_the_option_means(command, key, value, line, own, asked):
    base = {
        "protect": LINE,
        "audit": ["audit", "photos", *([] if key == "out" else ["--out", "x"])],
        "train-generator": ["train-generator", "photos", "--out", "x.safetensors"],
    }[command]
    run([*base, *line])
    run(base)
    own.write_text(f"[{command}]\n{key} = {value}\n")
    run(base)
    by_line, by_default, by_file = (
        replace(options, **{"argv": ()} if command == "protect" else {"command": ""})
        for options in asked
    )
    assert by_file == by_line
    if value != '"base"':
        assert by_file != by_default


def test_a_dry_run_with_a_file_is_that_with_options(own, tiny_generator, capsys):
    Path("photos").mkdir()
    for seed, name in enumerate(("a.jpg", "b.png", "c.png")):
        noise_image((64, 48), 40, seed).save(Path("photos") / name)
    line = [*LINE, "-g", str(tiny_generator), "--dry-run", "--workers", "0", "--json"]

    def told(*arguments):
        assert run([*line, *arguments]) == 0
        return json.loads(capsys.readouterr().out) | {"seconds": 0}

    chosen = ("--rho", "4/255", "--format", "webp", "--exclude", "c*", "--max-side", "32")
    by_options, by_default = told(*chosen), told()
    own.write_text('[protect]\nrho = "4/255"\nformat = "webp"\nexclude = ["c*"]\nmax-side = 32\n')
    by_file = told()
    assert by_file == by_options
    assert by_file != by_default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[protect]\n\nro = 1\n", "line 3: [protect] has no setting 'ro'; did you mean 'rho'?"),
        ("[protect]\nmax_side = 9", "line 2: [protect] has no setting 'max_side'; did you mean "),
        ("[protect]\n'no-recursive' = true", "line 2: [protect] has no setting 'no-recursive'; "),
        ("[protect]\nxyzzy = 1", "[protect] has no setting 'xyzzy'; see unlearn protect --help"),
        ("[protect]\nepochs = 1", "has no setting 'epochs'"),
        ("[protct]\nrho = 1", "line 1: no command has the table [protct]; did you mean [protect]?"),
        ("[doctor]\n", "no command has the table [doctor]; there are [protect], [audit], [train"),
        ("[audit]\n[train_generator]\n", "line 2: no command has the table [train_generator]; did"),
        ("rho = 1\n", "line 1: 'rho' must stand in a table: [protect], [audit], [train-generator]"),
        ("[[protect]]\nrho = 1\n", "'protect' must stand in a table"),
        ("[audit]\nepoch = 1", "line 2: [audit] has no setting 'epoch'; did you mean 'epochs'?"),
        ("[protect]\njson = true", "line 2: --json belongs on the command line, in no file"),
        ("[protect]\ndry-run = true", "line 2: --dry-run belongs on the command line"),
        ("[protect]\nhelp = true", "--help belongs on the command line"),
    ],
)
def test_what_no_command_knows_is_refused_with_its_place_and_a_guess(text, message, own, capsys):
    own.write_text(text)
    told = refusal(capsys)
    assert told.startswith(str(own))
    assert message in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('seed = "many"', "line 2: [protect] seed: "),
        ("seed = true", "line 2: [protect] seed is a text or a number, not 'True'"),
        ("seed = -1", "line 2: [protect] seed: "),
        ("grid = 32.5", "line 2: [protect] grid: "),
        ("rho = 8", "line 2: [protect] rho: 8 is not a radius"),
        ("rho = true", "[protect] rho is a text or a number"),
        ("rho = ['4/255']", "[protect] rho is a text or a number"),
        ("rho = {value = 1}", "[protect] rho is a text or a number"),
        ("rho = 2026-11-01", "[protect] rho is a text or a number"),
        ("rho = nan", "[protect] rho: "),
        ('recursive = "no"', "[protect] recursive is true or false, not 'no'"),
        ("recursive = 0", "[protect] recursive is true or false, not '0'"),
        ('include = "*.jpg"', "[protect] include is an array of texts or numbers, not '*.jpg'"),
        ("include = [['a']]", "[protect] include is an array of texts or numbers"),
        ("include = [true]", "[protect] include is an array of texts or numbers"),
        (
            'metadata = "all"',
            "[protect] metadata: 'all' is not one of keep, no-location, copyright, none",
        ),
        ('device = "tpu"', "[protect] device: 'tpu' is not a device"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_place(text, message, own, capsys):
    own.write_text(f"[protect]\n{text}\n")
    told = refusal(capsys)
    assert told.startswith(f"{own}, line 2: ")
    assert message in told


def test_a_wrong_value_on_the_line_is_not_blamed_on_the_file(own, asked, capsys):
    own.write_text("[protect]\nseed = 1\n")
    assert refusal(capsys, "--seed", "x").startswith("Invalid value for '--seed'")
    own.write_text('[protect]\nseed = "x"\n')
    assert protect(asked, "--seed", "1").seed == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[protect]\nrho = \n", "Invalid value (at line 2, column 7)"),
        (b"[protect\n", "line 1"),
        (b"[protect]\nrho = 1\nrho = 2\n", "line 3"),
        (b"[protect]\nseed = " + b"9" * 5000, "digits"),
        (b"[protect]\nlabels = '\xff'\n", "line 2: not UTF-8"),
        (b"[protect]\nx = " + b"[" * 100_000, "config.toml: "),
        (b"# " + b"x" * (1 << 20), "more than 1,048,576 bytes"),
        (b"[protect]\n'\x1b[31m' = 1", "config.toml: "),
        (b'[protect]\n"\\u001b[31m\\n" = 1', r"no setting '\x1b[31m\n'"),
        (b'["\\u001b[31m"]\n', r"table [\x1b[31m]"),
    ],
)
def test_a_broken_file_is_one_line(content, message, own, capsys):
    own.write_bytes(content)
    told = refusal(capsys)
    assert told.startswith(str(own))
    assert message in told
    assert told.isprintable()


def test_a_byte_order_mark_does_no_harm(own, asked):
    own.write_bytes(b"\xef\xbb\xbf[protect]\r\nseed = 4\r\n")
    assert protect(asked).seed == 4


def test_errors_are_json_too(own, capsys):
    own.write_text("[protect]\nro = 1\n")
    assert run([*LINE, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"Error: {json.loads(captured.out)['error']}\n"


def test_help_works_whatever_a_file_holds_and_shows_the_programs_defaults(own, capsys):
    assert run(["protect", "--help"]) == 0
    shown = capsys.readouterr().out
    for text in ('[protect]\nrho = "1/255"\nseed = 77\n', "[protect", "[protect]\nro = 1\n"):
        own.write_text(text)
        assert run(["protect", "--help"]) == 0
        assert capsys.readouterr() == (shown, "")


def test_a_missing_argument_does_not_hide_a_broken_file(own, capsys):
    own.write_text("[protect")
    assert run(["protect"]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {own}: ")


@pytest.mark.parametrize(
    "line", [["generators", "list"], ["demo", "x", "--per-class", "1"], ["--version"]]
)
def test_other_commands_read_no_file(line, own):
    own.write_text("[protect")
    assert run(line) == 0


def test_a_wrong_table_of_another_command_is_found_too(own, capsys):
    own.write_text("[audit]\nepoch = 3\n")
    assert "did you mean 'epochs'?" in refusal(capsys)


@pytest.mark.parametrize(
    "put", [Path.mkdir, lambda path: path.symlink_to(path)], ids=["folder", "link loop"]
)
def test_something_else_in_the_place_of_the_file_is_refused(put, own, capsys):
    put(own)
    assert run(LINE) == 4
    told = capsys.readouterr().err
    assert told.startswith(f"Error: {own}: cannot be read (")
    assert told.count("\n") == 1


def test_a_file_without_rights_is_refused_and_not_passed_over(own, monkeypatch, capsys):
    own.write_text('[protect]\nrho = "4/255"\n')
    own.chmod(0)
    if os.access(own, os.R_OK):  # root reads everything, so the system's answer is made here
        before = Path.open

        def refuse(path, *arguments, **options):
            if path == own:
                raise PermissionError(13, "Permission denied", str(path))
            return before(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)
    assert run(LINE) == 4
    assert capsys.readouterr().err == f"Error: {own}: cannot be read (Permission denied)\n"


@pytest.mark.parametrize("text", ["[protect]\nseed = 3\n", '[protect]\nkey = "k"\n', "[protect"])
def test_no_file_of_the_folder_is_read(text, asked, capsys):
    for name in ("unlearn.toml", "config.toml"):
        Path(name).write_text(text)
    options = protect(asked)
    assert (options.seed, options.key) == (0, None)
    assert capsys.readouterr() == ("", "")


def test_what_is_asked_of_one_run_alone_stands_in_no_file():
    known = tables()
    assert list(known) == ["protect", "audit", "train-generator"]
    asked = {name: {key for key in known[name] if known[name][key] == "line"} for name in known}
    usual = {"help", "json", "debug", "plan", "deadline"}
    protect = usual | {"dry-run", "merge", "shard"}
    assert asked == {"protect": protect, "audit": usual | {"estimate"}, "train-generator": usual}


def test_what_the_file_sets_is_said_on_request_with_its_values(own, asked, capsys):
    own.write_text('[protect]\nrho = "1/255"\npreview = 0\nexclude = ["a", "\\u001b[31m\\n"]\n')
    protect(asked)
    assert capsys.readouterr() == ("", "")
    protect(asked, "--verbose")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f'Settings of {own}: rho = "1/255", preview = 0, exclude = ["a", "\\u001b[31m\\n"]\n'
    )
    protect(asked, "--rho", "2/255", "--verbose")
    assert capsys.readouterr().err.startswith(f"Settings of {own}: preview = 0, exclude")
    protect(asked, "--rho", "2/255", "--preview", "1", "--exclude", "b", "--verbose")
    assert capsys.readouterr().err == ""


def test_a_long_value_cannot_push_the_others_out_of_sight(own, asked, capsys):
    own.write_text(f'[protect]\nexclude = ["{"x" * 5000}"]\nrho = "1/255"\n')
    protect(asked, "--verbose")
    told = capsys.readouterr().err
    assert 'rho = "1/255"' in told
    assert len(told) < 200 + len(str(own))


def test_a_file_of_ones_own_may_ask_for_silence_and_name_the_output(own, asked, capsys):
    own.write_text('[protect]\nquiet = true\nout = "elsewhere"\n')
    assert run(["protect", "photos"]) == 0
    assert asked[-1].out == Path("elsewhere")
    assert capsys.readouterr().err == ""


def test_a_variable_names_a_file_instead(own, asked, monkeypatch, tmp_path, capsys):
    own.write_text("[protect]\nseed = 1\npreview = 7\n")
    (tmp_path / "third.toml").write_text('[protect]\nseed = 3\ngenerator = "base"\n')
    monkeypatch.setenv("UNLEARN_CONFIG", "third.toml")
    assert (protect(asked).seed, asked[-1].preview) == (3, 3)
    monkeypatch.setenv("UNLEARN_CONFIG", os.devnull)
    assert (protect(asked).seed, asked[-1].preview) == (0, 3)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("UNLEARN_CONFIG", "fourth.toml")
    assert refusal(capsys) == "UNLEARN_CONFIG=fourth.toml: there is no such file"
    monkeypatch.setenv("UNLEARN_CONFIG", "")
    assert protect(asked).seed == 1


def test_lines_are_found_however_a_table_is_written(own):
    known = {"protect": {"seed": "value"}, "audit": {"seed": "value"}}
    for text, line in {
        '[audit]\nseed = 0\n\n[ "protect" ]  # here\n  "seed"   = 5\n': ", line 5",
        "protect = {seed = 5}\n": "",
        "protect.seed = 5\n": "",
        "[audit]\nseed = 0\n[protect]\nseed = 5": ", line 4",
    }.items():
        own.write_text(text)
        setting = load(known)["protect"]["seed"]
        assert (setting.given, setting.value, setting.where) == (5, "5", f"{own}{line}")


def test_without_a_file_all_tables_are_empty():
    assert load({"protect": {}, "audit": {}}) == {"protect": {}, "audit": {}}


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="not run from a checkout")
def test_the_documents_example_works(own, asked):
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Configuration")[2]
    own.write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    assert protect(asked).rho == Radius.of_levels(4)


def test_doctor_names_the_file_and_what_it_sets(own, tiny_generator, capsys):
    def configuration():
        code = run(["doctor", "-g", str(tiny_generator), "--json"])
        told = json.loads(capsys.readouterr().out)
        return code, told["configuration"], told["problems"]

    assert configuration() == (0, {str(own): "not there"}, [])
    own.write_text("")
    assert configuration() == (0, {str(own): "sets nothing"}, [])
    own.write_text('[protect]\nrho = "4/255"\n[audit]\nseeds = 3\n')
    assert configuration() == (0, {str(own): "sets protect.rho, audit.seeds"}, [])
    own.write_text("[protect]\nro = 1\n")
    code, files, (problem,) = configuration()
    assert (code, files) == (4, {str(own): "cannot be used"})
    assert "did you mean 'rho'?" in problem


def test_settings_cost_no_torch_and_completion_reads_no_file(own):
    own.write_text("[protect]\nro = 1\n")
    code = (
        "import sys; from unlearn.cli.app import run; run(sys.argv[1:]); "
        "print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *LINE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "set()\n"
    assert "did you mean" in done.stderr
    environment = {**os.environ, "_UNLEARN_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "unlearn"],
        env={**environment, "COMP_WORDS": "unlearn protect --rh"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["--rho"]
    assert done.stderr == ""
