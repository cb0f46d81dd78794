"""The plan: what is found, what it is called, which class it has, and what is refused."""

import os
import shutil
import socket
import types
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.protecting import make_photos, make_picture
from unlearn.errors import EnvironmentProblem, NothingFound, UsageProblem
from unlearn.files import places as disk_module
from unlearn.files.names import output_names, same_name_key, windows_problem
from unlearn.files.places import check_destination, check_space, overlaps, remove_leftovers
from unlearn.files.text import printable, size_text
from unlearn.pictures.sniff import LOSSLESS_WEBP, picture_size, sniff
from unlearn.protection.plan import PlannedPicture, PlanRequest, make_plan, records_folder
from unlearn.protection.space import estimate_bytes
from unlearn.sources import scan as scan_module
from unlearn.sources import tables as tables_module
from unlearn.sources.labels import Labelling, check_classes
from unlearn.sources.scan import Selection

as_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write and read everything"
)


def told(path):
    with path.open("rb") as file:
        return sniff(file)


def stated(path):
    with path.open("rb") as file:
        return picture_size(file)


def plan_of(tmp_path, *inputs, out="protected", labels="auto", choice="auto", **selection):
    given_inputs = tuple(map(str, inputs)) or (str(tmp_path / "photos"),)
    return make_plan(
        PlanRequest(given_inputs, tmp_path / out, Selection(**selection), labels, choice)
    )


def outs(plan):
    return {picture.name: picture.out for picture in plan.pictures}


# --- what is found ---------------------------------------------------------------------------


def test_a_folder_is_mirrored_and_only_suffixes_change(tmp_path):
    make_photos(
        tmp_path / "photos", ["a.jpg", "b.PNG", "c.bmp", "deep/er/my.photo.jpeg", "deep/t.tiff"]
    )
    plan = plan_of(tmp_path)
    assert outs(plan) == {
        "a.jpg": "a.jpg",
        "b.PNG": "b.PNG",
        "c.bmp": "c.png",
        "deep/er/my.photo.jpeg": "deep/er/my.photo.jpeg",
        "deep/t.tiff": "deep/t.tiff",
    }
    assert (plan.folders, plan.refused, plan.skipped, plan.notices) == (3, (), {}, ())
    assert plan.records == tmp_path / "protected.unlearn"


def test_content_decides_and_not_the_name(tmp_path):
    photos = tmp_path / "photos"
    make_picture(photos / "jpeg.png").rename(photos / "really.jpg")
    make_picture(photos / "x.jpg").rename(photos / "archive.v2")
    make_picture(photos / "y.jpg").rename(photos / "IMG_1")
    make_picture(photos / "lossless.webp", lossless=True)
    make_picture(photos / "lossless_exif.webp", lossless=True, exif=Image.Exif().tobytes())
    make_picture(photos / "lossy.webp", lossless=False)
    (photos / "text.png").write_text("no picture")
    plan = plan_of(tmp_path)
    assert outs(plan) == {
        "IMG_1": "IMG_1.jpg",
        "archive.v2": "archive.v2.jpg",
        "lossless.webp": "lossless.webp",
        "lossless_exif.webp": "lossless_exif.webp",
        "lossy.webp": "lossy.png",
        "really.jpg": "really.png",
        "text.png": "text.png",
    }


@pytest.mark.parametrize(("choice", "suffix"), [("png", "png"), ("webp", "webp"), ("tiff", "tif")])
def test_a_chosen_format_is_that_of_every_output(tmp_path, choice, suffix):
    make_photos(tmp_path / "photos", ["a.jpg", "b.bmp"])
    plan = plan_of(tmp_path, choice=choice)
    assert set(outs(plan).values()) == {f"a.{suffix}", f"b.{suffix}"}
    assert {picture.format for picture in plan.pictures} == {choice.upper()}


