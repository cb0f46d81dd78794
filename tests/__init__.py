"""The tests of unlearn; they mirror the package."""
