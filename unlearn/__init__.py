"""unlearn: bounded noise for pictures; classifiers trained on them do badly on clean ones."""

__version__ = "0.1.0"
