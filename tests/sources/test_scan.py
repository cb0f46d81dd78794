"""What lies beside photos: passed over and counted, or named as a picture that is not protected."""

import io

import pytest
from PIL import Image

from tests.support.protecting import make_photos, make_picture, tree
from unlearn.cli.app import run
from unlearn.sources.beside import files_in, passed_file, passed_folder
from unlearn.sources.scan import Selection, scan


def found_line(lines):
    return next(line for line in lines if line.startswith("Found "))


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "@__thumb",
        "__MACOSX",
        "_thumbs",
        "Previews.lrdata",
        "System Volume Information",
        "lost+found",
        ".thumbnails",
        ".Thumbnails",
        ".stfolder",
        ".AppleDouble",
        ".Trash-1000",
        "My.photoslibrary",
        "Old.aplibrary",
        "[Originals]",
    ],
)
def test_folders_of_systems_and_galleries_are_passed_over_and_their_files_counted(
    protect, tmp_path, folder
):
    names = ["trip/a.jpg", f"trip/{folder}/deep/b.jpg", f"trip/{folder}/c.jpg", "trip/d/e.jpg"]
    make_photos(tmp_path, names)
    code, _, err = protect("trip")
    assert code == 0
    assert found_line(err) == f"Found 2 pictures in 2 folders (2 skipped: 2 in {folder})"
    assert set(tree(tmp_path / "out")) == {"a.png", "d/e.png"}
    assert run(["verify", "trip", "out"]) == 0


def test_a_folder_that_is_named_itself_is_looked_into(protect, tmp_path):
    make_photos(tmp_path, ["_thumbs/a.jpg"])
    assert protect("_thumbs")[0] == 0
    assert set(tree(tmp_path / "out")) == {"a.png"}


def test_passed_folders_are_no_classes(protect, tmp_path):
    make_photos(
        tmp_path / "photos", ["cats/a.jpg", "dogs/b.jpg", "@eaDir/c.jpg", "cats/@eaDir/d.jpg"]
    )
    lines = protect("photos")[2]
    assert "Labels: 2 classes from folders: cats (1), dogs (1)" in lines
    from unlearn.datasets.folders import load_labelled

    assert load_labelled(tmp_path / "photos", 16).names == ("cats/a.jpg", "dogs/b.jpg")


def test_files_of_systems_hidden_files_and_placeholders_are_counted(protect, tmp_path):
    trip = make_photos(tmp_path / "trip", ["a.jpg", ".hidden.jpg", ".folder/b.jpg", "._a.jpg"])
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".IMG_9.HEIC.icloud", "b.jpg.cloud"):
        (trip / name).write_bytes(b"\xff\xd8\xff not really")
    code, out, err = protect("trip")
    assert code == 0
    counted = (
        "1 .DS_Store, 1 AppleDouble file, 1 Thumbs.db, 1 desktop.ini, 1 hidden file, "
        "1 hidden folder, 2 only in the cloud"
    )
    assert found_line(err) == f"Found 1 picture in 1 folder (8 skipped: {counted})"
    assert f"  Skipped            8  {counted}" in out


def test_the_records_of_an_earlier_run_are_no_photos(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    assert run(["protect", "photos/a.jpg", "-o", "photos/web", "-g", "fake.safetensors"]) == 0
    assert (photos / "web.unlearn" / "preview").is_dir()
    assert "4 skipped: 4 in records of unlearn)" in found_line(protect("photos")[2][4:])
    assert set(tree(tmp_path / "out")) == {"a.png"}  # and what is protected already is named
    (photos / "mine.unlearn").mkdir()
    assert passed_folder(photos / "mine.unlearn") is None


def test_a_hidden_link_to_a_folder_is_not_counted_through(tmp_path):
    make_photos(tmp_path / "far", ["a.jpg", "b.jpg"])
    (tmp_path / "_thumbs").symlink_to(tmp_path / "far")
    assert files_in(tmp_path / "_thumbs", "in _thumbs") == 1


def bytes_of(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 9, 9)).save(buffer, kind)
    return buffer.getvalue()


UNPROTECTED = {
    "a.jpx": bytes_of("JPEG2000"),
    "b": bytes_of("JPEG2000"),
    "c.bin": b"8BPS\0\1" + bytes(40),
    "d.ico": bytes_of("ICO"),
    "e.jxl": b"\xff\x0a" + bytes(40),
    "f.photo": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
    "g.svg": b"<svg/>",
    "h.xml": b'<?xml version="1.0"?>\n<svg width="3"/>',
    "i.psd": b"8BPS",
    "j.CR3": b"\0\0\0\x18ftypcrx " + bytes(40),
    "k.raf": b"FUJIFILMCCD-RAW " + bytes(40),
    "l.nef": b"II*\0" + bytes(40),
    "m.data": b"FUJIFILMCCD-RAW " + bytes(40),
    "n.tga": bytes(18),
    "o.img": b"gimp xcf v011\0",
    "p.map": b"P6\n# made by hand\n16 16\n255\n" + bytes(40),
}


def test_every_picture_that_is_not_protected_is_named_and_makes_exit_code_1(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["ok.jpg"])
    for name, content in UNPROTECTED.items():
        (photos / name).write_bytes(content)
    code, out, err = protect("photos")
    assert code == 1
    assert found_line(err) == (
        f"Found 1 picture in 1 folder ({len(UNPROTECTED)} more will not be protected)"
    )
    start = next(n for n, line in enumerate(out) if line.startswith("  Not protected     16"))
    named = [line[24:].split()[0] for line in out[start : start + len(UNPROTECTED)]]
    assert named == list(UNPROTECTED)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"svg is",
        b"P1 is",
        b"%PDF-1.7",
        b"\0\0\0\x18ftypmp42",
        b"\xff\x0a!",
        b"<html>",
    ],
)
def test_what_is_no_picture_is_counted_and_no_failure(protect, tmp_path, content):
    photos = make_photos(tmp_path / "photos", ["ok.jpg"])
    (photos / "other.thing").write_bytes(content)
    code, _, err = protect("photos")
    assert (code, found_line(err)) == (0, "Found 1 picture in 1 folder (1 skipped: 1 .thing)")


