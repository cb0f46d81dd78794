"""The study: everything of an audit that is read, made and checked before a victim is trained."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import torch

from unlearn import together
from unlearn.audits.arms import mixed, motif, placebo
from unlearn.audits.budgets import Budget, budget_of, trained_by
from unlearn.audits.copies import (
    Copies,
    changed_arrays,
    check_files,
    fit_generator,
    make_arrays,
    make_files,
)
from unlearn.audits.costs import Costs, estimate
from unlearn.audits.defences import acts_on_files, countermeasure_of
from unlearn.audits.journal import Journal
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import CleanPictures, gather, read_copies, side_of
from unlearn.audits.plan import NONE, SMALL_SIDE, AuditPlan, Cell, Training, network_and_view
from unlearn.audits.report import Subject
from unlearn.audits.runner import CellsProgress
from unlearn.audits.worker import CellJob, own_files, stored_name
from unlearn.config import to_plain
from unlearn.countermeasures import expanded
from unlearn.datasets import stored
from unlearn.datasets.cifar import find_cifar
from unlearn.device import Run, select_run
from unlearn.errors import UsageProblem
from unlearn.files.places import check_destination, overlaps
from unlearn.files.replace import file_sha256
from unlearn.files.text import printable
from unlearn.generators.catalogue import resolve
from unlearn.models import check_architecture, check_picture_size
from unlearn.models.pretrained import check_weights, is_pretrained
from unlearn.protection.events import Event, Notice
from unlearn.protection.options import ProtectOptions
from unlearn.radius import Radius
from unlearn.rng import content_ids
from unlearn.sources.labels import part_of

T = TypeVar("T")
FIRST_SEED = 101  # victims never share a seed with a generator, whose default is 0
_PLACEBO_SEED, _MOTIF_SEED = 99, 98


@dataclass(frozen=True, kw_only=True)
class Study:
    """An audit whose victims are about to be trained.

    fingerprint names all that decides the numbers, and the journal is of that fingerprint. sets is
    the folder of stored sets that the victims are trained on.
    """

    options: AuditOptions
    plan: AuditPlan
    run: Run
    copies: Copies
    sets: Path
    subject: Subject
    fingerprint: str
    journal: Journal
    finished: int  # victims that an earlier run left in the journal
    costs: Costs

    @property
    def workers(self) -> int:
        """How many processes train victims; 0: this one, since an accelerator is not shared."""
        return workers_of(self.options, self.run)

    @property
    def at_a_time(self) -> int:
        """How many victims are trained at a time, by all ranks."""
        return max(1, self.workers) * together.size()

    @property
    def jobs(self) -> list[CellJob]:
        """One job for each victim, in the plan's order."""
        return [self._job(cell) for cell in self.plan.cells()]

    def _job(self, cell: Cell) -> CellJob:
        return CellJob(
            cell=cell,
            training=self.plan.training.of(cell),
            sets=self.sets,
            state=self.options.out / "state",
            fingerprint=self.fingerprint,
            device=str(self.run.device),
            precision=self.run.precision,
            compiled=self.run.compiled,
            weights=self.options.weights,
            purifier=self.options.purifier,
            offline=self.options.offline,
        )


def workers_of(options: AuditOptions, run: Run) -> int:
    """Return how many processes of a rank train victims, 0 for itself."""
    return options.workers if run.device.type == "cpu" else 0


Report = Callable[[Event | Study | CellsProgress], None]


def planned(options: AuditOptions) -> AuditPlan:
    """Return the plan; raises UsageProblem for settings that make no sense, and writes nothing."""
    _check(options)
    select_run(options.device, options.precision)  # refuses a device that is not there
    if options.against and overlaps(options.against, options.clean):
        raise UsageProblem(
            f"--against {printable(options.against)} and {printable(options.clean)} hold the same "
            "pictures; name a folder with pictures of others"
        )
    side = side_of(options.clean, options.labels, options.against)
    plan = plan_of(options, budget_of(options.budget), side)
    if find_cifar(options.clean) and plan.training.source_size != side:
        raise UsageProblem(
            f"--image-size {options.image_size}: the pictures of an archive are {side} pixels wide "
            "and shown so; leave it out"
        )
    for name in plan.architectures:
        check_picture_size(network_and_view(name)[0], plan.training.seen_by(name).image_size)
    return plan


def prepare(options: AuditOptions, plan: AuditPlan, report: Report) -> Study:
    """Read and split the pictures, get and check their copies, store every set, and count the cost.

    Raises UsageProblem, NotProtected, NothingFound and EnvironmentProblem as `audit` says, and
    Interrupted if the person stops the protecting.
    """
    run = select_run(options.device, options.precision, compiled=options.compiled)
    if not options.resume:
        forget(options.out)
    cap = options.pictures or budget_of(options.budget).pictures
    size = plan.training.source_size
    clean = gather(options.clean, size, options.test, cap, options.labels, options.against)
    for text in clean.said:
        report(Notice(text))
    return study_of(options, plan, run, _copies(options, clean, run, report))


