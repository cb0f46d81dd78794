"""The records as a page of Markdown; nothing in it is typed by hand."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.speed.measure import Record, median
from tests.benchmarks.speed.targets import (
    SCHEDULE_PICTURES,
    rate,
    ratio,
    target_of,
    whole_to_slowest,
)

Records = dict[str, Record]  # by case

_HEADINGS = {"cpu": "CPU", "cuda": "CUDA"}
_INTRODUCTION = """\
Medians of runs in which the implementations take turns, after a warm-up, with the fastest and the
slowest run behind them. A *pass* is forward and backward of one picture; *pictures/s* are finished
ones (of PGD: ten passes each), and *steps/s* those of {batch} pictures at that rate, however many
were in a step here. *Naive* is written as published code is: float32, NCHW, batch norm apart,
transforms picture by picture (tests/benchmarks/speed/naive.py). *Plain* is the same in one batch
for PGD, and an attack that calculates gradients of weights too for a victim. *Ours* is what the
tool runs. The pictures are random ones in memory.

*Time/floor* is a run's time in times of its floor. Networks: multiply-adds of convolutions and
linear layers, forward and backward, over the rate of the best square matrix product in the same
precision on the same threads. Decoding: bytes of the file and of its pixels over the rate of a
plain copy (bytes read and bytes written); encoding: pixels once and noisy pixels twice, and the
file; checking: the file, its pixels twice, the source's once.
"""
_BELOW = """\
¹ Below 1 is faster than the matrix product: a convolution may take fewer multiplications than it
is counted with (Winograd), or its shapes suit the processor better than the squares tried here.
"""
_FEWER = """\
Steps of fewer than the published {batch} pictures, so that they take seconds: {found}. With
`--full` they have as many.
"""
_PROTECT = """\
Stages on one core, the whole run and its slowest stage alone over the same files. A whole run
starts and ends its worker processes; PyTorch is loaded already and previews are off. Where workers
are as many as cores, all stages share these cores, and no run can take less than all stages / them.
"""
_SIGNS = """\
Signs of the first PGD step that are those of the plain network. The others have gradients of next
to nothing; the last two columns leave out the smallest quarter of the gradients, and weigh each
sign by its gradient.
"""
_QUICK = "**These numbers mean nothing**: tiny networks and pictures, to see that all of it runs.\n"


def page(journals: dict[str, Records]) -> str:
    """Return the whole page for the records of each device ("cpu", "cuda")."""
    parts = [
        "# Speed\n",
        "Written by `python -m tests.benchmarks.speed`; edits are lost.\n",
        _INTRODUCTION.format(batch=SCHEDULE_PICTURES),
    ]
    for device, records in journals.items():
        if records:
            parts += [f"## {_HEADINGS[device]}\n", *_sections(records)]
    missing = [_HEADINGS[device] for device, records in journals.items() if not records]
    if missing:
        parts.append(f"Not measured: {', '.join(missing)}.\n")
    return "\n".join(parts)


def _sections(records: Records) -> Iterator[str]:
    """Yield what is said about one device."""
    if any(record["quick"] for record in records.values()):
        yield _QUICK
    yield from _machines(records)
    networks = {n: record for n, record in records.items() if "ways" in record}
    if networks:
        table = _network_table(networks)
        yield table
        if "¹" in table:
            yield _BELOW
        fewer = _fewer(networks)
        if fewer:
            yield _FEWER.format(batch=SCHEDULE_PICTURES, found=fewer)
    protected = {n: record for n, record in records.items() if "stages" in record}
    if protected:
        yield _PROTECT
        yield _protect_table(protected)
    signs = [record for record in records.values() if "agreement" in record]
    if signs:
        yield _SIGNS
        yield _sign_table(signs)


def _fewer(records: Records) -> str:
    """Return the cases whose steps have fewer pictures than were published, with how many."""
    steps = {n: record for n, record in records.items() if record["kind"] != "attack"}
    pictures = {name: record["ways"]["ours"]["pictures"] for name, record in steps.items()}
    return ", ".join(f"{n} {c}" for n, c in pictures.items() if c < SCHEDULE_PICTURES)


def _machines(records: Records) -> Iterator[str]:
    """Yield a line for each machine and number of threads, with the cases it measured."""
    lines: dict[str, list[str]] = {}
    loads: dict[str, list[float]] = {}
    for name, record in records.items():
        text = _machine(record)
        lines.setdefault(text, []).append(name)
        loads.setdefault(text, [])
        if record["load_before"] is not None:
            loads[text].append(record["load_before"])
    for text, names in lines.items():
        busy = f" Load before: {max(loads[text]):.2f}." if loads[text] else ""
        yield f"{', '.join(names)}: {text}{busy}\n"


def _machine(record: Record) -> str:
    """Return machine, versions and rates in words."""
    machine, rates = record["machine"], record["rates"]
    accelerator = f"{machine['accelerator']}, " if machine["accelerator"] else ""
    flags = f" ({', '.join(machine['flags'])})" if machine["flags"] else ""
    products = ", ".join(
        f"{name} {value / 1e9:,.1f}" for name, value in rates.items() if name != "copy"
    )
    threads = record["threads"]
    return (
        f"{accelerator}{machine['processor']}{flags}, {machine['cores']} cores, PyTorch on "
        f"{threads} thread{'s' * (threads > 1)}; {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, torchvision {machine['torchvision']}, Pillow "
        f"{machine['pillow']}, NumPy {machine['numpy']}. Billion multiply-adds/s: {products}; "
        f"copy: {rates['copy'] / 1e9:.1f} GB/s."
    )


def _network_table(records: Records) -> str:
    """Return a row for each implementation of each case."""
    heads = ("case", "implementation", "at a time", "passes/s", "pictures/s", "steps/s",
             "to naive", "to plain", "time/floor", "runs", "target")  # fmt: skip
    rows = [
        (record["title"] if place == 0 else "", *_way_cells(name, record, way))
        for name, record in records.items()
        for place, way in enumerate(record["ways"])
    ]
    return table(heads, rows)


def _way_cells(case: str, record: Record, name: str) -> Iterator[str]:
    """Yield the cells of one implementation, behind the case."""
    way = record["ways"][name]
    pictures = rate(way) / record["passes_a_picture"]
    speeds = sorted(way["passes"] / seconds for seconds in way["seconds"])
    yield way["what"]
    yield str(way["pictures"])
    yield f"{number(rate(way))} ({number(speeds[0])} … {number(speeds[-1])})"
    yield number(pictures)
    yield "" if record["kind"] == "attack" else number(pictures / SCHEDULE_PICTURES)
    for base in ("naive", "plain"):
        yield f"{ratio(record, name, base):.2f}x" if base in record["ways"] else ""
    floor = way["operations"] / record["rates"][way["precision"]]
    yield above_floor(median(way["seconds"]), floor)
    yield str(len(way["seconds"]))
    target = target_of(case, record) if name == "ours" else None
    yield str(target or "")


def _protect_table(records: Records) -> str:
    """Return the stages and the whole run of each folder."""
    heads = ("pictures", "what", "workers", "seconds a picture", "pictures/s", "time/floor",
             "whole run to it", "runs", "target")  # fmt: skip
    return table(
        heads, [row for name, record in records.items() for row in _folder_rows(name, record)]
    )


def _folder_rows(name: str, record: Record) -> Iterator[tuple[str, ...]]:
    """Yield the rows of one folder."""
    count, workers = record["pictures"], str(record["workers"])
    found = "drawn" if record["drawn"] else "given"
    title = f"{record['title']}: {count} {found}, {record['megapixels']:.3g} megapixels"
    title += f", each {record['copies']} times in a run" * (record["copies"] > 1)
    for stage, part in record["stages"].items():
        floor = _stage_floor(part, record)
        times = above_floor(median(part["seconds"]), floor)
        yield (title, stage, "1", *_each(part["seconds"], count), times, "", _runs(part), "")
        title = ""
    total = sum(median(part["seconds"]) for part in record["stages"].values())
    shared, run = total / record["workers"], record["run"]
    spread = (number(shared / count), number(count / shared))
    yield ("", "all stages / workers", workers, *spread, "", _times(run, [shared]), "", "")
    alone = record["alone"]
    slowest = f"slowest stage alone ({record['slowest']})"
    beside = f"{whole_to_slowest(record):.2f}x"
    yield ("", slowest, workers, *_each(alone, count), "", beside, str(len(alone)), "")
    target = str(target_of(name, record))
    yield ("", "whole run", workers, *_each(run, count), "", "", str(len(run)), target)


def _stage_floor(part: Record, record: Record) -> float:
    """Return the seconds below which a stage cannot come."""
    rates = record["rates"]
    if "operations" in part:
        return part["operations"] / rates[record["precision"]]
    return part["bytes"] / rates["copy"]


def _each(seconds: Sequence[float], count: int) -> tuple[str, str]:
    """Return the seconds a picture with their spread, and the pictures a second."""
    middle, least, most = (value / count for value in (median(seconds), min(seconds), max(seconds)))
    return f"{number(middle)} ({number(least)} … {number(most)})", number(1 / middle)


def _times(first: Sequence[float], second: Sequence[float]) -> str:
    return f"{median(first) / median(second):.2f}x"


def _runs(part: Record) -> str:
    return str(len(part["seconds"]))


def _sign_table(records: Sequence[Record]) -> str:
    """Return how many signs agree, for each network and precision."""
    heads = ("case", "copy", "all values", "the larger 3/4 of gradients", "weighted by gradient")
    rows = [
        (record["title"], f"folded, {precision}", *(f"{share:.2%}" for share in shares))
        for record in records
        for precision, shares in record["agreement"].items()
    ]
    return table(heads, rows)


def above_floor(seconds: float, floor: float) -> str:
    """Return a time in times of its floor, with a mark where it is below."""
    times = seconds / floor
    return f"{times:.2f}{'¹' if times < 1 else ''}"


def number(value: float) -> str:
    """Return three digits that count, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.5f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
