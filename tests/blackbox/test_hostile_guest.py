"""A catalogue of hostile guest input through the public API: the host survives, every command is released exactly once, and the
client that watches gets its picture."""
import struct

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, raw_client
from puppet import (ALPHA_BLEND, ARENA, BLACKNESS, BLEND, COMPOSITE, COPY, COPY_BITS, CURSOR, DRAW, FILL, HEIGHT, MESSAGE, OPAQUE, PUT, ROP3,
                    SLOT, STROKE, SURFACE, SURFACE_CMD, TEXT, TRANSPARENT, UPDATE, WIDTH, Guest, rect)

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original does not survive this")

I32 = (0, 1, -1, 0x7fffffff, -0x80000000)
NO_MASK = bytes(17)
SOLID = struct.pack("<II12s", 1, 0x123456, b"")
BOX = rect((0, 0, 16, 16))


def mask(image, x=0, y=0, flags=0):
    return struct.pack("<BiiQ", flags, x, y, image)


def pattern(image, x=0, y=0):
    return struct.pack("<IQii", 2, image, x, y).ljust(20, b"\0")


def bodies(src, area=BOX, brush=SOLID, m=NO_MASK):
    """All operations that take a source, by type."""
    tail = struct.pack("<HB", PUT, 0)
    return {
        COPY: struct.pack("<Q", src) + area + tail + m,
        BLEND: struct.pack("<Q", src) + area + tail + m,
        OPAQUE: struct.pack("<Q", src) + area + brush + tail + m,
        ROP3: struct.pack("<Q", src) + area + brush + b"\xca\0" + m,
        TRANSPARENT: struct.pack("<Q", src) + area + bytes(8),
        ALPHA_BLEND: struct.pack("<HBQ", 0, 128, src) + area,
        COMPOSITE: struct.pack("<IQQQQhhhh", 3, src, 0, 0, 0, 0, 0, 0, 0),
    }


def fill(brush=SOLID, m=NO_MASK, rop=PUT):
    return brush + struct.pack("<H", rop) + m


def bad_images(g):
    """Images, hardly one of which can be drawn."""
    yield from (0, SLOT, SLOT | ARENA, SLOT | ARENA - 10, 7 << 56, SLOT | 1 << 48, 2**64 - 1, 255 << 56)
    for kind in (1, 2, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 255):
        yield g.image(kind)
        yield g.image(kind, body=struct.pack("<I", 0xffffffff))
        yield g.image(kind, 0xffffffff, 0xffffffff, struct.pack("<I", 64) + struct.pack("<IQQ", 64, 0, 0) + b"QUIC" * 16)
    for stream in (b"QUIC" + struct.pack("<IIII", 0, 4, 16, 16), b"QUIC" + struct.pack("<IIII", 0, 4, 0x7fffffff, 0x7fffffff), b"QUIC"):
        data = stream + b"\xff" * 40
        yield g.image(1, body=struct.pack("<IIQQ", len(data), len(data), 0, 0) + data)
    for surface in (0, 1, 2, 3, 63, 64, 1023, 0xffffffff):
        yield g.image(104, body=struct.pack("<I", surface))
    for fmt in range(13):
        yield g.bitmap(fmt)
        yield g.bitmap(fmt, palette=SLOT | ARENA - 4)
        yield g.bitmap(fmt, palette=g.palette(0))
        yield g.bitmap(fmt, palette=g.palette(2))
        yield g.bitmap(fmt, palette=g.palette(1, 0xffff))
    for size in (0, 0xffff, 0x10001, 0x7fffffff, 0xffffffff):
        yield g.bitmap(width=size, height=16)
        yield g.bitmap(width=16, height=size)
        yield g.bitmap(width=size, height=size)
        yield g.bitmap(inner=(size, 16))
        yield g.bitmap(inner=(16, size))
        yield g.bitmap(stride=size)
        yield g.bitmap(width=size, height=size, stride=0)
    for stride in (1, 15, 63, 65, 0x10000, 0x80000000, -64):
        yield g.bitmap(stride=stride)
    for data in (0, SLOT | ARENA, SLOT | ARENA - 8, g.cyclic_chunks(), g.cyclic_chunks(0), g.chunk(b"", 0xffffffff),
                 g.chunk(b"", 0x7fffffff), g.chunk(b"", 0), g.chunk(b"abc"), g.chunk(b"abc", following=7 << 56),
                 g.chunk(b"abc", following=g.chunk(b"", 0xffffffff))):
        yield g.bitmap(data=data)
        yield g.bitmap(data=data, flags=5)
    # One cached image whose contents differ each time.
    for ident in (0, 1, 2**32, 2**64 - 1):
        for width, height in ((16, 16), (1, 1), (64, 64), (16, 15)):
            for fmt in (8, 5, 1, 9):
                for cached in (1, 2, 3, 255):
                    yield g.bitmap(fmt, width, height, palette=g.palette(), ident=ident, cached=cached)


