"""Text: paths and numbers as people read them, and commands as their shell takes them."""

import os
import re
import shlex
from pathlib import Path


def printable(name: object) -> str:
    """Return a path or name as one printable line: what a terminal would not print is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name)
    )


def size_text(size: float) -> str:
    """Return a number of bytes as people write it: "13 GB", "4.1 GB", "820 kB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.1f} {unit}" if size < 9.95 and unit != "bytes" else f"{size:.0f} {unit}"


def command_line(*words: object) -> str:
    """Return a command as the shell of this system takes it; cmd and PowerShell know no '…'."""
    # A path that begins like an option would be taken for one.
    texts = [
        f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else word for word in words
    ]
    if os.name != "nt":
        return shlex.join(map(printable, texts))
    plain = re.compile(r"[\w.:/\\+-]+")
    return " ".join(
        text if plain.fullmatch(text) else f'"{text}"' for text in map(printable, texts)
    )


def beside(folder: Path, ending: str) -> Path:
    """Return a path beside a folder, called like it with an ending; also for "." and ".."."""
    named = folder.resolve() if folder.name in ("", "..") else folder
    return named.with_name(f"{named.name}{ending}")
