"""unlearn generators pull: what gets a name, what does not, and what is left behind."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import socket
import struct

import pytest
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save

from tests.support.serving import serving
from unlearn.cli.app import run
from unlearn.errors import EnvironmentProblem
from unlearn.generators import catalogue
from unlearn.generators import pull_old as workflow
from unlearn.generators.download import Limits
from unlearn.generators.index import INDEX, Remote
from unlearn.generators.pull_old import PullRequest, pull

ONCE = Limits(1 << 24, stall_seconds=5, attempts=1, pause_seconds=0)


@pytest.fixture
def content(tiny_generator):
    return tiny_generator.read_bytes()


@pytest.fixture
def folder(home):
    return home / "data" / "unlearn" / "generators"


def sha(content):
    return hashlib.sha256(content).hexdigest()


def names(folder):
    """Everything in the folder of pulled generators but the lock."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found - {".partial/lock"}


def pull_line(server, content, *more, path="mine.safetensors"):
    return ["generators", "pull", f"{server.url}/{path}", "--sha256", sha(content), *more]


def test_a_pulled_generator_is_found_by_its_name(content, folder, tmp_path, capsys):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
        captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines() == [
        f"Pulled mine  ({len(content) / 1000:.0f} kB, SHA-256 {sha(content)[:12]})  "
        f"{folder}/mine.safetensors",
        "Next: unlearn protect ./photos --out ./protected --generator mine",
    ]
    assert names(folder) == {"mine.safetensors"}
    assert (folder / "mine.safetensors").read_bytes() == content

    assert run(["generators", "path", "mine"]) == 0
    assert capsys.readouterr().out == f"{folder}/mine.safetensors\n"
    assert run(["generators", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["generators"]
    assert [entry["name"] for entry in listed] == ["base", "mine"]
    (tmp_path / "photos").mkdir()
    Image.effect_noise((40, 40), 30).convert("RGB").save(tmp_path / "photos" / "a.png")
    line = ["protect", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--json"]
    assert run([*line, "--generator", "mine", "--workers", "0"]) == 0
    assert (tmp_path / "out" / "a.png").is_file()


def test_the_mode_of_the_file_follows_the_umask(content, folder):
    before = os.umask(0o027)
    try:
        with serving(lambda answer: answer.whole(content)) as server:
            assert run(pull_line(server, content)) == 0
    finally:
        os.umask(before)
    assert (folder / "mine.safetensors").stat().st_mode & 0o777 == 0o640


def test_json_is_one_object(content, folder, capsys):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content, "--json")) == 0
        assert json.loads(capsys.readouterr().out) == {
            "command": "generators pull",
            "exit_code": 0,
            "name": "mine",
            "path": str(folder / "mine.safetensors"),
            "url": f"{server.url}/mine.safetensors",
            "sha256": sha(content),
            "size_bytes": len(content),
            "state": "pulled",
            "resumed_bytes": 0,
        }


def test_what_is_here_already_is_not_asked_for_again(content, folder, capsys):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
        assert run(pull_line(server, content, "--offline")) == 0
        assert "Already here: mine" in capsys.readouterr().out
        assert run(pull_line(server, content, "--force", "--json")) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "already here"
    assert len(server.paths) == 1


def test_another_file_of_the_same_name_is_replaced_by_force_only(content, folder, capsys):
    folder.mkdir(parents=True)
    target = folder / "mine.safetensors"
    target.write_bytes(b"of somebody else")
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 2
        assert capsys.readouterr().err == (
            f"Error: {target} is another file; choose a name with --name, or --force to replace "
            "it\n"
        )
        assert server.paths == []
        assert target.read_bytes() == b"of somebody else"
        assert run(pull_line(server, content, "--name", "other")) == 0
        assert run(pull_line(server, content, "--force")) == 0
    assert target.read_bytes() == content
    assert names(folder) == {"mine.safetensors", "other.safetensors"}


def test_a_folder_in_the_place_of_the_file_is_one_line(content, folder, capsys):
    (folder / "mine.safetensors" / "x").mkdir(parents=True)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content, "--force")) == 4
    told = capsys.readouterr().err
    assert told.startswith(f"Error: {folder}/mine.safetensors: cannot be written (")
    assert told.count("\n") == 1


