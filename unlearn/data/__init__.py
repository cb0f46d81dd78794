"""Pictures on disk: reading them, the working grid, and writing them back within the bound."""
