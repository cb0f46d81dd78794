import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.making import make_generator, make_pgd, property_test
from unlearn.config import from_plain, to_plain
from unlearn.errors import EnvironmentProblem
from unlearn.files.replace import replace_file
from unlearn.generators.header import KEY, Header, read_header, serialised
from unlearn.methods import MinMaxMin
from unlearn.methods.stage_one import StageOne
from unlearn.radius import Radius
from unlearn.views import Views

HEADER = Header(
    method="min-max-min",
    config={"randomness": "mse", "schedule": {"steps": 3}},
    architecture="resnet-small",
    classes=("a", "b"),
    image_size=8,
    working_size=16,
    rho="8/255",
    facts={"rho-a": "4/255"},
    curve={"steps": [1, 2], "accuracy": [0.5, 0.25]},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "noise.safetensors"


def write_raw(path, text, length=None):
    """Write a safetensors file that is only a header."""
    content = text.encode()
    path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content)


def write_metadata(path, text):
    write_raw(path, json.dumps({"__metadata__": {KEY: text}}))


def changed(**fields):
    return json.dumps(to_plain(HEADER) | fields)


def refusal(path):
    with pytest.raises(EnvironmentProblem) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_a_header_reads_back_as_it_was_written(path):
    serialised({"x": torch.ones(3)}, HEADER, path)
    assert read_header(path) == HEADER


@property_test
@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=5),
    st.text(),
    st.integers(0, 2**62),
    st.dictionaries(st.text(), st.lists(st.floats(allow_nan=False, allow_infinity=False))),
)
def test_any_names_and_numbers_read_back(tmp_path_factory, classes, licence, seed, curve):
    header = replace(HEADER, classes=tuple(classes), licence=licence, seed=seed, curve=curve)
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    serialised({"x": torch.ones(1)}, header, path)
    assert read_header(path) == header


def test_equal_input_gives_equal_bytes(path, tmp_path):
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2)}
    other = tmp_path / "other.safetensors"
    first = serialised(tensors, HEADER, path)
    second = serialised(dict(reversed(tensors.items())), replace(HEADER), other)
    assert first == second
    assert path.read_bytes() == other.read_bytes()


def test_reading_a_header_imports_no_torch(path):
    serialised({"x": torch.ones(1)}, HEADER, path)
    code = (
        "import sys; from pathlib import Path; from unlearn.generators.header import read_header; "
        "print(read_header(Path(sys.argv[1])).architecture, "
        "sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout == "resnet-small []\n"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt", ".bin"])
def test_a_pickle_is_refused_by_its_suffix(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"anything at all")
    assert refusal(path) == " is a pickle and can run code; only safetensors files are accepted"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_by_its_content(path, protocol):
    path.write_bytes(pickle.dumps({"weights": list(range(1000))}, protocol=protocol))
    assert refusal(path) == " is a pickle and can run code; only safetensors files are accepted"


def test_a_torch_archive_is_refused_by_its_content(path):
    torch.save({"x": torch.ones(2)}, path)
    assert zipfile.is_zipfile(path)
    assert refusal(path) == " is a pickle and can run code; only safetensors files are accepted"


@pytest.mark.parametrize("low", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_looks_like_a_pickle_is_read(path, low):
    text = json.dumps({"__metadata__": {KEY: changed()}})
    write_raw(path, text.ljust(0x10000 + low))
    assert path.read_bytes()[:2] == struct.pack("<H", low)
    assert read_header(path) == HEADER


def test_no_pickle_is_ever_loaded(path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    for protocol in range(6):
        path.write_bytes(pickle.dumps(Trap(), protocol=protocol))
        refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02",
        b"\x02" + b"\0" * 6,
        b"\0" * 8,
        b"\x01" + b"\0" * 7 + b"{",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 30,
        b"just text, and enough of it",
        struct.pack("<Q", 40) + b'{"__metadata__": ',
        struct.pack("<Q", 4) + b"{}  "[:2],
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 1 << 20) + b"{" * 10,
        struct.pack("<Q", (1 << 20) + 1) + b"{}",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", (1 << 64) - 1) + b"{}",
    ],
)
def test_what_is_no_safetensors_file_is_refused(path, content):
    path.write_bytes(content)
    message = refusal(path)
    if content != struct.pack("<Q", 4) + b"{}":
        assert message == ": not a safetensors file"


@pytest.mark.parametrize("depth", [10_000, 400_000])
def test_deep_nesting_is_refused(path, depth):
    write_raw(path, "[" * depth)
    assert refusal(path) == ": not a safetensors file"
    write_metadata(path, "[" * depth)
    assert refusal(path).startswith(": damaged generator header: ")


def test_endless_numbers_are_refused(path):
    write_raw(path, '{"x": ' + "9" * 6000 + "}")
    assert refusal(path) == ": not a safetensors file"
    write_metadata(path, '{"format": ' + "9" * 6000 + "}")
    assert refusal(path).startswith(": damaged generator header: ")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "12",
        "null",
        "{}",
        '{"__metadata__": null}',
        '{"__metadata__": []}',
        '{"__metadata__": {"format": "pt"}}',
        '{"__metadata__": {"unlearn": 1}}',
        '{"__metadata__": {"unlearn": {"format": 1}}}',
    ],
)
def test_other_safetensors_files_are_refused(path, text):
    write_raw(path, text)
    assert refusal(path) == ": a safetensors file, but not an unlearn generator"


def test_a_real_safetensors_file_of_another_tool_is_refused(path):
    path.write_bytes(safetensors.torch.save({"x": torch.ones(2)}, {"format": "pt"}))
    assert refusal(path) == ": a safetensors file, but not an unlearn generator"