BAD_RECTS = [(0, 0, 0, 0), (10, 10, 10, 20), (40, 10, 10, 30), (10, 30, 40, 10), (-5, -5, 5, 5), (0, 0, 100000, 100000),
             (5000, 5000, 5001, 5001), (-0x80000000, -0x80000000, 0x7fffffff, 0x7fffffff), (0x7ffffffe, 0, 0x7fffffff, 1),
             (0x7fffffff, 0x7fffffff, -0x80000000, -0x80000000), (WIDTH - 1, HEIGHT - 1, WIDTH + 1, HEIGHT + 1), (-1, -1, 0, 0)]


def addresses(g):
    bad = [0, 1, SLOT | ARENA, SLOT | ARENA - 1, SLOT | ARENA - 8, SLOT | ARENA - 41, SLOT | 1 << 48, SLOT | 255 << 48,
           SLOT | 0xffffffffffff, 0, 2 << 56, 7 << 56, 8 << 56, 255 << 56, 2**64 - 1, 2**63]
    for kind in (*range(8), 255, 0xffffffff):
        for address in bad:
            for ring in "qk":
                g.submit(kind, address, ring=ring)
        for group in (1, 2, 0xffffffff):
            g.submit(kind, SLOT | 4096, group)
        for flags in range(4):
            g.submit(kind, g.room(256), flags=flags)
            g.submit(kind, g.room(256), flags=flags, ring="k")
        g("s")


def images(g):
    for image in bad_images(g):
        for kind, body in bodies(image).items():
            g.draw(kind, body)
        g.draw(FILL, fill(pattern(image, -7, 9)))
        g("s")


def masks(g):
    good = g.bitmap()
    for image in bad_images(g):
        m = mask(image, 3, -4, 1)
        g.draw(FILL, fill(m=m))
        g.draw(COPY, bodies(good, m=m)[COPY])
        g.draw(BLACKNESS, m)
        g.draw(COMPOSITE, struct.pack("<IQQQQhhhh", 3, good, image, image, image, 0, 0, 0, 0))
        g("s")
    bits = g.bitmap(1)
    for x in I32:
        for y in I32:
            g.draw(FILL, fill(m=mask(bits, x, y)))
            g.draw(OPAQUE, bodies(good, brush=pattern(good, x, y), m=mask(bits, y, x))[OPAQUE])
    g("s")


def rectangles(g):
    good = g.bitmap()
    for area in BAD_RECTS:
        for kind in range(17):
            body = bodies(good).get(kind, fill())
            g.draw(kind, body, bbox=area)
            g.draw(kind, bodies(good, area=rect(area)).get(kind, fill()))
            g.draw(kind, body, deps=(0, 1, 63), dep_rects=rect(area))
            clip = g.put(struct.pack("<IIQQ", 1, 16, 0, 0) + rect(area))
            g.draw(kind, body, clip=(1, clip))
        g.draw(COPY_BITS, struct.pack("<ii", *area[:2]))
        g("s")
        g.submit(UPDATE, g.put(struct.pack("<Q", 7) + rect(area) + struct.pack("<II", 1, 0)))
        for maximum in (0, 1, 64):
            g("u", 0, *area, maximum, 1)
        g("a", 0, *area, 0, 1)
    for surface in (1, 63, 64, 1023, 0x7fffffff, 0xffffffff):
        g("u", surface, 0, 0, 10, 10, 4, 1)
        g("a", surface, 0, 0, 10, 10, 0, 1)
        g.submit(UPDATE, g.put(struct.pack("<Q", 7) + BOX + struct.pack("<II", 1, surface)))
        g.draw(FILL, fill(), surface=surface)
        g.draw(FILL, fill(), deps=(surface - 2**32 if surface >> 31 else surface,) * 3)
    g("s")


