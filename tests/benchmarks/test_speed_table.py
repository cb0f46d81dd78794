import pytest

from tests.benchmarks.speed.table import number, page
from tests.benchmarks.speed.targets import target_of

MACHINE = {
    "processor": "Some CPU",
    "flags": ["avx2"],
    "cores": 2,
    "accelerator": None,
    "system": "Linux x86_64",
    "python": "3.12",
    "torch": "2.11",
    "torchvision": "0.26",
    "pillow": "11.3",
    "numpy": "2",
}
RATES = {"fp32": 10e9, "bf16": 20e9, "copy": 8e9}


def way(seconds, what="ours, bf16", precision="bf16", pictures=128):
    return {
        "what": what,
        "pictures": pictures,
        "passes": 1000,
        "operations": 20 * 10**9,
        "precision": precision,
        "seconds": seconds,
    }


def record(kind, device="cpu", **changes):
    common = {
        "title": f"a case of {kind}",
        "kind": kind,
        "device": device,
        "threads": 1,
        "quick": False,
        "machine": MACHINE,
        "load_before": 0.25,
        "rates": RATES,
    }
    return common | changes


def network(kind, ours, naive=10.0, device="cpu", pictures=128):
    ways = {
        "naive": way([naive] * 3, "naive", "fp32", pictures),
        "plain": way([4.0, 5.0, 6.0], "plain", "fp32", pictures),
        "ours": way([ours / 2, ours, 2 * ours], pictures=pictures),
    }
    return record(kind, device, ways=ways, passes_a_picture=10)


def folder(run, alone=4.0):
    parts = {
        "decode": {"seconds": [1.0], "bytes": 4 * 10**9},
        "noise": {"seconds": [3.0], "operations": 20 * 10**9},
        "encode": {"seconds": [8.0], "bytes": 16 * 10**9},
        "check": {"seconds": [2.0], "bytes": 8 * 10**9},
    }
    return record(
        "protect",
        stages=parts,
        run=[run],
        alone=[alone],
        slowest="encode",
        workers=2,
        pictures=4,
        copies=2,
        megapixels=12.0,
        drawn=True,
        precision="bf16",
    )


def rows_of(text, start):
    """The cells of the rows below a heading cell, up to the end of that table."""
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {start} |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize(
    ("name", "found", "met", "says"),
    [
        ("pgd-224", network("attack", ours=2.0), True, "5.00x"),
        ("pgd-32", network("attack", ours=2.01), False, "4.98x"),
        ("victim", network("victim", ours=2.5), True, "4.00x"),
        ("victim", network("victim", ours=2.51), False, "3.98x"),
        ("protect-small", folder(run=5.2), True, "1.30x"),
        ("protect-small", folder(run=5.3), False, "1.32x"),
        ("pgd-32", network("attack", 1 / 60, device="cuda"), True, "60,000"),
        ("pgd-32-large", network("attack", 1 / 59, device="cuda"), False, "59,000"),
        ("generator", network("generator", 0.144, device="cuda"), True, "12.0 minutes"),
        ("generator", network("generator", 0.146, device="cuda"), False, "12.2 minutes"),
        ("generator", network("generator", 0.01, device="cuda", pictures=8), False, "13.3"),
    ],
)
def test_the_numbers_decide_whether_a_target_is_met(name, found, met, says):
    target = target_of(name, found)
    assert target.met is met
    assert says in target.found
    assert (f"**{'met' if met else 'not met'}**" in page({"cpu": {name: found}})) is True


def test_nothing_is_asked_of_the_other_cases():
    assert target_of("generator", network("generator", 1.0)) is None
    assert target_of("pgd-224", network("attack", 1.0, device="cuda")) is None
    assert target_of("victim", network("victim", 1.0, device="cuda")) is None


def test_rows_have_medians_spreads_and_ratios():
    text = page({"cpu": {"generator": network("generator", ours=2.0)}, "cuda": {}})
    ours = rows_of(text, "case")[2]
    assert ours[1:8] == [
        "ours, bf16", "128", "500 (250 … 1,000)", "50", "0.391", "5.00x", "2.50x"
    ]  # fmt: skip
    assert ours[8:] == ["2.00", "3", ""]  # 2 s; 20 billion in bf16 take 1 s
    naive = rows_of(text, "case")[0]
    assert naive[0] == "a case of generator"
    assert naive[6:9] == ["1.00x", "0.50x", "5.00"]  # in fp32 they take 2 s


