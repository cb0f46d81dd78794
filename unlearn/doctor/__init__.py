"""Doctor: what this machine offers, and whether protecting works on it."""
