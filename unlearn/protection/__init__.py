"""Protect: a folder of pictures, from the plan to the manifest; no printing, no Typer."""
