"""The documents say what the program does: options, the README's lines, no leftovers."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from unlearn.cli.app import build, run
from unlearn.cli.reference import rewritten
from unlearn.limits import LIMITS

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
CLI = CHECKOUT / "docs" / "cli.md"
FLAG = re.compile(r"`(--?[a-z][a-z0-9-]*)`")

pytestmark = pytest.mark.skipif(not README.is_file(), reason="not run from a checkout")


def commands(command=None, path=()):
    """Yield every command with its words, the app itself with none."""
    command = get_command(build()) if command is None else command
    subcommands = getattr(command, "commands", {})
    if not (path and subcommands):
        yield " ".join(path), command
    for name, sub in subcommands.items():
        yield from commands(sub, (*path, name))


def flags(command):
    found = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    return {flag for flag in found if flag.startswith("-")} | {"--help", "-h"}


def sections():
    """Return the first cells of all tables of docs/cli.md by heading."""
    parts = re.split(r"^## ", CLI.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        part.partition("\n")[0]: [
            line.split(" | ")[0] for line in part.splitlines() if line.startswith("| ")
        ]
        for part in parts
    }


def documented(heading):
    return {flag for cell in sections().get(heading, []) for flag in FLAG.findall(cell)}


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda value: str(value)[:30])
def test_every_option_is_documented_and_every_documented_option_exists(name, command):
    shared = documented("Every command") if name else {"--help", "-h"}
    assert documented(f"unlearn {name}".strip()) | shared == flags(command)


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_names_no_types_of_the_program_and_each_panel_once(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"<\w+(\[\w+\])?>", shown)
    panels = re.findall(r"^╭─ (\w+) ─", shown, re.MULTILINE)
    assert panels
    assert len(panels) == len(set(panels))


@pytest.mark.parametrize("name", [name for name, _ in commands()])
@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_help_cuts_no_name_and_tears_no_choice_at_any_width(name, width, capsys, monkeypatch):
    def shown(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        assert "…" not in text
        assert not re.search(r"^ {8,}.*\w-$", text, re.MULTILINE)  # label- / noise
        return {word.strip(",.;)]") for word in text.split() if word.startswith("-") or "|" in word}

    assert shown(width) - {"--"} == shown(300) - {"--"}


def test_the_tables_of_options_are_what_the_options_say():
    text = CLI.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run: python -m unlearn.cli.reference docs/cli.md"


def test_every_command_has_its_section_and_nothing_else_has():
    expected = {f"unlearn {name}".strip() for name, _ in commands()}
    assert {heading for heading in sections() if heading.startswith("unlearn")} == expected


@pytest.mark.parametrize("name", [name for name, _ in commands() if name])
def test_every_command_is_in_the_readme(name):
    assert f"unlearn {name.split()[0]}" in README.read_text(encoding="utf-8")


def marked_line(name):
    """Return the only line of the README's block between the markers."""
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```\n<!-- end -->", text, re.DOTALL)
    (line,) = block.splitlines()
    return line


def test_the_protect_line_is_one_line_that_installs_draws_and_protects():
    line = marked_line("protect line")
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install . && ")
    assert "unlearn demo photos" in line
    assert line.endswith(".venv/bin/unlearn protect photos --out protected")
    assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0


def test_the_test_line_is_one_line_that_runs_the_gate():
    line = marked_line("test line")
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && ")
    assert line.endswith("python -m tests.gate")
    assert shlex.split(line)[-2:] == ["-m", "tests.gate"]


def test_ci_runs_the_readmes_line_and_no_other():
    script = CHECKOUT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text(encoding="utf-8")
    assert "<!-- test line -->" in text
    assert "pip install" not in text
    assert "pytest" not in text


def test_the_readme_opens_with_what_it_does_not_do():
    opening = " ".join(README.read_text(encoding="utf-8").partition("## ")[0].split())
    for sentence in (
        "it does not stop one picture from being edited or described",
        "it can be weakened or undone",
        "It says nothing about text-to-image style copying",
        "It is not legal protection. Keep your originals.",
    ):
        assert sentence in opening
        assert sentence in LIMITS


@pytest.mark.parametrize(
    "document", [README, *sorted((CHECKOUT / "docs").rglob("*.md"))], ids=lambda path: path.name
)
def test_no_document_promises_what_no_tool_can_keep(document):
    text = document.read_text(encoding="utf-8").lower()
    for word in ("ai-proof", "learn nothing", "guarantee", "undetectable", "unlearnable examples"):
        assert word not in text


def anchors(document):
    """Return the names that links to the headings of a document have."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in headings}


@pytest.mark.parametrize(
    "document",
    [
        *sorted(CHECKOUT.glob("*.md")),
        *sorted((CHECKOUT / "docs").rglob("*.md")),
        *sorted((CHECKOUT / ".github").rglob("*.md")),
    ],
    ids=lambda path: path.name,
)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), f"{document.name} links to {link}"
        assert not heading or heading in anchors(target), f"{document.name} links to {link}"


def test_the_readmes_python_is_that_of_the_guide():
    guide = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n.*?```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example in guide


