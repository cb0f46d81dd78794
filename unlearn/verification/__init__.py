"""Verify: the bound proved again, from the pixels of both folders."""
