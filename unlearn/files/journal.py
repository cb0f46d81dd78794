"""A journal: lines of JSON in a file that only grows, so that a crash costs the line it tore."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path


@dataclass(frozen=True)
class Journal:
    """The lines of one file; a missing file has none. Raises OSError.

    `head` is the first line of every such file. What a crash or a full disk left of a line is cut
    off before the next one is written or, with `keep_torn`, ended, so that its reader can count it.
    """

    path: Path
    head: str = ""
    keep_torn: bool = False

    def lines(self) -> Iterator[bytes]:
        """Yield the lines; only the last may be without its line break, being torn."""
        try:
            file = self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        with file:
            yield from file

    def append(self, line: str, *, sync: bool = True) -> None:
        """Write a line behind the others, and wait until the disk has it unless told otherwise."""
        with FileIO(self.path, "ab+") as file:  # unbuffered: nothing is written twice or later
            data = self._mended(file) + line.encode("ascii") + b"\n"
            while data:
                data = data[file.write(data) or 0 :]
            if sync:
                os.fsync(file.fileno())

    def extend(self, lines: Iterable[bytes]) -> None:
        """Write many lines behind the others; a crash may leave some of them."""
        with FileIO(self.path, "ab+") as end:
            mended = self._mended(end)
        with self.path.open("ab") as file:
            file.write(mended)
            file.writelines(line + b"\n" for line in lines)

    def _mended(self, file: FileIO) -> bytes:
        """Make good the end of an open file; return what has to come before the next line."""
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return b""
            if self.keep_torn:
                return b"\n"
            file.seek(0)
            size = file.truncate(file.readall().rfind(b"\n") + 1)
        return self.head.encode("ascii") + b"\n" if self.head and not size else b""
