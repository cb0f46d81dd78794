"""Which class each picture belongs to: every layout through `unlearn protect` as people type it."""

import shutil

import pytest

from tests.support.protecting import make_photos, manifest_lines, tree
from unlearn.sources.labels import part_of


def labels_in(out):
    """The class of each source, as the manifest has it."""
    return {line["src"]: line["label"] for line in manifest_lines(out, "image")}


def said(lines):
    """The line about labels."""
    return next(line for line in lines if line.startswith("Labels: "))


def test_class_folders_are_named_with_their_counts(protect, tmp_path):
    make_photos(tmp_path / "photos", ["cats/a.jpg", "cats/deep/er/b.jpg", "dogs/c.jpg"])
    code, _, err = protect("photos")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: cats (2), dogs (1)")


def test_six_classes_are_named_and_the_others_counted(protect, tmp_path):
    make_photos(tmp_path / "photos", [f"c{n:02}/a.jpg" for n in range(43)])
    code, _, err = protect("photos")
    assert code == 2  # the generator of these tests has three classes
    assert err[-1].startswith("Error: 43 classes (folders), but the generator fake.safetensors")
    from unlearn.sources.labels import find_labelled

    assert find_labelled(tmp_path / "photos")[1].summary == (
        "43 classes from folders: c00 (1), c01 (1), c02 (1), c03 (1), c04 (1), c05 (1) and 37 more"
    )


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"),
        ("Train", "TEST"),
        ("training", "validation"),
        ("train", "valid"),
        ("TRAINING_SET", "test-set"),
        ("train2017", "val2017"),
        ("train_images", "dev"),
        ("trainset", "testset"),
        ("data_train", "eval"),
        ("Training", "testing"),
        ("train", "held-out"),
        ("birds_train", "birds_test"),
        ("Birds Valid", "birds train 1"),
    ],
)
def test_parts_of_a_data_set_share_the_classes_of_their_folders(protect, tmp_path, train, test):
    names = [f"{part}/{name}/a.jpg" for part in (train, test) for name in ("cats", "dogs")]
    make_photos(tmp_path / "data", names)
    code, _, err = protect("data")
    under = " and ".join(f"{part}/" for part in sorted((train, test)))
    assert code == 0
    assert said(err) == f"Labels: 2 classes from folders under {under}: cats (2), dogs (2)"
    assert labels_in(tmp_path / "out") == {name: name.split("/")[1] for name in names}
    assert set(tree(tmp_path / "out")) == {name.replace(".jpg", ".png") for name in names}


def test_three_parts_one_part_and_parts_as_inputs_are_parts_too(protect, tmp_path):
    parts = ("train", "val", "test")
    make_photos(tmp_path / "data", [f"{p}/{c}/x/a.jpg" for p in parts for c in ("cats", "dogs")])
    assert said(protect("data")[2]) == (
        "Labels: 2 classes from folders under test/, train/ and val/: cats (3), dogs (3)"
    )
    shutil.rmtree(tmp_path / "out")
    code, _, err = protect("data/train", "data/val")
    assert (code, said(err)) == (
        0,
        "Labels: 2 classes from folders under train/ and val/: cats (2), dogs (2)",
    )
    for part in ("val", "test"):
        shutil.rmtree(tmp_path / "data" / part)
    code, _, err = protect("data", "--force")
    assert said(err) == "Labels: 2 classes from folders under train/: cats (1), dogs (1)"


def test_a_part_gets_the_same_noise_in_the_whole_and_alone(protect, tmp_path):
    parts = ("train", "val")
    make_photos(tmp_path / "data", [f"{p}/{c}/a.jpg" for p in parts for c in ("cats", "dogs")])
    protect("data")
    whole = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out"), shutil.rmtree(tmp_path / "out.unlearn")
    protect("data/train")
    alone = tree(tmp_path / "out")
    assert alone == {n.removeprefix("train/"): b for n, b in whole.items() if n[0] == "t"}


@pytest.mark.parametrize("choice", ["auto", "folders"])
def test_classes_called_like_a_part_among_others_are_classes(protect, tmp_path, choice):
    make_photos(tmp_path / "photos", ["train/a.jpg", "train/steam/b.jpg", "bus/c.jpg"])
    code, _, err = protect("photos", "--labels", choice)
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: bus (1), train (2)")