def test_times_below_the_floor_are_explained_and_not_hidden():
    slow = page({"cpu": {"victim": network("victim", ours=1.0)}})
    fast = page({"cpu": {"victim": network("victim", ours=0.5)}})
    assert rows_of(slow, "case")[2][8] == "1.00"
    assert "Winograd" not in slow
    assert rows_of(fast, "case")[2][8] == "0.50¹"
    assert "Winograd" in fast


def test_steps_of_fewer_pictures_are_called_so():
    few, full = network("victim", 1.0, pictures=24), network("victim", 1.0)
    text = page({"cpu": {"victim": few, "pgd-32": network("attack", 1.0, pictures=16)}})
    assert "fewer than the published 128 pictures, so that they take seconds: victim 24." in text
    assert "fewer than" not in page({"cpu": {"victim": full}})


def test_protect_has_a_row_for_each_stage_and_for_the_whole():
    rows = rows_of(page({"cpu": {"protect-photos": folder(run=5.0)}}), "pictures")
    cells = {row[1]: row[2:] for row in rows}
    assert rows[0][0] == "a case of protect: 4 drawn, 12 megapixels, each 2 times in a run"
    assert cells["decode"][:4] == ["1", "0.25 (0.25 … 0.25)", "4", "2.00"]  # 4 GB at 8 GB/s
    assert cells["noise"][3] == "3.00"
    assert cells["all stages / workers"][:5] == ["2", "1.75", "0.571", "", "0.71x"]
    assert cells["slowest stage alone (encode)"][4] == "1.25x"
    assert cells["whole run"][-1] == "at most 1.3x the slowest stage: **met** (1.25x)"


def test_a_device_that_was_not_measured_has_no_table():
    measured = network("attack", 1.0)
    text = page({"cpu": {"pgd-32": measured}, "cuda": {}})
    assert "## CPU" in text
    assert "## CUDA" not in text
    assert "Not measured: CUDA." in text
    other = record("attack", "cuda", ways=measured["ways"], passes_a_picture=10)
    other["machine"] = MACHINE | {"accelerator": "Some GPU"}
    both = page({"cpu": {"pgd-32": measured}, "cuda": {"pgd-32": other}})
    assert "## CUDA" in both
    assert "Not measured" not in both
    assert "pgd-32: Some GPU, Some CPU (avx2), 2 cores, PyTorch on 1 thread;" in both


def test_machines_are_named_once_with_their_cases():
    other = network("victim", 1.0) | {"threads": 2, "load_before": None}
    records = {"pgd-32": network("attack", 1.0), "pgd-224": network("attack", 1.0), "victim": other}
    text = page({"cpu": records})
    assert "pgd-32, pgd-224: Some CPU (avx2), 2 cores, PyTorch on 1 thread; Linux" in text
    assert (
        "Billion multiply-adds/s: fp32 10.0, bf16 20.0; copy: 8.0 GB/s. Load before: 0.25." in text
    )
    (line,) = (line for line in text.splitlines() if line.startswith("victim: "))
    assert "PyTorch on 2 threads" in line
    assert "Load" not in line


def test_numbers_of_a_trial_are_called_so():
    assert "mean nothing" not in page({"cpu": {"pgd-32": network("attack", 1.0)}})
    trial = network("attack", 1.0) | {"quick": True}
    assert "**These numbers mean nothing**" in page({"cpu": {"pgd-32": trial}})


def test_signs_are_listed_for_each_copy():
    found = network("attack", 1.0) | {"agreement": {"bf16": [0.925, 0.984, 0.986]}}
    rows = rows_of(page({"cpu": {"pgd-32": found}}), "case | copy")
    assert rows == [["a case of attack", "folded, bf16", "92.50%", "98.40%", "98.60%"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (99.94, "99.9"), (1.5, "1.5"), (0.0123, "0.0123"), (0.00042, "0.00042")],
)
def test_numbers_keep_the_digits_that_count(value, text):
    assert number(value) == text
