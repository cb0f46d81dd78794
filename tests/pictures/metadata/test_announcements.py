"""What an XMP packet says of a video or a second picture goes with it, and nothing else does."""

from xml.etree import ElementTree

import pytest

from tests.support.made_pictures import made_image, saved
from unlearn.pictures.metadata.xmp import true_of_one
from unlearn.pictures.read import Preparation, prepare

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
GOOGLE = "http://ns.google.com/photos/1.0/"
SPACES = {
    "GCamera": f"{GOOGLE}camera/",
    "Container": f"{GOOGLE}container/",
    "Item": f"{GOOGLE}container/item/",
    "GDepth": f"{GOOGLE}depthmap/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "HDRGainMap": "http://ns.apple.com/HDRGainMap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
}
DIRECTORY = (
    "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'><Container:Item "
    "Item:Mime='video/mp4' Item:Semantic='MotionPhoto' Item:Length='1716'/></rdf:li></rdf:Seq>"
    "</Container:Directory>"
)
CASES = {
    "motion photo": ('GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"', DIRECTORY, ()),
    "micro video": ('GCamera:MicroVideo="1" GCamera:MicroVideoOffset="1716"', "", ()),
    "as elements": ("", "<GCamera:MotionPhoto>1</GCamera:MotionPhoto>", ()),
    "gain map": ('hdrgm:Version="1.0" hdrgm:GainMapMax="2.3"', DIRECTORY, ("gain-map",)),
    "apple": ("", "<HDRGainMap:Version>1</HDRGainMap:Version>", ("gain-map",)),
    "extended": ('xmpNote:HasExtendedXMP="0123456789ABCDEF"', "", ()),
    "credentials": ('dcterms:provenance="https://cai.example/manifest"', "", ("credentials",)),
    "depth": (f'GDepth:Mime="image/jpeg" GDepth:Data="{"A" * 9000}"', "", ("other-copy",)),
}


def packet(attributes, elements):
    spaces = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
        f'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" {spaces} '
        f'GCamera:PortraitVersion="3" {attributes}>{elements}<dc:title>mine</dc:title>'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def read(tmp_path, xmp):
    path = tmp_path / "source.jpg"
    path.write_bytes(saved(made_image("RGB", (20, 10)), "JPEG", xmp=xmp))
    return prepare(path, Preparation())


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_announced_that_is_not_there(tmp_path, case):
    attributes, elements, dropped = CASES[case]
    picture = read(tmp_path, packet(attributes, elements))
    assert picture.dropped == dropped
    assert picture.notices == ()
    root = ElementTree.fromstring(picture.metadata.xmp.split(b"\n")[1])
    (description,) = root.iter(f"{{{RDF}}}Description")
    assert set(description.attrib) == {f"{{{RDF}}}about", f"{{{GOOGLE}camera/}}PortraitVersion"}
    assert [(child.tag, child.text) for child in description] == [
        (f"{{{SPACES['dc']}}}title", "mine")
    ]


def test_a_packet_that_announces_nothing_stays_byte_for_byte():
    plain = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a GCamera:BurstID="7"/></x:xmpmeta>'
    assert true_of_one(plain) is plain


def test_a_packet_that_announces_and_cannot_be_read_is_left_out_and_said(tmp_path):
    picture = read(tmp_path, packet('GCamera:MotionPhoto="1" nobody:declared="this"', ""))
    assert picture.metadata.xmp is None
    assert picture.notices == ("its XMP, which speaks of parts that are left out, cannot be read",)
