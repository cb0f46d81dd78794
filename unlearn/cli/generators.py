"""`unlearn generators`: what noise generators are here."""

HELP = "Show the noise generators that are here."


def list_generators() -> int:
    """List the generators."""
    return 0


def info() -> int:
    """Show one generator's header."""
    return 0


def path() -> int:
    """Print where a generator's file is."""
    return 0
