"""Protect: plan, compare with earlier runs, make noise, write, check, record.

"Protected" means: noise written, and its bound checked on the written file. Nothing else is
promised.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from unlearn import __version__
from unlearn.config import to_plain
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.lock import refuse_if_locked
from unlearn.files.places import check_space, free_bytes, remove_empty, remove_leftovers
from unlearn.files.replace import file_sha256
from unlearn.files.text import printable
from unlearn.generators.catalogue import resolve
from unlearn.generators.header import Header, read_header
from unlearn.protection.already import without_protected
from unlearn.protection.archive import archive_of, packed, unpacked
from unlearn.protection.drawing import draw
from unlearn.protection.events import Notice, ProtectReport, Report, Started
from unlearn.protection.key import Key, load_key
from unlearn.protection.manifest import ManifestWriter, RunHeader, manifest_bytes, read_part
from unlearn.protection.merge import absorb
from unlearn.protection.noise import KeyedNoise, LoadedGenerator, targets_of, threads_for
from unlearn.protection.options import ProtectOptions
from unlearn.protection.pipeline import Pipeline
from unlearn.protection.plan import Plan, make_plan
from unlearn.protection.recorder import DryRecorder, ManifestRecorder
from unlearn.protection.resume import sort_work
from unlearn.protection.settings import NOISE_VERSION, Settings
from unlearn.protection.shards import writing
from unlearn.protection.space import estimate_bytes
from unlearn.protection.steps import Groundwork, Steps, refused_records
from unlearn.protection.survival import with_survival
from unlearn.radius import WIDEST
from unlearn.sources.labels import check_classes
from unlearn.workers.pool import Interruption, Pool

__all__ = ["ProtectOptions", "ProtectReport", "load_generator", "protect"]

_STOPPING = "Stopping after the pictures under way; press Ctrl-C again to stop at once"


def load_generator(path: Path, device: str) -> tuple[LoadedGenerator, str]:
    """Load a generator and return it with the name of the device it computes on."""
    try:
        import torch

        from unlearn.device import select_run
    except ImportError as error:
        raise EnvironmentProblem(f"PyTorch cannot be loaded: {error}") from error
    from unlearn.generators.artefact import NoiseGenerator

    run = select_run(device)
    if run.device.type == "cpu":
        # Pictures are what runs side by side, and bytes must not depend on how many threads do.
        torch.set_num_threads(1)
    return NoiseGenerator.load(path, run), f"{run.device} ({run.precision})"


def protect(options: ProtectOptions, report: Report) -> ProtectReport:
    """Protect every picture that can be, and account for every one that cannot.

    Raises UsageProblem, NothingFound or EnvironmentProblem before anything is written if the run as
    a whole cannot be done, and EnvironmentProblem if the disk fills up on the way.
    """
    archive = archive_of(options)
    if archive is not None:
        result = protect(unpacked(options, archive), report)
        if options.archive_as == "archive":
            packed(archive, result, report)
        return result
    began = time.monotonic()
    options, header, ground = lay_out(options)
    work = ground.work
    idle = not (work.pending or work.outdated or work.tars or ground.plan.refused)
    if options.dry_run or (idle and _has_ended(ground)):
        check_space(ground.needed_bytes, ground.plan.out)
        result = _look_through(ground, report)
    else:
        result = _write(ground, header, report)
    if options.report_survival:
        result = with_survival(result, ground.plan, options, report)
    return replace(result, seconds=time.monotonic() - began)


def lay_out(options: ProtectOptions) -> tuple[ProtectOptions, Header, Groundwork]:
    """Return what a run will do, with its options made whole; raises as protect, writes nothing."""
    file = resolve(options.generator)
    options = replace(options, generator=str(file), generator_name=options.called)
    plan = _planned(options)
    header = read_header(file)
    check_classes(plan.labelling, len(header.classes), options.called)
    options = _within_reach(options, header)
    ground = _lay_ground(options, plan, header, load_key(options.key, create=False))
    return options, header, ground


def _planned(options: ProtectOptions) -> Plan:
    """Return what is to be done, without what is protected already."""
    plan = make_plan(options.request)
    return plan if options.again else without_protected(plan)


def _has_ended(ground: Groundwork) -> bool:
    """Tell whether a run that finds nothing to do need not say so in its manifest."""
    shard, plan = ground.options.shard, ground.plan
    if shard is None:
        return True
    part = read_part(plan.records, shard)
    return part.ended and part.header is not None and part.header.plan == plan.digest


def _within_reach(options: ProtectOptions, header: Header) -> ProtectOptions:
    """Return the options with the radius that the noise may have; nearly all where it keeps none.

    Raises UsageProblem for a generator without a bound that nobody allowed.
    """
    if header.rho is not None:
        return options
    if not options.allow_unbounded:
        raise UsageProblem(
            f"the noise of {printable(options.called)} ({printable(header.method)}) keeps no bound "
            "of its own; with --allow-unbounded its largest change is measured and recorded"
        )
    return replace(options, rho=WIDEST)


def _lay_ground(options: ProtectOptions, plan: Plan, header: Header, key: Key | None) -> Groundwork:
    """Compare the plan with what earlier runs left.

    Raises UsageProblem if they were made with other settings, or if something is in the way.
    """
    manifest = plan.manifest
    sha256 = file_sha256(Path(options.generator)) or ""
    grid = options.grid or header.working_size
    settings = Settings(options, key, sha256, grid, bounded=header.rho is not None)
    conflict = None if options.force else settings.conflict(manifest.header)
    if conflict is not None:
        raise UsageProblem(
            f"{printable(plan.out)} was made with {conflict}. "
            "Choose another --out, or --force to redo all."
        )
    order = targets_of(key, plan.labelling.classes, len(header.classes))
    targets = tuple(order.get(picture.label, 0) for picture in plan.pictures)
    fingerprints = tuple(
        settings.fingerprint(target, picture.format)
        for target, picture in zip(targets, plan.pictures, strict=True)
    )
    work = sort_work(plan, manifest, fingerprints, force=options.force)
    if work.changed:  # nobody's work is lost
        return _lay_ground(options, plan.without(_left(plan, work.changed)), header, key)
    todo = [plan.pictures[number] for number in work.pending]
    return Groundwork(
        options=options,
        plan=plan,
        manifest=manifest,
        settings=settings,
        targets=targets,
        fingerprints=fingerprints,
        work=work,
        needed_bytes=estimate_bytes(todo, options.max_side, options.rho.levels),
    )


def _left(plan: Plan, changed: Mapping[str, str]) -> dict[str, str]:
    """Return why the sources of changed outputs are left, by their names."""
    return {
        name: f"{printable(plan.out / out)} was changed since it was written, and stays as it is; "
        "delete it to have it made again, or --force to replace it"
        for name, out in changed.items()
    }


def _look_through(ground: Groundwork, report: Report) -> ProtectReport:
    """Read every picture that is left to do, and write nothing."""
    _announce(ground, "", report)
    options, steps = ground.options, Steps(ground, DryRecorder(), report)
    with (
        _interruption(report) as interruption,
        Pool(options.workers, options.batch_size, shared=ground.shared) as pool,
    ):
        Pipeline(pool, steps, lambda: interruption.requested or steps.stop).run(ground.work.pending)
    return steps.result(interrupted=interruption.requested)


def _write(ground: Groundwork, header: Header, report: Report) -> ProtectReport:
    """Protect what is left to do, under the lock of the output folder."""
    options, plan = ground.options, ground.plan
    if options.shard is None:
        refuse_if_locked(plan.out, plan.records)
    check_space(ground.needed_bytes, plan.out)
    with Pool(options.workers, options.batch_size, shared=ground.shared) as pool:
        pool.start(len(ground.work.pending))  # beside the import of PyTorch
        generator, device = load_generator(Path(options.generator), options.device)
        pool.threads = threads_for(device, options.workers)
        key = load_key(options.key, create=True)
        with writing(plan.out, plan.records, options.shard):
            if manifest_bytes(plan.records, options.shard) != ground.manifest.bytes:
                plan = _planned(options)
            if options.shard is None:
                absorb(plan.records)
            if ground.settings.key != key or plan is not ground.plan:
                ground = _lay_ground(options, plan, header, key)
            _announce(ground, device, report, by_class=generator.by_class)
            manifest = ManifestWriter(plan.records, options.shard)
            manifest.header(_run_header(ground, key, device))
            recorder = ManifestRecorder(plan, ground.work.outdated, manifest, report)
            noise = KeyedNoise.of(generator, key, ground.settings)
            try:
                steps = Steps(ground, recorder, report, noise, device)
                return _run(steps, manifest, pool, report)
            finally:
                _tidy(ground)


def _run(steps: Steps, manifest: ManifestWriter, pool: Pool, report: Report) -> ProtectReport:
    """Do the pictures and their previews; the pool is closed in the end."""
    ground, options = steps.ground, steps.ground.options
    _tidy(ground)
    for record in refused_records(ground.plan):
        manifest.record(record)
    for tar in ground.work.tars:
        steps.pack(tar)
    with _interruption(report) as interruption, pool:
        Pipeline(pool, steps, lambda: interruption.requested or steps.stop).run(ground.work.pending)
        steps.raise_if_full()
        jobs = [] if interruption.requested or options.shard else steps.previews()
        previews = draw(jobs, ground.plan.records / "preview", pool, report)
    result = steps.result(interrupted=interruption.requested, previews=previews)
    if options.shard and not result.left:
        manifest.end()
    return result


def _interruption(report: Report) -> Interruption:
    """Return a guard that says what the first Ctrl-C does."""
    return Interruption(lambda: report(Notice(_STOPPING)))


def _tidy(ground: Groundwork) -> None:
    """Remove temporary files of killed workers, and folders that were made and stayed empty.

    A shard leaves that to the merge: others are at work in the same folders.
    """
    if ground.options.shard is None:
        remove_leftovers(ground.plan.out)
        remove_leftovers(ground.plan.records)
        names = [out for picture in ground.plan.pictures for out in picture.outs]
        remove_empty(ground.plan.out, [*names, *ground.work.outdated])


def _announce(ground: Groundwork, device: str, report: Report, *, by_class: bool = False) -> None:
    """Say what is about to be done."""
    plan = ground.plan
    report(
        Started(
            plan=plan,
            generator=ground.options.called,
            generator_sha256=ground.settings.generator_sha256,
            rho=ground.settings.rho,
            device=device,
            todo=tuple(plan.pictures[number] for number in ground.work.pending),
            needed_bytes=ground.needed_bytes,
            free_bytes=free_bytes(plan.out),
            by_class=by_class,
        )
    )
    notices = list(plan.notices)
    if ground.manifest.broken_lines:
        lines = "line" if ground.manifest.broken_lines == 1 else "lines"
        notices.append(f"Ignored in the manifest: {ground.manifest.broken_lines} broken {lines}")
    if ground.work.outdated and not ground.options.dry_run:
        count = len(ground.work.outdated)
        many = (
            f"{count} outputs of earlier runs are" if count > 1 else "1 output of an earlier run is"
        )
        notices.append(f"{many} outdated; each goes when its picture is done again")
    for out in ground.work.edited:
        notices.append(
            f"{printable(plan.out / out)} is outdated, was changed since, and was left there"
        )
    for text in notices:
        report(Notice(text))


def _run_header(ground: Groundwork, key: Key, device: str) -> RunHeader:
    """Return the manifest's header of this run."""
    options = ground.options
    return RunHeader(
        tool=__version__,
        torch=version("torch"),
        pillow=version("pillow"),
        generator=options.called,
        generator_sha256=ground.settings.generator_sha256,
        rho=ground.settings.rho,
        seed=options.seed,
        labels=ground.plan.labelling.mode,
        format=options.format,
        metadata=options.metadata,
        max_side=options.max_side,
        grid=ground.settings.grid,
        noise=NOISE_VERSION,
        key=key.fingerprint,
        device=device,
        inputs=tuple(os.path.abspath(path) for path in ground.plan.inputs),  # noqa: PTH100
        argv=options.argv,
        selection=to_plain(options.selection),
        shard=str(options.shard) if options.shard else None,
        plan=ground.plan.digest,
        started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
