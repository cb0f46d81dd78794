"""What names places in the picture is true of the output, or it is left out and named."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.support.made_heic import made_heic
from tests.support.made_pictures import made_file, made_image, saved, with_png_chunks
from tests.support.protecting import FakeGenerator, Heard, options_for
from tests.support.writing import write_picture
from unlearn.pictures.metadata.xmp import names_regions, without_regions
from unlearn.pictures.read import Preparation, prepare
from unlearn.protection import run as workflow
from unlearn.protection.run import protect

SIZE = (96, 64)
_AREA, _LOCATION = 37396, 41492
REGIONS = (
    b'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"',
    b'<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag><rdf:li>Zoe</rdf:li>'
    b"</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>",
)
OTHERS = {
    "MP": (b'xmlns:MP="http://ns.microsoft.com/photo/1.2/"', b"<MP:RegionInfo/>"),
    "apple": (b'xmlns:apple-fi="http://ns.apple.com/faceinfo/1.0/"', b"<apple-fi:Regions/>"),
    "iptc": (
        b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"',
        b"<Iptc4xmpExt:ImageRegion/>",
    ),
    "crop": (
        b'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"',
        b"<crs:CropTop>0.1</crs:CropTop>",
    ),
    "subject": (
        b'xmlns:exif="http://ns.adobe.com/exif/1.0/"',
        b"<exif:SubjectArea><rdf:Seq><rdf:li>9</rdf:li></rdf:Seq></exif:SubjectArea>",
    ),
    "panorama": (
        b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"',
        b"<GPano:CroppedAreaTopPixels>0</GPano:CroppedAreaTopPixels>",
    ),
}


def packet(names, content):
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg" ' + names + b">"
        b"" + content + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def a_jpeg(orientation, *, broken=False):
    """Return a JPEG that says where its subject and a face are."""
    exif = Image.Exif()
    exif[274] = orientation
    exif.get_ifd(34665)[_AREA] = (48, 32, 10, 10)
    exif.get_ifd(34665)[_LOCATION] = (48, 32)
    exif.get_ifd(34665)[33437] = 4.0
    xmp = packet(*REGIONS)[: -40 if broken else None]
    return saved(made_image("RGB", SIZE), "JPEG", exif=exif.tobytes(), xmp=xmp, quality=95)


def read(tmp_path, data, **preparation):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation(**preparation))


def protected(tmp_path, data, monkeypatch, name="a.jpg", **changes):
    """Return the record and the bytes of what becomes of a file."""
    monkeypatch.setattr(workflow, "load_generator", lambda _path, _device: (FakeGenerator(), "cpu"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_bytes(data)
    report = protect(options_for(tmp_path, **changes), Heard())
    (record,) = report.protected
    return record, (report.out / record.out).read_bytes()


def photo_tags(data):
    with Image.open(BytesIO(data)) as image:
        return set(image.getexif().get_ifd(34665))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_places_go_where_the_picture_is_turned_and_stay_where_it_is_not(
    tmp_path, monkeypatch, orientation
):
    record, data = protected(tmp_path, a_jpeg(orientation), monkeypatch, format="png")
    turned = orientation != 1
    assert record.dropped == (("regions",) if turned else ())
    assert ({_AREA, _LOCATION} <= photo_tags(data)) is not turned
    assert 33437 in photo_tags(data)
    assert (b"mwg-rs:Regions" in data) is not turned
    assert b'dc:format="image/jpeg"' in data


def test_places_stay_in_a_jpeg_that_is_stored_as_its_source_is(tmp_path, monkeypatch):
    source = a_jpeg(6)
    record, data = protected(tmp_path, source, monkeypatch, format="keep")
    assert record.dropped == ()
    assert {_AREA, _LOCATION} <= photo_tags(data)
    assert b"mwg-rs:Regions" in data


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_xmp_says_of_the_size_goes_where_it_is_no_longer_true(tmp_path, orientation):
    names = b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:ImageWidth="96" tiff:Make="Made"'
    names += b' xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:PixelXDimension="96"'
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(made_image("RGB", SIZE), "JPEG", exif=exif, xmp=packet(names, b""))
    metadata = read(tmp_path, data).metadata
    assert metadata.chosen("keep", SIZE, as_stored=True).xmp == metadata.xmp
    left = metadata.chosen("keep", SIZE).xmp
    assert b'tiff:Make="Made"' in left
    assert (b"ImageWidth" in left, b"PixelXDimension" in left) == (orientation == 1,) * 2


def test_what_text_says_of_the_size_goes_where_it_is_no_longer_true(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    chunks = [(b"tEXt", key + b"\0006") for key in (b"exif:Orientation", b"exif:FNumber")]
    data = with_png_chunks(saved(made_image("RGB", SIZE), "PNG", exif=exif), *chunks)
    metadata = read(tmp_path, data).metadata
    assert dict(metadata.chosen("keep", SIZE).text) == {"exif:FNumber": "6"}


def test_places_go_where_the_picture_is_shrunk(tmp_path, monkeypatch):
    record, data = protected(tmp_path, a_jpeg(1), monkeypatch, format="png", max_side=48)
    assert record.dropped == ("regions",)
    assert not {_AREA, _LOCATION} & photo_tags(data)


def test_places_in_a_packet_that_cannot_be_read_go_with_it_and_it_is_named(tmp_path, monkeypatch):
    source = a_jpeg(6, broken=True)
    record, data = protected(tmp_path, source, monkeypatch, format="png")
    assert record.dropped == ("xmp", "regions")
    assert b"mwg-rs" not in data


def test_what_was_not_asked_for_is_not_named(tmp_path, monkeypatch):
    record, _ = protected(tmp_path, a_jpeg(6), monkeypatch, format="png", metadata="none")
    assert record.dropped == ()


@pytest.mark.parametrize("kind", OTHERS)
def test_every_way_to_name_a_place_is_known(kind):
    text = packet(*OTHERS[kind])
    assert names_regions(text)
    left = without_regions(text)
    assert b'dc:format="image/jpeg"' in left
    assert not names_regions(left.replace(OTHERS[kind][0], b""))


CLAP = struct.pack(">8i", 48, 1, 32, 1, 0, 1, 0, 1)


@pytest.mark.parametrize(
    ("boxes", "moved"), [((), False), (((b"irot", 0),), False), (((b"irot", 1),), True)]
)
def test_a_heic_that_its_boxes_turn_is_turned(tmp_path, boxes, moved):
    pixels = np.asarray(made_image("RGB", SIZE))
    assert read(tmp_path, made_heic(pixels, turn=boxes)).metadata.moved is moved


def test_a_clean_aperture_is_applied_or_named(tmp_path):
    pixels = np.asarray(made_image("RGB", SIZE))
    picture = read(tmp_path, made_heic(pixels, turn=[(b"clap", CLAP)]))
    assert picture.metadata.moved
    assert (picture.size == (48, 32)) is not any("aperture" in text for text in picture.notices)


GEO = {
    33550: (1.0, 1.0, 0.0),
    33922: (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0),
    34735: (1, 1, 0, 1, 1024, 0, 1, 1),
    34737: "WGS 84|",
    42113: "0",
}


def a_tiff(**more):
    return saved(made_image("RGB", SIZE), "TIFF", tiffinfo={**GEO, **more.pop("tags", {})}, **more)


def test_the_tags_of_a_geotiff_stay_in_a_tiff(tmp_path, monkeypatch):
    record, data = protected(tmp_path, a_tiff(), monkeypatch, name="map.tif")
    assert (record.dropped, record.out) == ((), "map.tif")
    with Image.open(BytesIO(data)) as image:
        found = {tag: image.tag_v2[tag] for tag in GEO}
    assert found == GEO
    assert "where it was taken is kept" in " ".join(record.notices)


@pytest.mark.parametrize(
    "changes",
    [{"format": "png"}, {"max_side": 48}, {"metadata": "no-location"}, {"metadata": "copyright"}],
    ids=str,
)
def test_the_tags_of_a_geotiff_go_where_they_are_not_true_or_not_wanted(
    tmp_path, monkeypatch, changes
):
    record, data = protected(tmp_path, a_tiff(), monkeypatch, name="map.tif", **changes)
    asked = "metadata" in changes
    assert record.dropped == (() if asked else ("private-data",))
    assert b"WGS 84" not in data


def test_a_turned_geotiff_loses_its_tags(tmp_path, monkeypatch):
    record, data = protected(tmp_path, a_tiff(tags={274: 6}), monkeypatch, name="map.tif")
    assert record.dropped == ("private-data",)
    assert b"WGS 84" not in data


def test_an_ordinary_picture_is_as_it_was(tmp_path):
    picture = read(tmp_path, made_file("png-rgb", SIZE))
    assert not picture.metadata.moved
    assert not picture.metadata.names_regions
    target = tmp_path / "out.tif"
    write_picture(picture, picture.pixels ^ 1, target, format="TIFF", metadata="keep", levels=8)
    assert not read(tmp_path, target.read_bytes()).metadata.names_place
