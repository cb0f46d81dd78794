"""What is said of the bundled generators is what the committed reports say of these very files."""

import json
import statistics
from pathlib import Path

import pytest

from unlearn.generators.catalogue import known
from unlearn.generators.measured import measured

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def found(report, arm, rho_a):
    shares = [
        100 * line["accuracy_last"]
        for line in report["results"]
        if (line["arm"], line["rho_a"], line["countermeasure"]) == (arm, rho_a, "none")
    ]
    if not shares:
        return None
    assert len(shares) == 3
    return round(statistics.mean(shares), 1), round(statistics.stdev(shares), 1)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("base", "subtle"),
        ("base", "balanced"),
        ("base", "strong"),
        ("casts", "casts"),
        ("motifs", "motifs"),
        ("strong", "strong_motifs"),
    ],
)
def test_what_a_generator_was_measured_to_do_is_what_its_report_says(name, file):
    report = json.loads((RESULTS / f"audit_{file}.json").read_bytes())
    entry = next(entry for entry in known() if entry.name == name)
    subject, training = report["subject"], report["settings"]["training"]
    assert f"{name} (SHA-256 {entry.sha256[:12]})" in subject["protection"]
    assert (subject["trained"], subject["tested"], training["epochs"]) == (2000, 500, 25)
    assert len(subject["classes"]) == 5
    said = measured(entry.sha256, subject["rho"])
    assert said is not None
    assert said.protected == found(report, "protected", "0/255")
    assert said.clean == found(report, "clean", "0/255")
    assert said.placebo == found(report, "placebo", "0/255")
    adversarial = tuple(found(report, arm, "4/255") for arm in ("protected", "clean"))
    assert (said.adversarial or (None, None)) == adversarial


def test_nothing_is_known_of_other_generators_and_bounds():
    base = next(entry for entry in known() if entry.name == "base")
    assert measured(base.sha256, "3/255") is None
    assert measured("0" * 64, "8/255") is None
