"""What the boxes of AVIF and HEIC say, in both widths that their numbers come in."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.made_heic import box
from unlearn.pictures.metadata.isobmff import Container, read_container


def full(name, version, content, flags=0):
    return box(name, struct.pack(">I", version << 24 | flags) + content)


def made(*, wide, kinds, references=(), properties=(), owned=(), hidden=()):
    """Return a file of items by number; `owned` are (item, numbers of its properties)."""
    code = "I" if wide else "H"
    entries = b"".join(
        full(b"infe", 3 if wide else 2, struct.pack(f">{code}H4s", item, 0, kind), item in hidden)
        for item, kind in kinds.items()
    )
    count = struct.pack(f">{code}", len(kinds))
    linked = b"".join(
        box(kind, struct.pack(f">{code}H{len(to)}{code}", start, len(to), *to))
        for kind, start, to in references
    )
    numbers = b"".join(
        struct.pack(f">{code}B{len(own)}{'H' if wide else 'B'}", item, len(own), *own)
        for item, own in owned
    )
    inner = full(b"pitm", wide, struct.pack(f">{code}", 1))
    inner += full(b"iinf", wide, count + entries) + full(b"iref", wide, linked)
    association = full(b"ipma", wide, struct.pack(">I", len(owned)) + numbers, flags=int(wide))
    inner += box(b"iprp", box(b"ipco", b"".join(properties)) + association)
    return box(b"ftyp", b"heic") + full(b"meta", 0, inner)


@pytest.mark.parametrize("wide", [False, True])
def test_a_grid_has_the_depth_of_its_tiles_and_its_own_size(wide):
    size = [full(b"ispe", 0, struct.pack(">II", *wanted)) for wanted in ((4032, 3024), (512, 512))]
    coding = box(b"hvcC", bytes(16) + bytes([0xFC | 1, 0xF8 | 2]) + bytes(5))
    essential = 0x8000 if wide else 0x80
    data = made(
        wide=wide,
        kinds={1: b"grid", 2: b"hvc1", 3: b"hvc1"},
        references=[(b"dimg", 1, (2, 3))],
        properties=[*size, coding],
        owned=[(1, [1]), (2, [2, essential | 3]), (3, [2, 3])],
    )
    assert read_container(data) == Container((4032, 3024), bits=10)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("flags", "bits", "grey"), [(0, 8, 0), (0x40, 10, 0), (0x70, 12, 1)])
def test_av1_says_depth_and_greyness(wide, flags, bits, grey):
    data = made(
        wide=wide,
        kinds={1: b"av01"},
        properties=[box(b"av1C", bytes([0x81, 0, flags, 0]))],
        owned=[(1, [1, 9])],
    )
    assert read_container(data) == Container(None, bits, bool(grey))


def test_hidden_pictures_and_parts_are_not_named_and_others_are():
    data = made(
        wide=False,
        kinds={1: b"hvc1", 2: b"hvc1", 3: b"hvc1", 4: b"Exif", 5: b"av01"},
        references=[(b"thmb", 3, (1,)), (b"cdsc", 4, (1,))],
        hidden=[2],
    )
    assert read_container(data).beside == ("thumbnail", "other-copy")


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_in_any_place_are_described(noise, at):
    data = made(
        wide=False,
        kinds={1: b"grid", 2: b"hvc1"},
        references=[(b"dimg", 1, (2,))],
        properties=[full(b"ispe", 0, struct.pack(">II", 3, 4))],
        owned=[(1, [1])],
    )
    found = read_container(data[:at] + noise + data[at:])
    assert 8 <= found.bits <= 255
    assert found.frames >= 1
