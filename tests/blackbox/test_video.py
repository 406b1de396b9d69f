"""Video streams of each codec, and GL scanouts for remote clients."""
import contextlib, os, subprocess, time
from math import log10

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, Client, free_port, raw_client, read_ppm, wait_for
from relay import Relay
from test_host import Host, gl_client, program, scanout  # noqa: F401 (program is a fixture)

STREAM_CREATE, STREAM_DATA, STREAM_DESTROY, MARK, DRAW_COPY = 122, 123, 125, 102, 304
MSGC_PREFERRED_VIDEO_CODEC_TYPE = 105
CODECS = {"mjpeg": 1, "vp8": 2, "h264": 3, "vp9": 4, "h265": 5}
ALL_CODECS = "spice:mjpeg;gstreamer:vp8;gstreamer:h264;gstreamer:vp9;gstreamer:h265"
CAPS = {"display": [*spiceraw.DEFAULT_CAPS["display"], 4, 8, 9, 10, 11, 12, 13, 14]}
VIDEO = (100, 60, 640, 360)  # x, y, width, height of a video in the screen
SMALL = {"h265": (100, 60, 320, 180)}  # what is encoded slowly
# How GStreamer reads files of one frame each.
DECODERS = {
    "mjpeg": ("image/jpeg", "jpegdec"),
    "vp8": ("video/x-vp8", "vp8dec"),
    "vp9": ("video/x-vp9,alignment=frame", "vp9parse ! vp9dec"),
    "h264": ("video/x-h264,stream-format=byte-stream,alignment=au", "h264parse ! decodebin"),
    "h265": ("video/x-h265,stream-format=byte-stream,alignment=au", "h265parse ! decodebin"),
}

needs_plugin = pytest.mark.skipif(not os.path.exists(os.path.join(LIB_DIR, "libspice-server-gst.so")), reason="the video encoders were not built")


