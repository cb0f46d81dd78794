"""The command line: the only part of unlearn that prints.

Each module defines one undecorated function per command, which app.py registers and which returns
its exit code. Modules here import Typer, options, console and what those need when they load, and
everything else inside their functions, so that help and usage errors never wait for PyTorch.
"""
