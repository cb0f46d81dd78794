"""Audits by several processes of one run: the first does all but the trainings, which all share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import torch
import torchvision

from unlearn import __version__, together
from unlearn.audits.options import AuditOptions
from unlearn.audits.runner import Interrupted, assist, dismiss
from unlearn.audits.study import workers_of
from unlearn.device import Run, select_run
from unlearn.workers.ranks import FirstEnded

T = TypeVar("T")


def led(options: AuditOptions, work: Callable[[], T]) -> T | None:
    """Do the work in the first rank, whose victims all train; all return what it came to.

    None if the person stopped it. Raises UsageProblem if the ranks have other settings or versions,
    EnvironmentProblem if one is lost, and FirstEnded in the others if the work failed.
    """
    run = select_run(options.device, options.precision, compiled=options.compiled)
    # What they send is no tensor, and each trains networks of its own.
    with together.joined(torch.device("cpu")) as rank, together.alone():
        together.check_alike(_decisive(options, run))
        try:
            if rank.number:
                word = assist(rank.number, str(run.device), workers_of(options, run))
                if word is None:
                    raise FirstEnded(
                        f"rank 0 of {rank.count} ended before the audit was done; it says why"
                    )
                return cast("T", word)
            return _leading(work)
        except Interrupted:
            return None


def _leading(work: Callable[[], T]) -> T:
    """Do the work, and let the other ranks go whatever comes of it."""
    word = None
    try:
        word = work()
    finally:
        dismiss(word)
    return word


def _decisive(options: AuditOptions, run: Run) -> str:
    """Return what must be the same in all ranks; pictures are read by the first alone."""
    shared = replace(options, out=Path(), workers=0)
    versions = (__version__, torch.__version__, torchvision.__version__)
    return repr((shared, run.device.type, run.precision, versions))
