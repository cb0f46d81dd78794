"""Audit: check the copies, train the copier's models on them and on controls, and report.

Nothing is trained on copies that fail `verify`. Finished victims are journalled, so that a killed
audit goes on where it stopped, and a journal of other settings or pictures is refused.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import torch
import torchvision

from unlearn import __version__
from unlearn.audits.arms import placebo
from unlearn.audits.budgets import Budget, budget_of, recipe_of
from unlearn.audits.copies import (
    Copies,
    Interrupted,
    Making,
    changed_arrays,
    check_files,
    fit_generator,
    make_arrays,
    make_files,
)
from unlearn.audits.costs import Costs, estimate
from unlearn.audits.defences import acts_on_files, countermeasure_of
from unlearn.audits.flags import find_flags
from unlearn.audits.journal import Journal
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import Material, gather, read_copies, side_of
from unlearn.audits.plan import NONE, AuditPlan, Cell, Training
from unlearn.audits.previews import preview_sheets
from unlearn.audits.render import REPORTS
from unlearn.audits.report import AuditReport, Subject
from unlearn.audits.runner import CellsProgress, train_cells
from unlearn.audits.worker import CellJob, stored_name
from unlearn.config import to_plain
from unlearn.countermeasures import COUNTERMEASURES
from unlearn.datasets import stored
from unlearn.datasets.labelled import Data
from unlearn.device import Run, select_run
from unlearn.errors import UsageProblem
from unlearn.files.lock import locked
from unlearn.files.places import check_destination, overlaps
from unlearn.files.replace import file_sha256, replace_file
from unlearn.files.text import shown
from unlearn.generators.catalogue import resolve
from unlearn.models import check_architecture, check_picture_size
from unlearn.models.pretrained import is_pretrained
from unlearn.protection.events import Event, Notice
from unlearn.radius import Radius
from unlearn.rng import content_ids
from unlearn.sources.labels import part_of

FIRST_SEED = 101  # victims never share a seed with a generator, whose default is 0
_PLACEBO_SEED = 99


@dataclass(frozen=True)
class Ready:
    """Everything is read and checked, and the victims are about to be trained."""

    plan: AuditPlan
    subject: Subject
    run: Run
    workers: int
    costs: Costs
    finished: int


T = TypeVar("T")
Report = Callable[[Event | Ready | CellsProgress], None]


@dataclass(frozen=True)
class Audited:
    """The report, and the files it was written to; None if the person stopped the audit."""

    report: AuditReport | None
    files: tuple[Path, ...]


def audit(options: AuditOptions, report: Report) -> Audited:
    """Train the victims and write the report into options.out.

    Raises UsageProblem for settings that make no sense or a folder with another audit, NotProtected
    for copies that fail verify, NothingFound and EnvironmentProblem as protect and verify do.
    """
    budget = budget_of(options.budget)
    _check(options, budget)
    plan = plan_of(options, budget, side_of(options.clean, options.labels))
    for name in plan.architectures:
        check_picture_size(name, plan.training.image_size)
    run = select_run(options.device, options.precision, compiled=options.compiled)
    with locked(options.out, options.out):
        if not options.resume:
            _forget(options.out)
        try:
            copies, material = _copies(options, plan, run, report)
        except Interrupted:
            return Audited(None, ())
        sets = _store(options, plan, copies, material.test)
        subject = _subject(options, copies)
        fingerprint = _fingerprint(options, plan, subject, run)
        journal = Journal(options.out / "journal.jsonl", fingerprint)
        started = _started(options.out)
        costs = estimate(plan, len(copies.data), material.train.classes, run)
        jobs = _jobs(options, plan, sets, run, fingerprint)
        workers = options.workers if run.device.type == "cpu" else 0
        report(Ready(plan, subject, run, workers, costs, len(journal.results)))
        results = train_cells(jobs, costs.by_cell, journal, workers, report)
        if results is None:
            return Audited(None, ())
        flags = find_flags(plan, subject, results)
        surroundings = _environment(options, run, workers, started)
        sheets = preview_sheets(copies, options.out / "preview")
        found = AuditReport(plan, options.budget, subject, results, flags, surroundings, sheets)
        return Audited(found, write_reports(found, options.out))


def plan_of(options: AuditOptions, budget: Budget, side: int) -> AuditPlan:
    """Return the plan of an audit of pictures that are `side` pixels wide."""
    seeds = options.seeds or budget.seeds
    return AuditPlan(
        training=_training(options, budget, side),
        architectures=_distinct(options.architectures or budget.architectures),
        rho_a=_distinct(options.rho_a),
        fractions=_distinct(options.fractions),
        countermeasures=_countermeasures(options, budget),
        decays=budget.decays,
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + seeds)),
        placebo=options.placebo,
    )


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values once each, in their order."""
    return tuple(dict.fromkeys(values))