def test_content_counts_more_than_the_suffix_of_another_format(protect, tmp_path):
    make_picture(tmp_path / "photos" / "a.jpg").rename(tmp_path / "photos" / "a.jp2")
    assert protect("photos")[0] == 0
    assert set(tree(tmp_path / "out")) == {"a.jp2.png"}


@pytest.mark.parametrize("jpeg", ["IMG_1.JPG", "img_1.jpeg", "IMG_1.NEF.jpg"])
def test_a_raw_file_whose_jpeg_is_protected_is_a_notice(protect, tmp_path, jpeg):
    photos = make_photos(tmp_path / "photos", [jpeg])
    (photos / "IMG_1.NEF").write_bytes(b"II*\0")
    code, _, err = protect("photos")
    assert code == 0
    assert (
        "1 camera raw file is not protected, but the picture of the same name beside is: IMG_1.NEF"
    ) in err
    assert run(["verify", "photos", "out"]) == 0


def test_xmp_files_beside_pictures_are_named_and_not_read(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.JPG"])
    (photos / "a.xmp").write_text("<x:xmpmeta/>")
    code, _, err = protect("photos")
    assert code == 0
    assert (
        "1 .xmp file is not read: what only it holds, such as a copyright, is not in the copies; "
        "let the program that made such files write into the pictures"
    ) in err
    (photos / "b.JPG.XMP").write_text("<x:xmpmeta/>")
    for more in ([], ["--dry-run"]):
        found = protect("photos", *more)[2]
        assert any(line.startswith("2 .xmp files are not read: what only they") for line in found)


def test_a_raw_file_alone_or_beside_another_folder_s_jpeg_is_a_failure(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["IMG_1.jpg", "sub/IMG_2.jpg"])
    for name in ("IMG_1.ARW", "IMG_2.ARW", "sub/IMG_1.ARW"):
        (photos / name).write_bytes(b"II*\0")
    code, out, _ = protect("photos")
    assert code == 1
    assert [line[24:39].split()[0] for line in out if ".ARW" in line] == [
        "IMG_2.ARW",
        "sub/IMG_1.ARW",
    ]
    code, out, _ = protect("photos", "--exclude", "*.jpg", "--force")
    assert code == 1
    assert sum(".ARW" in line for line in out) == 3


def test_names_that_only_remind_of_systems_files_are_looked_at():
    for name in ("thumbs.jpg", "eaDir.jpg", "icon.png", "Thumbs.db.jpg", "desktop.jpg"):
        assert passed_file(name) is None


def test_linked_class_folders_are_not_left_out_in_silence(protect, tmp_path):
    make_photos(tmp_path / "far", ["cats/a.jpg", "dogs/b.jpg"])
    (tmp_path / "photos").mkdir()
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "far" / name)
    code, _, err = protect("photos")
    assert (code, err[-1]) == (
        3,
        "Error: No pictures in photos (looked for jpg png webp tif bmp gif avif heic; "
        "2 folder links (--follow-symlinks looks into them) there).",
    )
    make_picture(tmp_path / "photos/birds/c.jpg")
    code, _, err = protect("photos")
    assert found_line(err) == (
        "Found 1 picture in 1 folder (2 skipped: 2 folder links (--follow-symlinks looks into "
        "them))"
    )
    code, _, err = protect("photos", "--follow-symlinks")
    assert "Labels: 3 classes from folders: birds (1), cats (1), dogs (1)" in err


def test_pictures_that_will_not_be_protected_are_not_counted_among_those_found(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg"])
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons/b.ico").touch()
    code, _, err = protect("icons")
    assert (code, found_line(err)) == (1, "Found 1 picture that will not be protected")
    (photos / "b.ico").touch()
    (photos / ".x").touch(), (photos / ".y").touch()
    assert found_line(protect("photos")[2]) == (
        "Found 1 picture in 1 folder (1 more will not be protected; 2 skipped: 2 hidden files)"
    )


def test_a_link_to_a_passed_folder_is_passed_over(tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "@eaDir/b.jpg"])
    (photos / "__MACOSX").symlink_to(photos / "@eaDir")
    found = scan([photos], Selection(follow_symlinks=True))
    assert [source.name for source in found.sources] == ["a.jpg"]
    assert found.skipped == {"in @eaDir": 1, "in __MACOSX": 1}


@pytest.mark.parametrize(
    ("case", "code", "line"),
    [
        ("F16-skipped-formats", 1, "Found 1 picture in 1 folder (3 more will not be protected)"),
        (
            "F18-synology-eadir/trip",
            0,
            "Found 2 pictures in 1 folder (8 skipped: 1 .DS_Store, 1 .json, 1 .xmp, "
            "1 AppleDouble file, 1 Thumbs.db, 2 in @eaDir, 1 only in the cloud)",
        ),
    ],
)
def test_the_reports_of_people_go_well(protect, report_case, case, code, line):
    report_case(case.partition("/")[0])
    result, out, err = protect(case)
    assert (result, found_line(err)) == (code, line)
    if code:
        assert sum(name in " ".join(out) for name in ("pic.ico", "pic.jpx", "pic.jpf")) == 3
