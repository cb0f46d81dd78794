"""Text: paths and numbers as people read them."""


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