def study_of(
    options: AuditOptions,
    plan: AuditPlan,
    run: Run,
    copies: Copies,
    decided_by: AuditPlan | Training | None = None,
) -> Study:
    """Store every set of checked copies and count the cost; raises UsageProblem as `audit` says.

    decided_by is what of the plan the journal is held to: all of it, or the training alone where
    more victims may join it later, since each cell names the others' settings.
    """
    sets = _store(options, plan, copies)
    subject = _subject(options, copies)
    # What given copies are held to is the strength of placebo and motif; others carry it.
    held = f" {options.rho}" if options.protected and options.rho else ""
    fingerprint = fingerprint_of(options, decided_by or plan, subject.fingerprint + held, run)
    journal = Journal(options.out / "journal.jsonl", fingerprint)
    journal.absorb()
    return Study(
        options=options,
        plan=plan,
        run=run,
        copies=copies,
        sets=sets,
        subject=subject,
        fingerprint=fingerprint,
        journal=journal,
        finished=len(journal.results),
        costs=estimate(plan, len(copies.data), copies.clean.train.classes, run),
    )


def _check(options: AuditOptions) -> None:
    """Refuse unknown names and overlapping folders before anything is read."""
    budget = budget_of(options.budget)
    _check_networks(options, options.architectures or budget.architectures)
    for name in _countermeasures(options, budget):
        countermeasure_of(name, options.purifier)
    if options.method is not None:
        trained_by(options.method, options.budget, options.recipe, options.train_steps)
    elif options.recipe or options.train_steps:
        raise UsageProblem("--recipe and --train-steps are for --method and --compare")
    test = options.test if isinstance(options.test, Path) else None
    for folder in (options.clean, options.protected, options.against, test):
        how = folder and overlaps(options.out, folder)
        if folder and how in ("is", "is inside"):
            raise UsageProblem(
                f"--out {printable(options.out)} {how} {printable(folder)}; choose a folder "
                "outside it"
            )
    check_destination(options.out, options.out)


def _check_networks(options: AuditOptions, architectures: tuple[str, ...]) -> None:
    """Refuse unknown networks, and pretrained ones whose weights are not there or do not fit."""
    networks = [network_and_view(name)[0] for name in architectures]
    for name in networks:
        check_architecture(name)
    pretrained = [name for name in networks if is_pretrained(name)]
    if options.weights and len({name.partition(":")[2] for name in pretrained}) != 1:
        raise UsageProblem(
            f"--weights {printable(options.weights)} fits one pretrained network, and the plan has "
            f"{', '.join(pretrained) or 'none'}; audit them one by one"
        )
    for name in dict.fromkeys(pretrained):
        check_weights(name, options.weights, offline=options.offline)


def plan_of(options: AuditOptions, budget: Budget, side: int) -> AuditPlan:
    """Return the plan of an audit of pictures that are `side` pixels wide."""
    seeds, training = options.seeds or budget.seeds, _training(options, budget, side)
    return AuditPlan(
        training=training,
        architectures=_networks(options.architectures or budget.networks(training), training),
        rho_a=_distinct(options.rho_a),
        fractions=_distinct(options.fractions),
        countermeasures=_countermeasures(options, budget),
        decays=budget.decays,
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + seeds)),
        placebo=options.placebo,
        motif=options.motif,
        countermeasures_at=options.countermeasures_at,
    )


def _networks(names: tuple[str, ...], training: Training) -> tuple[str, ...]:
    """Return the networks once each: NAME@SIDE is NAME where that sees the same side."""
    seen = {(network_and_view(n)[0], training.seen_by(n).image_size): n for n in reversed(names)}
    return tuple(name for name in _distinct(names) if name in seen.values())


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values once each, in their order."""
    return tuple(dict.fromkeys(values))


def _countermeasures(options: AuditOptions, budget: Budget) -> tuple[str, ...]:
    """Return the countermeasures to try, those of suites one by one."""
    return expanded(options.countermeasures or budget.countermeasures)


def _training(options: AuditOptions, budget: Budget, side: int) -> Training:
    """Return the budget's training with what the person set otherwise."""
    training = budget.training(side, options.image_size)
    views = (0, *(network_and_view(name)[1] or 0 for name in options.architectures or ()))
    if side > SMALL_SIDE:
        training = replace(training, source_size=max(training.source_size, *views))
    if options.epochs is not None:
        training = replace(training, epochs=options.epochs, steps=None, adversarial_epochs=None)
    if options.steps is not None:
        training = replace(training, steps=options.steps)
    if options.pgd_steps is not None:
        share = min(Fraction(1), Fraction(2, options.pgd_steps))
        training = replace(training, pgd_steps=options.pgd_steps, step_share=share)
    if options.batch_size is not None:
        training = replace(training, batch_size=options.batch_size)
    return replace(training, adversary=options.adversary)


def forget(out: Path) -> None:
    """Remove the journals and the states of an earlier audit, nothing else."""
    for path in (*out.glob("journal*.jsonl"), out / "started.json", *(out / "state").glob("*")):
        path.unlink(missing_ok=True)