def test_hidden_files_and_folders_are_not_looked_at(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", ".b.jpg", ".hidden/c.jpg"])
    plan = plan_of(tmp_path)
    assert (outs(plan), plan.skipped) == (
        {"a.jpg": "a.jpg"},
        {"hidden file": 1, "hidden folder": 1},
    )


def test_other_files_are_counted_by_suffix(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg"])
    for name in ("x.mp4", "y.MP4", "notes.txt", "README", "empty.txt"):
        (tmp_path / "photos" / name).write_text("BM is not a bitmap" if name == "README" else "")
    assert plan_of(tmp_path).skipped == {".mp4": 2, ".txt": 2, "without suffix": 1}


def test_camera_raw_and_documents_are_refused_by_name(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg"])
    (tmp_path / "photos" / "IMG_12.NEF").write_bytes(b"II*\0")
    (tmp_path / "photos" / "logo.svg").write_text("<svg/>")
    (tmp_path / "photos" / "scan.tga").write_bytes(bytes(18))
    refused = {refusal.name: refusal.reason for refusal in plan_of(tmp_path).refused}
    assert refused == {
        "IMG_12.NEF": "camera raw is not a picture to publish; export JPEG, PNG or TIFF first",
        "logo.svg": "this format is not supported; export JPEG, PNG or TIFF first",
        "scan.tga": "this format is not supported; export JPEG, PNG or TIFF first",
    }


def test_only_refused_files_are_still_something_found(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.nef").write_bytes(b"II*\0")
    plan = plan_of(tmp_path)
    assert (plan.pictures, len(plan.refused)) == ((), 1)


def test_without_recursion_sub_folders_are_left_out(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "sub/b.jpg"])
    assert outs(plan_of(tmp_path, recursive=False)) == {"a.jpg": "a.jpg"}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ({"include": ("*.jpg",)}, {"a.JPG", "cats/b.jpg", "cats/raw/c.jpg"}),
        ({"include": ("cats",)}, {"cats/b.jpg", "cats/raw/c.jpg"}),
        ({"exclude": ("raw",)}, {"a.JPG", "cats/b.jpg", "d.png"}),
        ({"exclude": ("cats/raw/*", "*.PNG")}, {"a.JPG", "cats/b.jpg"}),
        ({"include": ("cats/*",), "exclude": ("c.*",)}, {"cats/b.jpg"}),
    ],
)
def test_patterns_match_paths_names_and_folders_in_any_case(tmp_path, patterns, names):
    make_photos(tmp_path / "photos", ["a.JPG", "cats/b.jpg", "cats/raw/c.jpg", "d.png"])
    assert set(outs(plan_of(tmp_path, **patterns))) == names


def test_several_folders_keep_their_names_and_files_go_beside_them(tmp_path):
    make_photos(tmp_path / "one", ["a.jpg"])
    make_photos(tmp_path / "two", ["x/a.jpg"])
    single = make_picture(tmp_path / "elsewhere" / "b.jpg")
    plan = plan_of(tmp_path, tmp_path / "one", f"{tmp_path}/two/", single)
    assert outs(plan) == {
        "b.jpg": "b.jpg",
        "one/a.jpg": "one/a.jpg",
        "two/x/a.jpg": "two/x/a.jpg",
    }


def test_the_current_folder_has_a_name_too(tmp_path, monkeypatch):
    make_photos(tmp_path / "here", ["a.jpg"])
    make_photos(tmp_path / "other", ["b.jpg"])
    monkeypatch.chdir(tmp_path / "here")
    plan = plan_of(tmp_path, ".", "../other")
    assert outs(plan) == {"here/a.jpg": "here/a.jpg", "other/b.jpg": "other/b.jpg"}


def test_a_file_given_twice_is_taken_once(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    monkeypatch.chdir(tmp_path)
    plan = plan_of(tmp_path, photos / "a.jpg", "photos/a.jpg", "photos/../photos/a.jpg")
    assert outs(plan) == {"a.jpg": "a.jpg"}


def test_two_inputs_of_one_name_are_refused(tmp_path):
    for folder in ("one", "two"):
        make_picture(tmp_path / folder / "a.jpg")
    with pytest.raises(UsageProblem, match=r"one/a.jpg and .*two/a.jpg would both become a.jpg"):
        plan_of(tmp_path, tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg")


def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "c.png", "deep/er/d.jpg"])
    assert set(outs(plan_of(tmp_path, tmp_path / "photos/*.jpg"))) == {"a.jpg", "b.jpg"}
    names = set(outs(plan_of(tmp_path, tmp_path / "photos/**/d.jpg", tmp_path / "photos/c.png")))
    assert names == {"c.png", "d.jpg"}
    odd = make_picture(tmp_path / "photos" / "[1].jpg")
    assert set(outs(plan_of(tmp_path, odd))) == {"[1].jpg"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("gone", "There is no file or folder .*gone"), ("gone/*.jpg", "Nothing matches .*gone/")],
)
def test_a_missing_input_is_a_usage_problem(tmp_path, text, message):
    with pytest.raises(UsageProblem, match=message):
        plan_of(tmp_path, tmp_path / text)