@pytest.mark.parametrize("version", [0, None, "1", -1])
def test_other_formats_are_refused(path, version):
    write_metadata(path, changed(format=version))
    assert refusal(path) == f": artefact format {version}; this unlearn reads formats 1 and 2"


@pytest.mark.parametrize("version", [3, 99])
def test_a_later_format_was_made_by_a_newer_unlearn(path, version):
    write_metadata(path, changed(format=version))
    assert refusal(path) == (
        f": artefact format {version}, made by a newer unlearn; this one reads formats up to 2"
    )


OLD = {
    "unlearn": {"radius": "8/255", "step": "2/255", "steps": 3},
    "adversary": {"radius": "4/255", "step": "2/255"},
    "views": {"pad": 2},
    "window": 9,
    "shared": "2/255",
    "joint": True,
    "patterns": 1,
    "jitter": "0/255",
    "adversary_range": None,
    "cosine_weight": 0,
    "architectures": [],
    "averaged": 1,
    "warm": False,
}


def old_header(**config):
    plain = to_plain(HEADER) | {"format": 1, "rho_a": "4/255", "config": OLD | config}
    del plain["facts"]
    return json.dumps(plain)


def test_a_header_of_the_first_format_is_read_as_the_same_method(path):
    write_metadata(path, old_header())
    header = read_header(path)
    assert header == replace(
        HEADER,
        config={
            "noise": {
                "attack": OLD["unlearn"],
                "views": OLD["views"],
                "window": 9,
                "shared": "2/255",
            },
            "adversary": OLD["adversary"],
            "joint": True,
        },
    )
    assert from_plain(MinMaxMin, header.config) == MinMaxMin(
        noise=StageOne(make_pgd(8, 2, steps=3), Views(pad=2), 9, Radius.of_levels(2)),
        adversary=make_pgd(4, 2),
        joint=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patterns", 4),
        ("jitter", "4/255"),
        ("adversary_range", ["1/255", "7/255"]),
        ("cosine_weight", 0.5),
        ("architectures", ["vgg16"]),
        ("averaged", 3),
        ("warm", True),
    ],
)
def test_an_option_that_is_no_more_names_the_unlearn_that_had_it(path, name, value):
    write_metadata(path, old_header(**{name: value}))
    assert refusal(path) == (
        f": damaged generator header: {name} = {value} is an option that is no more; "
        f"use unlearn {HEADER.tool}, which made it"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1]", "has no attribute 'get'"),
        ('"text"', "has no attribute 'get'"),
        (changed(more=1), "header: unknown field 'more'"),
        (changed(classes="ab"), "header.classes: expected tuple"),
        (changed(classes=[1]), "header.classes: expected str, got 1"),
        (changed(config=[]), "header.config: expected dict, got []"),
        (changed(config=None), "header.config: expected dict, got None"),
        (changed(curve=3), "header.curve: expected dict, got 3"),
        (changed(working_size="16"), "header.working_size: expected int, got '16'"),
        (changed(working_size=0), "working_size is 0, not at least 1"),
        (changed(image_size=-8), "image_size is -8, not at least 1"),
        (changed(seed=True), "header.seed: expected int, got True"),
        (changed(name=None), "header.name: expected str, got None"),
        (changed(facts={"rho-a": 4}), "facts hold 4, which is no text"),
        ('{"format": 1}', "header: missing field 'method'"),
        ('{"format": 2}', "header: missing field 'method'"),
        (changed(format=1, config=[]), "header.config: expected dict, got []"),
    ],
)
def test_damaged_headers_are_refused_with_the_reason(path, text, reason):
    write_metadata(path, text)
    message = refusal(path)
    assert message.startswith(": damaged generator header: ")
    assert reason in message


def test_fields_that_have_a_default_may_be_left_out(path):
    plain = to_plain(HEADER)
    del plain["licence"], plain["curve"]
    write_metadata(path, json.dumps(plain))
    assert read_header(path) == replace(HEADER, curve={})


@property_test
@given(st.binary(max_size=200))
def test_no_content_makes_reading_fail_otherwise(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    refusal(path)
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    refusal(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=5,
)


@property_test
@given(st.sampled_from(sorted(to_plain(HEADER))), json_values)
def test_any_value_of_a_field_is_read_or_refused(tmp_path_factory, name, value):
    path = tmp_path_factory.getbasetemp() / "field.safetensors"
    write_metadata(path, changed(**{name: value}))
    try:
        assert isinstance(read_header(path), Header)
    except EnvironmentProblem as problem:
        assert "\n" not in str(problem)  # noqa: PT017


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert refusal(tmp_path / "none.safetensors") == (
        ": cannot be read (No such file or directory)"
    )
    assert refusal(tmp_path) == ": cannot be read (Is a directory)"


def test_writing_replaces_a_file_and_leaves_nothing_beside_it(path):
    path.write_bytes(b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path.write_bytes(b"old")
    monkeypatch.setattr("unlearn.files.replace.os.fsync", full)
    with pytest.raises(EnvironmentProblem) as caught:
        replace_file(path, b"new")
    assert str(caught.value) == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    path.write_bytes(b"old")
    monkeypatch.setattr("unlearn.files.replace.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/noise", "No such file or directory"),
        ("file/noise", "Not a directory"),
        ("x" * 260, "File name too long"),
    ],
)
def test_places_that_cannot_be_written_are_named(tmp_path, name, reason):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentProblem) as caught:
        replace_file(tmp_path / name, b"new")
    assert str(caught.value) == f"{tmp_path / name}: cannot be written ({reason})"


def test_the_header_of_a_generator_says_what_its_method_is(path):
    generator = make_generator()
    generator.save(path)
    header = read_header(path)
    assert header == generator.header
    assert (header.method, header.rho, header.facts["rho-a"]) == ("min-max-min", "8/255", "4/255")
    assert header.config == to_plain(generator.method)