def test_flat_folders_called_like_parts_are_refused_unless_they_are_said_to_be_classes(
    protect, tmp_path
):
    make_photos(tmp_path / "photos", ["train/a.jpg", "test/b.jpg"])
    code, _, err = protect("photos")
    assert code == 2
    assert err[-1] == (
        "Error: test/ and train/ hold pictures directly, so they may be classes or the parts of a "
        "data set. If they are classes, use --labels folders; if they are parts, put a folder for "
        "each class into them, name classes with --labels csv:FILE, or use --labels one"
    )
    assert not (tmp_path / "out").exists()
    code, _, err = protect("photos", "--labels", "folders")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: test (1), train (1)")
    code, _, err = protect("photos", "--labels", "one", "--force")
    assert (code, said(err)) == (0, "Labels: one class for all 2 pictures")


@pytest.mark.parametrize("stray", ["cover.jpg", "test/unlabelled.jpg"])
@pytest.mark.parametrize("choice", ["auto", "folders"])
def test_a_picture_without_class_among_parts_is_refused(protect, tmp_path, stray, choice):
    make_photos(tmp_path / "data", ["train/cats/a.jpg", "train/dogs/b.jpg", stray])
    if stray == "cover.jpg":
        make_photos(tmp_path / "data", ["test/cats/c.jpg"])
    under = "test/ and train/" if stray == "cover.jpg" else "train/"
    code, _, err = protect("data", "--labels", choice)
    assert code == 2
    assert err[-1] == (
        f"Error: data/{stray} is in no class folder, though there are some under {under}; move it "
        "into one, leave it out with --exclude, or use --labels csv:FILE"
    )
    code, _, err = protect("data", "--labels", choice, "--exclude", stray)
    assert code == 0


def test_a_folder_beside_parts_is_refused_until_it_is_left_out(protect, tmp_path):
    parts = [f"{part}/{name}/a.jpg" for part in ("train", "val") for name in ("cats", "dogs")]
    make_photos(tmp_path / "data", [*parts, "more pictures/x.jpg"])
    code, _, err = protect("data")
    assert code == 2
    assert err[-1] == (
        "Error: train/ and val/ hold the same folders (cats, dogs), as the parts of a data set do, "
        "but more pictures/ beside them is no part. If all are classes, use --labels folders; if "
        "not, leave out what is no part (--exclude 'more pictures')"
    )
    code, _, err = protect("data", "--exclude", "more pictures")
    assert said(err).startswith("Labels: 2 classes from folders under train/ and val/")
    code, _, err = protect("data", "--labels", "folders", "--force")
    assert said(err) == "Labels: 3 classes from folders: more pictures (1), train (2), val (2)"


def test_pictures_without_classes_beside_one_part_are_refused_until_they_are_left_out(
    protect, tmp_path
):
    names = ["train/cats/a.jpg", "train/dogs/b.jpg", "unlabeled/c.jpg"]
    make_photos(tmp_path / "data", names)
    code, _, err = protect("data")
    assert code == 2
    assert err[-1] == (
        "Error: train/ holds folders (cats, dogs), as the parts of a data set do, but unlabeled/ "
        "beside it is no part. If all are classes, use --labels folders; if not, leave out what is "
        "no part (--exclude unlabeled)"
    )
    code, _, err = protect("data", "--exclude", "unlabeled")
    assert (code, said(err)) == (
        0,
        "Labels: 2 classes from folders under train/: cats (1), dogs (1)",
    )
    code, _, err = protect("data", "--labels", "folders", "--force")
    assert said(err) == "Labels: 2 classes from folders: train (2), unlabeled (1)"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "val/images"),
        ("train/Images/data", "val/Images/data"),
    ],
)
def test_folders_that_wrap_the_classes_of_each_part_are_no_classes(protect, tmp_path, train, test):
    names = [f"{part}/{name}/a.jpg" for part in (train, test) for name in ("cats", "dogs")]
    make_photos(tmp_path / "data", names)
    code, _, err = protect("data")
    assert (code, said(err).partition(" under ")[0]) == (0, "Labels: 2 classes from folders")
    assert said(err).endswith(": cats (2), dogs (2)")
    assert labels_in(tmp_path / "out") == {name: name.split("/")[-2] for name in names}