def test_wrong_bytes_get_no_name_and_are_not_kept(content, folder, capsys):
    wrong = content[:-1] + bytes([content[-1] ^ 1])
    with serving(lambda answer: answer.whole(wrong)) as server:
        assert run(pull_line(server, content)) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        f"Error: mine.safetensors: SHA-256 is {sha(wrong)[:12]}…, expected {sha(content)[:12]}…. "
        "Deleted; run the same line again."
    )
    assert captured.err.count("\n") == 1
    assert names(folder) == set()


def test_wrong_bytes_leave_what_had_the_name_as_it_was(content, folder):
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").write_bytes(b"old")
    with serving(lambda answer: answer.whole(b"wrong")) as server:
        assert run(pull_line(server, content, "--force")) == 4
    assert (folder / "mine.safetensors").read_bytes() == b"old"


class Hostile:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


def unusable(kind, content, path):
    """Return the bytes of a file that no one should load as a generator."""
    length = struct.unpack("<Q", content[:8])[0]
    tensors = load_file(path)
    if kind == "not finite":
        next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = float("nan")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        return save(tensors, header)
    return {
        "pickle": pickle.dumps(Hostile()),
        "zip": b"PK\x03\x04" + b"\0" * 100,
        "text": b"<html>404 not found</html>",
        "nothing": b"",
        "header only": content[: 8 + length],
        "cut": content[:-1],
        "more behind it": content + b"\0",
        "endless header": struct.pack("<Q", 1 << 62) + content[8:],
        "no generator": save(tensors),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pickle", "is a pickle and can run code; only safetensors files are accepted"),
        ("zip", "is a pickle and can run code"),
        ("text", "not a safetensors file"),
        ("nothing", "not a safetensors file"),
        ("header only", "not a generator this version can use"),
        ("cut", "not a generator this version can use"),
        ("more behind it", "not a generator this version can use"),
        ("endless header", "not a safetensors file"),
        ("no generator", "not an unlearn generator"),
        ("not finite", "not finite"),
    ],
)
def test_a_file_of_the_right_hash_that_is_no_generator_gets_no_name(
    kind, reason, content, tiny_generator, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    wrong = unusable(kind, content, tiny_generator)
    with serving(lambda answer: answer.whole(wrong)) as server:
        assert run(pull_line(server, wrong)) == 4
    told = capsys.readouterr().err
    assert told.startswith("Error: mine.safetensors")
    assert reason in told
    assert told.endswith(" Deleted.\n")
    assert names(folder) == set()
    assert list(tmp_path.iterdir()) == []


def test_a_server_error_is_one_line_and_leaves_nothing(content, folder, capsys):
    with serving(lambda answer: answer.head(404, Content_Length=0)) as server:
        assert run(pull_line(server, content, "--json")) == 4
        captured = capsys.readouterr()
        line = f"{server.url}/mine.safetensors: the server answers 404 Not Found"
        assert captured.err == f"Error: {line}\n"
        assert json.loads(captured.out) == {"error": line, "exit_code": 4}
    assert names(folder) == set()


def test_no_network_is_one_line(content, folder, capsys):
    with serving(lambda answer: answer.whole(content)) as server:
        line = pull_line(server, content)
    assert run(line) == 4
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot be reached (Connection refused); is this machine online?" in told


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_asks_nobody(how, content, folder, monkeypatch, capsys):
    if how == "variable":
        monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content, *(["--offline"] if how == "option" else []))) == 4
    assert server.paths == []
    assert capsys.readouterr().err == (
        "Error: mine is not here, and nothing may be downloaded: "
        "--offline or UNLEARN_OFFLINE is set\n"
    )
    assert not folder.exists()


def test_a_cut_download_is_continued_in_the_same_run(content, folder, capsys):
    half = len(content) // 2
    with serving(lambda answer: answer.whole(content, half if answer.number == 1 else None)) as (
        server
    ):
        assert run(pull_line(server, content)) == 0
    assert server.ranges == [None, half]
    assert server.sent == len(content)
    assert names(folder) == {"mine.safetensors"}


def test_a_cut_download_is_continued_by_the_next_run(content, folder):
    request = {"sha256": sha(content).upper()}
    with serving(lambda answer: answer.whole(content, 1000 if answer.number == 1 else None)) as (
        server
    ):
        url = f"{server.url}/mine.safetensors"
        with pytest.raises(EnvironmentProblem, match="1,000 bytes are kept, run the same line"):
            pull(PullRequest(url, **request), lambda *_: None, ONCE)
        assert names(folder) == {f".partial/{sha(content)}.part"}
        pulled = pull(PullRequest(url, **request), lambda *_: None, ONCE)
    assert (pulled.state, pulled.resumed_bytes) == ("pulled", 1000)
    assert server.ranges == [None, 1000]
    assert names(folder) == {"mine.safetensors"}


