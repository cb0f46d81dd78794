"""Compare methods: each one's generator, copies and victims, and controls that all share.

Everything lies in parts, `controls` and `methods/NAME`, each with a journal of victims and a record
of what else was measured. A folder grows: a later line may name more methods, copiers and seeds for
the same pictures and training, and trains what is missing. The table holds all of the folder.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import torch

from unlearn.audits.budgets import budget_of, trained_by
from unlearn.audits.comparison.looks import looks_of, strongest_noise
from unlearn.audits.comparison.page import as_html
from unlearn.audits.comparison.plain import as_json, comparison_csv
from unlearn.audits.comparison.records import finished, keep, others, record_of
from unlearn.audits.comparison.values import CONTROLS, Comparison, Entry, Part, Record
from unlearn.audits.copies import Copies, NotProtected, check_arrays
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import CleanPictures, gather
from unlearn.audits.plan import Arm, AuditPlan
from unlearn.audits.ranks import led
from unlearn.audits.report import Result
from unlearn.audits.run import environment
from unlearn.audits.runner import CellsProgress, train_cells
from unlearn.audits.study import (
    Study,
    fingerprint_of,
    fitted,
    made,
    planned,
    study_of,
)
from unlearn.config import to_plain
from unlearn.device import Run, select_run
from unlearn.errors import EnvironmentProblem, NothingFound, UsageProblem
from unlearn.files.lock import locked
from unlearn.files.replace import replace_file
from unlearn.methods import METHODS
from unlearn.protection.events import Event, Notice
from unlearn.protection.key import load_key
from unlearn.radius import Radius

REPORTS: Final[dict[str, Callable[[Comparison], str]]] = {
    "comparison.json": as_json,
    "comparison.csv": comparison_csv,
    "comparison.html": as_html,
}
_BATCH: Final = 64  # pictures of an archive that get their noise at a time

Report = Callable[[Event | Study | CellsProgress | Part], None]


@dataclass(frozen=True)
class _Common:
    """What all parts of a comparison share; fingerprint names all of it."""

    options: AuditOptions
    plan: AuditPlan
    clean: CleanPictures
    run: Run
    fingerprint: str
    report: Report

    @property
    def rho(self) -> Radius:
        return self.options.rho or Radius.of_levels(8)


def compare(options: AuditOptions, methods: Sequence[str], report: Report) -> Comparison | None:
    """Compare methods, "NAME" or "NAME:RECIPE", and write the reports into options.out.

    None if the person stopped it. Several ranks share the victims as those of an audit. Raises
    UsageProblem for settings that make no sense or a folder with another comparison, NothingFound
    and EnvironmentProblem as an audit does. A method that does not suit the pictures is an entry
    with the reason.
    """

    def work() -> Comparison:
        """Do all of it."""
        wanted = {name: _options_of(options, name) for name in methods}
        plan = _planned(options, list(wanted.values()))
        with locked(options.out, options.out):
            return _compared(_read(options, plan, report), wanted)

    return led(options, work)


def _options_of(options: AuditOptions, name: str) -> AuditOptions:
    """Return the options of the audit of one method, in a folder of its own."""
    method, _, recipe = name.partition(":")
    return replace(
        options,
        method=method,
        recipe=recipe or options.recipe,
        out=options.out / "methods" / name.replace(":", "-"),
    )


def _planned(options: AuditOptions, wanted: Sequence[AuditOptions]) -> AuditPlan:
    """Return the plan of every method's audit; refuse what makes no sense."""
    if not wanted:
        raise UsageProblem("--compare needs methods; 'unlearn generators methods' lists them")
    if set(options.fractions) != {1} or options.against:
        raise UsageProblem("--compare protects all pictures; leave out --fraction and --against")
    for one in wanted:
        trained_by(one.method or "", one.budget, one.recipe, one.train_steps)
    return planned(replace(wanted[0], out=options.out, motif=False))  # motifs may be compared


def _read(options: AuditOptions, plan: AuditPlan, report: Report) -> _Common:
    """Read and split the pictures, and name all that decides the numbers."""
    run = select_run(options.device, options.precision, compiled=options.compiled)
    cap = options.pictures or budget_of(options.budget).pictures
    clean = gather(options.clean, plan.training.source_size, options.test, cap, options.labels)
    for text in clean.said:
        report(Notice(text))
    key, rho = load_key(options.key, create=True), options.rho or Radius.of_levels(8)
    pictures = f"{clean.fingerprint} {rho} {key.fingerprint}"
    fingerprint = fingerprint_of(options, plan.training, pictures, run)
    return _Common(options, plan, clean, run, fingerprint, report)


