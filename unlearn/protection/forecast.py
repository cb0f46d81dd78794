"""What protecting will cost: pictures are counted, and a few tried if none were done before."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from unlearn.errors import UsageProblem
from unlearn.files.pace import seconds_each
from unlearn.files.tars import opened
from unlearn.forecast import Forecast
from unlearn.generators.header import Header
from unlearn.protection.archive import archive_of
from unlearn.protection.events import Event, Progress, Started
from unlearn.protection.options import ProtectOptions
from unlearn.protection.pace import LEAST_KNOWN, Pace, pace_kind, work_of
from unlearn.protection.plan import PlannedPicture
from unlearn.protection.run import lay_out, load_generator, protect

_TRIED: Final = 12  # pictures of a trial
_TRIED_MEGAPIXELS: Final = 50.0  # after which it takes no more than it needs
_KNOWN, _TRIAL = "at the rate last measured here", "from a trial of {} of them"
_TOO_FEW = f"no run here yet, and a trial needs {LEAST_KNOWN + 1} pictures"


def forecast(options: ProtectOptions) -> Forecast:
    """Return what protecting the pictures that are left to do costs; keeps the rate of a trial.

    Raises what protect would before it writes anything, and UsageProblem for an archive.
    """
    if options.merge is not None or archive_of(options) is not None:
        raise UsageProblem("--plan counts picture files; it knows neither archives nor --merge")
    options, header, ground = lay_out(options)
    todo = [ground.plan.pictures[number] for number in ground.work.pending]
    work = sum(work_of(picture, options.max_pixels) for picture in todo)
    _, device = load_generator(Path(options.generator), options.device)
    kind = pace_kind(options, ground.settings.generator_sha256, device)
    known_by, each = _KNOWN, seconds_each(kind)
    if each is None and todo:
        tried = sample([one for one in todo if one.pixels <= options.max_pixels])
        _try(options, tried)
        each = seconds_each(kind) if len(tried) > LEAST_KNOWN else None
        known_by = _TOO_FEW if each is None else _TRIAL.format(len(tried))
    passes, flops = _passes(header, todo, ground.settings.grid)
    megapixels = sum(picture.pixels for picture in todo) / 1e6
    many = f"{len(todo):,} picture{'s' * (len(todo) != 1)}"
    return Forecast(
        work=f"{many} to protect, {megapixels:,.1f} megapixels",
        passes=passes,
        flops=flops,
        seconds=0.0 if not todo else None if each is None else each * work,
        known_by=known_by,
        most=len(todo),
    )


def sample(pictures: Sequence[PlannedPicture]) -> list[PlannedPicture]:
    """Return a few pictures of all sizes, fewer of large ones, but enough for a rate."""
    ordered = sorted(pictures, key=lambda picture: picture.pixels)
    for count in range(min(_TRIED, len(ordered)), LEAST_KNOWN + 1, -1):
        chosen = _spread(ordered, count)
        if sum(picture.pixels / 1e6 for picture in chosen) <= _TRIED_MEGAPIXELS:
            return chosen
    return _spread(ordered, min(LEAST_KNOWN + 1, len(ordered)))


def _spread(ordered: Sequence[PlannedPicture], count: int) -> list[PlannedPicture]:
    """Return so many at equal distances, each from the middle of its part."""
    return [ordered[(2 * n + 1) * len(ordered) // (2 * count)] for n in range(count)]


def _try(options: ProtectOptions, pictures: Sequence[PlannedPicture]) -> None:
    """Protect pictures into a folder that is thrown away, and keep the pace."""
    paces: list[Pace] = []

    def hear(event: Event) -> None:
        if isinstance(event, Started):
            paces.append(Pace(options, event))
        elif isinstance(event, Progress):
            paces[-1].see(event)

    with TemporaryDirectory(prefix="unlearn-") as folder:
        key = Path(folder, "key")
        key.write_bytes(bytes(32))
        key.chmod(0o600)
        copies = Path(folder, "in")
        copies.mkdir()
        for number, picture in enumerate(pictures):  # files, also of what lies in a tar
            with opened(picture.source) as source, (copies / f"{number}.jpg").open("wb") as copy:
                shutil.copyfileobj(source, copy)
        tried = replace(
            options,
            inputs=(str(copies),),
            out=Path(folder, "out"),
            labels="one",
            key=key,
            include=(),
            exclude=(),
            again=True,
            preview=0,
            report_survival=False,
            shard=None,
            dry_run=False,
        )
        protect(tried, hear)
    paces[-1].remember(least_seconds=0.0)


def _passes(header: Header, pictures: Sequence[PlannedPicture], grid: int) -> tuple[int, float]:
    """Return the passes of the pictures' noise, and their operations on their working grids."""
    from unlearn.config import from_plain
    from unlearn.methods import METHODS
    from unlearn.models.flops import pass_flops

    each = from_plain(METHODS[header.method], header.config, "config").cost(1).final
    if not each or not pictures:
        return 0, 0.0
    longer = sum(max(p.size) / max(1, min(p.size)) if p.size else 1.5 for p in pictures)
    return each * len(pictures), each * longer * pass_flops(header.architecture, grid)
