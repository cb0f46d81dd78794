"""The public API: what the commands do, as functions with plain arguments that print nothing.

`import unlearn` offers all of it and loads it when it is first used. Keywords are the fields of the
options dataclasses, whose `Option`s say what they mean (docs/cli.md); a test compares them with the
typed ones here, which are for editors and type checkers.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from unlearn.audits.options import AuditOptions
from unlearn.errors import UsageProblem
from unlearn.generators.options import DEFAULT_METHOD, MethodOptions, TrainOptions
from unlearn.keywords import filled
from unlearn.pictures.choices import ArchiveChoice, FormatChoice, MetadataChoice, TimesChoice
from unlearn.protection.options import ProtectOptions
from unlearn.radius import Radius
from unlearn.verification.options import VerifyOptions

if TYPE_CHECKING:
    from unlearn.audits.report import AuditReport
    from unlearn.generators.train import TrainReport
    from unlearn.methods import Method
    from unlearn.protection.events import ProtectReport
    from unlearn.verification.run import VerifyReport

Place = str | os.PathLike[str]
Ball = Radius | str  # of noise: Radius.of_levels(8), "8/255" or "0.03"
Share = Fraction | float | str
Precision = Literal["auto", "fp32", "bf16"]
Hear = Callable[[Any], None]


class ProtectKeywords(TypedDict, total=False):
    """What else `protect` takes."""

    rho: Ball
    generator: Place
    labels: str
    allow_unbounded: bool
    grid: int | None
    seed: int
    key: Place | None
    format: FormatChoice
    max_side: int | None
    metadata: MetadataChoice
    times: TimesChoice
    archive_as: ArchiveChoice
    force: bool
    again: bool
    recursive: bool
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    follow_symlinks: bool
    max_pixels: int
    device: str
    batch_size: int | None
    workers: int
    preview: int
    report_survival: bool
    fail_fast: bool
    shard: str | None
    dry_run: bool


class AuditKeywords(TypedDict, total=False):
    """What else `audit` takes."""

    test: Place | Share | None
    labels: str
    against: Place | None
    pictures: int | None
    budget: Literal["quick", "standard", "thorough", "paper"]
    rho_a: Ball | Iterable[Ball]
    architectures: str | Iterable[str] | None
    weights: Place | None
    countermeasures: str | Iterable[str] | None
    countermeasures_at: Literal["smallest", "all"]
    purifier: Place | None
    fractions: Share | Iterable[Share]
    seeds: int | None
    epochs: int | None
    steps: int | None
    pgd_steps: int | None
    adversary: Literal["pgd", "n-fgsm"]
    image_size: int | None
    batch_size: int | None
    placebo: bool
    motif: bool
    rho: Ball | None
    generator: Place
    method: str | None
    recipe: str | None
    train_steps: int | None
    key: Place | None
    out: Place
    resume: bool
    device: str
    precision: Precision
    compiled: bool
    workers: int
    offline: bool


class TrainKeywords(TypedDict, total=False):
    """What else `train_generator` takes; the first five only where the method is a name."""

    recipe: str | None
    rho: Ball | None
    settings: str | Iterable[str]
    steps: int | None
    batch_size: int | None
    architecture: str
    test: Place | None
    labels: str
    pictures: int | None
    image_size: int | None
    working_size: int | None
    epochs: float | None
    seed: int
    device: str
    precision: Precision
    compiled: bool
    resume: bool
    save_every_minutes: float
    name: str | None
    licence: str
    force: bool


_OF_A_NAMED_METHOD = frozenset({"recipe", "rho", "settings", "steps", "batch_size"})


def _deaf(_event: object) -> None:
    """Hear nothing."""


def protect(
    inputs: Place | Iterable[Place],
    out: Place,
    *,
    hear: Hear = _deaf,
    **options: Unpack[ProtectKeywords],
) -> "ProtectReport":
    """Write protected copies of pictures into `out`, and report what became of each.

    `inputs` are pictures, folders and patterns; sources are only read. `hear` is told what happens
    on the way (`unlearn.protection.events`). The same call again goes on, or adds new pictures.

    Pictures that cannot be protected are in the report's `failed`. Raises UnlearnError if the run
    as a whole cannot be done: UsageProblem, NothingFound, EnvironmentProblem. Ctrl-C finishes the
    pictures under way and then raises KeyboardInterrupt.
    """
    given = {"inputs": inputs, "out": out, **options}
    wanted = filled(ProtectOptions, given, "protect", generator_name=None, argv=(), merge=None)
    from unlearn.protection.ranks import protect_here as work

    with _torch_left_as_it_was():
        report = work(wanted, hear)
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def verify(
    source: Place | None,
    out: Place,
    *,
    rho: Ball | None = None,
    sample: int | None = None,
    workers: int | None = None,
) -> "VerifyReport":
    """Compare protected pictures with their sources, value by value.

    Without a source, the records beside `out` say where it is; without rho they say how far a value
    may have moved. The report's `ok` is True only if every source has an output within the bound
    and nothing else is there. Raises UnlearnError if there is nothing to compare.
    """
    given = {"radius": rho, "sample": sample} | ({} if workers is None else {"workers": workers})
    wanted = filled(VerifyOptions, given, "verify")
    from unlearn.verification.run import verify as work

    return work(None if source is None else Path(source), Path(out), wanted)


def audit(
    clean: Place,
    protected: Place | None = None,
    *,
    hear: Hear = _deaf,
    **options: Unpack[AuditKeywords],
) -> "AuditReport":
    """Train a copier's networks on clean and on protected pictures, and report what they learned.

    `clean` holds one folder for each class. Without `protected` the audit makes copies of its own.
    The report also lies in the folder `out`, and the same call with the same `out` goes on where it
    stopped. Raises UnlearnError for what cannot be audited, such as copies beyond the bound.
    """
    given = {"clean": clean, "protected": protected, **options}
    wanted = filled(AuditOptions, given, "audit", command="unlearn.audit")
    from unlearn.audits.run import audit as work

    with _torch_left_as_it_was():
        report = work(wanted, hear)
    if report is None:
        raise KeyboardInterrupt
    return report


def train_generator(
    data: Place,
    out: Place,
    *,
    method: "str | Method" = DEFAULT_METHOD,
    hear: Hear = _deaf,
    **options: Unpack[TrainKeywords],
) -> "TrainReport":
    """Train a generator of noise on pictures, write it to `out`, a .safetensors file, and report.

    `method` is a name of METHODS, with `recipe`, `rho`, `settings` ("noise.attack.steps=8"),
    `steps` and `batch_size` to change it, or a method itself such as MinMaxMin(...). Raises
    UnlearnError for data that does not suit the method and for a file that is there already. A run
    that was killed goes on from where its state was last saved.
    """
    chosen = {name: value for name, value in options.items() if name in _OF_A_NAMED_METHOD}
    rest = {name: value for name, value in options.items() if name not in _OF_A_NAMED_METHOD}
    from unlearn.generators.recipes import method_of
    from unlearn.generators.train import train_generator as work

    if isinstance(method, str):
        method = method_of(filled(MethodOptions, chosen, "train_generator", method=method))
    elif chosen:
        raise UsageProblem(
            f"train_generator: {next(iter(chosen))} changes a method that is given by its name; "
            "this one has its settings in it"
        )
    given = {"data": data, "out": out, **rest}
    wanted = filled(
        TrainOptions, given, "train_generator", method=method, command="unlearn.train_generator"
    )
    with _torch_left_as_it_was():
        return work(wanted, hear)


@contextlib.contextmanager
def _torch_left_as_it_was() -> Iterator[None]:
    """Give the caller's number of threads and random numbers back."""
    import torch

    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.set_num_threads(threads)
