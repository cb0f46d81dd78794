"""Every method through train-generator's workflow; an entry in METHODS joins by itself."""

import threading
from dataclasses import replace

import pytest

from tests.support.made_pictures import noise_image
from tests.support.sweeps import few
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.header import read_header
from unlearn.generators.options import TrainOptions
from unlearn.generators.train import Resumed, Started, Stepped, Stopped, train_generator
from unlearn.methods import METHODS, Cost

every = pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS.keys())
KINDS = ("em", "lsp", "min-max-min", "ops", "tue")  # one of each kind of training
some = pytest.mark.parametrize(
    "kind", few(METHODS.values(), *(METHODS[name] for name in KINDS)), ids=METHODS.keys()
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Pictures in two class folders, and the same in one folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        for path in (
            folder / "classes" / f"{number % 2}" / f"{number}.png",
            folder / "flat" / f"{number}.png",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            noise_image((16, 16), 30 + 5 * number, number).save(path)
    return folder


def options_of(kind, folders, tmp_path):
    return TrainOptions(
        data=folders / ("classes" if kind.needs_labels else "flat"),
        out=tmp_path / "gen.safetensors",
        method=kind.example(),
        architecture="resnet-small",
        image_size=8,
        precision="fp32",
        device="cpu",
    )


@some
def test_a_method_is_trained_and_described_from_a_folder(kind, folders, tmp_path):
    events = []
    options = options_of(kind, folders, tmp_path)
    trained = train_generator(options, events.append)
    started, *steps = events
    assert isinstance(started, Started)
    assert started.cost == kind.example().cost(10)
    assert [event.step for event in steps] == list(range(1, started.cost.steps + 1))
    assert all(event.steps == started.cost.steps for event in steps)
    header = read_header(options.out)
    assert header.method == kind.name
    assert header.classes == (() if kind.any_classes else ("0", "1"))
    assert header.architecture == ("none" if started.cost == Cost() else "resnet-small")
    assert {len(values) for values in header.curve.values()} <= {started.cost.steps}
    assert f"| Method | {kind.name} |" in trained.card.read_text()
    assert NoiseGenerator.load(options.out).method == kind.example()


@some
def test_a_stopped_training_of_a_method_goes_on_to_the_same_bytes(kind, folders, tmp_path):
    options = options_of(kind, folders, tmp_path)
    whole = train_generator(options, lambda event: None)
    for stop_after in range(1, kind.example().cost(10).steps):
        options.out.unlink()
        events, stop = [], threading.Event()

        def stop_in_time(event, stop=stop, stop_after=stop_after):
            if isinstance(event, Stepped) and event.step == stop_after:
                stop.set()

        with pytest.raises(Stopped, match=f"stopped after step {stop_after};"):
            train_generator(options, stop_in_time, stop)
        resumed = train_generator(options, events.append)
        assert resumed.sha256 == whole.sha256
        assert Resumed(stop_after) in events
        assert resumed.header.curve == whole.header.curve


@every
def test_labels_are_asked_for_where_they_are_needed(kind, folders, tmp_path):
    options = replace(options_of(kind, folders, tmp_path), data=folders / "flat")
    if kind.needs_labels:
        with pytest.raises(UsageProblem, match="labelled data needs at least two class folders"):
            train_generator(options, lambda event: None)
    else:
        train_generator(replace(options, data=folders / "classes"), lambda event: None)


@some
def test_classes_are_told_where_they_matter(kind, folders, tmp_path):
    events = []
    options = options_of(kind, folders, tmp_path)
    train_generator(replace(options, test=options.data), events.append)
    told = ("Labels: 2 classes from folders: 0 (5), 1 (5)",) if kind.needs_labels else ()
    assert (events[0].said, len(events[0].test)) == (told, 10)


@some
def test_a_length_is_refused_where_nothing_is_trained(kind, folders, tmp_path):
    options = replace(options_of(kind, folders, tmp_path), epochs=1.0)
    if kind.example().cost(10) == Cost():
        with pytest.raises(UsageProblem, match=f"{kind.name} has no schedule: it trains nothing"):
            train_generator(options, lambda event: None)
    else:
        assert train_generator(options, lambda event: None).path.exists()