def clips(g):
    for kind in (1, 2, 255, 0xffffffff):
        for data in (0, SLOT | ARENA, 7 << 56, g.put(struct.pack("<IIQQ", 0xffffffff, 0, 0, 0)),
                     g.put(struct.pack("<IIQQ", 0xffffffff, 0xffffffff, 0, 0)), g.put(struct.pack("<IIQQ", 2, 7, 0, 0) + bytes(7)),
                     g.put(struct.pack("<I", 1 << 16) + b"".join([struct.pack("<IQQ", 4, g.cyclic_chunks(), g.cyclic_chunks())])),
                     g.put(struct.pack("<IIQQ", 0, 0, 0, 0))):
            g.draw(FILL, fill(), clip=(kind, data))
            g("s")


def self_bitmaps(g):
    # 1: 565, 2: 1_A, 3: 8_A, 4: 555
    for ident, (fmt, stride) in enumerate(((80, 64), (1, 4), (8, 32), (16, 64)), 1):
        surface_command(g, ident, fmt, 32, 32, stride, g.room(4096))
    for surface in range(5):
        for area in (*BAD_RECTS, (0, 0, 32, 32), (31, 31, 32, 32)):
            for kind, body in bodies(0).items():
                g.draw(kind, body, surface=surface, bbox=(0, 0, 16, 16), self_area=area)
            g.draw(FILL, fill(), surface=surface, bbox=(0, 0, 16, 16), self_area=area)
        g("s")
    for surface in range(5):
        source = g.image(104, 32, 32, struct.pack("<I", surface))
        for target in range(5):
            for kind, body in bodies(source).items():
                g.draw(kind, body, surface=target, bbox=(0, 0, 16, 16))
        g("s")


def surface_command(g, ident, fmt, width, height, stride, data, kind=0, flags=0):
    body = struct.pack("<QIBIIIIiQ", 7, ident, kind, flags, fmt, width & 0xffffffff, height & 0xffffffff, stride, data)
    g.submit(SURFACE_CMD, g.put(body))


def surfaces(g):
    memory = g.room(1 << 16)
    for ident in (0, 64, 1023, 0x7fffffff, 0xffffffff):
        surface_command(g, ident, 32, 32, 32, 128, memory)
        surface_command(g, ident, 32, 32, 32, 128, memory, kind=1)
    for number, fmt in enumerate((0, 1, 2, 8, 16, 24, 31, 32, 80, 96, 97, 0xffffffff)):
        for stride in (0, 1, 3, 127, 130, -128, -1, 0x7fffffff, -0x80000000):
            surface_command(g, 1, fmt, 32, 32, stride, memory)
            surface_command(g, 1, fmt, 32, 32, stride, memory, kind=1)
        g("s")
    for width, height in ((0, 0), (0, 32), (32, 0), (1 << 16, 1 << 16), (0xffffffff, 0xffffffff), (0x40000000, 4), (32, 1 << 20)):
        for data in (memory, 0, SLOT | ARENA - 16, 7 << 56):
            surface_command(g, 2, 32, width, height, 128, data)
            surface_command(g, 2, 32, width, height, 128, data, kind=1)
    for kind in (1, 2, 255):
        surface_command(g, 3, 32, 32, 32, 128, memory, kind=kind)
    for _ in range(3):
        surface_command(g, 4, 32, 32, 32, 128, memory)
        g.draw(FILL, fill(), surface=4, bbox=(0, 0, 32, 32))
    surface_command(g, 4, 32, 32, 32, 128, memory, kind=1)
    g.draw(FILL, fill(), surface=4, bbox=(0, 0, 32, 32))
    for ident in (0, 4, 63, 64, 0xffffffff):
        g("d", ident)
        g("D", ident)
    g("s")


