"""report.json, results.csv and curves.csv: exactly known for a known report."""

import csv
import io
import json
from dataclasses import replace

import pytest

from tests.support.reports import HOSTILE, hostile, smallest, usual
from unlearn import __version__
from unlearn.audits.render import REPORTS, as_object
from unlearn.limits import LIMITS


def loaded(report):
    return json.loads(REPORTS["report.json"](report))


def table(name, report):
    return list(csv.DictReader(io.StringIO(REPORTS[name](report))))


def test_a_small_report_is_exactly_this_json():
    setting = {
        "architecture": "resnet18",
        "rho_a": "4/255",
        "fraction": "1",
        "countermeasure": "none",
        "schedule": "cosine",
    }
    counts = {"chance": 0.25, "trained": 800, "tested": 400}
    learned = {"accuracy_last": 0.82, "accuracy_best": 0.84, "best_epoch": 2}
    learned |= {"found_epoch": None, "found_step": None, "train_accuracy": 0.9}
    hidden = {"accuracy_last": 0.32, "accuracy_best": 0.34, "best_epoch": 2}
    hidden |= {"found_epoch": 1, "found_step": 6, "train_accuracy": 0.98}
    found = loaded(smallest())
    assert found.pop("settings")["training"]["pgd_steps"] == 10
    assert found.pop("subject")["classes"] == ["a", "b", "c", "d"]
    assert found == {
        "tool": __version__,
        "budget": "quick",
        "definition": "Protection accuracy: accuracy on held-out clean pictures of a victim "
        "trained on protected pictures; lower is better.",
        "chance": 0.25,
        "results": [
            {"arm": "clean", **setting, "seed": 7, **learned, **counts},
            {"arm": "protected", **setting, "seed": 7, **hidden, **counts},
        ],
        "summaries": [
            {
                "arm": "clean",
                **setting,
                "seeds": 1,
                "last": {"mean": 0.82, "spread": None, "low": 0.779362, "high": 0.85455},
                "best": {"mean": 0.84, "spread": None, "low": 0.800864, "high": 0.872667},
                "found_epochs": [],
                "train": 0.9,
                "minus_clean": None,
                "minus_remainder": None,
                **counts,
            },
            {
                "arm": "protected",
                **setting,
                "seeds": 1,
                "last": {"mean": 0.32, "spread": None, "low": 0.276184, "high": 0.36724},
                "best": {"mean": 0.34, "spread": None, "low": 0.295296, "high": 0.387748},
                "found_epochs": [1],
                "train": 0.98,
                "minus_clean": -0.5,
                "minus_remainder": None,
                **counts,
            },
        ],
        "visibility": [],
        "flags": [
            {"name": "too-few", "message": "20 pictures", "page": "docs/audit-flags.md#too-few"}
        ],
        "environment": {"unlearn": "1.0", "device": "CPU, fp32", "threads": ""},
        "limits": LIMITS,
        "timings": [
            {"arm": "clean", **setting, "seed": 7, "seconds": 12.346},
            {"arm": "protected", **setting, "seed": 7, "seconds": 12.346},
        ],
    }


def test_a_small_report_is_exactly_these_tables():
    assert REPORTS["results.csv"](smallest()) == (
        "arm,architecture,rho_a,fraction,countermeasure,schedule,seed,accuracy_last,accuracy_best,"
        "best_epoch,found_epoch,found_step,train_accuracy,chance,trained,tested\n"
        "clean,resnet18,4/255,1,none,cosine,7,0.82,0.84,2,,,0.9,0.25,800,400\n"
        "protected,resnet18,4/255,1,none,cosine,7,0.32,0.34,2,1,6,0.98,0.25,800,400\n"
    )
    assert REPORTS["curves.csv"](smallest()) == (
        "arm,architecture,rho_a,fraction,countermeasure,schedule,seed,epoch,accuracy,"
        "train_accuracy\n"
        "clean,resnet18,4/255,1,none,cosine,7,1,0.82,0.9\n"
        "protected,resnet18,4/255,1,none,cosine,7,1,0.32,0.98\n"
    )