def test_the_readmes_first_screen_shows_command_picture_and_clean_control():
    opening = README.read_text(encoding="utf-8").partition("## ")[0]
    places = [
        opening.index(part)
        for part in ("```sh\nunlearn protect", "](docs/images/", "clean control", "does not do.**")
    ]
    assert places == sorted(places)
    assert "ρ" not in opening
    for word in ("rho", "placebo", "victim", "surrogate"):
        assert word not in opening.lower()


def texts():
    """Yield every text of the checkout that people read or copy from, and the sources."""
    kinds = ("*.md", "*.py", "*.toml", "*.yml", "*.yaml", "*.html", "run")
    for kind in kinds:
        yield from CHECKOUT.glob(kind)
        for place in ("docs", "unlearn", "tests", ".github", ".ci"):
            yield from (CHECKOUT / place).rglob(kind)


def test_nothing_tells_people_to_install_the_package_that_is_somebody_elses():
    strangers = re.compile(
        r"""\b(?:pip[3x]?|uv(?:\ tool|\ pip)?)\ +(?:install|inject|download|add|run)\b
            [^\n`&;|]*?['"\ ]unlearn(?!\w) | \bunlearn(?:-photos)?\[(?:heif|purify|dev)""",
        re.VERBOSE,
    )
    samples = ("pip install unlearn", "uv tool install -U 'unlearn[heif]'", "see unlearn[purify]")
    unclaimed = ("pip install unlearn-photos", 'pip install "unlearn-photos[heif]"')
    assert all(strangers.search(sample) for sample in (*samples, *unclaimed))
    assert not strangers.search('pip install . && unlearn demo; pip install ".[heif]"')
    found = [
        f"{path.relative_to(CHECKOUT)}: {match.group()}"
        for path in texts()
        if path != Path(__file__)
        for match in strangers.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_what_people_are_told_to_install_is_the_checkout_or_a_dependency():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["heif"], *extras["purify"]]
    known = {re.match(r"[\w-]+", one).group() for one in wanted}
    known |= {".", ".[heif]", ".[purify]", ".[dev]"}
    told = set()
    for path in texts():
        if "tests" not in path.relative_to(CHECKOUT).parts:
            lines = re.findall(
                r"\b(?:pip|pipx|uv tool) install(?: -e)?((?: [\w.\"'\[][^\s`#&;,()|]*)+)",
                path.read_text(encoding="utf-8"),
            )
            told |= {word.strip("\"'") for line in lines for word in line.split()}
    assert {".", "pi-heif", "diffusers"} <= told
    assert {re.sub(r"==.*", "", name) for name in told} <= known


def test_command_lines_of_reports_name_no_place_of_the_machine_they_ran_on():
    reports = sorted((CHECKOUT / "docs" / "results").glob("*.json*"))
    lines = [
        line
        for path in reports
        for line in re.findall('"command": "[^"]*"', path.read_text("utf-8"))
    ]
    assert len(lines) >= 8
    assert not [line for line in lines if re.search(r'[ "=](/|~|[A-Z]:)', line)]


def test_lists_are_quoted_since_powershell_takes_commas_for_itself():
    bare = re.compile(r"\bunlearn [a-z-]+ [^\n`|]*? [a-z0-9:-]+,[a-z0-9:,-]+")
    assert bare.search("unlearn audit photos --compare tap,lsp")
    documents = [README, *(CHECKOUT / "docs").rglob("*.md")]
    assert not [found[0] for path in documents for found in bare.finditer(path.read_text("utf-8"))]


def test_the_distribution_has_a_name_that_is_not_somebody_elses():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "unlearn-photos"
    assert project["scripts"] == {"unlearn": "unlearn.__main__:main"}


def test_the_gate_refuses_unknown_arguments():
    done = subprocess.run(
        [sys.executable, "-m", "tests.gate", "--fast"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--quick" in done.stdout


def test_the_gate_has_the_four_steps_and_only_quick_leaves_out_the_slow_tests():
    from tests.gate import steps

    assert list(steps(quick=False)) == ["format", "lint", "types", "tests"]
    assert "not gpu" in steps(quick=False)["tests"]
    assert "not slow and not gpu" in steps(quick=True)["tests"]
