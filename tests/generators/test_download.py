"""Downloads from servers that serve well, cut, lie, stall, redirect, or are not there."""

import itertools
import shutil
import socket
import subprocess
import threading
import time
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.support.serving import serving
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.generators.download import Limits, TooLarge, _target, download
from unlearn.generators.urls import check_url, is_loopback, place

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes: several chunks
HALF = len(CONTENT) // 2
QUICK = Limits(1 << 20, stall_seconds=0.2, attempts=3, pause_seconds=0.0)


@pytest.fixture
def partial(tmp_path):
    return tmp_path / "file.part"


def fetch(url, partial, limits=QUICK):
    seen = []
    download(url, partial, limits, lambda done, total: seen.append((done, total)))
    return seen


def test_a_file_arrives_whole_in_one_request_with_progress(partial):
    with serving(lambda answer: answer.whole(CONTENT)) as server:
        seen = fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert all(total == len(CONTENT) for _, total in seen)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert server.headers[0]["User-Agent"].startswith("unlearn/")
    assert not {"Cookie", "Authorization", "Referer"} & set(server.headers[0])


def test_a_cut_connection_is_continued_and_no_byte_is_asked_for_twice(partial):
    with serving(lambda answer: answer.whole(CONTENT, HALF if answer.number == 1 else None)) as (
        server
    ):
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [None, HALF]
    assert server.sent == len(CONTENT)


def test_a_later_call_continues_what_an_earlier_one_left(partial):
    partial.write_bytes(CONTENT[:1000])
    with serving(lambda answer: answer.whole(CONTENT)) as server:
        seen = fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [1000]
    assert server.sent == len(CONTENT) - 1000
    assert seen[0][0] > 1000


def test_a_server_that_cuts_every_time_is_given_up_and_what_came_is_kept(partial):
    with (
        serving(lambda answer: answer.whole(CONTENT, 1000)) as server,
        pytest.raises(EnvironmentProblem, match=r"ended after 3,000 of 307,200 bytes, 3 times; "),
    ):
        fetch(f"{server.url}/a", partial)
    assert server.ranges == [None, 1000, 2000]
    assert partial.read_bytes() == CONTENT[:3000]


def test_a_server_that_ignores_ranges_starts_over(partial):
    partial.write_bytes(b"other bytes, longer than nothing")

    def from_the_start(answer):
        answer.start = 0
        answer.whole(CONTENT)

    with serving(from_the_start) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [32]


@pytest.mark.parametrize("reach", ["bytes 0-9/10", "bytes 7-9/10", "nonsense", None])
def test_a_server_that_sends_another_part_is_asked_again_from_the_start(partial, reach):
    partial.write_bytes(CONTENT[:5])

    def another_part(answer):
        if answer.number > 1:
            answer.whole(CONTENT)
        elif reach is None:
            answer.head(206, Content_Length=3)
            answer.body(b"abc")
        else:
            answer.head(206, Content_Length=3, Content_Range=reach)
            answer.body(b"abc")

    with serving(another_part) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [5, None]


def test_more_than_the_server_has_is_thrown_away(partial):
    partial.write_bytes(CONTENT + b"too much")
    with serving(lambda answer: answer.whole(CONTENT)) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [len(CONTENT) + 8, None]


def test_a_length_over_the_limit_is_refused_before_the_body(partial):
    def huge(answer):
        answer.head(200, Content_Length=1 << 40)
        answer.body(b"x" * 100)

    with serving(huge) as server, pytest.raises(TooLarge, match="more than 1,048,576 bytes"):
        fetch(f"{server.url}/a", partial)
    assert server.ranges == [None]
    assert not partial.exists()


@pytest.mark.parametrize("lie", [None, "-5", "many"])
def test_a_body_over_the_limit_is_cut_off_at_the_limit(partial, lie):
    stopped = threading.Event()

    def endless(answer):
        answer.head(200, **({} if lie is None else {"Content_Length": lie}))
        try:
            for _ in range(1000):
                answer.body(b"x" * 65536)
        finally:
            stopped.set()

    with serving(endless) as server, pytest.raises(TooLarge):
        fetch(f"{server.url}/a", partial)
    assert stopped.wait(5)
    assert server.sent < 900 * 65536  # the client left; the rest was buffered by the system
    assert not partial.exists()


def test_a_body_longer_than_its_length_is_not_read_further(partial):
    def longer(answer):
        answer.head(200, Content_Length=10)
        answer.body(b"0123456789and what nobody announced")

    with serving(longer) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == b"0123456789"


def test_a_stalled_server_is_left_and_the_download_goes_on(partial):
    def stalls_once(answer):
        if answer.number > 1:
            answer.whole(CONTENT)
            return
        answer.head(200, Content_Length=len(CONTENT))
        answer.body(CONTENT[:1000])
        time.sleep(0.6)

    with serving(stalls_once) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges == [None, 1000]