def _compared(common: _Common, wanted: dict[str, AuditOptions]) -> Comparison:
    """Train what no record has yet; write the reports after each method."""
    entries = tuple(_begun(common, name, options) for name, options in wanted.items())
    entries += tuple(others(common.options.out, common.fingerprint, wanted))
    controls = _controls(common)
    if controls.subject is None:
        raise EnvironmentProblem("the record of the controls is damaged; use --no-resume")
    found = Comparison(
        plan=common.plan,
        budget=common.options.budget,
        rho=str(common.rho),
        subject=controls.subject,
        controls=controls.results,
        entries=entries,
        environment=controls.environment,
    )
    for number, (name, options) in enumerate(wanted.items()):
        where = f"{name} ({number + 1} of {len(wanted)})"
        entry = _entry(common, found.entries[number], options, where)
        entries = (*found.entries[:number], entry, *found.entries[number + 1 :])
        found = replace(found, entries=entries).grown()
        for file, render in REPORTS.items():
            text = render(found).encode("utf-8", "backslashreplace")
            replace_file(common.options.out / file, text)
    return found


def _controls(common: _Common) -> Record:
    """Return the record of the clean and the placebo victims, which all methods share."""
    options = replace(common.options, out=common.options.out / "controls")
    record = record_of(options, Record(identity=common.fingerprint, common=common.fingerprint))
    if _covered(record, common.plan, CONTROLS):
        return record
    noise = strongest_noise(common.clean.train, common.rho)
    copies = check_arrays(common.clean, noise, common.rho, "random noise at the bound")
    study = study_of(options, common.plan, common.run, copies, common.plan.training)
    results = _train(study, CONTROLS, common.report, "controls")
    told = replace(record, subject=study.subject, environment=dict(environment(study)))
    return finished(options, replace(told, results=results))


def _begun(common: _Common, name: str, options: AuditOptions) -> Entry:
    """Return what is known of a method before anything is done in this run."""
    recipe, architecture = trained_by(
        options.method or "", options.budget, options.recipe, options.train_steps
    )
    decides = [common.fingerprint, recipe.name, to_plain(recipe), architecture]
    identity = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    record = record_of(options, Record(identity=identity, name=name, common=common.fingerprint))
    cost = recipe.cost(len(common.clean.train))
    known = replace(
        record,
        passes=cost.a_picture,
        bounded=recipe.bound is not None,
        settings=to_plain(recipe),
    )
    return Entry(name, METHODS[recipe.name].summary, known)


def _entry(common: _Common, entry: Entry, options: AuditOptions, where: str) -> Entry:
    """Return a method with all its victims trained, or the reason why it has none."""
    record = entry.record
    if record is None or _covered(record, common.plan, ("protected",)):
        return entry
    common.report(Notice(f"{where}: {record.passes:,} passes a picture for its noise"))
    try:
        with _same_threads():
            record, copies = _protected(common, record, options)
    except (UsageProblem, NotProtected, NothingFound) as problem:
        common.report(Notice(f"{where}: left out: {problem}"))
        return replace(entry, refusal=str(problem))
    plan = replace(common.plan, placebo=False)
    study = study_of(options, plan, common.run, copies, plan.training)
    results = _train(study, ("protected",), common.report, where)
    whole = replace(record, subject=study.subject, results=results)
    return replace(entry, record=finished(options, whole))


def _protected(common: _Common, record: Record, options: AuditOptions) -> tuple[Record, Copies]:
    """Train a method's generator, protect the pictures and measure the copies, each once."""
    options.out.mkdir(parents=True, exist_ok=True)
    keep(options, record)
    fresh = not (options.out / "generator.safetensors").exists()
    began = time.process_time()
    protecting = fitted(options, common.clean, common.run)
    if fresh:
        record = keep(options, replace(record, training_seconds=time.process_time() - began))
    fresh = not any(path.is_file() for path in protecting.out.rglob("*"))
    began = time.process_time()
    copies = made(common.clean, protecting, common.report, _BATCH)
    if fresh:
        record = keep(options, replace(record, noise_seconds=time.process_time() - began))
    if len(copies.data) != len(common.clean.train):
        raise NotProtected(
            f"it protected {len(copies.data):,} of {len(common.clean.train):,} pictures, and "
            "methods are compared on the same ones"
        )
    if record.looks is None:
        record = replace(record, looks=looks_of(copies))
    return record, copies


def _covered(record: Record, plan: AuditPlan, arms: Sequence[Arm]) -> bool:
    """Return whether a record has the results of all victims that a plan wants of some arms."""
    wanted = {cell for cell in plan.cells() if cell.arm in arms}
    return wanted <= {result.cell for result in record.results}


def _train(study: Study, arms: Sequence[Arm], report: Report, where: str) -> tuple[Result, ...]:
    """Train what a study's journal lacks of some arms; return all results that it holds then."""
    jobs = [job for job in study.jobs if job.cell.arm in arms]
    seconds = sum(study.costs.by_cell[job.cell] for job in jobs) / study.at_a_time
    report(Part(where, len(jobs), seconds))
    (study.options.out / "state").mkdir(exist_ok=True)
    with _same_threads():
        train_cells(jobs, study.costs.by_cell, study.journal, study.workers, report)
    return tuple(study.journal.results.values())


@contextmanager
def _same_threads() -> Iterator[None]:
    """Give torch its threads back, so that no generator depends on what was done before it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
