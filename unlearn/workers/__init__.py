"""Processes and threads that do one task each, and what one task may cost."""