def test_a_run_killed_before_the_last_step_only_has_that_to_do(content, folder):
    (folder / ".partial").mkdir(parents=True)
    (folder / ".partial" / f"{sha(content)}.part").write_bytes(content)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
    assert server.paths == []
    assert names(folder) == {"mine.safetensors"}


def test_a_file_over_the_limit_is_not_kept(content, folder):
    small = Limits(1000, attempts=1)
    with (
        serving(lambda answer: answer.whole(content)) as server,
        pytest.raises(EnvironmentProblem, match="more than 1,000 bytes"),
    ):
        pull(
            PullRequest(f"{server.url}/mine.safetensors", sha(content)),
            lambda *_: None,
            small,
        )
    assert names(folder) == set()


def test_two_pulls_at_a_time_do_not_mix(content, folder, capsys):
    (folder / ".partial").mkdir(parents=True)
    with (
        FileLock(folder / ".partial" / "lock"),
        serving(lambda answer: answer.whole(content)) as server,
    ):
        assert run(pull_line(server, content)) == 4
    assert server.paths == []
    assert "another unlearn is pulling a generator" in capsys.readouterr().err


def test_a_full_disk_is_found_before_it_is_full(content, folder, monkeypatch, capsys):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(workflow.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 4
    assert "Not enough disk: " in capsys.readouterr().err
    assert not {name for name in names(folder) if not name.startswith(".partial/")}


def test_a_data_folder_that_cannot_be_made_is_named(content, home, capsys):
    (home / "data").write_text("a file where the folder should be")
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 4
    assert "cannot be made" in capsys.readouterr().err
    assert server.paths == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("x.pt", "pickles can run code"),
        ("x.pt?name=x.safetensors", "pickles can run code"),
        ("folder/", "pickles can run code"),
        (".safetensors", "cannot be the name"),
        ("-x.safetensors", "cannot be the name"),
        ("..%2F..%2Fx.safetensors", "cannot be the name"),
        ("%2Fetc%2Fx.safetensors", "cannot be the name"),
        ("x%00.safetensors", "cannot be the name"),
        ("a%20b.safetensors", "cannot be the name"),
        ("x" * 101 + ".safetensors", "cannot be the name"),
        ("con.safetensors", "reserved name on Windows"),
        ("base.safetensors", "came with unlearn"),
        ("BASE.safetensors", "came with unlearn"),
    ],
)
def test_a_url_whose_name_does_not_do_is_refused_before_anything_is_asked(
    path, reason, content, folder, capsys
):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content, path=path)) == 2
        told = capsys.readouterr().err
        assert reason in told
        assert told.count("\n") == 1
        assert told.isascii()
        assert server.paths == []
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../x", "/x", "", "a/b", "base", "x\n"])
def test_a_chosen_name_must_do_too(name, content, folder):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content, "--name", name)) == 2
    assert server.paths == []
    assert not folder.exists()


