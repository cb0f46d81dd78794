"""Audits by several ranks: the victims of one process, shared out, and its report.

The victims are made up, so that what is shared and what is lost can be seen; the scenes are played
once, by two processes. tests/benchmarks/test_killed_ranks.py trains real ones under torchrun.
"""

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.audits.comparison.test_run import archive, numbers, options_of  # noqa: F401
from tests.audits.test_run import copy_with_noise, draw, ignore, results_of
from tests.support.protecting import Heard
from tests.support.reports import result
from tests.test_together import free_port
from unlearn.audits import runner, study
from unlearn.audits.comparison.run import compare
from unlearn.audits.costs import Costs
from unlearn.audits.options import AuditOptions
from unlearn.audits.run import audit
from unlearn.audits.runner import CellsProgress
from unlearn.errors import UnlearnError
from unlearn.files.replace import file_sha256
from unlearn.radius import Radius

pytestmark = pytest.mark.slow  # two processes, and each has to load PyTorch

RANKS = 2
METHODS = ("lsp", "motifs")
SCENES = ("plain", "resumed", "settings", "files", "copies", "compared", "lost")


def options_in(folder: Path, out: str) -> AuditOptions:
    return AuditOptions(
        clean=folder / "clean",
        protected=folder / ("unchanged" if out == "copies" else "noisy"),
        out=folder / out,
        rho_a=(Radius.of_levels(0),),
        epochs=2,
        seeds=2,
        countermeasures=("none",),
        device="cpu",
        precision="fp32",
        workers=0,
        command="unlearn audit clean copies",
    )


class Victims:
    """Stands for the trainings; writes down who trained what, and dies if told to."""

    def __init__(self, rank: int, folder: Path):
        self.rank, self.folder, self.scene = rank, folder, ""

    def __call__(self, job):
        with (self.folder / f"{self.scene}.trained.{self.rank}").open("a") as file:
            file.write(f"{job.sets.parent.name} {job.cell.key}\n")
            if self.scene == "lost" and self.rank and file.tell() > 70:
                os._exit(9)  # within its second victim
        return replace(result(job.cell), seconds=float(self.rank))


def costs_of(rank: int):
    def estimated(plan, *_):
        """Costs that each rank measures otherwise; only those of the first may count."""
        cells = plan.cells()
        return Costs({c: 1.0 + (n if not rank else -n % 3) for n, c in enumerate(cells)}, 0)

    return estimated


