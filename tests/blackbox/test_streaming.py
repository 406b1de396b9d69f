"""The streaming device: a guest that sends video of its screen through a port, seen by raw clients and by spice-gtk."""
import struct, subprocess, time

import pytest
from harness import LIB_DIR, PATIENCE, Client, raw_session, read_ppm, close_enough, wait_for
from puppet import HEIGHT, WIDTH, Guest

ours_only = pytest.mark.skipif(not LIB_DIR, reason="the original differs here")
# What the agent says, and what it is told.
CAPABILITIES, FORMAT, DATA, START_STOP, NOTIFY_ERROR, CURSOR_SET, CURSOR_MOVE, DISPLAY_INFO = range(1, 9)
# Messages to display and cursor clients.
SET_ACK, MARK, INVAL_ALL_PALETTES, STREAM_CREATE, STREAM_DATA, STREAM_DESTROY = 3, 102, 108, 122, 123, 125
FILL, SURFACE_CREATE, SURFACE_DESTROY, MONITORS, REPORT = 302, 314, 315, 317, 319
SET, MOVE = 103, 104
MONITORS_CAP, REPORT_CAP, MULTI, MJPEG_CAP, VP8_CAP = 1, 4, 8, 9, 10
ALL = [0, MONITORS_CAP, REPORT_CAP, MULTI, MJPEG_CAP, VP8_CAP]
MJPEG, VP8, H264, VP9, H265 = range(1, 6)


def message(kind, body=b"", version=1):
    return struct.pack("<BBHI", version, 0, kind, len(body)) + body


def form(width, height, codec):
    return message(FORMAT, struct.pack("<IIB3x", width, height, codec))


def pointer(width, height, kind, data):
    return message(CURSOR_SET, struct.pack("<HHHHB3x", width, height, 1, 1, kind) + data)


def place(x, y):
    return message(CURSOR_MOVE, struct.pack("<ii", x, y))