@pytest.mark.parametrize(
    ("train", "test"), [("train", "val/images"), ("Final_Training/Images", "Final_Test/Images")]
)
def test_a_folder_that_says_nothing_is_no_class_of_a_part(protect, tmp_path, train, test):
    make_photos(tmp_path / "data", [f"{train}/cats/a.jpg", f"{train}/dogs/b.jpg", f"{test}/c.jpg"])
    code, _, err = protect("data")
    assert (code, err[-1].partition(";")[0]) == (
        2,
        f"Error: data/{test}/c.jpg is in no class folder, though there are some under "
        f"{train.split('/')[0]}/",
    )


def test_folders_called_as_the_part_around_them_are_no_classes(protect, tmp_path):
    data = make_photos(tmp_path / "data", ["c_train/c_train/a.jpg", "c_test/c_test/b.jpg"])
    code, _, err = protect("data")
    assert code == 2
    assert err[-1].startswith("Error: c_test/ and c_train/ hold pictures directly")
    make_photos(data, [f"c_train/c_train/{name}/a.jpg" for name in ("cats", "dogs")])
    (data / "c_train/c_train/a.jpg").unlink()
    make_photos(data, ["c_test/c_test/cats/b.jpg", "c_pred/c_pred/c.jpg"])
    code, _, err = protect("data", "--exclude", "b.jpg")
    assert (code, err[-1].partition(",")[0]) == (
        2,
        "Error: data/c_pred/c_pred/c.jpg is in no class folder",
    )


@pytest.mark.parametrize("stray", ["logo.jpg", "docs/logo.jpg", "docs/img/logo.jpg"])
def test_parts_in_a_folder_beside_other_pictures_are_refused_with_the_way(protect, tmp_path, stray):
    parts = [f"set/{part}/{name}/a.jpg" for part in ("train", "val") for name in ("cats", "dogs")]
    make_photos(tmp_path / "data", [*parts, stray])
    code, _, err = protect("data")
    assert (code, err[-1]) == (
        2,
        "Error: train/ and val/ in data/set hold the same folders (cats, dogs), as the parts of a "
        "data set do, but it is not all of the input. Give data/set alone as the input, or say "
        "what the classes are (--labels folders, csv:FILE or one)",
    )
    line = "Labels: 2 classes from folders under train/ and val/: cats (2), dogs (2)"
    assert said(protect("data", "--exclude", "logo.jpg")[2]) == line


def test_sets_with_parts_as_inputs_are_not_labelled_by_their_parts(protect, tmp_path):
    sets = [f"{s}/{p}/{c}/a.jpg" for s in "ab" for p in ("train", "val") for c in ("cats", "dogs")]
    make_photos(tmp_path / "data", sets)
    code, _, err = protect("data/a", "data/b")
    assert (code, err[-1].partition(" hold")[0]) == (2, "Error: train/ and val/ in data/a")


def test_a_folder_around_classes_is_named_also_beside_a_loose_picture(protect, tmp_path):
    make_photos(tmp_path / "data", ["set/cats/a.jpg", "set/dogs/b.jpg", "cover.jpg"])
    assert said(protect("data")[2]) == (
        "Labels: one class for all 3 pictures; for the folders in data/set as classes, give "
        "data/set as the input"
    )


def test_one_class_alone_in_each_part_stays_a_class(protect, tmp_path):
    make_photos(tmp_path / "data", ["train/cats/old/a.jpg", "test/cats/old/b.jpg"])
    _, _, err = protect("data", "--labels", "folders")
    assert said(err) == "Labels: 1 class from folders under test/ and train/: cats (2)"


def test_other_folders_that_hold_the_same_folders_are_noticed(protect, tmp_path):
    sets = [f"{year}/{name}/a.jpg" for year in ("2019", "2020") for name in ("cats", "dogs")]
    make_photos(tmp_path / "photos", sets)
    code, _, err = protect("photos")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: 2019 (2), 2020 (2)")
    assert (
        "2019/ and 2020/ hold the same folders (cats, dogs); if those are the classes, give 2019/ "
        "and 2020/ as inputs of their own"
    ) in err
    code, _, err = protect("photos/2019", "photos/2020", "--force")
    assert said(err) == "Labels: 2 classes from folders under 2019/ and 2020/: cats (2), dogs (2)"


