"""unlearn generators pull: what gets a name, what does not, and what is left behind."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file, save

from tests.support.made_pictures import noise_image
from tests.support.serving import listening, serving
from unlearn.cli.app import run
from unlearn.generators import catalogue
from unlearn.generators import pull as module
from unlearn.generators.index import INDEX, Remote


@pytest.fixture
def content(tiny_generator):
    return tiny_generator.read_bytes()


@pytest.fixture
def folder(home):
    return home / "data" / "unlearn" / "generators"


def sha(content):
    return hashlib.sha256(content).hexdigest()


def names(folder):
    """Everything in the folder of pulled generators."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


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
        "It is taken by protect and audit with --generator mine",
    ]
    assert names(folder) == {"mine.safetensors"}
    assert (folder / "mine.safetensors").read_bytes() == content

    assert run(["generators", "path", "mine"]) == 0
    assert capsys.readouterr().out == f"{folder}/mine.safetensors\n"
    assert run(["generators", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["generators"]
    assert [entry["name"] for entry in listed] == ["base", "casts", "motifs", "strong", "mine"]
    (tmp_path / "photos").mkdir()
    noise_image((40, 40), 30).save(tmp_path / "photos" / "a.png")
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
        "Error: SHA256 hash of downloaded file (mine.safetensors) does not match the known hash: "
        f"expected {sha(content)} but got {sha(wrong)}."
    )
    assert "Run the same line again" in captured.err
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
    assert told.count("\n") == 1
    assert names(folder) == set()
    assert list(tmp_path.iterdir()) == []


def test_a_server_error_is_one_line_and_leaves_nothing(content, folder, capsys):
    with serving(lambda answer: answer.head(404, Content_Length=0)) as server:
        assert run(pull_line(server, content, "--json")) == 4
        captured = capsys.readouterr()
        line = f"{server.url}/mine.safetensors: the server answers 404 Client Error: Not Found"
        assert captured.err == f"Error: {line}\n"
        assert json.loads(captured.out) == {"error": line, "exit_code": 4}
    assert names(folder) == set()


def test_no_network_is_one_line(content, folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        url = f"https://127.0.0.1:{taken.getsockname()[1]}/a.safetensors?token=secret"
        assert run(["generators", "pull", url, "--sha256", sha(content)]) == 4
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot be fetched (ConnectionError); is this machine online?" in told
    assert "secret" not in told
    assert names(folder) == set()


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


def test_a_cut_download_leaves_nothing_and_is_started_over_by_the_same_line(
    content, folder, capsys
):
    cut = [len(content) // 2]
    with serving(lambda answer: answer.whole(content, cut.pop() if cut else None)) as server:
        assert run(pull_line(server, content)) == 4
        told = capsys.readouterr().err
        assert "cannot be fetched (ChunkedEncodingError)" in told
        assert "Run the same line again to start over" in told
        assert names(folder) == set()
        assert run(pull_line(server, content)) == 0
    assert names(folder) == {"mine.safetensors"}


def test_a_body_that_ends_early_without_a_length_is_no_whole_one(content, folder, capsys):
    def cut(answer):
        answer.head(200)
        answer.wfile.write(content[:1000])

    with serving(cut) as server:
        assert run(pull_line(server, content)) == 4
    assert "does not match the known hash" in capsys.readouterr().err
    assert names(folder) == set()


def test_an_interrupted_download_leaves_nothing(content, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupted(*_):
        assert any(tmp_path.rglob("*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Watched, "write", interrupted)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 130
    assert names(folder) == set()
    assert list(tmp_path.iterdir()) == []


def test_a_stalled_server_is_left_in_time(content, folder, monkeypatch, capsys):
    monkeypatch.setattr(module, "STALL_SECONDS", 1.5)
    left = threading.Event()

    def stalls(answer):
        answer.head(200, Content_Length=len(content))
        answer.wfile.write(content[:1000])
        assert left.wait(240)  # as long as the client stays

    with serving(stalls) as server:
        assert run(pull_line(server, content)) == 4
        left.set()
    assert "cannot be fetched (ConnectionError)" in capsys.readouterr().err
    assert names(folder) == set()


@pytest.mark.parametrize("length", ["1099511627776", None, "-5", "many"])
def test_what_is_over_the_limit_is_not_read_to_its_end(
    length, content, folder, monkeypatch, capsys
):
    monkeypatch.setattr(module, "LARGEST_ARTEFACT", 1000)
    written = []

    def endless(answer):
        answer.head(200, **({} if length is None else {"Content_Length": length}))
        for _ in range(1000):
            answer.wfile.write(b"x" * 65536)
            written.append(65536)

    with serving(endless) as server:
        assert run(pull_line(server, content)) == 4
    told = capsys.readouterr().err
    assert "more than 1,000 bytes; refused" in told or "many" in told
    assert told.count("\n") == 1
    assert len(written) < 900  # the client left; the rest was buffered by the system
    assert names(folder) == set()


def test_a_disk_that_fills_up_is_named(content, folder, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module._Watched, "write", full)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 4
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert names(folder) == set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status, content, folder):
    def redirects(answer):
        if answer.path == "/mine.safetensors":
            answer.head(status, Location="https://elsewhere.example/b?token=1", Content_Length=0)
        else:
            answer.whole(content)

    with serving(redirects) as server:
        assert run(pull_line(server, content)) == 0
    assert server.paths == ["/mine.safetensors", "/b?token=1"]
    assert [headers["Host"] for headers in server.headers] == [
        "generators.example",
        "elsewhere.example",
    ]
    assert names(folder) == {"mine.safetensors"}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://generators.example/a", "only https"),
        ("//user:secret@h.example/a", "user name or password"),
        ("http:/a", "only https"),
        ("HTTP://127.0.0.1/a", "only https"),
        ("ftp://h.example/a", "only https"),
        ("file:///etc/passwd", "only https"),
        ("data:,abc", "only https"),
        ("https://[::1/a", "Invalid IPv6 URL"),
    ],
)
def test_redirects_elsewhere_are_refused_without_asking_there(
    target, reason, content, folder, capsys
):
    def redirects(answer):
        answer.head(302, Location=target)
        for _ in range(1000):
            answer.wfile.write(b"x" * 65536)  # a body that nobody should read

    with serving(redirects) as server:
        assert run(pull_line(server, content)) == 4
    told = capsys.readouterr().err
    assert "redirect refused: " in told
    assert reason in told
    assert "secret" not in told
    assert len(server.paths) == 1
    assert names(folder) == set()


def test_a_loop_of_redirects_ends(content, folder, capsys):
    with serving(lambda answer: answer.head(302, Location=answer.path, Content_Length=0)) as server:
        assert run(pull_line(server, content)) == 4
    assert "cannot be fetched (TooManyRedirects)" in capsys.readouterr().err
    assert len(server.paths) == 31


def test_nothing_of_the_person_is_sent(content, folder):
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
    assert server.headers[0]["User-Agent"].startswith("unlearn/")
    assert not {"Cookie", "Authorization", "Referer"} & set(server.headers[0])


def zenodo(answer, content, link="https://zenodo.org/files/mine"):
    """Answer as doi.org and then Zenodo do."""
    if answer.headers["Host"] == "doi.org":
        answer.head(302, Location="https://zenodo.org/records/4924875", Content_Length=0)
    elif answer.path.startswith("/api/records/"):
        about = {"files": [{"key": "mine.safetensors", "links": {"self": link}}]}
        answer.whole(json.dumps(about).encode())
    else:
        answer.whole(content)


def test_a_doi_leads_to_the_file_in_its_archive(content, folder):
    line = ["generators", "pull", "doi:10.5281/zenodo.4924875/mine.safetensors"]
    with serving(lambda answer: zenodo(answer, content)) as server:
        assert run([*line, "--sha256", sha(content)]) == 0
    assert server.paths[0] == "/10.5281/zenodo.4924875"
    assert server.paths[-1] == "/files/mine"
    assert names(folder) == {"mine.safetensors"}


@pytest.mark.parametrize(
    ("file", "link", "reason"),
    [
        ("other.safetensors", "https://zenodo.org/a", "File 'other.safetensors' not found"),
        ("mine.safetensors", "http://zenodo.org/a", "is not there as expected"),
        ("mine.safetensors", None, "only https"),
    ],
)
def test_an_archive_without_the_file_or_with_another_scheme_is_one_line(
    file, link, reason, content, folder, capsys
):
    line = ["generators", "pull", f"doi:10.5281/zenodo.4924875/{file}", "--sha256", sha(content)]
    with serving(lambda answer: zenodo(answer, content, link)) as server:
        assert run(line) == 4
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert len(server.paths) == 3
    assert names(folder) == set()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 and its key in one file; nobody vouches for it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{path}.key", "-out", str(path)]
    subprocess.run([*line.split(), *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.key").read_bytes())
    return path


def test_only_a_certificate_that_somebody_vouches_for_is_accepted(
    content, folder, certificate, monkeypatch, capsys
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with listening(lambda answer: answer.whole(content), certificate) as server:
        assert run(pull_line(server, content)) == 4
        assert "cannot be fetched (SSLError)" in capsys.readouterr().err
        assert server.paths == []
        assert names(folder) == set()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert run(pull_line(server, content)) == 0
    assert names(folder) == {"mine.safetensors"}


def test_the_proxy_of_the_environment_is_asked(content, folder, monkeypatch, capsys):
    with listening(lambda answer: answer.head(502, Content_Length=0)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        line = ["generators", "pull", "https://generators.invalid/a.safetensors"]
        assert run([*line, "--sha256", sha(content)]) == 4
    assert proxy.paths == ["generators.invalid:443"]
    assert "cannot be fetched (ProxyError)" in capsys.readouterr().err


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
        ("con.safetensors", "what Windows reserves"),
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
        (["http://h.invalid/x.safetensors", "--sha256", "0" * 64], "only https"),
        (["HTTP://H.INVALID/x.safetensors", "--sha256", "0" * 64], "only https"),
        (["http://127.0.0.1/x.safetensors", "--sha256", "0" * 64], "only https"),
        (["ftp://h.invalid/x.safetensors", "--sha256", "0" * 64], "only https"),
        (["file:///etc/passwd", "--sha256", "0" * 64], "only https"),
        (["https:///x.safetensors", "--sha256", "0" * 64], "only https"),
        (["https://h.invalid/x y.safetensors", "--sha256", "0" * 64], "only https"),
        (["https://h.invalid/\u00fc.safetensors", "--sha256", "0" * 64], "only https"),
        (["https://h.invalid:port/x.safetensors", "--sha256", "0" * 64], "no URL"),
        (["https://[::1/x.safetensors", "--sha256", "0" * 64], "no URL"),
        (["https://me:secret@h.invalid/x.safetensors", "--sha256", "0" * 64], "user name"),
        (["doi:x.safetensors", "--sha256", "0" * 64], "only https"),
        (["doi:10.1/x/../../x.pt", "--sha256", "0" * 64], "pickles can run code"),
        (["portrait"], '"portrait" can be pulled by its name (published: none yet)'),
        (["base", "--sha256", "0" * 64], "keeps its name and has the SHA-256"),
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
    assert "portrait     available, " in capsys.readouterr().out
    assert run(["protect", ".", "--out", "../x", "-g", "portrait"]) == 4
    assert "Run: unlearn generators pull portrait" in capsys.readouterr().err
    assert published.paths == []
    assert run(["generators", "pull", "portrait", "--sha256", sha(content)]) == 0
    assert names(folder) == {"portrait.safetensors"}
    capsys.readouterr()
    assert run(["generators", "list"]) == 0
    shown = capsys.readouterr().out
    assert "portrait     pulled, " in shown
    assert "available" not in shown


def test_a_name_of_the_index_has_the_size_that_it_states(published, content, folder, monkeypatch):
    remote = INDEX["portrait"]
    monkeypatch.setitem(INDEX, "portrait", Remote(remote.url, remote.sha256, len(content) - 1))
    assert run(["generators", "pull", "portrait"]) == 4
    assert names(folder) == set()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["portrait", "--name", "x"], "portrait keeps its name"),
        (["portrait", "--sha256", "0" * 64], "has the SHA-256"),
        (["landscape"], "(published: portrait)"),
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
    assert "good         pulled, " in captured.out
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
    made, out, here = str(tmp_path / "made"), str(tmp_path / "out"), ("--workers", "0")
    for line in (
        ["demo", made, "--per-class", "1"],
        [*("protect", made, "--out", out, "--labels", "one"), "-g", str(tiny_generator), *here],
        ["verify", made, out],
        ["doctor", "-g", str(tiny_generator)],
        ["generators", "list"],
        ["generators", "info", "base"],
    ):
        assert run(line) == 0, capsys.readouterr().err
    assert asked == []
    line = ["generators", "pull", "https://127.0.0.1:1/x.safetensors", "--sha256", sha(content)]
    assert run(line) == 4
    assert asked == [("127.0.0.1", 1)]


def test_progress_is_shown_and_quiet_shows_none(content, folder, monkeypatch, capsys):
    monkeypatch.setattr("unlearn.cli.meter.PLAIN_SECONDS", 0.0)
    with serving(lambda answer: answer.whole(content)) as server:
        assert run(pull_line(server, content)) == 0
        assert capsys.readouterr().err.startswith("Downloading 0/1")
        assert run(pull_line(server, content, "--name", "b", "--quiet")) == 0
        assert capsys.readouterr() == ("", "")