def _countermeasures(options: AuditOptions, budget: Budget) -> tuple[str, ...]:
    """Return the countermeasures to try; "all" is every one that needs no file."""
    if options.countermeasures == ("all",):
        return tuple(COUNTERMEASURES)
    return _distinct(options.countermeasures or budget.countermeasures)


def _training(options: AuditOptions, budget: Budget, side: int) -> Training:
    """Return the budget's training with what the person set otherwise."""
    training = budget.training(side)
    if options.image_size is not None:
        ratio = Fraction(training.source_size, training.image_size)
        source = int(options.image_size * ratio)
        training = replace(training, image_size=options.image_size, source_size=source)
    if options.epochs is not None:
        training = replace(training, epochs=options.epochs, steps=None, adversarial_epochs=None)
    if options.steps is not None:
        training = replace(training, steps=options.steps)
    if options.pgd_steps is not None:
        share = min(Fraction(1), Fraction(2, options.pgd_steps))
        training = replace(training, pgd_steps=options.pgd_steps, step_share=share)
    if options.batch_size is not None:
        training = replace(training, batch_size=options.batch_size)
    return training


def _check(options: AuditOptions, budget: Budget) -> None:
    """Refuse unknown names and overlapping folders before anything is read."""
    architectures = options.architectures or budget.architectures
    for name in architectures:
        check_architecture(name)
    pretrained = [name for name in architectures if is_pretrained(name)]
    if options.weights and len({name.partition(":")[2] for name in pretrained}) != 1:
        raise UsageProblem(
            f"--weights {shown(options.weights)} fits one pretrained network, and the plan has "
            f"{', '.join(pretrained) or 'none'}; audit them one by one"
        )
    for name in _countermeasures(options, budget):
        countermeasure_of(name, options.purifier)
    for folder in (options.clean, options.protected):
        how = folder and overlaps(options.out, folder)
        if folder and how in ("is", "is inside"):
            raise UsageProblem(
                f"--out {shown(options.out)} {how} {shown(folder)}; choose a folder outside it"
            )
    check_destination(options.out, options.out)


def _forget(out: Path) -> None:
    """Remove the journal and the states of an earlier audit, nothing else."""
    for path in (out / "journal.jsonl", out / "started.json", *(out / "state").glob("*")):
        path.unlink(missing_ok=True)


def _copies(
    options: AuditOptions, plan: AuditPlan, run: Run, report: Report
) -> tuple[Copies, Material]:
    """Return the checked copies of the training pictures, and all pictures."""
    cap = options.pictures or budget_of(options.budget).pictures
    material = gather(options.clean, plan.training.source_size, options.test, cap, options.labels)
    for text in material.said:
        report(Notice(text))
    if options.protected is not None:
        if not material.names:
            raise UsageProblem(
                f"{shown(options.clean)} is an archive: its copies are made on the fly, so leave "
                f"out {shown(options.protected)}"
            )
        return check_files(material, options.protected, options.rho, "copies as given"), material
    making = Making(
        generator=Path() if options.method else resolve(options.generator),
        name=options.method or options.generator,
        out=options.out / "protected",
        rho=options.rho or Radius.of_levels(8),
        device=options.device,
        workers=options.workers,
        key=options.key,
        labels=options.labels,
    )
    if options.method is not None:
        recipe, architecture = recipe_of(options.method, options.budget)
        making = fit_generator(material, making, recipe, architecture, run)
    if material.names:
        return make_files(material, making, report), material
    return make_arrays(material, making, run), material