def test_folders_around_parts_are_looked_through(protect, tmp_path):
    parts = [f"x/images/{p}/{c}/a.jpg" for p in ("train", "val") for c in ("cats", "dogs")]
    make_photos(tmp_path / "data", parts)
    line = "Labels: 2 classes from folders under train/ and val/: cats (2), dogs (2)"
    assert said(protect("data")[2]) == line


def test_parts_in_each_class_folder_leave_the_classes(protect, tmp_path):
    make_photos(
        tmp_path / "d", [f"{c}/{p}/a.jpg" for c in ("cats", "dogs") for p in ("train", "val")]
    )
    code, _, err = protect("d")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: cats (2), dogs (2)")
    assert not any("hold the same folders" in line for line in err)


def test_class_folders_given_by_a_pattern_stay_classes_with_folders_in_them(protect, tmp_path):
    make_photos(tmp_path / "photos", ["cats/a.jpg", "cats/2019/b.jpg", "dogs/c.jpg"])
    code, _, err = protect("photos/*")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: cats (2), dogs (1)")


def test_a_flat_folder_is_one_class_and_a_folder_around_classes_is_named(protect, tmp_path):
    make_photos(tmp_path / "flat", ["a.jpg", "b.jpg"])
    assert said(protect("flat")[2]) == "Labels: one class for all 2 pictures"
    make_photos(tmp_path / "around", ["x/images/cats/a.jpg", "x/images/dogs/b.jpg"])
    assert said(protect("around", "--force")[2]) == (
        "Labels: one class for all 2 pictures; for the folders in around/x/images as classes, give "
        "around/x/images as the input"
    )


def test_loose_pictures_beside_classes_are_said(protect, tmp_path):
    make_photos(tmp_path / "photos", ["x.jpg", "cats/a.jpg", "dogs/b.jpg"])
    line = "Labels: 3 classes from folders: no folder (1), cats (1), dogs (1)"
    assert said(protect("photos")[2]) == line


def test_classes_that_differ_in_case_alone_are_noticed(protect, tmp_path):
    make_photos(tmp_path / "data", ["train/Cats/a.jpg", "train/dogs/b.jpg", "val/cats/c.jpg"])
    _, _, err = protect("data")
    assert "Cats and cats are 2 classes, since they are not spelt alike" in err


def test_one_class_written_in_two_unicode_forms_is_one(protect, tmp_path):
    make_photos(
        tmp_path / "data", ["train/caf\u00e9/a.jpg", "train/x/b.jpg", "val/cafe\u0301/c.jpg"]
    )
    assert "2 classes" in said(protect("data")[2])


@pytest.mark.parametrize("name", ["train", "VAL_3", "Test set", "dev-images", "evaluation"])
def test_names_of_parts_are_known(name):
    assert part_of(name)


@pytest.mark.parametrize(
    "name", ["trainer", "steam train", "contest", "valley", "device", "tests of taste", "2020", "é"]
)
def test_names_that_only_remind_of_parts_are_none(name):
    assert part_of(name) is None


# --- tables ----------------------------------------------------------------------------------

