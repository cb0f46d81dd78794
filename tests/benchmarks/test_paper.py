import json
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.benchmarks.paper import published, run
from tests.benchmarks.paper.__main__ import main
from tests.benchmarks.paper.journal import Journal, identity
from tests.benchmarks.paper.material import archives
from tests.benchmarks.paper.plan import (
    LEVELS,
    SCALES,
    SURROGATE_SEED,
    TABLES,
    VICTIMS,
    Noise,
    Victim,
    changes,
    matches,
    units,
)
from tests.benchmarks.paper.run import Bench, Deadline, open_run, run_units
from tests.benchmarks.paper.table import page
from unlearn.errors import UnlearnError
from unlearn.methods import MinMaxMin

PAPER, MINI = SCALES["paper"], SCALES["mini"]
TINY = replace(MINI, pictures=40, tested=20)
AT_FOUR = ("data=cifar10", "rho-a=4/255", "seed=101", "rate=decayed")
COMMAND = ["table3", "--scale", "mini", "--device", "cpu", "--commit", "abc"]


def chosen(table, scale, *wanted):
    return [unit for unit in units(table, scale) if matches(unit, wanted)]


def ours_and_clean(scale):
    return chosen("table3", scale, *AT_FOUR, "method=min-max-min,clean")


class Asked(Deadline):
    """Time is up when it is asked for the last time."""

    def __init__(self, times):
        super().__init__(None)
        self.left = times

    def over(self):
        self.left -= 1
        return self.left < 0


def bench(folder, deadline=None, scale=TINY):
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return Bench(
        scale,
        archives((), scale, work),
        work,
        open_run("cpu", "fp32"),
        Journal(folder / "paper.jsonl"),
        deadline or Deadline(None),
        "abc",
    )


def numbers(journal):
    """The lines without what differs from run to run."""
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "finished")}
        for line in journal.lines
    ]


def fake_line(unit, scale, last, **changes):
    device = {"device": "H100", "precision": "bf16", "commit": "abc", "drawn": False}
    return {**identity(unit, scale), "last": last, "best": last, "diverged": False, **device} | (
        changes
    )


# The plan


def test_the_first_cells_are_those_that_nobody_has_reproduced():
    names = [(u.method, str(u.rho_a), u.decay, u.seed) for u in units("all", PAPER)[:8]]
    assert names[:4] == [
        ("min-max-min", "4/255", "decayed", 101),
        ("min-max-min", "4/255", "constant", 101),
        ("clean", "4/255", "decayed", 101),
        ("clean", "4/255", "constant", 101),
    ]
    assert {rho_a for _, rho_a, _, _ in names[4:]} == {"0/255"}
    assert {seed for *_, seed in names} == {101}


def test_the_order_is_radii_then_victims_then_parts_then_surrogates_then_cifar100():
    order = units("all", PAPER)
    places = [
        next(n for n, unit in enumerate(order) if matches(unit, wanted))
        for wanted in (
            ["rho-a=4/255", "seed=103"],
            ["rho-a=8/255"],
            ["network=wrn-34-10"],
            ["share=1/5"],
            ["surrogate=vgg16"],
            ["data=cifar100"],
            ["method=unconstrained"],
        )
    ]
    assert places == sorted(places)


def test_every_unit_is_planned_once_and_all_tables_together_are_all():
    everything = units("all", PAPER)
    assert len(set(everything)) == len(everything) == 663
    assert set(everything) == {unit for table in TABLES for unit in units(table, PAPER)}


def test_no_victim_has_the_surrogates_seed():
    seeds = {u.seed for u in units("all", PAPER) if isinstance(u, Victim)}
    assert seeds == {101, 102, 103}
    assert SURROGATE_SEED not in seeds


def test_every_protected_and_clean_cell_has_its_counterpart():
    for table in ("table3", "table4", "table6", "table5"):
        found = [u for u in units(table, PAPER) if u.method in ("clean", "min-max-min")]
        settings = {
            method: {replace(u, method="", surrogate="") for u in found if u.method == method}
            for method in ("clean", "min-max-min")
        }
        assert settings["clean"] == settings["min-max-min"]


