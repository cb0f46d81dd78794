"""Verify is tested by cheating it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.writing import write_picture
from unlearn.errors import NothingFound, UsageProblem
from unlearn.pictures.read import Preparation, prepare
from unlearn.radius import Radius
from unlearn.verification.options import VerifyOptions
from unlearn.verification.pairs import find_outputs, pair_names
from unlearn.verification.run import verify

LEVELS = 8
OPTIONS = VerifyOptions(workers=1)


def make_source(path, seed, size=(40, 30), mode="RGB"):
    """Draw a smooth picture that is unlike every other."""
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    small = np.random.default_rng(seed).integers(40, 216, (5, 6, bands), dtype=np.uint8)
    if mode == "RGBA":
        small[..., 3] = 255
        small[:2, :, 3] = 0
    image = Image.fromarray(small[..., 0] if mode == "L" else small)
    path.parent.mkdir(parents=True, exist_ok=True)
    resample = Image.Resampling.NEAREST if mode == "RGBA" else Image.Resampling.BILINEAR
    image.resize(size, resample).save(path)


def protect(source, target, levels=LEVELS, seed=0, max_side=None):
    picture = prepare(source, Preparation(max_side=max_side))
    rng = np.random.default_rng(seed)
    noise = rng.integers(-levels, levels + 1, picture.pixels.shape)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_picture(
        picture,
        np.clip(picture.pixels + noise, 0, 255).astype(np.uint8),
        target,
        format="PNG",
        metadata="keep",
        levels=levels,
    )


@pytest.fixture
def folders(tmp_path):
    """Return folders of five clean pictures and their protected versions."""
    source, out = tmp_path / "photos", tmp_path / "protected"
    names = ["cat/a.jpg", "cat/b.jpg", "dog/c.jpg", "dog/d.png", "e.png"]
    for seed, name in enumerate(names):
        make_source(source / name, seed, mode="RGBA" if name == "e.png" else "RGB")
        protect(source / name, out / Path(name).with_suffix(".png"))
    return source, out


def write_manifest(source, out, **lies):
    """Write the manifest that a run would have left, with the lies in its header and records."""
    records = out.with_name(out.name + ".unlearn")
    records.mkdir(exist_ok=True)
    changed = lies.pop("records", {})
    header = {
        "type": "run",
        "v": 1,
        "tool": "0",
        "torch": "0",
        "pillow": "0",
        "generator": {"name": "base", "sha256": "0"},
        "rho": "8/255",
        "seed": 0,
        "labels": "auto",
        "format": "auto",
        "metadata": "keep",
        "max_side": None,
        "grid": 224,
        "noise": 1,
        "key": "0",
        "device": "cpu",
        "inputs": [str(source)],
        "argv": [],
        "started": "now",
        **lies,
    }
    lines = [header]
    from unlearn.protection.manifest import PictureRecord

    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        name = path.relative_to(source).as_posix()
        target = Path(name).with_suffix(".png").as_posix()
        file = out / target
        sha256 = prepare(file, Preparation()).sha256 if file.exists() else "0" * 64
        values = {"status": "ok", "out": target, "out_sha256": sha256, **changed.get(name, {})}
        lines.append(PictureRecord(src=name, **values).to_line())
    text = "\n".join(json.dumps(line) for line in lines)
    (records / "manifest.jsonl").write_text(text + "\nnot json\n")


def states(result):
    return {
        check.source or check.output: check.state for check in result.checks if check.state != "ok"
    }


def alter(path, change):
    """Change the pixels of a PNG without loss."""
    with Image.open(path) as image:
        values = np.array(image)
    change(values)
    Image.fromarray(values).save(path)


def test_all_is_well_after_protecting(folders):
    source, out = folders
    seen = []
    result = verify(source, out, OPTIONS, lambda *step: seen.append(step))
    assert result.ok
    assert (result.pairs, result.compared, result.radius_origin) == (5, 5, "default")
    assert {check.linf for check in result.checks} == {8}
    assert [step[:2] for step in seen] == [(n, 5) for n in range(1, 6)]
    assert result.counts == {"ok": 5}


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_level_too_much_in_one_corner_of_one_channel_is_found(folders, corner, channel):
    source, out = folders
    clean = prepare(source / "cat/a.jpg", Preparation()).pixels
    y, x = corner
    value = int(clean[y, x, channel])
    wrong = value + 9 if value < 128 else value - 9

    alter(out / "cat/a.png", lambda values: values.__setitem__((y, x, channel), wrong))
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "over"}
    (check,) = (check for check in result.checks if check.state == "over")
    height, width = clean.shape[:2]
    assert (check.linf, check.worst) == (9, (x % width, y % height, channel))
    colour = ("red", "green", "blue")[channel]
    assert check.reason == f"9/255 at x {x % width}, y {y % height}, {colour}; allowed 8/255"


def test_a_smaller_bound_is_held_to(folders):
    source, out = folders
    given = VerifyOptions(Radius.of_levels(7), workers=2)
    result = verify(source, out, given)
    assert set(states(result).values()) == {"over"}
    assert result.radius_origin == "given"
    assert verify(source, out, VerifyOptions(Radius.of_levels(16))).ok


def test_two_swapped_files_are_found(folders):
    source, out = folders
    one, two = out / "cat/a.png", out / "dog/c.png"
    one.rename(out / "kept")
    two.rename(one)
    (out / "kept").rename(two)
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "swapped", "dog/c.jpg": "swapped"}
    assert result.checks[0].reason == "this is the protected dog/c.jpg"


def test_swapped_files_are_not_made_good_by_a_manifest_that_swaps_them_too(folders):
    source, out = folders
    one, two = out / "cat/a.png", out / "dog/c.png"
    one.rename(out / "kept")
    two.rename(one)
    (out / "kept").rename(two)
    lie = {"cat/a.jpg": {"out": "dog/c.png"}, "dog/c.jpg": {"out": "cat/a.png"}}
    write_manifest(source, out, records=lie)
    assert states(verify(source, out, OPTIONS)) == {
        "cat/a.jpg": "swapped",
        "dog/c.jpg": "swapped",
    }


def test_a_swap_of_pictures_of_two_sizes_is_not_comparable_or_swapped(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "protected"
    for name, size in (("a.png", (40, 30)), ("b.png", (30, 40))):
        make_source(source / name, len(name) + size[0], size)
    protect(source / "a.png", out / "b.png")
    protect(source / "b.png", out / "a.png")
    assert set(states(verify(source, out, OPTIONS)).values()) == {"swapped"}
    (out / "a.png").unlink()
    result = verify(source, out, OPTIONS)
    assert states(result) == {"a.png": "missing", "b.png": "incomparable"}
    assert result.checks[1].reason == "size 40 x 30, expected 30 x 40"


def test_outputs_that_look_alike_are_swapped_only_if_they_belong(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "protected"
    for number, name in enumerate(("a.png", "b.png")):
        make_source(source / name, 1, mode="RGBA")
        alter(source / name, lambda v, n=number: v.__setitem__((-1, n, 3), 200))
        protect(source / name, out / name)
        alter(out / name, lambda v: v.__setitem__((-1, 5, 3), 254))
    assert states(verify(source, out, OPTIONS)) == {"a.png": "alpha", "b.png": "alpha"}


def test_a_deleted_file_is_missing(folders):
    source, out = folders
    (out / "cat/a.png").unlink()
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "missing"}
    assert not result.ok


def test_a_copied_clean_picture_is_unchanged(folders):
    source, out = folders
    shutil.copy(source / "dog/d.png", out / "dog/d.png")
    shutil.copy(source / "cat/a.jpg", out / "cat/a.png")
    assert states(verify(source, out, OPTIONS)) == {
        "dog/d.png": "unchanged",
        "cat/a.jpg": "unchanged",
    }


def test_a_clean_copy_beside_its_protected_version_is_extra(folders):
    source, out = folders
    shutil.copy(source / "cat/a.jpg", out / "cat/a.jpg")
    shutil.copy(source / "cat/b.jpg", out / ".hidden.jpg")
    shutil.copy(source / "cat/b.jpg", out / "notes.txt")
    (out / "real-notes.txt").write_text("P1 of three")
    shutil.copy(source / "cat/b.jpg", out / ".unlearn-tmp-0123.png")
    found = states(verify(source, out, OPTIONS))
    assert {"cat/a.jpg", ".hidden.jpg", "notes.txt", ".unlearn-tmp-0123.png"} <= found.keys()
    assert "real-notes.txt" not in found


def test_a_file_saved_again_as_jpeg_is_over_the_bound(folders):
    source, out = folders
    with Image.open(out / "cat/a.png") as image:
        image.save(out / "cat/a.jpg", quality=75)
    (out / "cat/a.png").unlink()
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "over"}
    assert "after lossy JPEG" in result.checks[0].reason


def test_a_turned_or_mirrored_output_is_called_that(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    gradient = np.add.outer(np.arange(40) * 4, np.arange(24) * 2).astype(np.uint8)
    turns = {"a": Image.Transpose.ROTATE_90, "b": Image.Transpose.FLIP_LEFT_RIGHT, "c": None}
    for name, turn in turns.items():
        Image.fromarray(gradient).save(source / f"{name}.png")
        copy = Image.fromarray(gradient + 1 if turn is not None else 255 - gradient)
        (copy if turn is None else copy.transpose(turn)).save(out / f"{name}.png")
    checks = {check.source: check for check in verify(source, out, OPTIONS).checks}
    assert checks["a.png"].reason.endswith("expected 24 x 40; it is turned or mirrored")
    assert (checks["b.png"].state, checks["c.png"].state) == ("over", "over")
    assert "turned" in checks["b.png"].reason
    assert "turned" not in checks["c.png"].reason


def test_an_altered_alpha_is_found(folders):
    source, out = folders
    with Image.open(out / "e.png") as image:
        alpha = np.array(image)[..., 3]
    y, x = np.argwhere(alpha == 255)[0]
    alter(out / "e.png", lambda values: values.__setitem__((y, x, 3), 254))
    result = verify(source, out, OPTIONS)
    assert states(result) == {"e.png": "alpha"}


def test_a_change_under_full_transparency_is_found(folders):
    source, out = folders
    with Image.open(out / "e.png") as image:
        alpha = np.array(image)[..., 3]
    y, x = np.argwhere(alpha == 0)[0]
    alter(out / "e.png", lambda values: values.__setitem__((y, x, 0), values[y, x, 0] ^ 1))
    result = verify(source, out, OPTIONS)
    assert states(result) == {"e.png": "alpha"}
    assert "transparent pixels changed by 1/255" in result.checks[-1].reason


def test_an_output_of_another_size_or_in_colour_is_not_comparable(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "protected"
    make_source(source / "grey.png", 1, mode="L")
    make_source(out / "grey.png", 1, mode="RGB")
    make_source(source / "sized.png", 2)
    make_source(out / "sized.png", 2, (41, 30))
    assert states(verify(source, out, OPTIONS)) == {
        "grey.png": "incomparable",
        "sized.png": "incomparable",
    }


def test_a_truncated_output_and_a_broken_source_are_unreadable(folders):
    source, out = folders
    data = (out / "cat/a.png").read_bytes()
    (out / "cat/a.png").write_bytes(data[: len(data) // 2])
    (source / "cat/b.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "unreadable", "cat/b.jpg": "unreadable"}
    assert [check.reason.split(":")[0] for check in result.checks[:2]] == ["output", "source"]


def test_a_link_to_the_clean_picture_is_no_output(folders):
    source, out = folders
    (out / "dog/d.png").unlink()
    (out / "dog/d.png").symlink_to(source / "dog/d.png")
    (out / "cat/a.png").rename(out.parent / "elsewhere.png")
    (out / "cat/a.png").symlink_to(out.parent / "elsewhere.png")
    (out / "clean").symlink_to(source)
    (out / "broken.png").symlink_to("nowhere")
    (out / "socket.txt").symlink_to("nowhere")
    result = verify(source, out, OPTIONS)
    assert states(result) == {
        "dog/d.png": "unchanged",
        "cat/a.jpg": "changed",
        "clean": "extra",
        "broken.png": "extra",
    }


def test_a_lossless_copy_within_the_bound_is_changed_since_written(folders):
    source, out = folders
    write_manifest(source, out)
    assert verify(source, out, OPTIONS).ok
    with Image.open(out / "cat/a.png") as image:
        image.load()
    image.save(out / "cat/a.png", compress_level=9)
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "changed"}


def test_a_manifest_that_lies_about_a_hash_makes_nothing_good(folders):
    source, out = folders
    shutil.copy(source / "dog/d.png", out / "dog/d.png")
    write_manifest(source, out, records={"cat/a.jpg": {"out_sha256": "f" * 64}})
    assert states(verify(source, out, OPTIONS)) == {
        "cat/a.jpg": "changed",
        "dog/d.png": "unchanged",
    }


def test_a_manifest_that_lies_about_the_radius_is_only_a_default(folders):
    source, out = folders
    alter(out / "cat/a.png", lambda values: values.__setitem__((0, 0), values[0, 0] ^ 64))
    write_manifest(source, out, rho="200/255")
    believed = verify(source, out, OPTIONS)
    assert (str(believed.radius), believed.radius_origin) == ("200/255", "manifest")
    assert "the manifest's word" in believed.notices[0]
    result = verify(source, out, VerifyOptions(Radius.of_levels(8), workers=1))
    assert states(result) == {"cat/a.jpg": "over"}
    assert "the manifest says rho 200/255; 8/255 was checked" in result.notices


@pytest.mark.parametrize("rho", ["8", "nonsense", None, 0.5, "-1/255"])
def test_a_radius_that_makes_no_sense_is_not_taken(folders, rho):
    source, out = folders
    write_manifest(source, out, rho=rho)
    result = verify(source, out, OPTIONS)
    assert result.radius_origin == "default"
    assert result.ok


@pytest.mark.parametrize("max_side", [20, 1, 39])
def test_a_manifest_that_lies_about_shrinking_makes_nothing_good(folders, max_side):
    source, out = folders
    write_manifest(source, out, max_side=max_side)
    result = verify(source, out, OPTIONS)
    assert set(result.counts) <= {"incomparable", "over"}


@pytest.mark.parametrize("max_side", [20, 39])
def test_a_clean_picture_shrunk_to_fit_such_a_lie_is_unchanged(folders, max_side):
    source, out = folders
    picture = prepare(source / "cat/a.jpg", Preparation(max_side=max_side))
    Image.fromarray(picture.pixels).save(out / "cat/a.png")
    write_manifest(source, out, max_side=max_side)
    assert states(verify(source, out, OPTIONS))["cat/a.jpg"] == "unchanged"


def test_pictures_shrunk_by_the_run_are_compared_shrunk(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "protected"
    make_source(source / "a.png", 1)
    protect(source / "a.png", out / "a.png", max_side=20)
    assert states(verify(source, out, OPTIONS)) == {"a.png": "incomparable"}
    write_manifest(source, out, max_side=20)
    assert verify(source, out, OPTIONS).ok
    for nonsense in (-3, "20", True):
        write_manifest(source, out, max_side=nonsense)
        assert not verify(source, out, OPTIONS).ok


def test_the_manifest_says_where_the_sources_are(folders):
    source, out = folders
    with pytest.raises(UsageProblem, match=r"no manifest .*unlearn verify SRC OUT"):
        verify(None, out, OPTIONS)
    write_manifest(source, out)
    result = verify(None, out, OPTIONS)
    assert result.ok
    assert result.notices == ("1 lines of the manifest could not be read",)
    write_manifest(source, out, inputs=[str(source.parent / "gone")])
    with pytest.raises(UsageProblem, match="gone"):
        verify(None, out, OPTIONS)


def test_what_a_run_could_not_protect_is_missing_with_its_reason(folders):
    source, out = folders
    (out / "cat/a.png").unlink()
    failed = {"status": "failed", "reason": "truncated file", "out": None, "out_sha256": None}
    write_manifest(source, out, records={"cat/a.jpg": failed})
    result = verify(source, out, OPTIONS)
    assert states(result) == {"cat/a.jpg": "missing"}
    assert result.checks[0].reason == "failed: truncated file"


def test_a_source_that_no_run_can_read_is_missing_or_unreadable(folders):
    source, out = folders
    (source / "raw.nef").write_bytes(b"II*\0 raw")
    (source / "odd.nef").write_bytes(b"II*\0 raw")
    make_source(out / "odd.png", 9)
    result = verify(source, out, OPTIONS)
    assert states(result) == {"raw.nef": "missing", "odd.nef": "unreadable"}
    assert all("camera raw" in check.reason for check in result.checks if check.state != "ok")


def test_links_to_folders_are_followed_if_the_run_did_so(folders, tmp_path):
    source, out = folders
    make_source(tmp_path / "more/f.png", 77)
    (source / "linked").symlink_to(tmp_path / "more")
    protect(tmp_path / "more/f.png", out / "linked/f.png")
    assert states(verify(source, out, OPTIONS)) == {"linked/f.png": "extra"}
    write_manifest(source, out, selection={"follow_symlinks": True})
    assert verify(source, out, OPTIONS).ok


def test_sources_that_were_not_wanted_are_not_missing_and_that_is_said(folders):
    source, out = folders
    (out / "cat/a.png").unlink()
    write_manifest(source, out, selection={"exclude": ["cat/a.*"]})
    result = verify(source, out, OPTIONS)
    assert result.ok
    assert result.pairs == 4
    assert any("not wanted are not looked for" in notice for notice in result.notices)
    write_manifest(source, out, selection={"exclude": 7})
    assert states(verify(source, out, OPTIONS)) == {"cat/a.jpg": "missing"}


def test_a_sample_compares_so_many_but_still_counts_all_names(folders):
    source, out = folders
    (out / "cat/a.png").unlink()
    result = verify(source, out, VerifyOptions(sample=2, workers=1))
    assert (result.pairs, result.compared) == (4, 2)
    assert result.counts == {"ok": 2, "missing": 1}
    assert verify(source, out, VerifyOptions(sample=99)).compared == 4


def test_two_single_files_are_compared_whatever_their_names(folders):
    source, out = folders
    (out / "e.png").rename(out / "renamed.png")
    assert verify(source / "e.png", out / "renamed.png", OPTIONS).ok
    assert not verify(source / "e.png", out / "cat/a.png", OPTIONS).ok


def test_folders_that_are_not_there_empty_or_the_same_are_refused(folders, tmp_path):
    source, out = folders
    with pytest.raises(UsageProblem, match="no file or folder"):
        verify(source, tmp_path / "gone", OPTIONS)
    with pytest.raises(UsageProblem, match="gone"):
        verify(tmp_path / "gone", out, OPTIONS)
    with pytest.raises(UsageProblem, match="the same"):
        verify(out, out, OPTIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingFound):
        verify(tmp_path / "empty", out, OPTIONS)
    result = verify(source, tmp_path / "empty", OPTIONS)
    assert result.counts == {"missing": 5}


def test_nothing_is_written_or_touched(folders):
    source, out = folders
    files = sorted(path for path in source.parent.rglob("*") if path.is_file())
    before = [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    verify(source, out, OPTIONS)
    after = sorted(path for path in source.parent.rglob("*") if path.is_file())
    assert [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in after] == before


def test_an_interruption_stops_at_once(folders):
    source, out = folders

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(source, out, OPTIONS, interrupt)


@pytest.mark.parametrize(
    ("sources", "outputs", "recorded", "expected"),
    [
        (["a.jpg"], ["a.png"], {}, {"a.jpg": "a.png"}),
        (["a.jpg"], ["a.jpg"], {}, {"a.jpg": "a.jpg"}),
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png"], {}, {"a.jpg": "a.jpg.png", "a.png": "a.png"}),
        (["a.jpg", "a.png"], ["a.png"], {}, {"a.png": "a.png"}),
        (["my.photo.jpg"], ["my.photo.png", "my.png"], {}, {"my.photo.jpg": "my.photo.png"}),
        (["d/a.jpg"], ["a.png"], {}, {}),
        (["a.jpg"], ["b.png"], {"a.jpg": "b.png"}, {}),
        (["d/a.jpg"], ["a.png"], {"d/a.jpg": "a.png"}, {}),
        (["a.jpg"], ["a-2.png"], {"a.jpg": "a-2.png"}, {"a.jpg": "a-2.png"}),
        (["a.jpg"], ["a-2.png"], {}, {}),
        (["a.jpg", "a.jpeg"], ["a.png"], {}, {"a.jpeg": "a.png"}),
    ],
)
def test_names_are_paired_as_protect_gives_them(sources, outputs, recorded, expected):
    assert pair_names(sources, outputs, recorded) == expected


def test_special_files_are_outputs_only_by_their_names(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    assert list(find_outputs(tmp_path).pictures) == ["pipe.png"]