TABLES = {
    "path,label": "path,label\na.jpg,cat\nsub/b.jpg,dog\n",
    "file_name,label": "file_name,label\na.jpg,cat\nsub/b.jpg,dog\n",
    "semicolons and a BOM": "\ufeffpath;label\r\na.jpg;cat\r\nsub/b.jpg;dog\r\n",
    "semicolons without a head": "a.jpg;cat\nsub/b.jpg;dog\n",
    "tabs": "Path\tLabel\na.jpg\tcat\nsub/b.jpg\tdog\n",
    "what Excel writes": "sep=;\r\nFile Name;Width;Class\r\na.jpg;3,5;cat\r\nsub\\b.jpg;4;dog\r\n",
    "further columns": 'id,file_name,text,label\n1,a.jpg,"one, two",cat\n2,sub/b.jpg,,dog\n',
    "columns turned round": "label,image_path\ncat,a.jpg\ndog,./sub/b.jpg\n",
    "empty lines and cells": "path,label,note\n\n,,\na.jpg,cat\nsub/b.jpg,dog,x\n\n",
    "names without suffix": "image_id,label\na,cat\nsub/b,dog\n",
    "as Kaggle has them": "id,breed\na,cat\nsub/b,dog\n",
    "the other way round": "breed;Image\ncat;a.jpg\ndog;sub/b.jpg\n",
    "what pandas writes": ",path,label\n0,a.jpg,cat\n1,sub/b.jpg,dog\n",
    "names without their folder": "Filename,Label_Name\na.jpg,cat\nb.jpg,dog\n",
    "names without folder and suffix": "id,class_id\na,cat\nb,dog\n",
    "classes by number and by name": "file,class_id,class_name\na.jpg,0,cat\nb.jpg,1,dog\n",
    "lists with spaces": "a.jpg cat\nsub/b.jpg dog\n",
    "spaces behind the comma": 'path, label\n"a.jpg", "cat"\n"sub/b.jpg", "dog"\n',
    "paths of another machine": (
        "path,label\n/content/drive/photos/a.jpg,cat\nC:\\Users\\x\\photos\\sub\\b.jpg,dog\n"
    ),
    "paths from the table's folder": "path,label\nphotos/a.jpg,cat\nphotos/sub/b.jpg,dog\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_tables_that_people_have_are_read(protect, tmp_path, kind):
    make_photos(tmp_path / "photos", ["a.jpg", "sub/b.jpg"])
    (tmp_path / "labels.csv").write_bytes(TABLES[kind].encode())
    code, _, err = protect("photos", "--labels", "csv:labels.csv")
    assert code == 0, err
    assert said(err) == "Labels: 2 classes from the table labels.csv: cat (1), dog (1)"
    assert labels_in(tmp_path / "out") == {"a.jpg": "cat", "sub/b.jpg": "dog"}


def test_a_name_of_several_pictures_or_of_one_that_is_not_wanted_names_none(protect, tmp_path):
    make_photos(tmp_path / "photos", ["one/a.jpg", "two/a.jpg", "one/b.jpg"])
    (tmp_path / "labels.csv").write_text("path,label\nb.jpg,cat\na.jpg,dog\n")
    code, _, err = protect("photos", "--labels", "csv:labels.csv")
    assert (code, err[-1]) == (
        2,
        "Error: labels.csv line 3: there is no picture a.jpg, but one/a.jpg, two/a.jpg; write the "
        "folders too",
    )
    make_photos(tmp_path, ["a.jpg", "b.jpg"])  # beside the table, and no input
    code, _, err = protect("photos", "--exclude", "two", "--labels", "csv:labels.csv")
    assert code == 2
    assert err[-1].startswith("Error: labels.csv has no label for one/a.jpg, one/b.jpg; add")


def test_one_label_written_in_two_unicode_forms_is_one(protect, tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,caf\u00e9\nb.jpg,cafe\u0301\n")
    assert said(protect("photos", "--labels", "csv:labels.csv")[2]).startswith("Labels: 1 class ")


def test_a_table_of_an_older_windows_and_names_in_another_case_are_read(protect, tmp_path):
    make_photos(tmp_path / "photos", ["CAF\u00c9.JPG", "b.jpg"])
    rows = "Path;Label\r\nCAF\u00c9.JPG;\u00e9t\u00e9\r\nB.jpg;hiver\r\n"
    (tmp_path / "labels.csv").write_bytes(rows.encode("cp1252"))
    code, _, err = protect("photos", "--labels", "csv:labels.csv")
    assert (code, said(err)) == (
        0,
        "Labels: 2 classes from the table labels.csv: hiver (1), \u00e9t\u00e9 (1)",
    )


def test_a_table_in_utf_16_and_one_with_absolute_paths_are_read(protect, tmp_path):
    make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    (tmp_path / "excel.txt").write_bytes("path\tlabel\na.jpg\tcat\nb.jpg\tdog\n".encode("utf-16"))
    assert protect("photos", "--labels", "csv:excel.txt")[0] == 0
    rows = f"{tmp_path}/photos/a.jpg,cat\n{tmp_path}/photos/b.jpg,dog\n"
    (tmp_path / "labels.csv").write_text(rows)
    assert protect("photos", "--labels", "csv:labels.csv")[0] == 0


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_data_set_s_own_table_is_found(protect, tmp_path, name):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    csv = "file_name,label\na.jpg,0\nb.jpg,1\n"
    jsonl = '{"file_name": "a.jpg", "label": 0}\n\n{"file_name": "b.jpg", "label": "1"}\n'
    (photos / name).write_text(csv if name.endswith("csv") else jsonl)
    code, _, err = protect("photos")
    assert (code, said(err)) == (0, f"Labels: 2 classes from the table photos/{name}: 0 (1), 1 (1)")


def test_parts_may_have_tables_of_their_own(protect, tmp_path):
    data = make_photos(tmp_path / "data", ["train/a.jpg", "train/b.jpg", "test/a.jpg"])
    (data / "train/metadata.csv").write_text("file_name,label\na.jpg,cat\nb.jpg,dog\n")
    (data / "test/metadata.csv").write_text("file_name,label\na.jpg,dog\n")
    code, _, err = protect("data")
    assert (code, said(err)) == (
        0,
        "Labels: 2 classes from the tables data/test/metadata.csv and data/train/metadata.csv: "
        "cat (1), dog (2)",
    )
    assert labels_in(tmp_path / "out")["test/a.jpg"] == "dog"


def test_every_folder_may_have_a_table_of_its_own(protect, tmp_path):
    names = ["i.jpg", "one/i.jpg", "one/deep/j.jpg", "two/i.jpg"]
    photos = make_photos(tmp_path / "photos", names)
    (photos / "metadata.csv").write_text("file_name,label\ni.jpg,dog\n")
    (photos / "one/metadata.csv").write_text("file_name,label\ni.jpg,cat\ndeep/j.jpg,dog\n")
    (photos / "two/metadata.jsonl").write_text('{"file_name": "i.jpg", "label": "cat"}\n')
    code, _, err = protect("photos")
    assert code == 2
    assert err[-1] == (
        "Error: photos/metadata.csv and the folders disagree about the classes; use --labels "
        "csv:photos/metadata.csv (one of 3; put all rows into one) or --labels folders"
    )
    for name in ("two/i.jpg", "two/metadata.jsonl", "i.jpg", "metadata.csv"):
        (photos / name).unlink()
    code, _, err = protect("photos")
    assert (code, said(err)) == (
        0,
        "Labels: 2 classes from the table photos/one/metadata.csv: cat (1), dog (1)",
    )
    assert labels_in(tmp_path / "out") == {"one/i.jpg": "cat", "one/deep/j.jpg": "dog"}


def test_a_row_names_the_picture_beside_its_table_first(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["i.jpg", "sub/i.jpg"])
    (photos / "sub" / "labels.csv").write_text("path,label\ni.jpg,cat\n../i.jpg,dog\n")
    assert protect("photos", "--labels", "csv:photos/sub/labels.csv")[0] == 0
    assert labels_in(tmp_path / "out") == {"i.jpg": "dog", "sub/i.jpg": "cat"}


def test_parts_are_not_offered_as_classes(protect, tmp_path):
    make_photos(tmp_path / "data", ["images/train/a.jpg", "images/val/b.jpg"])
    code, _, err = protect("data")
    assert (code, said(err)) == (0, "Labels: one class for all 2 pictures")


def test_a_table_of_other_facts_is_noticed_and_left(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["cats/a.jpg", "dogs/b.jpg"])
    (photos / "metadata.csv").write_text("file_name,text\ncats/a.jpg,hello\n")
    code, _, err = protect("photos")
    assert (code, said(err)) == (0, "Labels: 2 classes from folders: cats (1), dogs (1)")
    assert ("photos/metadata.csv has no columns file_name and label, so it names no classes") in err


@pytest.mark.parametrize(
    ("picture", "boxes"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("a.jpg", "a.txt"),
    ],
)
def test_boxes_of_yolo_are_noticed_where_all_pictures_are_one_class(
    protect, tmp_path, picture, boxes
):
    data = make_photos(tmp_path / "data", [picture, picture.replace("a.jpg", "z.jpg")])
    (data / boxes).parent.mkdir(parents=True, exist_ok=True)
    (data / boxes).write_text("1 2 3\n")
    assert not any("boxes" in line for line in protect("data")[2])
    (data / boxes).write_text("0 0.5 0.5 0.25 1e-1\n3 0.1 0.1 0.2 0.2\n")
    code, _, err = protect("data", "--force")
    assert (code, said(err)) == (0, "Labels: one class for all 2 pictures")
    assert (
        f"data/{boxes} holds boxes with classes (YOLO), which are not read: a picture has one "
        "class here. Put pictures of each class into a folder of their own, or name the classes "
        "with --labels csv:FILE"
    ) in err


def test_a_table_in_parquet_is_noticed(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["train/a.jpg", "train/b.jpg"])
    (photos / "train/metadata.parquet").write_bytes(b"PAR1")
    assert (
        "photos/train/metadata.parquet may name classes, but Parquet is not read; write it as "
        "metadata.csv"
    ) in protect("photos")[2]


def test_a_table_beside_pictures_without_classes_is_offered(protect, tmp_path):
    photos = make_photos(tmp_path / "my photos", ["a.jpg", "b.jpg"])
    (photos / "exif.csv").write_text("camera,iso\nx,100\n")
    (photos / "broken.csv").write_bytes(b"\0")
    (photos / "train.csv").write_text("image;class\na.jpg;cat\nb.jpg;dog\n")
    code, _, err = protect("my photos")
    assert (code, said(err)) == (0, "Labels: one class for all 2 pictures")
    assert "my photos/train.csv names classes: --labels csv:'my photos/train.csv'" in err
    code, _, err = protect("my photos", "--labels", "csv:my photos/train.csv", "--force")
    assert said(err).endswith(": cat (1), dog (1)")
    assert not [line for line in err if "names classes" in line]


def test_a_table_and_folders_that_disagree_are_refused_and_either_may_be_chosen(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["one/a.jpg", "two/b.jpg", "two/c.jpg"])
    rows = "file_name,label\none/a.jpg,cat\ntwo/b.jpg,cat\ntwo/c.jpg,dog\n"
    (photos / "metadata.csv").write_text(rows)
    code, _, err = protect("photos")
    assert code == 2
    assert err[-1] == (
        "Error: photos/metadata.csv and the folders disagree about the classes; use --labels "
        "csv:photos/metadata.csv or --labels folders"
    )
    assert "cat (2), dog (1)" in said(protect("photos", "--labels", "csv:photos/metadata.csv")[2])
    assert "one (1), two (2)" in said(protect("photos", "--labels", "folders", "--force")[2])


def test_an_own_table_that_does_not_fit_is_refused_with_the_way_round_it(protect, tmp_path):
    photos = make_photos(tmp_path / "photos", ["a.jpg", "b.jpg"])
    (photos / "metadata.csv").write_text("file_name,label\na.jpg,cat\n")
    code, _, err = protect("photos")
    assert code == 2
    assert err[-1] == (
        "Error: photos/metadata.csv has no label for b.jpg; add a row path,label for each picture, "
        "or leave out those without (--exclude); without the table: --labels folders, or one"
    )


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "t.csv",
            "one,who\n1,2\n",
            "t.csv line 1: there is no picture one; a head names the columns path and label",
        ),
        (
            "t.csv",
            "a.jpg,cat,3\n",
            "t.csv line 1: expected path,label, two columns that are not empty; of more, the first "
            "line must name path and label",
        ),
        ("t.csv", "path;label\na.jpg;\n", "t.csv line 2: expected path,label, two columns that"),
        ("t.xlsx", "PK\x03\x04\0", "t.xlsx is no table that is read; save it as CSV in UTF-8"),
        ("t.json", '[{"path": "a.jpg"}]', "t.json is no table that is read; save it as CSV in"),
        ("t.jsonl", "{]\n", "t.jsonl line 1: this is no JSON object"),
        ("t.jsonl", '{"file_name": "a.jpg"}\n', "t.jsonl line 1: expected an object with"),
        ("t.jsonl", "[1]\n", "t.jsonl line 1: expected an object with file_name and label"),
    ],
)
def test_a_table_that_is_none_is_refused_by_line(protect, tmp_path, name, content, line):
    make_photos(tmp_path / "photos", ["a.jpg"])
    (tmp_path / name).write_text(content)
    code, _, err = protect("photos", "--labels", f"csv:{name}")
    assert code == 2
    assert err[-1].startswith(f"Error: {line}")