def test_the_paper_scale_is_the_authors_setting():
    method = PAPER.method("min-max-min")
    assert method == MinMaxMin()
    # settings() leaves out what is usual: when a default changes, the journal has to be told
    assert (str(method.noise.attack.radius), str(method.noise.attack.step)) == ("8/255", "1.6/255")
    assert (method.noise.attack.steps, method.noise.attack.views) == (10, 5)
    assert (str(method.adversary.radius), str(method.adversary.step)) == ("4/255", "0.8/255")
    assert (method.adversary.steps, method.adversary.views) == (10, 1)
    assert (method.randomness, method.randomness_weight, method.joint) == ("norm", 1.0, False)
    assert (method.schedule.steps, method.schedule.batch_size) == (5000, 128)
    assert (method.schedule.learning_rate, method.schedule.weight_decay) == (0.1, 5e-4)
    assert (method.noise.views.flip, method.noise.views.pad) == (True, 4)
    assert (PAPER.training.learning_rate, PAPER.training.weight_decay) == (0.1, 5e-4)
    assert PAPER.training.step_share == Fraction(1, 5)
    assert PAPER.network("resnet18") == "resnet18"
    assert (PAPER.training.steps, PAPER.training.batch_size) == (40_000, 128)
    assert PAPER.training.pgd_steps == 10
    assert PAPER.passes(Noise("cifar10", "min-max-min", "resnet18")) == 5000 * 128 * 62 + 2_500_000
    victim, clean = ours_and_clean(PAPER)[:2]
    assert PAPER.passes(victim) == PAPER.passes(clean) == 40_000 * 128 * 11
    assert PAPER.passes(replace(victim, rho_a=LEVELS(0))) == 40_000 * 128


def test_settings_name_only_what_is_not_usual():
    assert changes(PAPER.method("min-max-min")) == {}
    assert changes(PAPER.method("unconstrained")) == {"randomness_weight": 0.0}
    assert changes(PAPER.training) == {"image_size": 32, "source_size": 32, "epochs": 1} | {
        "steps": 40_000
    }
    victim, clean = ours_and_clean(PAPER)
    names = {PAPER.settings(unit) for unit in (victim, clean, victim.noise)}
    assert len(names) == 3
    assert PAPER.settings(victim) == PAPER.settings(replace(victim, seed=102))
    assert PAPER.settings(victim) != PAPER.settings(replace(victim, network="vgg16"))


def test_the_mini_scale_has_the_same_cells_with_fewer_seeds():
    paper, mini = (set(units("all", scale)) for scale in (PAPER, MINI))
    assert mini == {u for u in paper if isinstance(u, Noise) or u.seed in MINI.seeds}


def test_cells_are_chosen_by_their_fields():
    found = chosen("table6", PAPER, *AT_FOUR, "method=clean", "share=1/5,2/5")
    assert [str(unit.share) for unit in found] == ["1/5", "2/5"]
    assert {unit.arm for unit in found} == {"remainder"}
    assert not chosen("figure1", PAPER, "seed=101")
    with pytest.raises(ValueError, match="write name=value"):
        chosen("table3", PAPER, "resnet18")


# The journal


def test_a_journal_goes_on_behind_a_torn_line(tmp_path):
    path = tmp_path / "paper.jsonl"
    unit, other = ours_and_clean(MINI)
    Journal(path).append(fake_line(unit, MINI, 0.5))
    with path.open("ab") as file:
        file.write(b'{"kind": "vic')
    journal = Journal(path)
    assert journal.of(unit, MINI)["last"] == 0.5
    journal.append(fake_line(other, MINI, 0.6))
    assert [json.loads(line)["last"] for line in path.read_text().splitlines()] == [0.5, 0.6]


def test_lines_of_another_scale_or_other_settings_do_not_count(tmp_path):
    journal, (unit, other) = Journal(tmp_path / "paper.jsonl"), ours_and_clean(MINI)
    journal.append(fake_line(unit, MINI, 0.5))
    journal.append(fake_line(unit, MINI, 0.7))
    longer = replace(MINI, training=replace(MINI.training, steps=4))
    assert journal.of(unit, MINI)["last"] == 0.5
    assert journal.of(other, MINI) is None
    assert journal.of(unit, PAPER) is None
    assert journal.of(unit, longer) is None