def _copies(options: AuditOptions, clean: CleanPictures, run: Run, report: Report) -> Copies:
    """Return the checked copies of the training pictures: as given, or made now."""
    if options.protected is not None:
        if not clean.names:
            raise UsageProblem(
                f"{printable(options.clean)} is an archive: its copies are made on the fly, so "
                f"leave out {printable(options.protected)}"
            )
        return check_files(clean, options.protected, options.rho, "copies as given")
    return made(clean, fitted(options, clean, run), report)


def made(clean: CleanPictures, options: ProtectOptions, report: Report, batch: int = 1) -> Copies:
    """Return copies of the training pictures, protected now and checked; see make_arrays."""
    if clean.names:
        return make_files(clean, options, report)
    return make_arrays(clean, options, batch)


def fitted(options: AuditOptions, clean: CleanPictures, run: Run) -> ProtectOptions:
    """Return how the pictures are protected, with the generator of a method trained on them."""
    protecting = ProtectOptions(
        inputs=(str(clean.folder),),
        out=options.out / "protected",
        generator="" if options.method else str(resolve(options.generator)),
        generator_name=options.method or options.generator,
        rho=options.rho or Radius.of_levels(8),
        labels="one" if options.against else options.labels,
        include=clean.include,
        follow_symlinks=True,
        key=options.key,
        device=options.device,
        workers=options.workers,
        allow_unbounded=True,  # the audit says what was measured
    )
    if options.method is None:
        return protecting
    recipe, architecture = trained_by(
        options.method, options.budget, options.recipe, options.train_steps
    )
    return fit_generator(clean, protecting, recipe, architecture, run)


def _store(options: AuditOptions, plan: AuditPlan, copies: Copies) -> Path:
    """Write every set that a victim needs as a file that its process maps; return the folder."""
    folder = options.out / "sets"
    folder.mkdir(parents=True, exist_ok=True)
    clean, training = copies.clean.train, plan.training
    stored.store(copies.clean.test, folder / stored_name("test"))
    stored.store(clean, folder / stored_name("clean"))
    stored.store(copies.data, folder / stored_name("protected"))
    if plan.placebo and NONE in plan.countermeasures:
        noise = placebo(clean, copies.data, copies.rho, training.image_size, _PLACEBO_SEED)
        stored.store(noise, folder / stored_name("placebo"))
    if any(cell.arm == "motif" for cell in plan.cells()):
        marked = mixed(copies.clean.own, motif(clean, copies.rho, _MOTIF_SEED), clean)
        stored.store(marked, folder / stored_name("motif"))
    for name in plan.countermeasures:
        countermeasure = countermeasure_of(name, options.purifier)
        if acts_on_files(countermeasure):
            change = countermeasure.stored
            for arm, data, files in (
                ("clean", clean, copies.clean.files),
                ("protected", copies.data, copies.files),
            ):
                changed = (
                    read_copies(data, files, change) if files else changed_arrays(data, change)
                )
                stored.store(changed, folder / stored_name(arm, name))
    return folder


def _subject(options: AuditOptions, copies: Copies) -> Subject:
    """Return what is audited, in numbers and hashes."""
    pictures = copies.clean
    contents = content_ids(copies.data.pixels).numpy().tobytes()
    digest = hashlib.sha256(pictures.fingerprint.encode() + contents).hexdigest()
    classes = pictures.train.classes
    counts = torch.bincount(pictures.train.labels, minlength=len(classes)).tolist()
    tested = torch.bincount(pictures.test.labels)
    return Subject(
        clean=" against ".join(map(_called, filter(None, (options.clean, options.against)))),
        protected=_called(options.protected) if options.protected else "made for this audit",
        classes=classes,
        class_counts=dict(zip(classes, counts, strict=True)),
        trained=len(pictures.train),
        tested=len(pictures.test),
        fingerprint=digest,
        rho=str(copies.rho),
        largest_change=copies.largest_change,
        mean_change=copies.mean_change,
        verified=int(pictures.own.sum()),
        protection=copies.origin,
        duplicates=pictures.duplicates,
        smallest_class=min(counts),
        largest_share=int(tested.max()) / len(pictures.test),
        unreadable=pictures.unreadable,
    )


def _called(folder: Path) -> str:
    """Return a folder's name, with its parent's if it only says which part of a data set it is."""
    path = folder.resolve()
    return f"{path.parent.name}/{path.name}" if part_of(path.name) else path.name


def fingerprint_of(
    options: AuditOptions, plan: AuditPlan | Training, pictures: str, run: Run
) -> str:
    """Return the fingerprint of all that decides the numbers, by that of the pictures."""
    files = [file_sha256(path) for path in own_files(options.weights, options.purifier)]
    decides = {
        "plan": to_plain(plan),
        "pictures": pictures,
        "precision": run.precision,
        "device": run.device.type,
        "torch": torch.__version__,
        "files": files,
    } | ({"compiled": True} if run.compiled else {})
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