def test_file_links_are_followed_and_folder_links_only_on_request(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    make_photos(tmp_path / "far", ["b.jpg"])
    (photos / "link.jpg").symlink_to(tmp_path / "far" / "b.jpg")
    (photos / "folder").symlink_to(tmp_path / "far")
    plan = plan_of(tmp_path)
    assert set(outs(plan)) == {"a.jpg", "link.jpg"}
    assert plan.skipped == {"folder link": 1}
    followed = plan_of(tmp_path, follow_symlinks=True)
    assert set(outs(followed)) == {"a.jpg", "folder/b.jpg", "link.jpg"}


def test_folder_links_in_a_circle_end(tmp_path):
    photos = make_photos(tmp_path / "photos", ["sub/a.jpg"])
    (photos / "sub" / "up").symlink_to(photos)
    (photos / "sub" / "self").symlink_to(photos / "sub")
    plan = plan_of(tmp_path, follow_symlinks=True)
    assert set(outs(plan)) == {"sub/a.jpg"}
    assert plan.skipped == {"circular folder link": 2}


def test_links_to_nothing_or_to_themselves_are_refused(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    (photos / "dead.jpg").symlink_to(photos / "gone.jpg")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    (photos / "socket-of-something").symlink_to(photos / "gone")
    plan = plan_of(tmp_path)
    assert plan.skipped == {"unreadable": 1}
    assert {r.name: r.reason for r in plan.refused} == dict.fromkeys(
        ["dead.jpg", "loop.jpg"], "cannot be read: a link to nothing"
    )


def test_pipes_and_sockets_are_not_opened(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    os.mkfifo(photos / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(photos / "s.png"))
        assert plan_of(tmp_path).skipped == {"special file": 2}


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "locked/b.jpg"])
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(scan_module.os, "scandir", scandir)
    plan = plan_of(tmp_path, photos)
    assert {r.name: r.reason for r in plan.refused} == {
        "locked": "folder cannot be read: permission denied"
    }


def test_a_folder_that_cannot_be_asked_is_taken_for_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda _self: (_ for _ in ()).throw(PermissionError(13)))
    assert not scan_module._is_folder(tmp_path)


def test_no_pictures_is_said_with_what_was_there(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.txt").touch()
    with pytest.raises(NothingFound) as caught:
        plan_of(tmp_path)
    looked = "looked for jpg png webp tif bmp gif avif heic"
    assert str(caught.value) == f"No pictures in {photos} ({looked}; 1 .txt there)."
    make_photos(photos, ["sub/export/b.jpg", "tub/c.jpg"])
    with pytest.raises(NothingFound, match=r"Did you mean .*photos/tub\?"):
        plan_of(tmp_path, recursive=False)
    with pytest.raises(NothingFound, match="Check --include and --exclude"):
        plan_of(tmp_path, include=("*.webp",))
    with pytest.raises(NothingFound, match=r"No pictures in .*a.txt .*1 .txt there\)\.$"):
        plan_of(tmp_path, photos / "a.txt", recursive=False)
    shutil.rmtree(photos / "tub")
    with pytest.raises(NothingFound, match=r"1 .txt there\)\.$"):
        plan_of(tmp_path, recursive=False)


# --- where it goes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "how"),
    [("photos", "is"), ("photos/out", "is inside"), ("photos/../photos/x/y", "is inside")],
)
def test_an_output_in_the_input_is_refused(tmp_path, out, how):
    make_photos(tmp_path / "photos")
    with pytest.raises(UsageProblem) as caught:
        plan_of(tmp_path, out=out)
    text = f"Output folder {tmp_path / out} {how} the input {tmp_path / 'photos'}; "
    assert str(caught.value) == text + "choose a folder beside it"


def test_an_output_above_the_input_is_refused(tmp_path):
    make_photos(tmp_path / "out" / "photos")
    with pytest.raises(UsageProblem, match="contains the input"):
        plan_of(tmp_path, tmp_path / "out" / "photos", out="out")
    with pytest.raises(UsageProblem, match="contains the input"):
        plan_of(tmp_path, tmp_path / "out" / "photos" / "a.jpg", out="out")


def test_links_do_not_hide_an_overlap(tmp_path):
    make_photos(tmp_path / "photos")
    (tmp_path / "alias").symlink_to(tmp_path / "photos")
    for out in ("alias", "alias/new/er"):
        with pytest.raises(UsageProblem, match="choose a folder beside it"):
            plan_of(tmp_path, out=out)
    with pytest.raises(UsageProblem, match="choose a folder beside it"):
        plan_of(tmp_path, tmp_path / "alias", out="photos/new")


