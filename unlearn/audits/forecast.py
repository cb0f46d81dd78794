"""What an audit will cost: pictures are counted, victims tried for a moment, nothing is written."""

from collections.abc import Sequence

from unlearn.audits.budgets import budget_of
from unlearn.audits.costs import estimate, seen
from unlearn.audits.options import AuditOptions
from unlearn.audits.pictures import held_share, own_and_others
from unlearn.audits.plan import AuditPlan, Cell, network_and_view
from unlearn.audits.render.words import count
from unlearn.audits.report import Result
from unlearn.audits.study import Study, planned
from unlearn.datasets.cifar import find_cifar, load_cifar
from unlearn.datasets.folders import find_files
from unlearn.device import Run, select_run
from unlearn.files.pace import remember, seconds_each
from unlearn.forecast import Forecast, longest_first
from unlearn.models.flops import pass_flops


def forecast(options: AuditOptions) -> Forecast:
    """Return what the victims of an audit cost; raises what an audit would for its settings.

    A trial tells the seconds, and the last audit here how much longer whole victims took.
    """
    plan = planned(options)
    run = select_run(options.device, options.precision, compiled=options.compiled)
    pictures, classes = counted(options)
    costs = estimate(plan, pictures, [""] * classes, run)
    longer = {name: seconds_each(pace_kind(plan, name, run)) for name in plan.architectures}
    parts = tuple(
        seconds * (longer[cell.architecture] or 1) for cell, seconds in costs.by_cell.items()
    )
    workers = max(1, options.workers) if run.device.type == "cpu" else 1
    last = " and the last audit here" if all(longer.values()) else ""
    return Forecast(
        work=f"{count(len(parts), 'victim')} on {pictures:,} pictures",
        passes=costs.passes,
        flops=_flops(plan, list(costs.by_cell), pictures),
        seconds=longest_first(parts, workers),
        known_by=f"from a trial of one step{last}",
        most=-(-len(parts) // workers),
        parts=parts,
        at_a_time=workers,
    )


def counted(options: AuditOptions) -> tuple[int, int]:
    """Count training pictures and classes as `gather` would split them, without reading them."""
    clean, other = options.clean, options.against
    if other is None and find_cifar(clean) is not None:
        data, test = load_cifar(clean)
        found, classes, own = len(data), len(data.classes), test is not None
    else:
        files = find_files(clean, options.labels) if other is None else own_and_others(clean, other)
        found, classes, own = len(files.train), len(files.classes), bool(files.test)
    found -= round(found * (held_share(options.test, others=own) or 0))
    cap = options.pictures or budget_of(options.budget).pictures
    return min(found, cap or found), classes


def pace_kind(plan: AuditPlan, architecture: str, run: Run) -> str:
    """Return what victims have in common that take as much longer than a trial says."""
    return f"audit {architecture} {plan.training.seen_by(architecture).image_size} px {run.words}"


def keep_pace(study: Study, results: Sequence[Result]) -> None:
    """Keep how much longer than estimated the victims of each network took."""
    for name in study.plan.architectures:
        own = [result for result in results if result.cell.architecture == name]
        expected = sum(study.costs.by_cell[result.cell] for result in own)
        if expected:
            taken = sum(result.seconds for result in own)
            remember(pace_kind(study.plan, name, study.run), taken / expected)


def _flops(plan: AuditPlan, cells: Sequence[Cell], pictures: int) -> float:
    """Return the operations of all victims."""
    each = {
        name: pass_flops(network_and_view(name)[0], plan.training.seen_by(name).image_size)
        for name in plan.architectures
    }
    total = 0.0
    for cell in cells:
        shown, _ = seen(plan.training.of(cell), cell, pictures)
        passes = 1 + (plan.training.passes if cell.rho_a.value else 0)
        total += shown * passes * each[cell.architecture]
    return total
