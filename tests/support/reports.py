"""Reports with numbers that are made, not measured: a usual one, the smallest, a hostile one."""

from dataclasses import replace
from fractions import Fraction

from unlearn.audits.plan import NONE, AuditPlan, Cell, Training
from unlearn.audits.report import AuditReport, Flag, Point, Result, Subject, Visible
from unlearn.radius import Radius

HOSTILE = "<script>alert('1')</script>\"&\x1b[31m\udcff\u202e"
TESTED, TRAINED = 400, 800
SUBJECT = Subject(
    clean="stripes",
    protected="stripes-protected",
    classes=("a", "b", "c", "d"),
    trained=TRAINED,
    tested=TESTED,
    fingerprint="f00d",
    rho="8/255",
    largest_change=8,
    mean_change=5.25,
    verified=800,
    protection="generator base (sha256 3f9c…)",
)
ENVIRONMENT = {"unlearn": "1.0", "device": "CPU, fp32", "threads": ""}
_ACCURACY = {"clean": 0.80, "placebo": 0.78, "motif": 0.40, "remainder": 0.60, "protected": 0.20}
# On what was trained on, in each epoch: the noise of motif and protected is found in the first.
TRAINED_ACCURACY = dict.fromkeys(("clean", "placebo", "remainder"), 0.9)
TRAINED_ACCURACY |= {"motif": 0.97, "protected": 0.98}


def learned(cell: Cell) -> float:
    """The accuracy of a victim: by arm, moved by everything else, seeds a little apart."""
    accuracy = _ACCURACY[cell.arm] - 0.0125 * cell.rho_a.levels
    if cell.arm == "protected":
        accuracy += 0.025 * cell.rho_a.levels + 0.3 * (cell.countermeasure != NONE)
        accuracy += 0.45 * (cell.fraction < 1)
    return accuracy + 0.01 * (cell.seed % 10)


def result(cell: Cell, epochs: int = 3) -> Result:
    last = learned(cell)
    curve = tuple(
        Point(epoch, last - 0.05 * (epochs - epoch) ** 2, TRAINED_ACCURACY[cell.arm])
        for epoch in range(1, epochs + 1)
    )
    return Result(
        cell=cell,
        accuracy_last=last,
        accuracy_best=last + 0.02,
        best_epoch=2,
        train_accuracy=TRAINED_ACCURACY[cell.arm],
        trained=TRAINED,
        tested=TESTED,
        curve=curve,
        seconds=12.3456,
    )


def report_of(plan: AuditPlan, *flags: Flag, epochs: int = 3) -> AuditReport:
    results = tuple(result(cell, epochs) for cell in plan.cells())
    return AuditReport(
        plan=plan,
        budget="quick",
        subject=SUBJECT,
        results=results,
        flags=flags,
        environment=ENVIRONMENT,
    )


def usual(**changes) -> AuditReport:
    """Three seeds, two ρa, halves, two countermeasures, a flag twice, a preview."""
    plan = AuditPlan(
        training=Training(32, 40),
        fractions=(Fraction(1), Fraction(1, 2)),
        countermeasures=(NONE, "grey", "jpeg10"),
        seeds=(1, 2, 3),
    )
    flags = (
        Flag("protected-helps", "the half at ρa 0 helps by 5.0 points"),
        Flag("protected-helps", "the half at ρa 4/255 helps by 20.0 points"),
    )
    made = report_of(replace(plan, **changes), *flags)
    visibility = (
        Visible("motif", "squares of 32 px", 40, 4.81, 6.02, None, None),
        Visible("protected", "files at full size", 40, 2.96, 3.84, 1.55, 2.26),
    )
    return replace(made, previews=(("a/1.png", b"\x89PNG"),), visibility=visibility)


def smallest() -> AuditReport:
    """One seed, one epoch, a clean and a protected victim."""
    plan = AuditPlan(
        training=Training(32, 32, epochs=1),
        rho_a=(Radius.of_levels(4),),
        seeds=(7,),
        placebo=False,
        motif=False,
    )
    return report_of(plan, Flag("too-few", "20 pictures"), epochs=1)


def hostile() -> AuditReport:
    """A report in which every text that comes from outside tries to break out."""
    subject = replace(
        SUBJECT,
        clean=HOSTILE,
        protected=HOSTILE,
        protection=HOSTILE,
        fingerprint=HOSTILE,
        classes=(HOSTILE, "b", "c", "d"),
        unreadable=((HOSTILE, HOSTILE),),
    )
    return replace(
        usual(),
        subject=subject,
        budget=HOSTILE,
        flags=(Flag("one-seed", HOSTILE), Flag(HOSTILE, HOSTILE)),
        environment={HOSTILE: HOSTILE},
        previews=((HOSTILE, b"\x89PNG"),),
    )