def strokes(g):
    def path(*segments, told=None):
        data = b"".join(segments)
        size = len(data) if told is None else told
        return g.put(struct.pack("<IIQQ", size, size, 0, 0) + data)

    def segment(flags, *points, count=None):
        return struct.pack("<II", flags, len(points) // 2 if count is None else count) + struct.pack(f"<{len(points)}i", *points)

    far = 0x7fffffff
    paths = [0, SLOT | ARENA, path(), path(told=0xffffffff), path(segment(3)), path(segment(3, 0, 0)), path(segment(3, count=0xffffffff)),
             path(segment(3, 0, 0, 160, 160, count=100)), path(segment(0, 0, 0, 640, 640)), path(segment(27, *range(0, 320, 8))),
             path(segment(19, 0, 0, 5, 5, 9, 9)), path(segment(3, -far, -far, far, far)), path(segment(11, -far, far, far, -far, 0, 0)),
             path(segment(19, far, far, -far, far, far, -far, -far, -far)), path(*[segment(3, 0, 0, 1 << 20, 1 << 20)] * 50),
             g.put(struct.pack("<I", 64) + struct.pack("<IQQ", 4, g.cyclic_chunks(), g.cyclic_chunks()))]
    styles = [(0, 0), (1, SLOT | ARENA), (2, g.put(struct.pack("<2i", 0, 0))), (2, g.put(struct.pack("<2i", 1, 1))), (1, g.put(struct.pack("<i", 1))),
              (2, g.put(struct.pack("<2i", far, far))), (2, g.put(struct.pack("<2i", -1, 16))), (2, g.put(struct.pack("<2i", -far - 1, far))),
              (255, g.put(struct.pack("<255i", *[1] * 255))), (255, SLOT | ARENA - 8), (3, g.put(struct.pack("<3i", 0, 1, 0)))]
    for p in paths:
        for flags in (0, 4, 8, 12, 255):
            for count, style in styles:
                attr = struct.pack("<BBBBiiQ", flags, 9, 9, count, far, -1, style)
                g.draw(STROKE, struct.pack("<Q", p) + attr + SOLID + struct.pack("<HH", PUT, 0x40), bbox=(0, 0, WIDTH, HEIGHT))
        g("s")


def texts(g):
    def string(data, length, flags, told=None):
        size = len(data) if told is None else told
        return g.put(struct.pack("<IHH", size, length, flags) + struct.pack("<IQQ", size, 0, 0) + data)

    def glyph(width, height, data, x=12, y=20):
        return struct.pack("<iiiiHH", x, y, 0, 0, width, height) + data

    good = glyph(8, 2, b"\xff\xff")
    for flags in (0, 1, 2, 3, 4, 7, 8, 9, 0xffff):
        strings = [string(b"", 0, flags), string(b"", 1, flags), string(good, 0, flags), string(good, 1, flags), string(good, 0xffff, flags),
                   string(good, 1, flags, 0xffffffff), string(good[:10], 1, flags), string(glyph(0, 0, b""), 1, flags),
                   string(glyph(0xffff, 0xffff, b"x" * 64), 1, flags), string(glyph(0xffff, 0, b""), 1, flags), string(glyph(0, 0xffff, b""), 1, flags),
                   string(glyph(8, 8, bytes(64), 0x7fffffff, -0x80000000), 1, flags), string(glyph(8, 8, bytes(64), -0x80000000, 0x7fffffff), 1, flags)]
        for s in (0, SLOT | ARENA, *strings):
            for area in ((0, 0, 0, 0), (0, 0, 30, 30), (-0x80000000, 0, 0x7fffffff, 5)):
                g.draw(TEXT, struct.pack("<Q", s) + rect(area) + SOLID + SOLID + struct.pack("<HH", PUT, PUT), bbox=(0, 0, 100, 90))
            g.draw(TEXT, struct.pack("<Q", s) + bytes(56) + struct.pack("<HH", PUT, 0))
        g("s")


def brushes(g):
    for kind in (0, 2, 3, 255, 0xffffffff):
        for rop in (0, 1, 4, 8, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400, 0xffff):
            brush = struct.pack("<I16s", kind, b"")
            g.draw(FILL, fill(brush, rop=rop))
            g.draw(OPAQUE, bodies(g.bitmap(), brush=brush)[OPAQUE])
    good = g.bitmap()
    for operator in (*range(0x10), 0x30, 0x3e, 0x3f, 0xff, 0x3f03, 0x3c003, 0x40003, 0x1c00003, 0xffffffff):
        for matrix in (0, SLOT | ARENA, g.put(bytes(24)), g.put(struct.pack("<6i", *[0x7fffffff] * 6)), g.put(struct.pack("<6i", *[-0x80000000] * 6))):
            g.draw(COMPOSITE, struct.pack("<IQQQQhhhh", operator, good, matrix, good, matrix, -0x8000, 0x7fff, 0x7fff, -0x8000))
    for effect in range(9):
        g.draw(FILL, fill(), effect=effect)
        g.draw(255, fill(), effect=effect)
    for alpha in (0, 1, 255):
        for flags in (0, 1, 2, 3, 0xffff):
            g.draw(ALPHA_BLEND, struct.pack("<HBQ", flags, alpha, g.bitmap(9)) + BOX)
    g("s")


def cursors(g):
    def shape(kind=0, width=8, height=8, data=bytes(256), told=None, chunk=None, unique=1):
        size = len(data) if told is None else told
        head = struct.pack("<QHHHHHI", unique, kind, width, height, 0xffff, 0xffff, size)
        return g.put(head + (chunk or struct.pack("<IQQ", size, 0, 0)) + data)

    shapes = [0, SLOT | ARENA, SLOT | ARENA - 8, 7 << 56]
    for kind in (*range(8), 255, 0xffff):
        shapes += [shape(kind), shape(kind, data=b""), shape(kind, data=b"short"), shape(kind, told=0xffffffff), shape(kind, 0, 0),
                   shape(kind, 0xffff, 0xffff), shape(kind, 1024, 1024), shape(kind, 0xffff, 0), shape(kind, unique=0),
                   shape(kind, chunk=struct.pack("<IQQ", 4, g.cyclic_chunks(), g.cyclic_chunks()))]
    for s in shapes:
        for position in ((0, 0), (-0x8000, 0x7fff)):
            g.submit(CURSOR, g.put(struct.pack("<QBhhBQ", 7, 0, *position, 1, s).ljust(150, b"\0")), ring="k")
    for kind in (1, 2, 3, 4, 255):
        g.submit(CURSOR, g.put(struct.pack("<QBHH", 7, kind, 0xffff, 0xffff).ljust(150, b"\0")), ring="k")
    g("s")


def messages(g):
    g.submit(MESSAGE, g.put(struct.pack("<Q", 7) + b"%s%n\n\x1b[31m\0"))
    g.submit(MESSAGE, g.put(struct.pack("<Q", 7) + b"x" * 200000 + b"\0"))
    end = ARENA - 64
    g("w", end, (struct.pack("<Q", 7) + b"y" * 56).hex())
    g.submit(MESSAGE, SLOT | end)
    for address in (0, SLOT | ARENA, SLOT | ARENA - 2, 7 << 56, g.put(struct.pack("<HH", 0xffff, 0)), g.put(bytes(64)), g.put(struct.pack("<HH", 1, 1))):
        g("g", address, 0)
        g("g", address, 99)
    for size in (1, 64, 65):
        head = struct.pack("<7I", 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff)
        g("g", g.put(struct.pack("<HH", size, 1) + head * size), 0)
    g("f")
    g("o")
    g("i")
    g("s")


def slots(g):
    for group in (0, 1, 2, 0x7fffffff, 0xffffffff):
        for slot in (0, 2, 7, 8, 255, 0xffffffff):
            g("m", group, slot, 0, 0, 4096, 0)
            g("M", group, slot)
    for start, end, delta in ((4096, 0, 0), (0, 0, 0), (0, 4096, 1 << 40), (-1, -1, 0)):
        g("m", 0, 2, 0, start, end, delta)
        g("w", 4096, bytes(191).hex())
        g.submit(DRAW, 2 << 56 | 1 << 40)
    g("M", 0, 2)
    # The memory slot goes away while commands refer to it: they draw zeros.
    good = g.bitmap(width=64, height=64)
    for _ in range(8):
        g.draw(COPY, bodies(good)[COPY])
    g("s")
    g("M", 0, 1)
    g("u", 0, 0, 0, WIDTH, HEIGHT, 0, 1)
    g("m", 0, 1, 9, 0, ARENA, 0)  # another generation: the old addresses are stale
    g("q", DRAW, SLOT | 8192, 0, 0)
    g("s")
    g("M", 0, 1)
    g("m", 0, 1, 0, 0, ARENA, 0)


def primaries(g):
    memory = SLOT | SURFACE
    g("P", 0)
    g("P", 0)
    g("P", 5)
    for args in ((0, 0, 0, 32, memory), (64, 64, 255, 32, memory), (64, 64, 3, 32, memory), (64, 64, 256, 99, memory), (64, 64, 256, 32, 0),
                 (64, 64, -0x80000000, 32, memory), (1 << 16, 1 << 16, 1 << 18, 32, memory), (0xffffffff, 0xffffffff, 0x7fffffff, 32, memory),
                 (64, 64, 256, 32, SLOT | ARENA - 100), (64, 64, 256, 32, 7 << 56), (64, 64, 128, 80, memory), (64, 64, 8, 1, memory)):
        g("p", *args, 0, 0, 0)
        g.draw(FILL, fill(), bbox=(0, 0, 16, 16))
        g("s")
    for group, ident in ((99, 0), (0, 7), (0, 0xffffffff)):
        g("p", 64, 64, 256, 32, memory, 0, group, ident)
    for _ in range(2):
        g.primary()


def loadvm(g):
    g("t")
    for kind in (*range(7), 0xffffffff):
        for address in (0, SLOT | ARENA, 7 << 56, 2**64 - 1):
            g("l", kind, address, 0, 0)
    memory = g.room(4096)
    for ident in (1, 1, 0, 64):
        body = struct.pack("<QIBIIIIiQ", 7, ident, 0, 0, 32, 32, 32, 128, memory)
        at = g.put(body)
        g.due[at & 0xffffffff] = 1
        g("l", SURFACE_CMD, at, 0, 0)
    g("t")
    g("T")
    g("T")


CATALOGUE = [addresses, images, masks, rectangles, clips, self_bitmaps, surfaces, strokes, texts, brushes, cursors, messages, slots, primaries, loadvm]


@pytest.mark.parametrize("catalogue", CATALOGUE, ids=lambda f: f.__name__)
def test_hostile_guest(tmp_path, puppet, catalogue):
    with Guest(tmp_path, puppet) as guest:
        guest("m", 0, 1, 0, 0, ARENA, 0)
        guest.primary()
        guest.flush()
        with raw_client(guest.port) as (_, channels):
            display = channels["display"]
            display.expect(102, PATIENCE)
            guest.check(display, "before")
            catalogue(guest)
            guest.check(display, "after")
            # A second client sees everything as images.
            catalogue(guest)
            with raw_client(guest.port, ("display",)) as (_, others):
                others["display"].expect(102, PATIENCE)
            guest.check(display, "again")
        guest.proc.stdin.close()
        assert guest.proc.stdout.read() == b"destroyed\n", guest.output()
        assert guest.proc.wait(PATIENCE) == 0
        assert "panic" not in guest.output()


@pytest.mark.parametrize("ident", [1, 3, 4, 5, 16, 255])
def test_any_device_id(tmp_path, puppet, ident):
    with Guest(tmp_path, puppet, ident) as guest:
        guest("m", 0, 1, 0, 0, ARENA, 0)
        guest.primary()
        guest.flush()
        with raw_client(guest.port, ()) as (session, _):
            display = session.open("display", ident)
            display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
            display.expect(102, PATIENCE)
            for kind, body in bodies(guest.bitmap(width=64, height=64, ident=9 << 32)).items():
                guest.draw(kind, body)
            guest.check(display, ident)
            display.close()
        guest.proc.stdin.close()
        assert guest.proc.stdout.read() == b"destroyed\n", guest.output()
