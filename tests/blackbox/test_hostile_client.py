"""A catalogue of hostile client input: every channel, message type and body size, announced correctly or not. Each costs at
most the client that sent it; the host and another client notice nothing."""
import contextlib, random, socket, struct

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, raw_client, raw_session
from puppet import ARENA, Guest

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original does not survive this")

TYPES = [*range(0, 10), *range(99, 117), 127, 200, 201, 202, 203, 255, 999, 0x7fff, 0xffff]
CHANNELS = ["main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir", "port", "webdav"]
# Memory that the host may keep afterwards.
GROWTH_KIB = 32 * 1024


class Watched:
    """A host with a watching client, which must notice nothing."""

    def __init__(self, guest, display, main):
        self.guest, self.display, self.main = guest, display, main

    def unharmed(self, what):
        self.guest.check(self.display, what)
        # The main channel answers.
        self.main.send(spiceraw.MSGC_MAIN_ATTACH_CHANNELS)
        self.main.expect(104, PATIENCE)
        assert "panic" not in self.guest.output(), what


@pytest.fixture
def watched(tmp_path, puppet):
    with Guest(tmp_path, puppet) as guest:
        guest("m", 0, 1, 0, 0, ARENA, 0)
        guest.primary()
        guest.flush()
        with raw_client(guest.port, ("display",)) as (session, channels):
            channels["display"].expect(102, PATIENCE)
            watched = Watched(guest, channels["display"], session.main)
            watched.unharmed("before")
            rss = guest.rss_kib()
            yield watched
            watched.unharmed("after")
            assert guest.rss_kib() - rss < GROWTH_KIB


def bodies(rng):
    """Bodies, each with the size that the header announces."""
    for size in (0, 1, 3, 4, 8, 13, 14, 32, 64, 1024, 1025):
        yield rng.randbytes(size), size
    yield bytes(14), 14
    yield b"\xff" * 14, 14
    for told in (0xffffffff, 0x7fffffff, 15):
        yield bytes(14), told


@pytest.mark.parametrize("header", ["mini", "full"])
@pytest.mark.parametrize("name", CHANNELS)
def test_every_message_of_every_size(watched, name, header):
    """Sends each message on a connection of its own and then shuts it down. When the host closes too, it has read the message."""
    rng = random.Random(f"{name} {header}")
    port, session = watched.guest.port, None

    def send(messages):
        nonlocal session
        for _ in range(2):
            # The host may drop the whole client for a fault on one channel.
            session = session or raw_session(port, header=header)
            with contextlib.suppress(spiceraw.SpiceError, OSError):
                channel = session.main if name == "main" else session.open(name)
                break
            session = None
        with contextlib.suppress(OSError):
            for msg_type, body, told in messages:
                channel.send(msg_type, body, size=told)
            channel.sock.shutdown(socket.SHUT_WR)
        assert channel.wait_close(PATIENCE), (name, messages)
        channel.close()
        if name == "main":
            session = None

    with raw_client(port, ()) as (probe, _):
        if name != "main" and spiceraw.CHANNELS[name] not in [kind for kind, _ in probe.channels]:
            # While several clients are connected, devices that they cannot share are not listed; a client can still open them.
            try:
                probe.open(name).close()
            except spiceraw.SpiceError:
                assert name == "webdav", "the host has all other devices"
                pytest.skip("the puppet host shares no folder")
    # With full headers some of them: it is the same code behind another header.
    for msg_type in TYPES if header == "mini" else TYPES[::4]:
        for body, told in bodies(rng):
            first = [(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init(), None)] if name == "display" and rng.random() < 0.7 else []
            send([*first, (msg_type, body, told)])
    # Many at once, the bad message last.
    for _ in range(30):
        some = [(rng.choice(TYPES), rng.randbytes(rng.choice((0, 2, 4, 5, 12))), None) for _ in range(8)]
        send(some)
    if session:
        session.main.close()


def link_messages(rng):
    sizes = (0, 1, 17, 18, 19, 22, 4096, 4097, 0x7fffffff, 0xffffffff)
    for size in sizes:
        yield spiceraw.link_message(1, size=size)
        yield spiceraw.link_message(1, caps_offset=size)
    for kind in (0, *range(2, 13), 127, 255):
        for connection in (0, 1, 0xffffffff):
            yield spiceraw.link_message(kind, 0, connection)
            yield spiceraw.link_message(kind, 255, connection)
    for major, minor in ((0, 0), (1, 0), (2, 1), (2, 0xffffffff), (3, 0), (0xffffffff, 0xffffffff)):
        yield spiceraw.link_message(1, major=major, minor=minor)
    for magic in (b"\0\0\0\0", b"QDER", b"RED\0", b"GET "):
        yield spiceraw.link_message(1, magic=magic)
    for common in sizes:
        for own in sizes:
            yield b"REDQ" + struct.pack("<IIIIBBIII", 2, 2, 18, 0, 1, 0, common, own, 18)
    good = spiceraw.link_message(1, common=[0, 1, 3])
    for mechanism in (0, 1, 2, 3, 0xffffffff):
        yield good + struct.pack("<I", mechanism) + bytes(128)
        yield good + struct.pack("<I", mechanism) + b"\xff" * 200
        yield good + struct.pack("<I", mechanism) + rng.randbytes(128)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)))
        yield bytes(bad)
    for head in (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", b"GET " + b"x" * 9000, b"GET / HTTP/1.1\r\n\r\n"):
        yield head
    for frame in (b"\x82\xff" + b"\xff" * 8, b"\x82\x7f" + bytes(8), b"\x02\x81", b"\x88\x80\0\0\0\0", b"\xff" * 32, b"\x82\x00" * 100, b"\x89\xfe\xff\xff"):
        yield (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n" + frame)


def test_link_stage(watched):
    open_ones = []
    for data in link_messages(random.Random(1)):
        sock = socket.create_connection(("127.0.0.1", watched.guest.port), PATIENCE)
        with contextlib.suppress(OSError):
            sock.sendall(data)
            # Most close at once. Those that wait for more bytes stay open meanwhile, but not too many.
            sock.shutdown(socket.SHUT_WR)
        open_ones.append(sock)
        if len(open_ones) >= 20:
            finish(open_ones)
    finish(open_ones)


def finish(socks):
    """Waits until the host has closed each connection; drops what it still sends."""
    while socks:
        with socks.pop() as sock, contextlib.suppress(ConnectionError):
            sock.settimeout(PATIENCE)
            while sock.recv(65536):
                pass


def test_sessions_in_any_order(watched):
    """Links channels before and after their session, twice, without a session, and closes links at every point."""
    port = watched.guest.port
    session = raw_session(port)
    for _ in range(3):
        for kind, ident in session.channels:
            with contextlib.suppress(spiceraw.SpiceError, OSError):
                channel = session.open(kind, ident)
                again = session.open(kind, ident)
                again.close()
                channel.close()
    session.main.close()
    for kind, ident in session.channels:
        with contextlib.suppress(spiceraw.SpiceError, OSError):
            session.open(kind, ident).close()
    good = spiceraw.link_message(2, common=[0, 1, 3])
    for cut in range(0, len(good), 3):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(good[:cut])
    # INIT in pieces, closed after each piece.
    init = struct.pack("<HI", spiceraw.MSGC_DISPLAY_INIT, 14) + spiceraw.display_init()
    for cut in range(len(init) + 1):
        with raw_client(port, ()) as (session, _):
            channel = session.open("display")
            channel.send_raw(init[:cut])
            channel.close()
