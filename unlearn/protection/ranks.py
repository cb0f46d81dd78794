"""Protecting with several processes of one run: each takes its shard, the last one merges."""

from dataclasses import replace
from functools import partial

from unlearn.errors import UsageProblem
from unlearn.files.lock import Busy
from unlearn.files.text import printable
from unlearn.protection.events import ProtectReport, Report
from unlearn.protection.merge import NotYet, absorb_earlier, merge
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import protect
from unlearn.protection.shards import Shard
from unlearn.workers.ranks import rank_here


def protect_here(options: ProtectOptions, report: Report) -> ProtectReport:
    """Protect everything or one shard, as one of several ranks, or merge; raises as these do.

    Nobody waits: whoever finds all parts finished merges them and returns the account of the whole.
    Each of the others has its own account, and the exit code 0. A dry run is of everything.
    """
    rank = rank_here()
    join = partial(merge, workers=options.workers, previews=options.preview)
    if options.merge is not None:
        if rank is not None:
            raise UsageProblem(
                f"--merge {printable(options.merge)}: one process joins the parts, this is rank "
                f"{rank.number} of {rank.count}; leave out torchrun"
            )
        return join(options.merge, report)
    if rank is not None and options.shard is not None:
        raise UsageProblem(
            f"--shard {options.shard}: under torchrun each process takes a shard by itself; leave "
            "out --shard, or torchrun"
        )
    if rank is None or options.dry_run:
        return protect(options, report)
    absorb_earlier(options.out, rank.count)
    mine = replace(options, shard=Shard(rank.count, rank.number + 1))
    part = protect(mine, report)
    if part.left:
        return part
    try:
        return join(options.out, report, patient=True)
    except (NotYet, Busy):
        return replace(part, awaited=True)