# Running


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The journal of a run that nothing stopped."""
    made = bench(tmp_path_factory.mktemp("whole"))
    assert run_units(ours_and_clean(TINY), made) == "done"
    return made


def test_a_run_notes_generator_and_victims_and_leaves_no_state(whole):
    assert [line["kind"] for line in whole.journal.lines] == ["generator", "victim", "victim"]
    generator, ours, clean = whole.journal.lines
    assert generator["curve"]["step"] == [1, 2, 3]
    assert (ours["arm"], clean["arm"], ours["tested"]) == ("protected", "clean", 20)
    assert ours["contents"] != clean["contents"]
    assert {line["commit"] for line in whole.journal.lines} == {"abc"}
    assert all(line["drawn"] for line in whole.journal.lines)
    assert not list(whole.work.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_run_stopped_again_and_again_ends_with_the_same_numbers(tmp_path, whole):
    stops = 0
    for times in (2, 4, 3, 3, 5, 3, 3, 100):
        stopped = bench(tmp_path, Asked(times))
        if run_units(ours_and_clean(TINY), stopped) == "done":
            break
        stops += 1
    assert stops >= 4
    assert numbers(Journal(tmp_path / "paper.jsonl")) == numbers(whole.journal)


def test_a_finished_plan_is_not_run_again(tmp_path, whole):
    made = replace(whole, deadline=Asked(0))
    assert run_units(ours_and_clean(TINY), made) == "done"
    assert len(made.journal.lines) == 3


def test_a_unit_that_fails_is_named_and_the_others_go_on(tmp_path, capsys):
    few = replace(TINY, pictures=20)  # two of each class: four fifths of them are both
    made = bench(tmp_path, scale=few)
    wanted = chosen("table6", few, *AT_FOUR, "method=clean", "share=4/5,1")
    assert run_units(wanted, made) == "failed"
    assert "failed: no picture is left" in capsys.readouterr().out
    assert [line["share"] for line in made.journal.lines] == ["1"]


def test_what_needs_a_broken_generator_is_left_out(tmp_path, monkeypatch):
    tried = []

    def break_down(*_arguments):
        tried.append(1)
        raise UnlearnError("the training diverged")

    monkeypatch.setattr(run, "train_generator", break_down)
    made = bench(tmp_path)
    assert run_units(chosen("table3", TINY, *AT_FOUR), made) == "failed"
    assert len(tried) == 3  # min-max-min, fast and error-minimising, each once
    assert [line["method"] for line in made.journal.lines] == ["clean"]


def test_units_without_pictures_are_left_out(tmp_path):
    made = replace(bench(tmp_path), archives={})
    assert run_units(units("all", TINY), made) == "done"
    assert not made.journal.lines


@pytest.mark.slow
def test_partly_protected_and_placebo_sets_are_what_they_say(tmp_path):
    made = bench(tmp_path)
    wanted = chosen("table3", TINY, *AT_FOUR, "method=placebo")
    wanted += chosen("table6", TINY, *AT_FOUR, "share=2/5")
    assert run_units(wanted, made) == "done"
    lines = {line["arm"]: line for line in made.journal.lines if line["kind"] == "victim"}
    assert {arm: line["trained"] for arm, line in lines.items()} == {
        "placebo": 40,
        "protected": 40,
        "remainder": 20,  # of four pictures a class, 2/5 are two
    }


def test_the_command_makes_what_is_missing_and_writes_the_page(tmp_path, capsys):
    paths = ["--journal", str(tmp_path / "paper"), "--work", str(tmp_path / "work")]
    command = [*COMMAND, *paths, *(f"--only={field}" for field in (*AT_FOUR, "method=clean"))]
    assert main([*command, "--minutes", "0"]) == 75
    assert main(command) == 0
    assert "victim: cifar10 clean" in capsys.readouterr().out
    assert main(command) == 0
    assert "victim" not in capsys.readouterr().out
    assert len((tmp_path / "paper_mini.jsonl").read_text().splitlines()) == 1
    assert "**These numbers mean nothing.**" in (tmp_path / "paper_mini.md").read_text()
    assert not (tmp_path / "paper.jsonl").exists()


def test_at_paper_scale_nothing_runs_without_pictures(tmp_path, capsys):
    paths = ["--journal", str(tmp_path / "paper"), "--work", str(tmp_path / "work")]
    assert main(["all", "--device", "cpu", *paths]) == 0
    assert "no --data for cifar10 and cifar100" in capsys.readouterr().out
    assert not (tmp_path / "paper.jsonl").exists()


# The page


def rows_of(text, heading):
    section = text.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_cells_that_were_not_measured_are_empty(tmp_path):
    text = page(Journal(tmp_path / "none.jsonl"), PAPER)
    heads, *rows = rows_of(text, "Table 3")
    row = next(row for row in rows if row[:3] == ["cifar10", "4/255", "decayed"])
    assert row[3:10] == ["89.51", "88.62", "88.02", "88.96", "48.16", "89.52", "23.12"]
    assert len(row) == len(heads)
    assert set(row[10:]) == {""}
    photos = next(row for row in rows if row[0] == "imagenet100")
    assert photos[-3:] == ["", "no pictures", ""]
    assert all(not any(row[-4:]) for row in rows_of(text, "Table 4")[1:])
    assert "| table3 | 0 | 192 |" in text


def test_a_cell_shows_mean_spread_seeds_best_machine_and_commit(tmp_path):
    journal = Journal(tmp_path / "paper.jsonl")
    for seed, last in ((101, 0.2), (102, 0.3)):
        for unit in ours_and_clean(PAPER):
            changes = {"best": 0.35, "commit": f"abc{seed}"}
            journal.append(fake_line(replace(unit, seed=seed), PAPER, last, **changes))
    heads, *rows = rows_of(page(journal, PAPER), "Table 3")
    found = next(row for row in rows if row[:3] == ["cifar10", "4/255", "decayed"])
    row = dict(zip(heads, found, strict=True))
    assert row["ours: min-max-min"] == row["ours: clean"] == "25.0 ± 7.1 (2), best 35.0"
    assert row["ours: placebo"] == ""
    assert (row["hardware"], row["commit"]) == ("H100, bf16", "abc101; abc102")
    for heading in ("Table 4", "Table 5", "Table 6"):  # they ask for the same victims
        again = [row for row in rows_of(page(journal, PAPER), heading) if "H100, bf16" in row]
        assert "25.0 ± 7.1 (2), best 35.0" in again[0]
    assert "H100" not in page(journal, MINI)


def test_the_curves_of_figure_1_stand_side_by_side(tmp_path):
    journal = Journal(tmp_path / "paper.jsonl")
    curve = {
        "step": [250],
        "clean_test_accuracy": [0.125],
        "average_prediction_randomness": [0.06],
    }
    noise = units("figure1", PAPER)[0]
    extra = {"curve": curve, "passes": 5, "seconds": 7.0}
    journal.append(fake_line(noise, PAPER, 0, **extra))
    text = page(journal, PAPER)
    assert rows_of(text, "Figure 1")[1] == ["250", "12.5", "0.0600", "", "", "", ""]
    assert rows_of(text, "Generators")[1][:5] == ["cifar10", "min-max-min", "resnet18", "5", "7"]


# What was published


def test_published_numbers_of_one_setting_agree_between_tables():
    for data in ("cifar10", "cifar100"):
        assert published.TABLE4[data, "resnet18"] == published.TABLE3[data, 4]
        for network in VICTIMS:
            row = dict(zip(published.METHODS, published.TABLE4[data, network], strict=True))
            place = VICTIMS.index(network)
            same = [values[place] for values in published.TABLE5[data, "resnet18"]]
            assert same == [row[name] for name in published.REUSED]
    for key, rows in published.TABLE6.items():
        table3 = dict(zip(published.METHODS, published.TABLE3[key], strict=True))
        assert [row[-1] for row in rows] == [table3[name] for name in published.MIXED]


def test_published_averages_are_those_of_their_rows():
    for (data, surrogate), rows in published.TABLE5.items():
        for name, row in zip(published.REUSED, rows, strict=True):
            if (data, surrogate, name) == ("cifar10", "resnet18", "REM"):
                assert row[-1] == 58.96  # a slip of the paper: its row has the mean 56.96
            else:
                assert row[-1] == pytest.approx(sum(row[:-1]) / 5, abs=0.011)


def test_published_numbers_are_those_of_the_paper():
    assert published.TABLE3["cifar10", 0][-1] == 12.71
    assert published.TABLE3["imagenet100", 4] == (66.62, 63.40, 63.56, 63.06, 41.66, 63.60, 31.64)
    assert published.TABLE4["cifar10", "densenet121-imagenet"][-1] == 72.42
    assert published.TABLE5["cifar100", "densenet121-imagenet"][2][4] == 32.30
    assert published.TABLE6["cifar10", 4][-1] == (88.79, 88.36, 88.25, 84.84, 23.12)
    assert published.REMAINDERS["cifar100", 4] == (61.73, 57.61, 53.86, 44.79)