def play(rank: int, folder: Path, ports: list[int]) -> None:
    """Play all scenes as one of the ranks; leave what came of each."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1"}
    victims = vars(runner)["train_victim"] = Victims(rank, folder)
    vars(study)["estimate"] = costs_of(rank)
    for scene, port in zip(SCENES, ports, strict=True):
        os.environ["MASTER_PORT"], victims.scene = str(port), scene
        options, events = options_in(folder, scene), Heard()
        if scene == "settings" and rank:
            options = replace(options, epochs=3)
        if scene == "files" and rank:
            vars(runner)["file_sha256"] = lambda path: "others"
        try:
            if scene == "compared":
                archive = folder / "made" / "cifar-10-batches-py"
                options = options_of(archive, folder / scene)
                said = type(compare(options, METHODS, events)).__name__
            else:
                said = type(audit(options, events)).__name__
        except UnlearnError as error:
            said = f"{type(error).__name__}: {error}"
        cells = events.of(CellsProgress)
        counts = (cells[-1].done, cells[-1].total) if cells else None
        (folder / f"{scene}.said.{rank}").write_text(json.dumps([said, counts]))
        vars(runner)["file_sha256"] = file_sha256


@pytest.fixture(scope="module")
def played(tmp_path_factory, archive):  # noqa: F811
    """A folder in which two ranks have played all scenes."""
    folder = tmp_path_factory.mktemp("ranks")
    draw(folder / "clean"), copy_with_noise(folder / "clean", folder / "noisy")
    shutil.copytree(archive.parent, folder / "made")
    shutil.copytree(folder / "clean", folder / "unchanged")
    with pytest.MonkeyPatch.context() as patch:
        alone(folder, patch)
    ports = [free_port() for _ in SCENES]
    context = get_context("spawn")
    ranks = [context.Process(target=play, args=(n, folder, ports)) for n in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(300)
    assert [process.exitcode for process in ranks] == [0, 9]
    return folder


def alone(folder: Path, patch) -> None:
    """Audit and compare in this process alone, and prepare what the ranks go on with."""
    victims = Victims(0, folder)
    patch.setattr(runner, "train_victim", victims)
    patch.setattr(study, "estimate", costs_of(0))
    victims.scene = "alone"
    audit(options_in(folder, "alone"), ignore)
    victims.scene = "apart"
    compare(options_of(folder / "made" / "cifar-10-batches-py", folder / "apart"), METHODS, ignore)
    # Three ranks were killed: the first had finished two victims, the last one another.
    (folder / "resumed").mkdir()
    head, *lines = (folder / "alone" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "resumed" / "journal.jsonl").write_bytes(head + lines[0] + lines[1])
    (folder / "resumed" / "journal.2.jsonl").write_bytes(head + lines[5] + lines[6][:30])


def said(folder: Path, scene: str) -> list[str]:
    return [json.loads((folder / f"{scene}.said.{n}").read_text())[0] for n in range(RANKS)]


def trained(folder: Path, scene: str) -> list[list[str]]:
    """What each rank trained."""
    paths = [folder / f"{scene}.trained.{rank}" for rank in range(RANKS)]
    return [path.read_text().splitlines() if path.exists() else [] for path in paths]


def report_of(folder: Path, scene: str):
    return results_of(options_in(folder, scene))


def test_ranks_share_the_victims_and_come_to_the_report_of_one_process(played):
    assert said(played, "plain") == ["AuditReport", "AuditReport"]
    expected = report_of(played, "alone")
    assert len(expected["results"]) == 8
    assert report_of(played, "plain") == expected
    parts = trained(played, "plain")
    assert min(map(len, parts)) >= 3
    together = Counter(line.split(" ", 1)[1] for part in parts for line in part)
    assert together == Counter(line.split(" ", 1)[1] for line in trained(played, "alone")[0])
    assert [path.name for path in (played / "plain").glob("journal*")] == ["journal.jsonl"]
    assert list((played / "plain" / "state").iterdir()) == []


def test_only_the_first_rank_tells_how_far_all_are(played):
    counts = [json.loads((played / f"plain.said.{n}").read_text())[1] for n in range(RANKS)]
    assert counts == [[8, 8], None]


def test_what_any_rank_had_finished_is_not_done_again(played):
    assert said(played, "resumed") == ["AuditReport", "AuditReport"]
    assert sum(map(len, trained(played, "resumed"))) == 8 - 3
    assert report_of(played, "resumed") == report_of(played, "alone")
    assert [path.name for path in (played / "resumed").glob("journal*")] == ["journal.jsonl"]


@pytest.mark.parametrize("scene", ["settings", "files"])
def test_ranks_with_other_settings_or_files_are_refused_by_all(played, scene):
    for words in said(played, scene):
        assert words.startswith("UsageProblem: rank 1 has other data, settings or versions than ")
        assert "\n" not in words
    assert trained(played, scene) == [[], []]
    assert (played / scene).exists() == (scene == "files")


def test_what_the_first_rank_refuses_lets_the_others_go(played):
    first, second = said(played, "copies")
    assert "unchanged is not a protected copy of" in first
    assert first.startswith("NotProtected: ")
    assert second == "FirstEnded: rank 0 of 2 ended before the audit was done; it says why"
    assert trained(played, "copies") == [[], []]


def test_ranks_share_the_victims_of_a_comparison(played):
    assert said(played, "compared") == ["Comparison", "Comparison"]
    made = played / "made" / "cifar-10-batches-py"
    one, two = (numbers(options_of(made, played / out)) for out in ("apart", "compared"))
    one.pop("environment"), two.pop("environment")
    assert two == one
    parts = trained(played, "compared")
    assert min(map(len, parts)) > 3
    assert not set(parts[0]) & set(parts[1])


def test_a_lost_rank_ends_the_run_and_its_victims_are_done_again(played, monkeypatch):
    first = json.loads((played / "lost.said.0").read_text())[0]
    assert first.startswith("EnvironmentProblem: rank 0 of 2 lost the others of its run; run the")
    assert "\n" not in first
    before = trained(played, "lost")
    assert [len(part) for part in before] == [4, 2]
    victims = Victims(0, played)
    victims.scene = "after"
    monkeypatch.setattr(runner, "train_victim", victims)
    audit(options_in(played, "lost"), ignore)
    assert len(trained(played, "after")[0]) == 8 - 4 - 1
    assert report_of(played, "lost") == report_of(played, "alone")
    assert not (played / "lost" / "journal.1.jsonl").exists()
