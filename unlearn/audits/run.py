"""Audit: check the copies, train the copier's models on them and on controls, and report.

Nothing is trained on copies that fail `verify`. Finished victims are journalled, so that a killed
audit goes on where it stopped, and a journal of other settings or pictures is refused.
"""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
import torchvision

from unlearn import __version__
from unlearn.audits.flags import find_flags
from unlearn.audits.options import AuditOptions
from unlearn.audits.previews import preview_sheets
from unlearn.audits.ranks import led
from unlearn.audits.render import REPORTS
from unlearn.audits.report import AuditReport, Result
from unlearn.audits.runner import train_cells
from unlearn.audits.study import Report, Study, planned, prepare
from unlearn.audits.visible import visibility_of
from unlearn.files.lock import locked
from unlearn.files.replace import replace_file


def audit(options: AuditOptions, report: Report) -> AuditReport | None:
    """Train the victims and write the report into options.out; None if the person stopped it.

    Of several ranks the first reads and writes, all train, and all return the report. Raises
    UsageProblem for settings that make no sense or a folder with another audit, NotProtected for
    copies that fail verify, NothingFound and EnvironmentProblem as protect and verify do.
    """

    def work() -> AuditReport:
        """Do all of it."""
        plan = planned(options)
        with locked(options.out, options.out):
            study = prepare(options, plan, report)
            return conclude(study, run(study, report))

    return led(options, work)


def run(study: Study, report: Report) -> tuple[Result, ...]:
    """Train the victims that the journal lacks; return the results of all, in the plan's order.

    Raises Interrupted if the person stops it and EnvironmentProblem if a worker dies.
    """
    _started(study.options.out)
    (study.options.out / "state").mkdir(exist_ok=True)
    report(study)
    return train_cells(study.jobs, study.costs.by_cell, study.journal, study.workers, report)


def conclude(study: Study, results: tuple[Result, ...]) -> AuditReport:
    """Judge the results, draw the previews, and write the report in every form."""
    out, plan, subject = study.options.out, study.plan, study.subject
    found = AuditReport(
        plan=plan,
        budget=study.options.budget,
        subject=subject,
        results=results,
        flags=find_flags(plan, subject, results),
        environment=environment(study),
        previews=preview_sheets(study.copies, out / "preview"),
        visibility=visibility_of(study),
    )
    for name, render in REPORTS.items():
        replace_file(out / name, render(found).encode("utf-8", "backslashreplace"))
    return found


def _started(out: Path) -> str:
    """Return when this audit was first begun, in UTC."""
    path = out / "started.json"
    if not path.exists():
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        replace_file(path, json.dumps(now).encode())
    return str(json.loads(path.read_text()))


def environment(study: Study) -> Mapping[str, str]:
    """Return versions and settings that a reader needs to repeat the audit."""
    options, run = study.options, study.run
    name = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "CPU"
    return {
        "unlearn": __version__,
        "started": _started(options.out),
        "command": options.command,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": f"{platform.machine()} {platform.system()}",
        "device": f"{name}, {run.precision}{', compiled' if run.compiled else ''}",
        "threads": f"1 a victim, {study.at_a_time} at a time" if run.device.type == "cpu" else "",
    }