def test_the_folder_of_records_is_no_input(tmp_path):
    make_photos(tmp_path / "protected.unlearn" / "preview")
    with pytest.raises(UsageProblem, match="Folder of records"):
        plan_of(tmp_path, tmp_path / "protected.unlearn")


def test_a_source_that_is_a_link_into_the_output_is_refused(tmp_path):
    photos = make_photos(tmp_path / "photos")
    kept = make_picture(tmp_path / "protected" / "old.png")
    (photos / "old.png").symlink_to(kept)
    with pytest.raises(UsageProblem, match="is a link into the output folder"):
        plan_of(tmp_path)


def test_a_folder_beside_the_input_is_fine(tmp_path):
    assert overlaps(tmp_path / "photos2", tmp_path / "photos") is None
    make_photos(tmp_path / "photos")
    plan = plan_of(tmp_path, tmp_path / "photos" / "a.jpg", out="photos/new")
    assert outs(plan) == {"a.jpg": "a.jpg"}


@pytest.mark.parametrize("path", ["protected", "protected.unlearn", "file"])
def test_a_file_in_the_way_of_the_output_is_refused(tmp_path, path):
    make_photos(tmp_path / "photos")
    (tmp_path / path).touch()
    out = "file/protected" if path == "file" else "protected"
    with pytest.raises(UsageProblem, match="is not a folder; choose another --out"):
        plan_of(tmp_path, out=out)


def test_an_unwritable_destination_is_an_environment_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_module.os, "access", lambda path, _mode: path != tmp_path)
    with pytest.raises(EnvironmentProblem) as caught:
        check_destination(tmp_path / "new" / "out", tmp_path / "new" / "out.unlearn")
    text = f"Cannot write into {tmp_path} (permission denied); choose another --out"
    assert str(caught.value) == text
    read_only = types.SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(disk_module.os, "statvfs", lambda _: read_only)
    with pytest.raises(EnvironmentProblem, match=r"\(read-only file system\)"):
        check_destination(tmp_path / "new" / "out", tmp_path / "new" / "out.unlearn")


