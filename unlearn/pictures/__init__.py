"""One picture file: read, brought to the working grid, and written back within the bound."""