@pytest.mark.parametrize("silent_from", ["the start", "the body"])
def test_a_server_that_only_stalls_is_given_up_in_time(partial, silent_from):
    def stalls(answer):
        if silent_from == "the body":
            answer.head(200, Content_Length=len(CONTENT))
        time.sleep(0.6)

    began = time.monotonic()
    with serving(stalls) as server:
        with pytest.raises(EnvironmentProblem, match=r"nothing came for 0\.2 s, 3 times; try la"):
            fetch(f"{server.url}/a", partial)
        took = time.monotonic() - began
    assert 0.6 <= took < 5
    assert len(server.ranges) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_the_range(partial, status):
    partial.write_bytes(CONTENT[:7])

    def redirects(answer):
        if answer.path == "/a":
            answer.head(status, Location="/b?token=1", Content_Length=0)
        else:
            answer.whole(CONTENT)

    with serving(redirects) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert server.paths == ["/a", "/b?token=1"]
    assert server.ranges == [7, 7]


def test_a_loop_of_redirects_ends(partial):
    def loop(answer):
        answer.head(302, Location=answer.path, Content_Length=0)

    with (
        serving(loop) as server,
        pytest.raises(EnvironmentProblem, match="redirected more than 5 times"),
    ):
        fetch(f"{server.url}/a", partial)
    assert len(server.paths) == 6
    assert not partial.exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("file:///etc/passwd", "only https is fetched, not file"),
        ("ftp://127.0.0.1/a", "only https is fetched, not ftp"),
        ("data:,abc", "only https is fetched, not data"),
        ("http://192.0.2.1/a", "only https is fetched, not http"),
        ("http://127.0.0.1.example/a", "only https is fetched, not http"),
        ("https://127.0.0.1:9/a", "redirect to another scheme refused"),
        ("http://user:secret@127.0.0.1/a", "user name or password"),
        ("http://[::1/a", "no URL|Invalid"),
    ],
)
def test_redirects_elsewhere_are_refused_without_asking_there(partial, target, reason):
    def redirects(answer):
        answer.head(302, Location=target, Content_Length=0)

    with serving(redirects) as server, pytest.raises(EnvironmentProblem, match=reason) as caught:
        fetch(f"{server.url}/a", partial)
    assert len(server.paths) == 1
    assert "secret" not in str(caught.value)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("status", "tries"), [(400, 1), (403, 1), (404, 1), (410, 1), (429, 3), (500, 3), (503, 3)]
)
def test_an_error_of_the_server_is_named_and_only_a_passing_one_is_tried_again(
    partial, status, tries
):
    with (
        serving(lambda answer: answer.head(status, Content_Length=0)) as server,
        pytest.raises(EnvironmentProblem, match=f"the server answers {status}"),
    ):
        fetch(f"{server.url}/a?token=secret", partial)
    assert len(server.paths) == tries
    assert not partial.exists()


def test_a_passing_error_passes(partial):
    def busy_once(answer):
        if answer.number == 1:
            answer.head(503, Content_Length=0)
        else:
            answer.whole(CONTENT)

    with serving(busy_once) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("nonsense", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000])
def test_an_answer_that_is_no_http_is_given_up(partial, nonsense):
    def talks_nonsense(answer):
        answer.wfile.write(nonsense)

    with (
        serving(talks_nonsense) as server,
        pytest.raises(EnvironmentProblem, match=r"no proper answer \(\w+\), 3 times; try later"),
    ):
        fetch(f"{server.url}/a", partial)


def test_chunked_bodies_are_read_and_a_cut_one_is_no_whole_one(partial):
    chunk = b"%x\r\n%b\r\n" % (1000, CONTENT[:1000])

    def chunks(answer):
        answer.protocol_version = "HTTP/1.1"
        answer.head(200, Transfer_Encoding="chunked", Connection="close")
        answer.wfile.write(chunk * 2 + (b"0\r\n\r\n" if answer.number == 3 else b""))
        answer.close_connection = True

    with serving(chunks) as server:
        fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT[:1000] * 2  # no range was honoured, so from the start
    assert len(server.ranges) == 3


def test_no_server_is_one_line_without_a_second_try(partial):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a?token=secret"
        with pytest.raises(EnvironmentProblem, match="cannot be reached") as caught:
            fetch(url, partial, Limits(1000, pause_seconds=60))
    text = str(caught.value)
    assert "is this machine online?" in text
    assert "secret" not in text
    assert "\n" not in text