class Stream:
    """What one raw client gets of streams."""

    def __init__(self, display):
        self.display, self.codecs, self.data, self.bytes = display, [], [], 0

    def read(self, seconds, until=lambda: False):
        """Takes what comes in so many seconds, or until something holds. Says whether it does."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            message = self.display.recv(left)
            if not message:
                continue
            self.bytes += len(message.payload)
            if message.type == STREAM_CREATE:
                self.codecs.append(message.payload[9])
                self.data.append([])
            elif message.type == STREAM_DATA:
                self.data[-1].append(message.payload[12:])
        return True

    def rest(self):
        """Takes what comes until nothing has come for a second."""
        before = None
        while self.bytes != before:
            before = self.bytes
            self.read(1)

    def play(self, host, area=VIDEO, count=30):
        """Has the host show a film until one stream has had so many frames. Gives the frames of that stream."""
        film(host, area)

        def playing():
            return [frames for frames in self.data if len(frames) >= count]
        assert self.read(PATIENCE, playing), f"{self.codecs} {[len(frames) for frames in self.data]}\n{host.output()[-2000:]}"
        return playing()[0]


@contextlib.contextmanager
def screen(tmp_path, program, *args, width=1280, height=720):
    """A host whose screen is a scanout of its own pixels."""
    port = free_port()
    with Host(program, tmp_path, "--port", port, "--devices", 1, "--streaming", 2, *args) as host:
        host("hide 0")
        host(f"screen 0 {width} {height}")
        yield host, port


@pytest.fixture(autouse=True)
def verbose(monkeypatch):
    """Hosts tell when the encoders are loaded."""
    monkeypatch.setenv("G_MESSAGES_DEBUG", "all")


def load_encoders(host):
    """Waits until the library has loaded the encoders, as it does for the first client that may need them."""
    wait_for(lambda: "video encoders of" in host.output(), "the encoders")


def film(host, area=VIDEO, frames=0, ms=33):
    """Begins a film of so many frames, which the host goes on to show while the test reads; 0: until it is told something."""
    host.proc.stdin.write(("film 0 %d %d %d %d %d %d\n" % (*area, frames, ms)).encode())
    host.proc.stdin.flush()


def nal_units(frame):
    """Kinds of the units of an H.264 byte stream."""
    return [header & 31 for header in nal_headers(frame)]


def nal_headers(frame):
    """The first bytes of the units of a byte stream."""
    return [frame[at + 3] for at in range(len(frame) - 3) if frame[at:at + 3] == b"\0\0\1"]


def decoded(frames, codec, directory, size):
    """The pixels of frames, as GStreamer decodes them."""
    caps, decoder = DECODERS[codec]
    for n, frame in enumerate(frames):
        (directory / f"{n:05}.{codec}").write_bytes(frame)
    out = directory / "decoded.rgb"
    # Without rates and sizes in the stream's own form, decoders take them from the frames.
    pipeline = f"multifilesrc location={directory}/%05d.{codec} caps={caps},framerate=30/1 ! {decoder} ! videoconvert ! " \
               f"video/x-raw,format=RGB ! filesink location={out}"
    subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], check=True, timeout=2 * PATIENCE)
    pixels, picture = out.read_bytes(), size[0] * size[1] * 3
    assert len(pixels) == len(frames) * picture, "each frame is decoded, from the first one on"
    return [pixels[at:at + picture] for at in range(0, len(pixels), picture)]


def psnr(one, other):
    one, other = one[::37], other[::37]
    error = sum((a - b) ** 2 for a, b in zip(one, other)) / len(one)
    return 10 * log10(255 ** 2 / error) if error else 99


@needs_plugin
@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "h265"])
@pytest.mark.parametrize("by", ["preference", "host"])
def test_streams_have_the_codec_that_client_or_host_wants(tmp_path, program, codec, by):
    codecs = f"gstreamer:{codec}" if by == "host" else ALL_CODECS
    with screen(tmp_path, program, "--codecs", codecs) as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels):
        display = channels["display"]
        if by == "preference":
            display.send(MSGC_PREFERRED_VIDEO_CODEC_TYPE, bytes([1, CODECS[codec]]))
        load_encoders(host)
        stream = Stream(display)
        frames = stream.play(host, SMALL.get(codec, VIDEO))
        assert set(stream.codecs) == {CODECS[codec]}, host.output()[-2000:]
        if codec == "h264":
            kinds = nal_units(frames[0])
            assert kinds[:2] == [7, 8] and 5 in kinds, kinds  # parameter sets, then a key frame
            profile = frames[0][frames[0].index(b"\0\0\1\x67") + 4:][:2]
            assert profile[0] == 66 and profile[1] & 0x40, "constrained baseline"
        if codec == "h265":
            kinds = [kind >> 1 & 63 for kind in nal_headers(frames[0])]
            assert kinds[:3] == [32, 33, 34] and {19, 20} & set(kinds), kinds  # parameter sets, then a key frame


@needs_plugin
def test_each_viewer_begins_with_a_key_frame(tmp_path, program, monkeypatch):
    monkeypatch.setenv("SPICE_DEBUG_ALLOW_MC", "1")
    with screen(tmp_path, program, "--codecs", "gstreamer:h264") as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels):
        load_encoders(host)
        first = Stream(channels["display"])
        frames = first.play(host)
        assert 5 in nal_units(frames[0]) and 5 not in nal_units(frames[20])
        with raw_client(port, ("display",), caps=CAPS) as (_, channels):
            second = Stream(channels["display"])
            assert second.read(PATIENCE, lambda: second.data and second.data[0])
            assert nal_units(second.data[0][0])[:2] == [7, 8] and 5 in nal_units(second.data[0][0])


@needs_plugin
@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "mjpeg"])
def test_spice_gtk_plays_each_codec(tmp_path, program, codec):
    with screen(tmp_path, program, "--codecs", ALL_CODECS) as (host, port), \
            Client(tmp_path, port, "--video-codec", codec, SPICE_DEBUG="1", G_MESSAGES_DEBUG="all") as client:
        client("display")
        client("event:mark")
        if codec != "mjpeg":
            load_encoders(host)
        film(host, frames=120)
        # True pixels are there when the video stands still.
        host(f"picture {tmp_path / 'picture.ppm'}")
        client(f"until:{tmp_path / 'picture.ppm'}:{PATIENCE}")

        def stats():
            client("sleep:0.1")
            client.log.flush()
            return [line for line in client.output().splitlines() if "display_stream_stats_debug" in line and "in-frames" in line]
        frames = [int(line.split("#in-frames=")[1].split()[0]) for line in wait_for(stats, "the stream's end")]
        print(stats())
        assert max(frames) >= 30, frames
        elements = {"vp8": "vp8dec", "vp9": "vp9dec", "h264": "264", "mjpeg": ""}
        assert elements[codec] in client.output()


@needs_plugin
@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "h265"])
def test_video_is_like_the_source_and_much_smaller_than_mjpeg(tmp_path, program, codec):
    sizes, area = {}, SMALL.get(codec, VIDEO)
    for name in ["mjpeg", codec]:
        directory = tmp_path / name
        directory.mkdir()
        with screen(directory, program, "--codecs", f"{'spice' if name == 'mjpeg' else 'gstreamer'}:{name}") as (host, port), \
                raw_client(port, ("display",), caps=CAPS) as (_, channels):
            if name != "mjpeg":
                load_encoders(host)
            stream = Stream(channels["display"])
            stream.play(host, area, count=60)
            host(f"picture {directory / 'last.ppm'}")
            stream.rest()
        frames = stream.data[-1]
        sizes[name] = sum(map(len, frames)) / len(frames)
        w, _, pixels = read_ppm(directory / "last.ppm")
        x, y, width, height = area
        last = b"".join(pixels[((y + row) * w + x) * 3:][:width * 3] for row in range(height))
        # Where the film's last picture was not sent as a frame, the true picture took its place.
        quality = max(psnr(picture, last) for picture in decoded(frames, name, directory, (width, height))[-3:])
        print(name, "psnr", quality, "bytes per frame", sizes[name])
        assert quality >= 35, quality
    assert sizes[codec] <= 0.4 * sizes["mjpeg"], sizes


def test_a_remote_client_sees_a_scanout_that_stands_still(tmp_path, program):
    with screen(tmp_path, program) as (host, port):
        times = []
        # A machine that is busy with other things is not always late.
        while len(times) < 20 and min(times, default=1) > 0.1:
            with raw_client(port, ("display",)) as (_, channels):
                began = time.monotonic()
                channels["display"].expect(DRAW_COPY, PATIENCE)
                channels["display"].expect(MARK, PATIENCE)
                times.append(time.monotonic() - began)
        print("first picture after", times)
        assert min(times) <= 0.1, times
        picture = tmp_path / "picture.ppm"
        host(f"picture {picture}")
        with Client(tmp_path, port, G_MESSAGES_DEBUG="") as client:
            client(f"until:{picture}:{PATIENCE}")


def test_a_changed_line_costs_a_hundredth_of_a_frame_at_most(tmp_path, program):
    with screen(tmp_path, program, width=1920, height=1080) as (host, port), raw_client(port, ("display",)) as (_, channels):
        stream = Stream(channels["display"])
        assert stream.read(PATIENCE, lambda: stream.bytes > 10_000)
        stream.rest()
        before = stream.bytes
        host("fill 0 0 500 1920 1 200")
        assert stream.read(PATIENCE, lambda: stream.bytes > before)
        stream.rest()
        assert stream.bytes - before <= 1920 * 1080 * 4 // 100


def test_film_of_a_whole_screen_is_a_stream_and_holds_up_nobody(tmp_path, program, monkeypatch):
    monkeypatch.setenv("SPICE_DEBUG_ALLOW_MC", "1")
    with screen(tmp_path, program, width=1920, height=1080) as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels), \
            raw_client(port, ("display",), caps=CAPS):  # which never reads
        stream = Stream(channels["display"])
        stream.play(host, (0, 0, 1920, 1080), count=60)
        count, quick, longest = draws(host)
        print("frames", sum(map(len, stream.data)), "of", count, "draws:", quick, "us, at most", longest, "us")
        # A machine that is busy with other things makes some draws late. On one that is not, `longest` is below 5 ms, too.
        assert quick < 5000 and longest < 1_000_000


def test_remote_viewers_see_25_frames_a_second_of_a_whole_screen(tmp_path, program):
    """30 on a machine of two cores that does nothing else."""
    with screen(tmp_path, program, width=1920, height=1080) as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels):
        stream = Stream(channels["display"])
        stream.play(host, (0, 0, 1920, 1080), count=30)
        rates, end = [], time.monotonic() + PATIENCE
        # A machine that is busy with other things is not always slow.
        while max(rates, default=0) < 25 and time.monotonic() < end:
            before, began = sum(map(len, stream.data)), time.monotonic()
            stream.read(2)
            rates.append((sum(map(len, stream.data)) - before) / (time.monotonic() - began))
        print("frames a second", rates)
        assert max(rates) >= 25, rates


def draws(host):
    """How many draws of a film were done, and microseconds that the quickest tenth took at most, and all."""
    host("draws")
    return [int(n) for n in host.output().split("\ndraws ")[-1].split()[:3]]


def test_a_local_client_that_never_draws_holds_the_guest_for_5_ms_at_most(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path, "--devices", 1) as host:
        session, display = gl_client(path)
        display.expect(MARK, PATIENCE)
        host("hide 0")
        host("screen 0 1280 720")
        scanout(display)
        film(host, frames=60)
        count, quick, longest = draws(host)
        print(count, "draws:", quick, "us, at most", longest, "us")
        assert count == 60 and quick < 5000 and longest < 1_000_000
        display.close()
        session.main.close()


XRGB, LINEAR, HUGE = 0x34325258, 0, (1 << 32) - 1


@pytest.mark.parametrize("shape", [
    (0, 8, 128, 0, XRGB, LINEAR), (8, 0, 128, 0, XRGB, LINEAR), (HUGE, HUGE, HUGE, 0, XRGB, LINEAR), (32, HUGE, 128, 0, XRGB, LINEAR),
    (32, 33, 128, 0, XRGB, LINEAR), (32, 32, 127, 0, XRGB, LINEAR), (32, 32, 0, 0, XRGB, LINEAR), (32, 32, HUGE, 0, XRGB, LINEAR),
    (32, 32, 128, 4, XRGB, LINEAR), (32, 32, 128, HUGE, XRGB, LINEAR), (32, 32, 128, 0, 7, LINEAR), (32, 32, 128, 0, XRGB, 1),
    (32, 32, 128, 0, XRGB, (1 << 64) - 2)])
def test_impossible_scanouts_cost_nothing_but_a_picture(tmp_path, program, shape):
    port = free_port()
    with Host(program, tmp_path, "--port", port, "--devices", 1) as host, raw_client(port, ("display",)) as (_, channels):
        channels["display"].expect(MARK, PATIENCE)
        host("hide 0")
        for cookie in range(3):
            host("shape 0 " + " ".join(map(str, shape)))
            host(f"draw 0 0 0 2000000000 2000000000 {cookie}")
            wait_for(lambda: host.has_done(cookie), "the guest goes on")
        assert host.planes() <= 1, "the descriptors of former scanouts are closed"
        host("scanout 0 0 0")
        wait_for(lambda: host.planes() == 0, "all descriptors are closed")


def test_a_scanout_that_fits_its_memory_to_the_byte_is_shown(tmp_path, program):
    port = free_port()
    with Host(program, tmp_path, "--port", port, "--devices", 1) as host, raw_client(port, ("display",)) as (_, channels):
        host("hide 0")
        host(f"shape 0 32 32 128 0 {XRGB} {LINEAR}")
        channels["display"].expect(DRAW_COPY, PATIENCE)


def test_without_the_plugin_video_is_mjpeg(tmp_path, program, monkeypatch):
    monkeypatch.setenv("SPICE_SERVER_VIDEO_PLUGIN", "")
    with screen(tmp_path, program, "--codecs", "gstreamer:h264") as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels):
        stream = Stream(channels["display"])
        stream.play(host)
        assert set(stream.codecs) == {CODECS["mjpeg"]}


def test_spice_gtk_scales_frames_that_are_made_smaller_for_a_thin_link(tmp_path, program):
    with screen(tmp_path, program) as (host, port):
        thin = Relay(free_port(), port, 40, 1)
        thin.start()
        with Client(tmp_path, thin.port, "--video-codec", "mjpeg", SPICE_DEBUG="1", G_MESSAGES_DEBUG="all") as client:
            client("display")
            client("event:mark")

            def smaller():
                client("sleep:0.1")  # the client's log comes with its answer
                return client.output().count("contains sized data")

            def alike():
                before = smaller()
                film(host, area=(0, 0, 1280, 720))
                wait_for(lambda: smaller() > before + 20, "smaller frames")
                client(f"shot:{tmp_path / 'seen.ppm'}")
                host(f"picture {tmp_path / 'shown.ppm'}")  # ends the film
                seen, shown = (read_ppm(tmp_path / name)[2] for name in ("seen.ppm", "shown.ppm"))
                print(psnr(seen, shown))
                return psnr(seen, shown) > 18
            # The client's picture is some frames old, at which the film looked a little different.
            wait_for(alike, "the film, with fewer pixels")
            # True pixels are there when the video stands still.
            client(f"until:{tmp_path / 'shown.ppm'}:{PATIENCE}")
