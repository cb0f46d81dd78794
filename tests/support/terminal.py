"""A virtual terminal: whole command lines run in a pseudo-terminal, and what its screen shows."""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

_ROWS = 200
_END = b"\x00"
# One process for all command lines, since it is PyTorch that takes the time to load.
_SCRIPT = """
import fcntl, json, os, struct, sys, termios
from unlearn.cli.app import run
for width, arguments in json.loads(sys.argv[1]):
    if width:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 200, width, 0, 0))
    code = run(arguments)
    os.write(1, bytes([0, code + 1]))
"""


@dataclass(frozen=True)
class Shown:
    """What one command line left on the screen, what it showed on the way, and all its bytes."""

    code: int
    lines: list[str]
    moments: list[list[str]]
    received: bytes


def in_terminal(
    runs: Sequence[tuple[int, Sequence[str]]], folder: Path, variables: Mapping[str, str]
) -> list[Shown]:
    """Run command lines in a folder, each in a terminal of so many columns."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", _ROWS, 80, 0, 0))
    left = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, json.dumps(runs)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env={**left, "TERM": "xterm-256color", **variables},
    )
    os.close(slave)
    received, parts = b"", [b""]
    chunks: list[list[bytes]] = [[]]
    while chunk := _read(master):
        received += chunk
        while _END in chunk and len(parts) <= len(runs):
            before, _, rest = chunk.partition(_END)
            chunks[-1].append(before)
            rest = rest or _read(master)
            parts.append(rest[:1])
            chunks.append([])
            chunk = rest[1:]
        chunks[-1].append(chunk)
    os.close(master)
    assert process.wait(60) == 0, received.decode(errors="replace")
    return [
        _shown(width, shown, code[0] - 1)
        for (width, _), shown, code in zip(runs, chunks, parts[1:], strict=False)
    ]


def in_pipe(
    runs: Sequence[Sequence[str]], folder: Path, variables: Mapping[str, str]
) -> list[tuple[int, str]]:
    """Run command lines whose output and errors go to one pipe; return their codes and texts."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps([(0, line) for line in runs])],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    first, *others = done.stdout.split(_END)
    texts = [first, *(part[1:] for part in others[:-1])]
    return [(part[0] - 1, text.decode()) for part, text in zip(others, texts, strict=True)]


def _read(descriptor: int) -> bytes:
    """Read what there is; nothing at the end, which Linux calls an error."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


def _shown(width: int, chunks: Sequence[bytes], code: int) -> Shown:
    """Return what a screen of so many columns shows of the bytes that it gets, piece by piece."""
    screen = pyte.Screen(width, _ROWS)
    stream = pyte.ByteStream(screen)
    moments = []
    for chunk in chunks:
        stream.feed(chunk)
        moments.append([line.rstrip() for line in screen.display if line.strip()])
    return Shown(code, moments[-1] if moments else [], moments, b"".join(chunks))
