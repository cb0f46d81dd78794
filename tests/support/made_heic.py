"""Makes HEIC files without an encoder: HEVC whose blocks are all stored plainly (I_PCM).

Every block is a slice of its own, so that the arithmetic coder meets one bin of a fresh context and
nothing else (ITU-T H.265, 9.3). Grey is monochrome, colour is 4:4:4 in the order G, B, R, so that
what is decoded equals what was put in.
"""

import struct

import numpy as np
import pytest

BLOCK = 32
PICTURES = (b"hvc1",)


class Bits:
    """Bits written from the highest on."""

    def __init__(self):
        self.bits = []

    def u(self, count, value):
        self.bits += [value >> place & 1 for place in reversed(range(count))]
        return self

    def ue(self, *values):
        for value in values:
            length = (value + 1).bit_length()
            self.u(2 * length - 1, value + 1)
        return self

    def align(self):
        self.bits += [0] * (-len(self.bits) % 8)
        return self

    def bytes(self):
        return bytes(np.packbits(np.array(self.align().bits, np.uint8)))


class Coder:
    """The arithmetic encoder of 9.3.4.6 for a fresh context whose likely value comes, and ends."""

    def __init__(self, out):
        self.out, self.low, self.range, self.first, self.outstanding = out, 0, 510, True, 0

    def likely(self):
        self.range -= 240  # rangeTabLps of state 0 and the highest quarter
        self.renew()

    def end(self):
        self.range -= 2
        self.low += self.range
        self.range = 2
        self.renew()
        self.put(self.low >> 9 & 1)
        self.out.u(2, self.low >> 7 & 3 | 1)
        self.out.align()

    def renew(self):
        while self.range < 256:
            if self.low < 256:
                self.put(0)
            elif self.low >= 512:
                self.low -= 512
                self.put(1)
            else:
                self.low -= 256
                self.outstanding += 1
            self.range, self.low = self.range << 1, self.low << 1

    def put(self, bit):
        if not self.first:
            self.out.u(1, bit)
        self.first = False
        self.out.bits += [1 - bit] * self.outstanding
        self.outstanding = 0


def nal(kind, bits):
    """Return one unit, its payload kept from looking like the start of another."""
    payload, zeros = bytearray(), 0
    for byte in bits.bytes():
        if zeros >= 2 and byte <= 3:
            payload.append(3)
            zeros = 0
        payload.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return struct.pack(">H", kind << 9 | 1) + bytes(payload)


def profile(bits):
    """Write profile, tier and level: range extensions, level 6.2."""
    return bits.u(8, 4).u(32, 1 << 27).u(4, 9).u(43, 0).u(1, 0).u(8, 186)


