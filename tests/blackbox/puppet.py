"""A guest under the control of a test, on a host of its own (tests/tools/puppet_host.c)."""
import struct, subprocess

import spiceraw
from harness import PATIENCE, Process, free_port, lib_env

SLOT = 1 << 56
ARENA = 16 << 20
WIDTH, HEIGHT = 128, 96
SURFACE = 15 << 20  # of the primary surface in the arena
NOP, DRAW, UPDATE, CURSOR, MESSAGE, SURFACE_CMD = range(6)
(D_NOP, FILL, OPAQUE, COPY, COPY_BITS, BLEND, BLACKNESS, WHITENESS, INVERS, ROP3, STROKE, TEXT, TRANSPARENT, ALPHA_BLEND,
 COMPOSITE) = range(15)
PUT = 8
SIZES = {DRAW: 191, UPDATE: 32, CURSOR: 150, MESSAGE: 8, SURFACE_CMD: 41}


class Guest(Process):
    """A host whose guest follows the test. The host must release every command that it can read."""

    def __init__(self, directory, program, ident=0, displays=1):
        self.port = free_port()
        super().__init__([program, self.port, ident, displays], directory, "host", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env=lib_env(SPICE_DEBUG_ALLOW_MC="1"))
        assert self.proc.stdout.readline() == b"ready\n", self.output()
        self.used, self.due, self.lines, self.colour = 4096, {}, [], 0

    # The memory.

    def put(self, data):
        """Puts bytes into new guest memory. Returns their address."""
        if self.used + len(data) > SURFACE - 4096:
            self.used = 4096
        at, self.used = self.used, (self.used + len(data) + 15) & ~15
        self.lines.append(b"w %d %s" % (at, data.hex().encode()))
        return SLOT | at

    def room(self, size):
        return self.put(bytes(size))

    def __call__(self, *words):
        self.lines.append(" ".join(map(str, words)).encode())

    def flush(self):
        """Runs all queued lines and returns the answers. If the host died, the error names its last line."""
        answers, lines = [], self.lines
        self.lines = []
        for start in range(0, len(lines), 100):
            part = lines[start:start + 100]
            self.proc.stdin.write(b"".join(line + b"\n" for line in part))
            self.proc.stdin.flush()
            for line in part:
                answer = self.proc.stdout.readline()
                assert answer, f"the host died: {line[:200]}\n{self.output()[-2000:]}"
                assert answer not in (b"hang\n", b"unknown\n"), (answer, line[:200], self.output()[-2000:])
                answers.append(answer)
        return answers

    # Commands.

    def submit(self, kind, address, group=0, flags=0, ring="q", size=None):
        """Puts a command on a ring. The host must release it if its header is in memory and the ring takes its type."""
        at = address & 0xffffffffffff
        size = size or (128 if kind == DRAW and flags & 1 else SIZES.get(kind, 0))
        legal = kind in ((CURSOR,) if ring == "k" else (DRAW, UPDATE, MESSAGE, SURFACE_CMD))
        if legal and group == 0 and address >> 48 == SLOT >> 48 and at + size <= ARENA:
            self.due[at] = self.due.get(at, 0) + 1
        self(ring, kind, address, group, flags)

    def draw(self, kind, body, surface=0, bbox=(10, 10, 40, 30), clip=(0, 0), self_area=None, effect=0, deps=(-1, -1, -1),
             dep_rects=None, flags=0):
        """A drawable; rectangles are left, top, right, bottom."""
        head = struct.pack("<QIBBB", 7, surface, effect, kind, self_area is not None)
        head += rect(self_area or (0, 0, 0, 0)) + rect(bbox) + struct.pack("<IQI3i", *clip, 0, *deps)
        head += (dep_rects or rect((0, 0, 8, 8))) * 3
        self.submit(DRAW, self.put((head + body).ljust(191, b"\0")), flags=flags)

    def image(self, kind=0, width=16, height=16, body=b"", ident=0, cached=0):
        return self.put((struct.pack("<QBBII", ident, kind, cached, width, height) + body).ljust(64, b"\0"))

    def bitmap(self, fmt=8, width=16, height=16, stride=None, palette=0, data=None, flags=4, inner=None, **descriptor):
        """A bitmap image, of zeros by default."""
        bits = {1: 1, 2: 1, 3: 4, 4: 4, 5: 8, 6: 16, 7: 24, 10: 8}.get(fmt, 32)
        packed = (width * bits + 7) // 8
        if data is None:
            data = self.chunk(bytes(range(256)) * (max(packed * height, 1) // 256 + 1) if packed * height < 1 << 20 else b"")
        x, y = inner or (width, height)
        body = struct.pack("<BBIIIQQ", fmt, flags, x & 0xffffffff, y & 0xffffffff, (packed if stride is None else stride) & 0xffffffff, palette, data)
        return self.image(0, width & 0xffffffff, height & 0xffffffff, body, **descriptor)

    def chunk(self, data=b"", size=None, following=0, previous=0):
        return self.put(struct.pack("<IQQ", len(data) if size is None else size, previous, following) + data)

    def cyclic_chunks(self, size=4):
        first = self.chunk(bytes(size))
        second = self.chunk(bytes(size), following=first, previous=first)
        self("w", first & 0xffffffff, struct.pack("<IQQ", size, second, second).hex())
        return first

    def palette(self, entries=256, told=None):
        return self.put(struct.pack("<QH", 5, entries if told is None else told) + bytes(4 * entries))

    # What must be true at the end.

    def primary(self):
        self("p", WIDTH, HEIGHT, WIDTH * 4, 32, SLOT | SURFACE, 0, 0, 0)

    def check(self, display, what):
        """Checks that all commands were released, none twice, and that the client still receives new drawing."""
        self("s")
        self("c")  # the pointer's shape
        self("x")
        self("r")
        answers = self.flush()
        back = {}
        for offset in map(int, answers[-1].split()[1:]):
            back[offset] = back.get(offset, 0) + 1
        assert back == self.due, (what, "not released:", {k: v for k, v in self.due.items() if back.get(k, 0) != v},
                                  "released:", {k: v for k, v in back.items() if self.due.get(k, 0) != v})
        self.due = {}
        self.primary()
        self.colour = (self.colour + 0x010305) & 0xffffff
        body = struct.pack("<II12sHB", 1, self.colour, b"", PUT, 0)
        self.draw(FILL, body, bbox=(0, 0, WIDTH, HEIGHT), effect=1)
        self("s")
        self.flush()
        while True:
            message = display.recv(PATIENCE)
            assert message, (what, "no picture")
            if message.type == 302 and spiceraw.decode(2, message)["brush"] == {"type": 1, "color": self.colour}:
                break


def rect(r):
    left, top, right, bottom = r
    return struct.pack("<4i", top, left, bottom, right)
