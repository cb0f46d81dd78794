"""`unlearn demo`: draw a small labelled folder to try the tool on."""


def demo() -> int:
    """Draw a small labelled folder of pictures."""
    return 0