def parameter_sets(width, height, channels):
    """Return video, sequence and picture parameter sets."""
    video = profile(Bits().u(4, 0).u(2, 3).u(6, 0).u(3, 0).u(1, 1).u(16, 0xFFFF))
    video.u(1, 1).ue(0, 0, 0).u(6, 0).ue(0).u(2, 0).u(1, 1)
    sequence = profile(Bits().u(4, 0).u(3, 0).u(1, 1)).ue(0, 3 if channels == 3 else 0)
    sequence.u(1 if channels == 3 else 0, 0)
    across, down = -(-width // BLOCK) * BLOCK, -(-height // BLOCK) * BLOCK
    sequence.ue(across, down).u(1, 1).ue(0, across - width, 0, down - height)
    sequence.ue(0, 0, 4).u(1, 1).ue(0, 0, 0).ue(2, 0, 0, 3, 0, 0).u(3, 0)
    sequence.u(1, 1).u(4, 7).u(4, 7).ue(2, 0).u(1, 1).ue(0).u(5, 0).u(1, 1)
    picture = Bits().ue(0, 0).u(7, 0).ue(0, 0, 0).u(3, 0).ue(0, 0).u(7, 0)
    picture.u(1, 1).u(2, 1).u(2, 0).ue(0).u(2, 0).u(1, 1)
    return [(32, nal(32, video)), (33, nal(33, sequence)), (34, nal(34, picture))]


def coded(pixels):
    """Return the slices of a picture uint8 (H, W, 1 or 3), each with its length before it."""
    height, width, channels = pixels.shape
    planes = pixels[..., [1, 2, 0]] if channels == 3 else pixels
    planes = np.pad(planes, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), "edge")
    columns, rows = planes.shape[1] // BLOCK, planes.shape[0] // BLOCK
    slices = b""
    for place in range(columns * rows):
        bits = Bits().u(1, place == 0).u(1, 0).ue(0)
        if place:
            bits.u((columns * rows - 1).bit_length(), place)
        bits.ue(2).ue(0).u(1, 1).align()
        coder = Coder(bits)
        coder.likely()
        coder.end()
        top, left = (place // columns) * BLOCK, (place % columns) * BLOCK
        block = planes[top : top + BLOCK, left : left + BLOCK]
        bits.bits += np.unpackbits(np.ascontiguousarray(block.transpose(2, 0, 1))).tolist()
        Coder(bits).end()
        unit = nal(19, bits)
        slices += struct.pack(">I", len(unit)) + unit
    return slices


def box(name, content, version=None):
    """Return one box; a version makes it a full one."""
    head = b"" if version is None else struct.pack(">I", version << 24)
    return struct.pack(">I", 8 + len(head) + len(content)) + name + head + content


def configuration(width, height, channels):
    """Return the box that says how the picture is coded."""
    head = bytes([1, 4, 8, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 186, 0xF0, 0, 0xFC])
    head += bytes([0xFC | (3 if channels == 3 else 0), 0xF8, 0xF8, 0, 0, 0x0F, 3])
    sets = b"".join(
        struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit
        for kind, unit in parameter_sets(width, height, channels)
    )
    return box(b"hvcC", head + sets)


def picture_properties(pixels):
    """Return the boxes every coded picture needs."""
    height, width, channels = pixels.shape
    size = box(b"ispe", struct.pack(">II", width, height), 0)
    colour = struct.pack(">4sHHHB", b"nclx", 1, 13, 0 if channels == 3 else 2, 0x80)
    depth = bytes([channels] + [8] * channels)
    return [configuration(*size_of(pixels)), size, box(b"colr", colour), box(b"pixi", depth, 0)]


def size_of(pixels):
    """Return width, height and channels."""
    return pixels.shape[1], pixels.shape[0], pixels.shape[2]


def made_heic(pixels, *, turn=(), exif=None, xmp=None, icc=None, items=(), references=(), tail=b""):
    """Return a HEIC of uint8 (H, W, 1 or 3).

    `turn` are irot, imir and clap boxes as (name, value); `items` are further ones from 10 on, each
    (type, content, properties, flags); `references` are (type, from, to); the picture is item 1.
    Without pi-heif, which alone reads it, the test that asks is skipped.
    """
    pytest.importorskip("pi_heif", reason="needs pi-heif (the extra heif)")
    own = picture_properties(pixels)
    own += [box(name, bytes([v]) if isinstance(v, int) else v) for name, v in turn]
    if icc:
        own[2] = box(b"colr", b"prof" + icc)
    entries = [(1, b"hvc1", coded(pixels), own, 0)]
    references = list(references)
    if exif:
        entries.append((2, b"Exif", b"\0\0\0\6Exif\0\0" + exif, [], 0))
    if xmp:
        entries.append((3, b"mime", xmp, [], 0))
    references += [(b"cdsc", item, 1) for item, *_ in entries[1:]]
    entries += [(10 + place, *item) for place, item in enumerate(items)]
    return container(entries, references) + tail


def container(entries, references):
    """Return the file: its type, what it holds, and the coded pictures."""
    info, properties, associations = b"", b"", b""
    count = 0
    for item, kind, _, own, flags in entries:
        name = b"\0application/rdf+xml\0\0" if kind == b"mime" else b"\0"
        content = struct.pack(">IHH4s", 2 << 24 | flags, item, 0, kind) + name
        info += box(b"infe", content)
        properties += b"".join(own)
        numbers = bytes(range(count + 1, count + 1 + len(own)))
        associations += struct.pack(">HB", item, len(own)) + numbers
        count += len(own)
    linked = b"".join(box(kind, struct.pack(">HHH", a, 1, b)) for kind, a, b in references)
    handler = box(b"hdlr", bytes(4) + b"pict" + bytes(13), 0)

    def meta(start):
        places, at = b"", start
        for item, _, content, _, _ in entries:
            places += struct.pack(">HHHII", item, 0, 1, at, len(content))
            at += len(content)
        return box(
            b"meta",
            handler
            + box(b"pitm", struct.pack(">H", 1), 0)
            + box(b"iloc", struct.pack(">HH", 0x4400, len(entries)) + places, 0)
            + box(b"iinf", struct.pack(">H", len(entries)) + info, 0)
            + (box(b"iref", linked, 0) if linked else b"")
            + box(
                b"iprp",
                box(b"ipco", properties)
                + box(b"ipma", struct.pack(">I", len(entries)) + associations, 0),
            ),
            0,
        )

    kind = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    start = len(kind) + len(meta(0)) + 8
    return kind + meta(start) + box(b"mdat", b"".join(content for _, _, content, _, _ in entries))
