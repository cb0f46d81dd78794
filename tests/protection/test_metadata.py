"""What a run says and records of the metadata that it leaves out or keeps."""

import pytest

from tests.support.made_pictures import full_exif
from tests.support.protecting import Heard, make_picture, options_for
from unlearn.protection.run import protect
from unlearn.protection.worker import SAYS_PLACE

pytestmark = pytest.mark.usefixtures("fake")


def record_of(tmp_path, **changes):
    (record,) = protect(options_for(tmp_path, **changes), Heard()).protected
    return record


def test_a_place_that_stays_is_said_with_the_option_that_drops_it(tmp_path):
    make_picture(tmp_path / "photos" / "a.jpg", exif=full_exif(1))
    assert SAYS_PLACE in record_of(tmp_path).notices
    for number, choice in enumerate(("no-location", "copyright", "none")):
        out = tmp_path / f"protected{number}"
        assert SAYS_PLACE not in record_of(tmp_path, metadata=choice, out=out).notices


def test_what_the_output_has_no_place_for_is_recorded(tmp_path):
    make_picture(tmp_path / "photos" / "a.jpg", exif=full_exif(1), comment="hand-made")
    assert record_of(tmp_path, format="tiff").dropped == ("maker-note", "thumbnail", "text")


def test_xmp_whose_rights_cannot_be_told_apart_is_recorded(tmp_path):
    make_picture(tmp_path / "photos" / "a.jpg", xmp=b"<x>no end")
    assert record_of(tmp_path).dropped == ()
    out = tmp_path / "rights"
    assert record_of(tmp_path, metadata="copyright", out=out).dropped == ("xmp",)