@as_root
def test_a_read_only_folder_is_an_environment_problem(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(EnvironmentProblem, match="permission denied"):
        check_destination(tmp_path / "locked" / "out", tmp_path / "locked" / "out.unlearn")


def test_records_lie_beside_the_output_whatever_its_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert records_folder(Path("out")) == Path("out.unlearn")
    assert records_folder(Path("a/out/")) == Path("a/out.unlearn")
    assert records_folder(Path("a/..")) == tmp_path.with_name(f"{tmp_path.name}.unlearn")


# --- what it is called -----------------------------------------------------------------------


def test_sources_that_would_meet_keep_their_full_names():
    sources = [("a.jpg", "PNG"), ("a.png", "PNG"), ("a.tif", "TIFF"), ("b.jpg", "PNG")]
    assert output_names(sources) == ["a.jpg.png", "a.png", "a.tif", "b.png"]
    assert output_names([("a.jpg", "PNG"), ("a.jpeg", "PNG")]) == ["a.jpg.png", "a.jpeg.png"]


def test_full_names_that_meet_again_get_numbers():
    sources = [("a.jpg", "PNG"), ("a.jpg.png", "PNG"), ("a.png", "PNG")]
    assert output_names(sources) == ["a.jpg-2.png", "a.jpg.png", "a.png"]


def test_names_that_differ_in_case_or_unicode_form_alone_are_kept_apart():
    assert output_names([("A.png", "PNG"), ("a.png", "PNG")]) == ["A.png", "a-2.png"]
    assert output_names([("A.jpg", "PNG"), ("a.png", "PNG")]) == ["A.jpg.png", "a.png"]
    assert output_names([("a.png", "PNG")], reserved=["A.png"]) == ["a-2.png"]
    composed, decomposed = "\u00e9.png", "e\u0301.png"
    assert output_names([(decomposed, "PNG"), (composed, "PNG")]) == [decomposed, "\u00e9-2.png"]


def test_an_output_is_never_called_like_a_folder():
    sources = [("a.jpg", "PNG"), ("a.png/b.jpg", "PNG")]
    assert output_names(sources) == ["a.jpg.png", "a.png/b.png"]


stems = st.sampled_from(["a", "A", "b", "a.jpg", "a-2", "e\u0301", "\u00e9", "ß", "SS", "con"])
suffixes = st.sampled_from([".jpg", ".png", ".PNG", ".webp", ".tif", "", ".v2"])
folders = st.sampled_from(["", "x/", "X/", "a.png/", "x/a.png/"])
sources_drawn = st.lists(
    st.tuples(
        st.builds(lambda folder, stem, end: folder + stem + end, folders, stems, suffixes),
        st.sampled_from(["PNG", "WEBP", "TIFF"]),
    ),
    max_size=12,
    unique_by=lambda source: source[0],
)


@given(sources_drawn, st.randoms())
def test_output_names_are_unique_everywhere_and_independent_of_order(sources, random):
    names = output_names(sources)
    keys = [same_name_key(name) for name in names]
    assert len(set(keys)) == len(keys)
    parents = {same_name_key(str(p)) for name in names for p in PurePosixPath(name).parents}
    assert not parents & set(keys)
    for (source, kind), name in zip(sources, names, strict=True):
        assert PurePosixPath(name).parent == PurePosixPath(source).parent
        assert name.lower().endswith({"PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}[kind])
    shuffled = random.sample(sources, len(sources))
    assert dict(zip(shuffled, output_names(shuffled), strict=True)) == dict(
        zip(sources, names, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("con.png", "con.png is a reserved name on Windows"),
        ("a/LPT1.photo.png", "LPT1.photo.png is a reserved name on Windows"),
        ("aux /b.png", "aux  is a reserved name on Windows"),
        ("a./b.png", "a. ends in a dot or a space, which Windows removes"),
        ("what?.png", "what?.png has a character that Windows does not allow"),
        ("a\tb.png", r"a\tb.png has a character that Windows does not allow"),
        ("fine name.é.png", None),
        ("console/com10.png", None),
    ],
)
def test_names_that_windows_could_not_store_are_known(name, problem):
    assert windows_problem(name) == problem


def test_odd_names_are_noticed_and_many_are_counted(tmp_path):
    make_photos(tmp_path / "photos", ["con.jpg", "aux.jpg", "nul.jpg", "prn.jpg", "a.jpg", "a.png"])
    first, second = plan_of(tmp_path, choice="png").notices
    assert first == (
        "aux.png is a reserved name on Windows; con.png is a reserved name on Windows; "
        "nul.png is a reserved name on Windows and 1 more"
    )
    assert second == "1 picture keeps its full name, since two would have had the same one"


def test_a_name_that_grows_too_long_is_refused(tmp_path):
    long = "x" * 250 + ".bmp"
    make_photos(tmp_path / "photos", ["a.jpg", long])
    (tmp_path / "photos" / long).rename(tmp_path / "photos" / ("x" * 253))
    plan = plan_of(tmp_path)
    assert set(outs(plan)) == {"a.jpg"}
    assert plan.refused[0].reason == "output name would be longer than 255 bytes; rename it"


def test_names_that_are_no_text_are_kept_and_shown_escaped(tmp_path):
    photos = tmp_path / "photos"
    make_picture(photos / "a.jpg").rename(photos / os.fsdecode(b"\xff\n\x1b.jpg"))
    assert list(outs(plan_of(tmp_path)).values()) == [os.fsdecode(b"\xff\n\x1b.jpg")]
    assert printable(os.fsdecode(b"\xff\n\x1b.jpg")) == r"\udcff\n\x1b.jpg"
    assert printable("schöne Katze 😺.jpg") == "schöne Katze 😺.jpg"


# --- which class it has ----------------------------------------------------------------------


def labels_of(plan):
    return {picture.name: picture.label for picture in plan.pictures}


def test_class_folders_are_classes(tmp_path):
    make_photos(tmp_path / "photos", ["cats/a.jpg", "cats/deep/b.jpg", "dogs/c.jpg"])
    for choice in ("auto", "folders"):
        plan = plan_of(tmp_path, labels=choice)
        assert plan.labelling.mode == "folders"
        assert plan.labelling.classes == ("cats", "dogs")
        assert labels_of(plan)["cats/deep/b.jpg"] == "cats"
    assert plan_of(tmp_path, labels="one").labelling.classes == ("all",)


def test_a_flat_folder_or_one_class_folder_is_one_class(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "sub/b.jpg"])
    assert plan_of(tmp_path).labelling.mode == "one"
    with pytest.raises(UsageProblem, match=r"photos/a.jpg is in no class folder"):
        plan_of(tmp_path, labels="folders")
    make_picture(tmp_path / "photos" / "b.jpg", 7)
    with pytest.raises(UsageProblem, match=r"a.jpg \(and 1 more\) is in no class folder"):
        plan_of(tmp_path, labels="folders")


def test_loose_pictures_beside_class_folders_are_a_class_of_their_own(tmp_path):
    make_photos(tmp_path / "photos", ["loose.jpg", "cats/a.jpg", "dogs/b.jpg"])
    assert plan_of(tmp_path).labelling.classes == (".", "cats", "dogs")


def test_flat_inputs_are_the_class_folders_themselves(tmp_path):
    make_photos(tmp_path / "photos", ["cats/a.jpg", "dogs/b.jpg"])
    plan = plan_of(tmp_path, tmp_path / "photos" / "*")
    assert labels_of(plan) == {"cats/a.jpg": "cats", "dogs/b.jpg": "dogs"}


def test_nested_inputs_share_the_classes_under_them(tmp_path):
    make_photos(tmp_path / "train", ["cats/a.jpg", "dogs/b.jpg"])
    make_photos(tmp_path / "val", ["cats/c.jpg"])
    plan = plan_of(tmp_path, tmp_path / "train", tmp_path / "val")
    assert labels_of(plan)["val/cats/c.jpg"] == "cats"


def test_an_unknown_source_of_labels_is_refused(tmp_path):
    make_photos(tmp_path / "photos")
    for choice in ("guess", "csv:"):
        with pytest.raises(UsageProblem, match="use auto, folders, one or csv:FILE"):
            plan_of(tmp_path, labels=choice)


def test_more_classes_than_the_generator_has_is_refused_with_what_to_do():
    labelling = Labelling("folders", ("a", "b", "c"))
    check_classes(labelling, 3, "base")
    with pytest.raises(UsageProblem) as caught:
        check_classes(labelling, 2, "base")
    assert str(caught.value) == (
        "3 classes (folders), but the generator base has 2; use --labels one, "
        "--labels csv:FILE with at most 2 classes, or a generator trained on at least 3 classes "
        "(unlearn train-generator)"
    )


def csv_plan(tmp_path, content, **changes):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return plan_of(tmp_path, labels=f"csv:{path}", **changes)


@pytest.mark.parametrize("head", ["", "path,label\n", "\ufeffPath, Label\r\n", "\n\n"])
def test_a_csv_file_gives_each_picture_its_class(tmp_path, head):
    make_photos(tmp_path / "photos", ["a.jpg", "sub/b, c.jpg", "e\u0301.jpg"])
    rows = 'a.jpg,cat\n"sub/b, c.jpg", dog\n./\u00e9.jpg,"cat"\n'
    plan = csv_plan(tmp_path, head + rows)
    assert plan.labelling.mode == "csv"
    assert labels_of(plan) == {"a.jpg": "cat", "sub/b, c.jpg": "dog", "e\u0301.jpg": "cat"}


def test_a_csv_file_may_name_pictures_that_the_options_leave_out(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "b.png"])
    plan = csv_plan(tmp_path, "a.jpg,cat\nb.png,dog\n", include=("*.jpg",))
    assert labels_of(plan) == {"a.jpg": "cat"}


def test_a_csv_file_for_several_inputs_uses_the_output_paths(tmp_path):
    for folder in ("one", "two"):
        make_photos(tmp_path / folder, ["a.jpg"])
    (tmp_path / "labels.csv").write_text("one/a.jpg,cat\ntwo/a.jpg,dog\n")
    inputs = (tmp_path / "one", tmp_path / "two")
    plan = plan_of(tmp_path, *inputs, labels=f"csv:{tmp_path / 'labels.csv'}")
    assert labels_of(plan) == {"one/a.jpg": "cat", "two/a.jpg": "dog"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"labels.csv has no rows"),
        ("path,label\n", r"labels.csv has no rows"),
        ("a.jpg\n", r"line 1: expected path,label, two columns that are not empty"),
        ("a.jpg,cat,dog\n", r"line 1: expected path,label"),
        ("path,label\na.jpg,\n", r"line 2: expected path,label"),
        ("a.jpg,cat\ngone.jpg,cat\n", r"line 2: there is no picture gone.jpg"),
        ("a.jpg,cat\n../x.jpg,cat\n", r"line 2: \.\./x.jpg leads outside"),
        ("/etc/passwd,cat\n", r"line 1: /etc/passwd leads outside"),
        ("C:\\x.jpg,cat\n", r"line 1: C:\\x.jpg leads outside"),
        ("a\0.jpg,cat\n", r"line 1: "),
        ("a.jpg,cat\na.jpg,dog\n", r"line 2: a.jpg is dog here and cat on line 1"),
        ('"a.jpg,cat\n', r"line 1: unexpected end of data"),
        (b'"' + b"x" * 200_000 + b'",cat\n', r"line 1: field larger than field limit"),
        ("a.jpg,cat\n", r"labels.csv has no label for b.jpg, c.jpg, d.jpg and 1 more"),
        ("a.jpg,c\nb.jpg,c\nc.jpg,c\n", r"labels.csv has no label for d.jpg, e.jpg; add"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused_by_line(tmp_path, content, message):
    make_photos(tmp_path / "photos", [f"{c}.jpg" for c in "abcde"])
    with pytest.raises(UsageProblem, match=message):
        csv_plan(tmp_path, content)


def test_the_same_row_twice_is_no_contradiction(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg"])
    assert labels_of(csv_plan(tmp_path, "a.jpg,cat\na.jpg,cat\n")) == {"a.jpg": "cat"}


def test_a_missing_huge_or_unreadable_csv_file_is_refused(tmp_path, monkeypatch):
    make_photos(tmp_path / "photos", ["a.jpg"])
    with pytest.raises(UsageProblem, match=r"There is no CSV file .*gone.csv"):
        plan_of(tmp_path, labels=f"csv:{tmp_path / 'gone.csv'}")
    monkeypatch.setattr(tables_module, "_LARGEST", 5)
    with pytest.raises(UsageProblem, match="is larger than 64 MB"):
        csv_plan(tmp_path, "a.jpg,cat\n")
    monkeypatch.setattr(Path, "is_file", lambda _self: (_ for _ in ()).throw(OSError(5, "broken")))
    with pytest.raises(UsageProblem, match=r"cannot be read \(broken\)"):
        plan_of(tmp_path, labels="csv:x.csv")


# --- headers and disk ------------------------------------------------------------------------


def test_files_are_told_by_their_first_bytes(tmp_path):
    for name, kind in [
        ("a.jpg", "JPEG"),
        ("a.png", "PNG"),
        ("a.tif", "TIFF"),
        ("a.bmp", "BMP"),
        ("a.gif", "GIF"),
    ]:
        assert told(make_picture(tmp_path / name)) == kind
    assert told(make_picture(tmp_path / "a.webp", lossless=True)) == LOSSLESS_WEBP
    assert told(make_picture(tmp_path / "b.webp")) == "WEBP"
    path = tmp_path / "cut"
    for content, kind in [(b"", ""), (b"RIFF0000WEBP", "WEBP"), (b"P1 text", ""), (b"BM", "")]:
        path.write_bytes(content)
        assert told(path) == kind
    path.write_bytes(b"RIFF0000WEBP" + b"JUNK\1\0\0\0ab" * 100 + b"VP8L")
    assert told(path) == "WEBP"


def test_a_header_states_the_size_or_nothing(tmp_path):
    assert stated(make_picture(tmp_path / "a.png", size=(31, 7))) == (31, 7)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    assert stated(tmp_path / "b.png") is None


def planned(path, format):
    return PlannedPicture(
        folder=path.parent, name=path.name, out="a", format=format, label="all", size=stated(path)
    )


def test_the_estimate_follows_pixels_format_and_shrinking(tmp_path):
    picture = planned(make_picture(tmp_path / "a.png", size=(200, 100)), "PNG")
    one = estimate_bytes([picture])
    assert 20_000 < one < 60_000
    assert estimate_bytes([picture] * 1500) == 1500 * one
    assert estimate_bytes([replace(picture, format="TIFF")]) > one
    assert estimate_bytes([picture], max_side=100) == pytest.approx(one / 4, rel=0.01)
    assert estimate_bytes([picture], max_side=1000) == one
    assert estimate_bytes([]) == 0
    assert estimate_bytes([replace(picture, size=None)]) == 0
    assert estimate_bytes([replace(picture, name="gone", format="JPEG")]) == 0


def test_the_estimate_expects_weak_noise_to_make_jpegs_png(tmp_path):
    photo = make_picture(tmp_path / "a.jpg", size=(1000, 1000))
    jpeg = replace(planned(photo, "JPEG"), fallback="a.png")
    assert estimate_bytes([jpeg]) == estimate_bytes([jpeg], levels=8)
    assert estimate_bytes([jpeg]) == pytest.approx(1.15 * photo.stat().st_size, abs=1)
    assert estimate_bytes([jpeg], levels=7) == estimate_bytes([replace(jpeg, format="PNG")])
    kept = replace(jpeg, fallback=None)  # --format keep
    assert estimate_bytes([kept], levels=2) == estimate_bytes([kept])


def test_too_little_room_is_refused_with_both_numbers(tmp_path, monkeypatch):
    check_space(1000, tmp_path / "out")
    monkeypatch.setattr(
        disk_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 4_100_000_000)
    )
    with pytest.raises(EnvironmentProblem) as caught:
        check_space(13_000_000_000, tmp_path / "out")
    text = str(caught.value)
    assert text.startswith("Not enough disk: about 13 GB needed, 4.1 GB free on /")
    assert text.endswith(". Use --max-side 2048, or another --out.")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (820, "820 bytes"),
        (1000, "1.0 kB"),
        (999_600, "1.0 MB"),
        (38_400_000, "38 MB"),
        (5e12, "5.0 TB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_read_well(size, text):
    assert size_text(size) == text


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    make_picture(tmp_path / "out" / "sub" / "a.png")
    (tmp_path / "out" / "sub" / ".unlearn-tmp-1.png").touch()
    (tmp_path / "out" / ".unlearn-tmp-2.png").touch()
    assert remove_leftovers(tmp_path / "out") == 2
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["a.png"]
    assert remove_leftovers(tmp_path / "none") == 0


# --- formats that are kept -------------------------------------------------------------------


def spares(plan):
    return {picture.name: picture.fallback for picture in plan.pictures if picture.fallback}


def test_a_jpeg_holds_a_png_name_ready_that_meets_no_other(tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg", "b.png", "c.jpg", "c.bmp", "d.jpg/e.png"])
    plan = plan_of(tmp_path)
    assert outs(plan) == {
        "a.jpg": "a.jpg",
        "b.jpg": "b.jpg",
        "b.png": "b.png",
        "c.bmp": "c.bmp.png",
        "c.jpg": "c.jpg",
        "d.jpg/e.png": "d.jpg/e.png",
    }
    assert spares(plan) == {"a.jpg": "a.png", "b.jpg": "b.jpg.png", "c.jpg": "c.jpg.png"}
    names = [same_name_key(out) for picture in plan.pictures for out in picture.outs]
    assert len(set(names)) == len(names)


def test_keep_plans_every_format_as_itself_and_refuses_what_it_cannot(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpeg", "b.bmp", "c.png", "d.tif", "g.gif"])
    make_picture(photos / "exact.webp", lossless=True)
    make_picture(photos / "lossy.webp", lossless=False)
    plan = plan_of(tmp_path, choice="keep")
    assert outs(plan) == {
        "a.jpeg": "a.jpeg",
        "b.bmp": "b.bmp",
        "c.png": "c.png",
        "d.tif": "d.tif",
        "exact.webp": "exact.webp",
        "g.gif": "g.png",
    }
    assert spares(plan) == {"b.bmp": "b.png"}
    assert [(refusal.name, refusal.reason) for refusal in plan.refused] == [
        ("lossy.webp", "lossy WebP cannot be kept within the bound; use --format png")
    ]
    assert plan.notices == (
        "1 GIF is written as PNG, since GIF cannot hold the noise within the bound",
    )


def test_a_name_held_ready_that_is_too_long_is_refused(tmp_path):
    long = "x" * 251 + ".jpg"
    make_photos(tmp_path / "photos", ["a.jpg", long, "x" * 251 + ".png"])
    plan = plan_of(tmp_path)
    assert [refusal.name for refusal in plan.refused] == [long]


def test_the_room_for_a_jpeg_follows_its_file_unless_it_is_shrunk(tmp_path):
    path = make_picture(tmp_path / "a.jpg", size=(200, 100), quality=95)
    size = path.stat().st_size
    picture = planned(path, "JPEG")
    assert estimate_bytes([picture]) == round(1.15 * size)
    assert estimate_bytes([picture], max_side=200) == round(1.15 * size)
    assert estimate_bytes([picture], max_side=100) == estimate_bytes(
        [replace(picture, format="PNG")], max_side=100
    )