def test_a_chosen_name_replaces_the_urls(content, folder):
    with serving(lambda answer: answer.whole(content)) as server:
        for name in ("v1.2", "named.safetensors"):
            assert run(pull_line(server, content, "--name", name, path="download?id=7")) == 0
    assert names(folder) == {"v1.2.safetensors", "named.safetensors"}
    assert catalogue.resolve("v1.2") == folder / "v1.2.safetensors"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["https://h.invalid/x.safetensors"], "a URL needs --sha256 HEX"),
        (["https://h.invalid/x.safetensors", "--sha256", "12ab"], "64 hexadecimal digits"),
        (["http://h.invalid/x.safetensors", "--sha256", "0" * 64], "only https is fetched"),
        (["file:///etc/passwd", "--sha256", "0" * 64], "only https is fetched, not file"),
        (["portrait"], '"portrait" can be pulled by its name (none is published yet)'),
        (["base", "--sha256", "0" * 64], "came with unlearn and has the SHA-256"),
    ],
)
def test_requests_that_make_no_sense(arguments, reason, folder, capsys):
    assert run(["generators", "pull", *arguments]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert not folder.exists()


def test_a_bundled_name_is_here_already(capsys):
    assert run(["generators", "pull", "base"]) == 0
    assert "Already here: base" in capsys.readouterr().out


@pytest.fixture
def published(content, monkeypatch):
    """A server with one generator that the index names "portrait"."""
    with serving(lambda answer: answer.whole(content)) as server:
        remote = Remote(f"{server.url}/anything?at=all", sha(content), len(content))
        monkeypatch.setitem(INDEX, "portrait", remote)
        yield server


def test_a_name_of_the_index_needs_no_hash(published, content, folder, capsys):
    assert run(["generators", "list"]) == 0
    assert "portrait  available" in capsys.readouterr().out
    assert run(["protect", ".", "--out", "../x", "-g", "portrait"]) == 4
    assert "Run: unlearn generators pull portrait" in capsys.readouterr().err
    assert published.paths == []
    assert run(["generators", "pull", "portrait", "--sha256", sha(content)]) == 0
    assert names(folder) == {"portrait.safetensors"}
    capsys.readouterr()
    assert run(["generators", "list"]) == 0
    shown = capsys.readouterr().out
    assert "portrait  pulled" in shown
    assert "available" not in shown


def test_a_name_of_the_index_has_the_size_that_it_states(published, content, folder, monkeypatch):
    remote = INDEX["portrait"]
    monkeypatch.setitem(INDEX, "portrait", Remote(remote.url, remote.sha256, len(content) - 1))
    assert run(["generators", "pull", "portrait"]) == 4
    assert names(folder) == set()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["portrait", "--name", "x"], "--name is for URLs"),
        (["portrait", "--sha256", "0" * 64], "not the one of --sha256"),
        (["landscape"], "(only portrait)"),
    ],
)
def test_a_name_of_the_index_cannot_be_bent(arguments, reason, published, folder, capsys):
    assert run(["generators", "pull", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert published.paths == []


def test_pulled_names_come_before_files_and_bundled_ones_before_both(
    content, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_bytes(b"a file of a stranger's folder")
    folder.mkdir(parents=True)
    for name in ("mine", "base"):
        (folder / f"{name}.safetensors").write_bytes(content)
    assert catalogue.resolve("mine") == folder / "mine.safetensors"
    assert catalogue.resolve("base") != folder / "base.safetensors"


def test_a_damaged_pulled_generator_does_not_hide_the_others(content, folder, capsys):
    folder.mkdir(parents=True)
    (folder / "good.safetensors").write_bytes(content)
    (folder / "bad.safetensors").write_bytes(b"x")
    assert run(["generators", "list"]) == 0
    captured = capsys.readouterr()
    assert "good  pulled" in captured.out
    assert captured.err == f"Error: {folder}/bad.safetensors: not a safetensors file\n"


def test_a_header_cannot_steer_the_terminal(content, folder, capsys):
    length = struct.unpack("<Q", content[:8])[0]
    hostile = content[8 : 8 + length].replace(b'\\"MIT\\"', b'\\"\\\\u001b[31mMIT\\"', 1)
    assert hostile != content[8 : 8 + length]
    folder.mkdir(parents=True)
    whole = struct.pack("<Q", len(hostile)) + hostile + content[8 + length :]
    (folder / "x.safetensors").write_bytes(whole)
    for line in (["generators", "list"], ["generators", "info", "x"]):
        assert run(line) == 0
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert "\\x1b[31mMIT" in shown.replace("\n", "")


def test_only_pull_opens_a_connection(content, tiny_generator, tmp_path, monkeypatch, capsys):
    asked = []

    def connect(_, address):
        asked.append(address)
        raise OSError(errno.ENETUNREACH, "no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    made, out = str(tmp_path / "made"), str(tmp_path / "out")
    for line in (
        ["demo", made, "--per-class", "1"],
        ["protect", made, "--out", out, "-g", str(tiny_generator), "--labels", "one"],
        ["verify", made, out],
        ["doctor", "-g", str(tiny_generator)],
        ["generators", "list"],
        ["generators", "info", "base"],
    ):
        assert run(line) == 0, capsys.readouterr().err
    assert asked == []
    line = ["generators", "pull", "http://127.0.0.1:1/x.safetensors", "--sha256", sha(content)]
    assert run(line) == 4
    assert asked == [("127.0.0.1", 1)]


def test_progress_is_shown_and_quiet_shows_none(content, folder, monkeypatch, capsys):
    monkeypatch.setattr("unlearn.cli.meter.PLAIN_SECONDS", 0.0)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
        assert capsys.readouterr().err.startswith("Downloading 0/1")
        assert run(pull_line(server, content, "--name", "b", "--quiet")) == 0
        assert capsys.readouterr() == ("", "")