def words(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


def created(stream, width, height, codec):
    return STREAM_CREATE, words(0, stream) + bytes([1, codec]) + bytes(8) + words(width, height, width, height, 0, 0, height, width) + b"\0"


def shown(width, height, flags=3):
    return [(SURFACE_CREATE, words(0, width, height, 32, flags)),
            (MONITORS, struct.pack("<HH7I", 1, 1, 0, 0, width, height, 0, 0, 0)), (MARK, b"")]


def report(stream):
    return REPORT, words(stream, 1, 5, 1000)


class Streamer(Guest):
    """A guest with an agent that streams."""

    def act(self, *parts):
        self("j", *parts)
        return self.flush()[-1].decode().strip()

    def add(self):
        return self.act(0, 0)

    def say(self, data):
        for start in range(0, len(data), 1 << 18):
            self.act(1, data[start:start + (1 << 18)].hex())

    def say_file(self, path):
        self.act(6, path)

    def event(self, event):
        self.act(2, event)

    def takes(self, count):
        self.act(5, count)

    def heard(self):
        """What the server wrote since the last time, the port's states, and how many bytes the server has not read."""
        unread, *parts = self.act(3).split()
        states = [int(part[5:]) for part in parts if part.startswith("state")]
        return bytes.fromhex("".join(part[1:] for part in parts if part[0] == "w")), states, int(unread)

    def hears(self, data, states=None):
        """Waits until the server has written exactly this, and set the port to these states."""
        got, seen = b"", []

        def all_there():
            nonlocal got, seen
            written, more, _ = self.heard()
            got, seen = got + written, seen + more
            return got == data and (states is None or seen == states)
        try:
            wait_for(all_there, "the guest hears it", 10)
        except AssertionError:
            raise AssertionError((got, seen), (data, states)) from None


@pytest.fixture
def guest(tmp_path, puppet):
    with Streamer(tmp_path, puppet) as guest:
        yield guest


def sees(channel, *expected):
    """The next messages of the channel are these, pings left out; a frame's time is checked for being one."""
    for kind, body in expected:
        got = channel.recv(PATIENCE)
        while got and got.type == 4:
            got = channel.recv(PATIENCE)
        assert got, ("nothing comes", kind)
        payload = got.payload
        if kind == STREAM_DATA and got.type == kind:
            assert payload[4:8] != bytes(4), "a frame without a time"
            payload = payload[:4] + payload[8:]
        assert (got.type, payload.hex()) == (kind, body.hex())


def is_silent(channel):
    return not [m for m in channel.recv_for(0.3) if m.type != 4]


def frame(stream, data):
    return STREAM_DATA, words(stream, len(data)) + data


def streaming(guest, caps=ALL):
    """A client with the display channel of an opened device."""
    session = raw_session(guest.port)
    guest.add()
    guest.event(0)
    guest.hears(message(CAPABILITIES, b"\0"), [1, 1])
    display = session.open("display", 1, caps=caps)
    sees(display, (SET_ACK, words(1, 20)), (INVAL_ALL_PALETTES, b""))
    return session, display


def test_a_stream_byte_for_byte(guest):
    session = raw_session(guest.port)
    assert guest.add() == "0"
    # No channel until the guest opens the port; the client is told of each then.
    guest.hears(b"", [1])
    guest.event(0)
    guest.hears(message(CAPABILITIES, b"\0"), [1])
    sees(session.main, (104, words(1) + b"\2\1"), (104, words(1) + b"\4\1"))
    display = session.open("display", 1, caps=ALL)
    assert sorted(display.reply.caps) == [1, 4, 12]
    sees(display, (SET_ACK, words(1, 20)), (INVAL_ALL_PALETTES, b""))
    guest.hears(message(START_STOP, b"\2\1\2"))
    guest.say(form(64, 48, MJPEG))
    sees(display, *shown(64, 48), created(0, 64, 48, MJPEG), report(0))
    guest.say(message(DATA, b"A" * 50) + message(DATA) + message(CAPABILITIES, b"\1"))
    sees(display, frame(0, b"A" * 50))
    guest.say(form(64, 48, VP8))
    sees(display, (STREAM_DESTROY, words(0)), created(1, 64, 48, VP8), report(1))
    guest.say(form(32, 48, MJPEG))
    sees(display, (STREAM_DESTROY, words(1)), (SURFACE_DESTROY, words(0)), *shown(32, 48), created(2, 32, 48, MJPEG), report(2))
    assert is_silent(display)
    # Both ways of a port begin anew.
    guest.event(1)
    guest.hears(b"", [1])
    sees(display, (STREAM_DESTROY, words(2)), (SURFACE_DESTROY, words(0)))
    guest.event(0)
    guest.hears(message(CAPABILITIES, b"\0") + message(START_STOP, b"\2\1\2"), [1])
    guest.say(form(64, 48, MJPEG))
    sees(display, *shown(64, 48), created(0, 64, 48, MJPEG), report(0))
    display.close()
    guest.hears(message(START_STOP, b"\0"))
    # What comes while nobody watches has a size for the next client.
    guest.say(form(20, 10, MJPEG) + message(DATA, b"B"))
    display = session.open("display", 1, caps=[MULTI])
    fill = words(0, 0, 0, 10, 20) + b"\0\1" + bytes(4) + b"\x08\0" + bytes(13)
    sees(display, (SET_ACK, words(1, 20)), (INVAL_ALL_PALETTES, b""), shown(20, 10)[0], (FILL, fill), (MARK, b""))
    guest.hears(message(START_STOP, b"\1\1"))
    guest.say(form(20, 10, MJPEG))
    assert display.expect(STREAM_CREATE, PATIENCE)
    display.send(104)
    assert display.wait_close(PATIENCE) and not session.main.closed


def test_the_pointer_byte_for_byte(guest):
    session, _ = streaming(guest)
    cursor = session.open("cursor", 1)
    sees(cursor, (SET_ACK, words(1, 20)), (101, bytes(8) + b"\1\1\0"))
    guest.say(place(-5, 9))
    sees(cursor, (MOVE, struct.pack("<hh", -5, 9)))
    head = bytes(8) + struct.pack("<4H", 2, 2, 1, 1)
    guest.say(pointer(2, 2, 0, bytes(range(16))))
    sees(cursor, (SET, bytes(4) + b"\1\0\0" + head[:8] + b"\0" + head[8:] + bytes(range(16))))
    # Exactly the bytes that pixels and mask need.
    guest.say(pointer(2, 2, 6, bytes(range(32))))
    shape = b"\0\0" + head[:8] + b"\6" + head[8:] + bytes(range(17))
    sees(cursor, (SET, bytes(4) + b"\1" + shape))
    cursor.close()
    cursor = session.open("cursor", 1)
    sees(cursor, (SET_ACK, words(1, 20)), (101, struct.pack("<hh", -5, 9) + bytes(4) + b"\1" + shape))


def header(kind, size):
    return struct.pack("<BBHI", 1, 0, kind, size)


VIOLATIONS = [
    (message(FORMAT, bytes(11)), b"Wrong size for StreamMsgFormat"),
    (header(DATA, (32 << 20) + 1), b"STREAM_DATA too large"),
    (header(CAPABILITIES, 1025), b"Wrong size for StreamMsgCapabilities"),
    (message(CURSOR_MOVE, bytes(9)), b"Wrong size for StreamMsgCursorMove"),
    (pointer(2, 2, 0, bytes(15)), b"Protocol error"),
    (pointer(2, 2, 1, bytes(150)), b"Protocol error"),
    (pointer(1025, 1, 0, bytes(5000)), b"Protocol error"),
    (message(CURSOR_SET, bytes(11)), b"Cursor size is invalid"),
    (header(CURSOR_SET, 4325389), b"Cursor size is invalid"),
    (header(DISPLAY_INFO, 12 + 257), b"StreamMsgDeviceDisplayInfo too large"),
    (header(0, 0), b"Invalid message type"),
    (message(START_STOP, b"\0"), b"Invalid message type"),
    (message(NOTIFY_ERROR, bytes(4)), b"Invalid message type"),
    (header(77, 0xffffffff), b"Invalid message type"),
]
# What the original lets pass.
STRICTER = [(data, b"Protocol error") for data in (
    message(CAPABILITIES, version=2), form(0, 0, MJPEG), form(100000, 100000, MJPEG), form(64, 48, 99), message(DISPLAY_INFO, bytes(11)))]


def test_violations_disable_the_device_until_it_opens_again(guest):
    session, display = streaming(guest)
    guest.hears(message(START_STOP, b"\2\1\2"))
    for data, text in VIOLATIONS + (STRICTER if LIB_DIR else []):
        guest.say(data + bytes(40000) + form(64, 48, MJPEG))
        guest.hears(message(NOTIFY_ERROR, bytes(4) + text + b"\0"), [0])
        assert guest.heard()[2] == 0, "what follows is taken"
        guest.event(1)
        guest.event(0)
        guest.hears(message(CAPABILITIES, b"\0") + message(START_STOP, b"\2\1\2"), [1, 1])
    assert is_silent(display)
    guest.say(form(64, 48, MJPEG))
    sees(display, *shown(64, 48), created(0, 64, 48, MJPEG), report(0))
    log = guest.output()
    lines = [line for line in log.splitlines() if "disabled" in line]
    assert not LIB_DIR or len(lines) <= len(VIOLATIONS) + len(STRICTER), log


def test_a_guest_is_read_no_faster_than_its_client_reads(guest, tmp_path):
    """32 MB wait with the guest until the client takes them; each frame arrives once and in order."""
    session, display = streaming(guest)
    guest.say(form(640, 480, VP8))
    size, count = 320 << 10, 100
    path = tmp_path / "frames"
    path.write_bytes(b"".join(message(DATA, struct.pack("<I", n) * (size // 4)) for n in range(count)))
    before = guest.rss_kib()
    guest.say_file(path)
    # One frame, and what the sockets' buffers hold.
    wait_for(lambda: guest.heard()[2] < size * count, "the first is taken")
    time.sleep(0.5)
    assert guest.heard()[2] > size * count // 2
    # The file is with the guest, which is the same process.
    assert guest.rss_kib() - before < size * count // 1024 + (8 << 10)
    for number in range(count):
        got = display.expect(STREAM_DATA, PATIENCE)
        assert got.payload[12:16] == struct.pack("<I", number) and len(got.payload) == 12 + size


@ours_only
def test_a_client_that_does_not_read_does_not_stop_the_others(guest, tmp_path):
    first, display = streaming(guest)
    other = raw_session(guest.port)
    stuck = other.open("display", 1, caps=ALL)
    guest.say(form(640, 480, MJPEG))
    path, size, count = tmp_path / "frames", 200 << 10, 100
    path.write_bytes(b"".join(message(DATA, struct.pack("<I", n) * (size // 4)) for n in range(count)))
    begin = time.monotonic()
    guest.say_file(path)
    numbers = [display.expect(STREAM_DATA, PATIENCE).payload[12:16] for _ in range(count)]
    assert numbers == [struct.pack("<I", n) for n in range(count)]
    assert time.monotonic() - begin < 10
    # In the end the one that was stuck sees the newest.
    seen = -1
    while seen != count - 1:
        number = struct.unpack_from("<I", stuck.expect(STREAM_DATA, PATIENCE).payload, 12)[0]
        assert number > seen
        seen = number


@ours_only
def test_the_device_goes_while_it_is_watched(guest):
    """With the original the host dies here."""
    for turn in range(10):
        session, display = streaming(guest)
        cursor = session.open("cursor", 1)
        guest.say(form(64, 48, MJPEG) + message(DATA, bytes(100)))
        assert display.expect(STREAM_DATA, PATIENCE)
        assert guest.act(4) == "0" and guest.act(4) == "-1"
        assert display.wait_close(PATIENCE) and cursor.wait_close(PATIENCE)
        guest.event(0)
        guest.say(b"")
        guest.heard()
        session.main.close()


def test_clients_come_and_go_while_the_guest_streams(guest):
    session, display = streaming(guest)
    for turn in range(20):
        guest.say(form(64, 48, MJPEG) + message(DATA, bytes([turn]) * 100))
        assert display.expect(STREAM_DATA, PATIENCE).payload[12:] == bytes([turn]) * 100
        display.close()
        display = session.open("display", 1, caps=ALL)
    assert guest.alive()


def test_sound_and_video_of_one_moment_carry_the_same_time(guest):
    session, display = streaming(guest)
    playback = session.open("playback", caps=[])
    guest("n", 1)
    guest.flush()
    assert playback.expect(103, PATIENCE)
    guest.say(form(64, 48, MJPEG))
    for turn in range(20):
        before = mm_time()
        guest("n", 4, turn)
        guest("j", 1, message(DATA, bytes([turn])).hex())
        guest.flush()
        after = mm_time()
        sound = struct.unpack_from("<I", playback.expect(101, PATIENCE).payload)[0]
        picture = struct.unpack_from("<I", display.expect(STREAM_DATA, PATIENCE).payload, 4)[0]
        assert before <= sound <= picture <= after, (before, sound, picture, after)


def mm_time():
    """Milliseconds of the multimedia clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000 & 0xffffffff


# --- Real video.

SIDES = (320, 240)
ENCODERS = {
    MJPEG: "jpegenc quality=90",
    VP8: "vp8enc deadline=1 target-bitrate=2000000 keyframe-max-dist=1000",
    H264: "openh264enc bitrate=2000000 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
}
DECODERS = {MJPEG: "jpegdec", VP8: "vp8dec", H264: "openh264dec"}
FRAMES = 60


def has_gstreamer(codec):
    """Whether this machine can make and show such video."""
    names = [ENCODERS[codec].split()[0], DECODERS[codec]]
    try:
        return all(subprocess.run(["gst-inspect-1.0", name], capture_output=True).returncode == 0 for name in names)
    except FileNotFoundError:
        return False


def video(codec, directory):
    """Frames of a still test picture, and that picture as a PPM."""
    width, height = SIDES
    source = f"videotestsrc num-buffers={FRAMES} pattern=smpte75 ! video/x-raw,width={width},height={height},framerate=30/1"
    pattern = directory / "frame%03d"
    subprocess.run(["gst-launch-1.0", "-q", *f"{source} ! videoconvert ! {ENCODERS[codec]} ! multifilesink location={pattern}".split()], check=True)
    raw = directory / "picture.rgb"
    still = source.replace(str(FRAMES), "1", 1)
    subprocess.run(["gst-launch-1.0", "-q", *f"{still} ! videoconvert ! video/x-raw,format=RGB ! filesink location={raw}".split()], check=True)
    picture = directory / "picture.ppm"
    picture.write_bytes(b"P6\n%d %d\n255\n" % SIDES + raw.read_bytes())
    frames = [path.read_bytes() for path in sorted(directory.glob("frame*"))]
    assert len(frames) == FRAMES
    return frames, picture


@pytest.mark.parametrize("codec", ENCODERS, ids=["mjpeg", "vp8", "h264"])
def test_spice_gtk_shows_the_video(guest, tmp_path, codec):
    if not has_gstreamer(codec):
        pytest.skip("no such encoder or decoder here")
    frames, picture = video(codec, tmp_path)
    guest.add()
    guest.event(0)
    guest.primary()
    guest.flush()
    with Client(tmp_path, guest.port) as client:
        heard = b""

        def asked():
            nonlocal heard
            heard += guest.heard()[0]
            return message(START_STOP)[:4] in heard
        wait_for(asked, "the guest is asked to stream")
        codecs = heard[heard.index(message(START_STOP)[:4]) + 9:]
        assert codec in codecs, codecs
        guest.say(form(*SIDES, codec))
        client("display:1")
        shot = tmp_path / "shot.ppm"

        def is_shown():
            client(f"shot:{shot}:1")
            width, height, pixels = read_ppm(shot)
            assert (width, height) == SIDES
            return close_enough(pixels, read_ppm(picture)[2], 12)
        for data in frames:
            guest.say(message(DATA, data))
            client("sleep:0.03")
        wait_for(is_shown, "the picture")
