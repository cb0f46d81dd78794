"""The error tree. Library code raises; only the command line makes text and exit codes of it.

UnlearnError            exit code 1, something is not protected, over the bound or missing
├── PictureError        one picture cannot be protected; the run goes on without it
├── UsageProblem        exit code 2, wrong options, overlapping folders, unknown classes
├── NothingFound        exit code 3, no pictures where pictures were expected
└── EnvironmentProblem  exit code 4, device, memory, disk, or a generator that is missing or broken
"""

from typing import ClassVar


class UnlearnError(Exception):
    """An expected failure: its text says what is wrong, where, and what would be right."""

    exit_code: ClassVar[int] = 1


class PictureError(UnlearnError):
    """One picture cannot be read or written within the bound; the text is the reason, no path."""


class UsageProblem(UnlearnError):
    """The request itself is wrong or contradicts what is on disk."""

    exit_code = 2


class NothingFound(UnlearnError):
    """There was nothing to work on."""

    exit_code = 3


class EnvironmentProblem(UnlearnError):
    """The machine, the disk or a stored generator does not allow what was asked."""

    exit_code = 4
