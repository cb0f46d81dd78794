"""`unlearn doctor`: show what is here and whether it works."""


def doctor() -> int:
    """Show versions, devices and places, and test that protecting works here."""
    return 0
