"""Tables: labels from rows of path and label, as spreadsheets and data sets have them."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unlearn.errors import UsageProblem
from unlearn.files.text import printable

# What data sets call the two columns, the likeliest first; in lower case, with underscores.
_PATHS: Final = (
    "path",
    "file_name",
    "filename",
    "file",
    "file_path",
    "filepath",
    "image",
    "name",
    "id",
)
_LABELS: Final = (
    *("label", "labels", "class", "class_name", "classname", "label_name", "category"),
    *("category_name", "target", "label_id", "class_id", "category_id"),
)
_DELIMITERS: Final = ",;\t| "
_LARGEST: Final = 64 << 20
_EXPECTED: Final = "expected path,label, two columns that are not empty"
_LINES: Final = (".jsonl", ".ndjson")
_JSON: Final = re.compile(rb'\s*(\{\s*"|\[\s*[{\[])')
# Of spreadsheets, Parquet, and UTF-16 without its mark.
_NO_TEXT: Final = re.compile(rb"PK\x03\x04|\xd0\xcf\x11\xe0|PAR1|[^\0]\0[^\0]\0")


@dataclass(frozen=True)
class Row:
    """What one line of a table says: the label of a picture, its path as written there."""

    path: str
    label: str
    where: str  # the table and its line, for messages


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table: `,`, `;`, tabs or `|`, with or without a head, or JSON lines.

    Raises UsageProblem with the line for what is none.
    """
    text = _text(path)
    rows = list(_from_lines(text, path) if path.suffix.lower() in _LINES else _from_csv(text, path))
    if not rows:
        raise UsageProblem(f"{printable(path)} has no rows; write path,label for each picture")
    return rows


def readable(text: str) -> str:
    """Return a text of a table that is not in UTF-8 as Windows in the West writes it."""
    if text.isascii() or not any("\udc80" <= c <= "\udcff" for c in text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def has_labels(path: Path) -> bool:
    """Tell whether a data set's own table names paths and labels, and not only other facts."""
    text = _text(path)
    if path.suffix.lower() in _LINES:
        first = next((line for line in text.splitlines() if line.strip()), "")
        try:
            found = json.loads(first or "{}")
        except ValueError:
            return False
        return isinstance(found, dict) and _columns(list(found)) is not None
    return any(_columns(cells) is not None for cells in _heads(text))


def _text(path: Path) -> str:
    """Return a table's text, whatever the spreadsheet that wrote it put in front."""
    try:
        if not path.is_file():
            raise UsageProblem(f"There is no CSV file {printable(path)}")
        if path.stat().st_size > _LARGEST:
            raise UsageProblem(
                f"{printable(path)} is larger than 64 MB; write one row path,label a picture"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"{printable(path)}: cannot be read ({error.strerror})") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    if _NO_TEXT.match(content) or (_JSON.match(content) and path.suffix.lower() not in _LINES):
        raise UsageProblem(
            f"{printable(path)} is no table that is read; save it as CSV in UTF-8, or write an "
            "object of JSON a line into a file .jsonl"
        )
    return content.decode("utf-8-sig", "surrogateescape")


def _heads(text: str) -> list[list[str]]:
    """Return the cells of the first line that is not empty, once for each delimiter."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [_split(first, delimiter) for delimiter in _DELIMITERS]


def _split(line: str, delimiter: str) -> list[str]:
    """Return the stripped cells of one line; none if the delimiter makes no sense of it."""
    try:
        return [
            cell.strip()
            for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        ]
    except csv.Error:
        return []


def _columns(names: Sequence[str], *, asked: bool = False) -> tuple[int, int] | None:
    """Return which columns of a head hold paths and labels, or None if it names none of them.

    Beside paths, the only other column of a table that was `asked` for is the label: id,breed.
    """
    plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]
    plain = [re.sub("^(image|img)_(?=path|name|file|id)", "", name) for name in plain]
    path = next((plain.index(name) for name in _PATHS if name in plain), None)
    label = next((plain.index(name) for name in _LABELS if name in plain), None)
    if asked and label is None and path is not None and len(names) == 2 and all(plain):
        label = 1 - path
    return None if path is None or label is None else (path, label)


def _from_csv(text: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a table with a delimiter."""
    skipped = re.match(r'"?sep=(.)"?\r?\n', text)  # what Excel writes for itself
    body = text[skipped.end() :] if skipped else text
    heads = _heads(body)
    place = next((n for n, cells in enumerate(heads) if _columns(cells, asked=True)), None)
    if place is None:
        place = next((n for n, cells in enumerate(heads) if len(cells) == 2 and all(cells)), 0)
    columns = _columns(heads[place], asked=True)
    first = bool(columns)
    for line, cells in _cells(body, _DELIMITERS[place], path):
        where = f"{printable(path)} line {line + bool(skipped)}"
        if first:
            first = False
        elif columns is None and len(cells) != 2:
            more = "; of more, the first line must name path and label" if len(cells) > 2 else ""
            raise UsageProblem(f"{where}: {_EXPECTED}{more}")
        else:
            yield _row([cells[n] if n < len(cells) else "" for n in columns or (0, 1)], where)


def _row(pair: Sequence[str], where: str) -> Row:
    """Return one row; raises UsageProblem if a cell is empty."""
    if not all(pair):
        raise UsageProblem(f"{where}: {_EXPECTED}")
    return Row(pair[0], readable(pair[1]), where)


def _cells(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped cells of each row that is not empty."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UsageProblem(f"{printable(path)} line {reader.line_num}: {error}") from error


def _from_lines(text: str, path: Path) -> Iterator[Row]:
    """Yield the rows of JSON lines: objects with a path and a label, a text or a whole number."""
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{printable(path)} line {number}"
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise UsageProblem(f"{where}: this is no JSON object") from error
        names = list(found) if isinstance(found, dict) else []
        columns = _columns(names)
        values = [found[names[n]] for n in columns or ()]
        if not values or not all(isinstance(v, str | int) and str(v).strip() for v in values):
            raise UsageProblem(
                f"{where}: expected an object with file_name and label, texts or whole numbers"
            )
        yield _row([str(value).strip() for value in values], where)
