"""One use case a file; no printing, no Typer: values in and out, progress through a callback."""