def _store(options: AuditOptions, plan: AuditPlan, copies: Copies, test: Data) -> Path:
    """Write every set that a victim needs as a file that its process maps; return the folder."""
    folder = options.out / "sets"
    folder.mkdir(parents=True, exist_ok=True)
    clean, training = copies.material.train, plan.training
    stored.store(test, folder / stored_name("test"))
    stored.store(clean, folder / stored_name("clean"))
    stored.store(copies.data, folder / stored_name("protected"))
    if plan.placebo and NONE in plan.countermeasures:
        noise = placebo(clean, copies.data, copies.rho, training.image_size, _PLACEBO_SEED)
        stored.store(noise, folder / stored_name("placebo"))
    for name in plan.countermeasures:
        countermeasure = countermeasure_of(name, options.purifier)
        if acts_on_files(countermeasure):
            change = countermeasure.stored
            for arm, data, files in (
                ("clean", clean, copies.material.files),
                ("protected", copies.data, copies.files),
            ):
                changed = (
                    read_copies(data, files, change) if files else changed_arrays(data, change)
                )
                stored.store(changed, folder / stored_name(arm, name))
    return folder


def _subject(options: AuditOptions, copies: Copies) -> Subject:
    """Return what is audited, in numbers and hashes."""
    material = copies.material
    contents = content_ids(copies.data.pixels).numpy().tobytes()
    digest = hashlib.sha256(material.fingerprint.encode() + contents).hexdigest()
    return Subject(
        clean=_called(options.clean),
        protected=_called(options.protected) if options.protected else "made for this audit",
        classes=material.train.classes,
        trained=len(material.train),
        tested=len(material.test),
        fingerprint=digest,
        rho=str(copies.rho),
        largest_change=copies.largest_change,
        mean_change=copies.mean_change,
        verified=len(copies.data),
        protection=copies.origin,
        duplicates=material.duplicates,
        smallest_class=int(torch.bincount(material.train.labels).min()),
        unreadable=material.unreadable,
    )


def _called(folder: Path) -> str:
    """Return a folder's name, with its parent's if it only says which part of a data set it is."""
    path = folder.resolve()
    return f"{path.parent.name}/{path.name}" if part_of(path.name) else path.name


def _fingerprint(options: AuditOptions, plan: AuditPlan, subject: Subject, run: Run) -> str:
    """Return the fingerprint of all that decides the numbers."""
    files = [file_sha256(path) for path in _own_files(options)]
    decides = {
        "plan": to_plain(plan),
        "pictures": subject.fingerprint,
        "precision": run.precision,
        "device": run.device.type,
        "torch": torch.__version__,
        "files": files,
    } | ({"compiled": True} if run.compiled else {})
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _own_files(options: AuditOptions) -> list[Path]:
    """Return the files besides pictures that decide numbers."""
    found = []
    for path in (options.weights, options.purifier):
        if path is not None:
            folder = path if path.is_dir() else path.parent
            beside = folder.rglob("*") if path.is_dir() else folder.glob("config.json")
            found += sorted({path, *beside})
    return [path for path in found if path.is_file()]


def _started(out: Path) -> str:
    """Return when this audit was first begun, in UTC."""
    path = out / "started.json"
    if not path.exists():
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        replace_file(path, json.dumps(now).encode())
    return str(json.loads(path.read_text()))


def _jobs(
    options: AuditOptions, plan: AuditPlan, sets: Path, run: Run, fingerprint: str
) -> list[CellJob]:
    """Return one job for each victim, in the plan's order."""
    state = options.out / "state"
    state.mkdir(exist_ok=True)

    def job(cell: Cell) -> CellJob:
        """Return the job of one cell."""
        return CellJob(
            cell=cell,
            training=plan.training.of(cell),
            sets=sets,
            state=state,
            plan=fingerprint,
            device=str(run.device),
            precision=run.precision,
            compiled=run.compiled,
            weights=options.weights,
            purifier=options.purifier,
            offline=options.offline,
        )

    return [job(cell) for cell in plan.cells()]


def _environment(options: AuditOptions, run: Run, workers: int, started: str) -> Mapping[str, str]:
    """Return versions and settings that a reader needs to repeat the audit."""
    name = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "CPU"
    return {
        "unlearn": __version__,
        "started": started,
        "command": options.command,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "device": f"{name}, {run.precision}{', compiled' if run.compiled else ''}",
        "threads": f"1 a victim, {max(1, workers)} at a time" if run.device.type == "cpu" else "",
    }


def write_reports(report: AuditReport, out: Path) -> tuple[Path, ...]:
    """Write the report in every form; return the files."""
    files = []
    for name, render in REPORTS.items():
        replace_file(out / name, render(report).encode("utf-8", "backslashreplace"))
        files.append(out / name)
    return tuple(files)