def test_https_goes_through_the_proxy_of_the_environment(partial, monkeypatch):
    with serving(lambda answer: answer.head(502, Content_Length=0)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(EnvironmentProblem, match=r"cannot be reached \(.*502"):
            fetch("https://generators.invalid/a", partial)
    assert proxy.paths == ["generators.invalid:443"]


def test_this_machine_is_asked_directly_whatever_the_proxy(partial, monkeypatch):
    with (
        serving(lambda answer: answer.head(502, Content_Length=0)) as proxy,
        serving(lambda answer: answer.whole(CONTENT)) as server,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        fetch(f"{server.url}/a", partial)
    assert proxy.paths == []
    assert partial.read_bytes() == CONTENT


def test_https_of_a_server_without_tls_is_refused(partial):
    with serving(lambda answer: answer.whole(CONTENT)) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(EnvironmentProblem, match="cannot be reached"):
            fetch(f"{url}/a", partial)
    assert not partial.exists()


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


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_certificate_that_nobody_vouches_for_is_refused(partial, certificate, no_proxy):
    with (
        serving(lambda answer: answer.whole(CONTENT), certificate) as server,
        pytest.raises(EnvironmentProblem, match=r"cannot be reached \(.*CERTIFICATE_VERIFY_FAILED"),
    ):
        fetch(f"{server.url}/a", partial)
    assert server.paths == []
    assert not partial.exists()


def test_https_works_and_never_leads_to_http(partial, certificate, no_proxy, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(lambda answer: answer.whole(CONTENT)) as plain:

        def redirects(answer):
            if answer.path == "/down":
                answer.head(302, Location=f"{plain.url}/a", Content_Length=0)
            elif answer.path == "/over":
                answer.head(302, Location="/a", Content_Length=0)
            else:
                answer.whole(CONTENT, HALF if len(server.paths) == 2 else None)

        with serving(redirects, certificate) as server:
            fetch(f"{server.url}/over", partial)
            assert partial.read_bytes() == CONTENT
            assert server.paths == ["/over", "/a", "/over", "/a"]
            assert server.ranges == [None, None, HALF, HALF]
            with pytest.raises(EnvironmentProblem, match="redirect to another scheme refused"):
                fetch(f"{server.url}/down", partial)
    assert plain.paths == []


@pytest.mark.parametrize("location", ["http://127.0.0.1/b", "http://h.example/b", "ftp://h/b"])
def test_no_redirect_leads_away_from_https(location):
    headers = Message()
    headers["Location"] = location
    with (
        HTTPError("https://h.example/a", 302, "Found", headers, None) as answer,
        pytest.raises(EnvironmentProblem, match="refused"),
    ):
        _target("https://h.example/a", answer)


def test_a_partial_file_that_cannot_be_written_is_named(tmp_path):
    with (
        serving(lambda answer: answer.whole(CONTENT)) as server,
        pytest.raises(EnvironmentProblem, match=r"no-folder/x: cannot be written \(No such file"),
    ):
        fetch(f"{server.url}/a", tmp_path / "no-folder" / "x")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a",
        "HTTP://EXAMPLE.COM/a",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "data:,x",
        "//example.com/a",
        "https://",
        "https:///a",
        "https://user@example.com/a",
        "https://user:secret@example.com/a",
        "https://example.com:port/a",
        "https://example.com:99999/a",
        "https://[::1/a",
        "https://example.com/a b",
        "https://example.com/a\nHost: b",
        "https://example.com/ü",
        "http://127.0.0.1@example.com/a",
        "http://127.0.0.1.example.com/a",
        "http://0.0.0.0/a",
        "http://localhost.example.com/a",
        "http:///a",
        "",
    ],
)
def test_urls_that_are_not_fetched(url):
    with pytest.raises(UsageProblem) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a",
        "HTTPS://example.com:8443/a%20b?x=1",
        "http://127.0.0.1:80/a",
        "http://localhost/a",
        "http://[::1]:8080/a",
    ],
)
def test_urls_that_are_fetched(url):
    assert check_url(url) == url


def test_only_addresses_of_this_machine_are_loopback():
    hosts = ("127.0.0.1", "127.255.0.1", "::1", "localhost")
    assert all(map(is_loopback, hosts))
    others = ("127.0.0.1.x", "127.1", "0.0.0.0", "10.0.0.1", "::", "::ffff:8.8.8.8", "example", "")
    assert not any(map(is_loopback, others))


def test_a_shown_url_has_no_query_and_no_control_characters():
    assert place("https://h/a?key=secret#x") == "https://h/a"
    assert place("https://h/a\x1b[31m") == "https://h/a\\x1b[31m"


def test_waiting_between_attempts_and_their_number_follow_the_limits(partial, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    limits = Limits(1000, attempts=4, pause_seconds=7.5)
    with (
        serving(lambda answer: answer.head(503, Content_Length=0)) as server,
        pytest.raises(EnvironmentProblem, match="4 times"),
    ):
        fetch(f"{server.url}/a", partial, limits)
    assert waits == [7.5] * 3
    assert len(server.paths) == 4


def test_pieces_of_any_size_add_up(partial):
    sizes = itertools.cycle([1, 70_000, 65_536, 3])

    def pieces(answer):
        answer.head(200)
        position = 0
        while position < len(CONTENT):
            size = next(sizes)
            answer.body(CONTENT[position : position + size])
            position += size

    with serving(pieces) as server:
        seen = fetch(f"{server.url}/a", partial)
    assert partial.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), None)