def test_a_table_named_without_csv_is_understood_in_the_refusal(protect, tmp_path):
    make_photos(tmp_path / "photos")
    (tmp_path / "labels.csv").write_text("a.jpg,cat\n")
    code, _, err = protect("photos", "--labels", "labels.csv")
    assert code == 2
    assert err[-1].endswith("use auto, folders, one or csv:FILE (csv:labels.csv?)")


# --- the same for train-generator ------------------------------------------------------------


def test_data_for_training_has_the_same_classes(tmp_path):
    from unlearn.datasets.folders import load_classes, load_labelled

    data = make_photos(tmp_path / "data", ["a.jpg", "b.jpg", "c.jpg"])
    (data / "metadata.csv").write_text("file_name,label\na.jpg,cat\nb.jpg,dog\nc.jpg,dog\n")
    loaded = load_labelled(data, 16)
    assert (loaded.data.classes, loaded.data.labels.tolist()) == (("cat", "dog"), [0, 1, 1])
    assert loaded.found == f"2 classes from the table {data}/metadata.csv: cat (1), dog (2)"
    more = make_photos(tmp_path / "more", ["train/eel/x.jpg", "val/dog/y.jpg", "val/eel/z.jpg"])
    extra = load_classes(more, loaded.data.classes, 16)
    assert (extra.data.labels.tolist(), extra.names) == ([1], ("val/dog/y.jpg",))
    assert extra.notices[-1] == f"{more}: not among the classes, left out: eel"