def test_what_the_owner_sees_is_in_the_json_and_a_table_of_its_own():
    motif, protected = loaded(usual())["visibility"]
    assert protected == {
        "arm": "protected",
        "shown": "files at full size",
        "pictures": 40,
        "ciede2000": 2.96,
        "ciede2000_p95": 3.84,
        "seen": 1.55,
        "seen_p95": 2.26,
    }
    assert (motif["seen"], motif["seen_p95"]) == (None, None)
    assert REPORTS["visibility.csv"](usual()) == (
        "arm,shown,pictures,ciede2000,ciede2000_p95,seen,seen_p95\n"
        "motif,squares of 32 px,40,4.81,6.02,,\n"
        "protected,files at full size,40,2.96,3.84,1.55,2.26\n"
    )


def test_the_table_has_the_cells_of_the_json():
    report = usual()
    rows = [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for row in loaded(report)["results"]
    ]
    assert table("results.csv", report) == rows
    assert len(rows) == len(report.plan.cells()) == len(report.results)
    assert len(table("curves.csv", report)) == 3 * len(rows)


def test_a_mixed_set_is_compared_with_its_remainder_and_with_all_clean():
    (mixed,) = [
        summary
        for summary in loaded(usual())["summaries"]
        if (summary["arm"], summary["fraction"], summary["rho_a"]) == ("protected", "1/2", "0/255")
    ]
    assert mixed["seeds"] == 3
    assert mixed["last"]["mean"] == pytest.approx(0.67)
    assert mixed["last"]["spread"] == pytest.approx(0.01)
    assert mixed["minus_remainder"] == pytest.approx(0.05)
    assert mixed["minus_clean"] == pytest.approx(-0.15)


def test_noise_that_no_victim_found_is_said_to_be_so_and_clean_pictures_have_none():
    report = usual()
    flat = tuple(
        replace(r, curve=tuple(replace(point, train_accuracy=0.9) for point in r.curve))
        for r in report.results
    )
    found = loaded(replace(report, results=flat))
    for row in (*found["results"], *found["summaries"]):
        if "seed" in row:
            told = [row["found_epoch"], row["found_step"]]
            none = [None, None]
        else:
            told, none = row["found_epochs"], []
        noisy = row["arm"] in ("placebo", "motif", "protected")
        assert told == (["not found"] * len(told) if noisy else none)
    assert "not found" in REPORTS["report.html"](replace(report, results=flat))
    rows = table("results.csv", replace(report, results=flat))
    assert {row["found_step"] for row in rows} == {"", "not found"}


def test_a_countermeasure_is_compared_with_a_clean_control_that_suffers_it_too():
    summaries = {
        (summary["arm"], summary["countermeasure"], summary["rho_a"]): summary
        for summary in loaded(usual(fractions=usual().plan.fractions[:1]))["summaries"]
    }
    assert summaries["protected", "grey", "0/255"]["minus_clean"] == pytest.approx(-0.3)
    assert summaries["protected", "none", "0/255"]["minus_clean"] == pytest.approx(-0.6)
    assert summaries["clean", "grey", "0/255"]["minus_clean"] is None


def test_a_run_that_took_another_time_differs_in_its_timings_only():
    slow = replace(
        usual(), results=tuple(replace(result, seconds=99.0) for result in usual().results)
    )
    first, second = as_object(usual()), as_object(slow)
    assert first.pop("timings") != second.pop("timings")
    assert first == second
    for name in ("results.csv", "curves.csv", "report.html"):
        assert REPORTS[name](usual()) == REPORTS[name](slow)


def test_any_name_can_be_written_and_read_back():
    text = REPORTS["report.json"](hostile())
    assert text.isascii()
    assert json.loads(text)["subject"]["clean"] == HOSTILE
    strange = replace(usual().results[0].cell, architecture=HOSTILE)
    report = replace(usual(), results=(replace(usual().results[0], cell=strange),))
    plan = replace(report.plan, architectures=(HOSTILE,))
    assert "\\udcff" in REPORTS["results.csv"](replace(report, plan=plan))