def test_what_has_no_classes_is_refused_in_training_with_the_way_to_them(tmp_path):
    from unlearn.audits.pictures import side_of
    from unlearn.datasets.folders import load_labelled
    from unlearn.errors import UsageProblem

    around = make_photos(tmp_path / "a", ["set/cats/a.jpg", "set/dogs/b.jpg"])
    table = make_photos(tmp_path / "b", ["a.jpg", "b.jpg"])
    (table / "Labels.CSV").write_text("filename,label_name\na.jpg,cat\nb.jpg,dog\n")
    for data, way in ((around, f"give {around}/set as the input"), (table, "--labels csv:")):
        for refuse in (load_labelled, side_of):
            with pytest.raises(UsageProblem, match=way):
                refuse(data)


def test_pictures_to_try_on_are_said_by_their_part(tmp_path):
    from unlearn.datasets.folders import load_labelled

    parts = [f"images/{part}/{name}/a.jpg" for part in ("train", "val") for name in "bc"]
    loaded = load_labelled(make_photos(tmp_path / "data", parts), 16)
    assert loaded.notices == ("Pictures to try on are those under val/",)


def test_parts_and_loose_pictures_are_told_apart_in_training(tmp_path):
    from unlearn.datasets.folders import load_labelled

    parts = [f"{part}/{name}/a.jpg" for part in ("train", "val", "test") for name in ("b", "c")]
    loaded = load_labelled(make_photos(tmp_path / "data", parts), 16)
    assert loaded.names == ("train/b/a.jpg", "train/c/a.jpg")
    assert loaded.test.labels.tolist() == [0, 0, 1, 1]
    assert loaded.notices == ("Pictures to try on are those under test/ and val/",)
    loose = make_photos(tmp_path / "loose", ["x.jpg", "b/a.jpg", "c/a.jpg"])
    assert load_labelled(loose, 16).notices == ("1 pictures in no class folder left out",)
    assert load_labelled(loose, 16, "one").data.classes == ("all",)


@pytest.mark.parametrize(
    ("case", "labels", "line"),
    [
        ("F01-train-val-root/data", "auto", "2 classes from folders under train/ and val/: "),
        ("F23-csv", "auto", "2 classes from the table F23-csv/metadata.csv: cat (1), dog (1)"),
        ("F23-csv", "csv:F23-csv/semi.csv", "2 classes from the table F23-csv/semi.csv: cat"),
    ],
)
def test_the_reports_of_people_go_well(protect, report_case, case, labels, line):
    report_case(case.partition("/")[0])
    code, _, err = protect(case, "--labels", labels)
    assert code == 0
    assert said(err).startswith(f"Labels: {line}")
