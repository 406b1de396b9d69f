"""Sound from a guest to real and raw clients, and back."""
import contextlib, ctypes, math, struct, time

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, Client, Qemu, boot_image, raw_client, raw_session, wait_for
from puppet import Guest
from soak_sound import soak

ours_only = pytest.mark.skipif(not LIB_DIR, reason="the original differs or aborts here")
DATA, MODE, START, STOP, VOLUME, MUTE = range(101, 107)
R_START, R_STOP, R_VOLUME, R_MUTE = range(101, 105)
R_DATA, R_MODE, R_MARK = range(101, 104)
MULTI_MEDIA_TIME = 106
RAW, OPUS = 1, 3
FRAME = 480


@pytest.fixture(scope="session")
def beep_image(tmp_path_factory):
    return boot_image("beep.S", tmp_path_factory.mktemp("boot"))


@pytest.fixture(scope="session")
def listen_image(tmp_path_factory):
    return boot_image("listen.S", tmp_path_factory.mktemp("boot"))


@pytest.fixture
def beeping(tmp_path, beep_image):
    with Qemu(tmp_path, "-audiodev", "spice,id=snd", "-machine", "pc,pcspk-audiodev=snd", "-vga", "qxl", image=beep_image) as qemu:
        yield qemu


@pytest.fixture
def guest(tmp_path, puppet):
    with Guest(tmp_path, puppet) as guest:
        yield guest


def ask(guest, *words):
    """One action of the host's `sound`; its answer."""
    guest("n", *words)
    return guest.flush()[-1].decode().strip()


class Codec:
    """libopus, for what the clients of these tests send and receive."""

    def __init__(self, rate=48000):
        self.lib, error = ctypes.CDLL("libopus.so.0"), ctypes.c_int()
        for name in ("opus_encoder_create", "opus_decoder_create"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.encoder = ctypes.c_void_p(self.lib.opus_encoder_create(rate, 2, 2049, ctypes.byref(error)))
        self.decoder = ctypes.c_void_p(self.lib.opus_decoder_create(rate, 2, ctypes.byref(error)))

    def encode(self, pcm):
        packet = ctypes.create_string_buffer(480)
        size = self.lib.opus_encode(self.encoder, pcm, len(pcm) // 4, packet, 480)
        assert size > 0
        return packet.raw[:size]

    def decode(self, packet):
        pcm = ctypes.create_string_buffer(4 * FRAME)
        assert self.lib.opus_decode(self.decoder, packet, len(packet), pcm, FRAME, 0) == FRAME
        return pcm.raw


def left(pcm):
    """The left channel of stereo."""
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)[::2]


def pitch(samples, rate=48000):
    """The strongest frequency between 100 and 2000 Hz, to 10 Hz: bins of a Fourier transform over a tenth of a second."""
    window = samples[len(samples) // 2:][:rate // 10]
    assert len(window) == rate // 10

    def power(hz):
        step = 2 * math.pi * hz / rate
        return (sum(s * math.cos(step * n) for n, s in enumerate(window)) ** 2
                + sum(s * math.sin(step * n) for n, s in enumerate(window)) ** 2)
    return max(range(100, 2000, 10), key=power)


def open_playback(session, caps):
    channel = session.open("playback", caps=caps)
    mode = channel.expect(MODE, PATIENCE)
    return channel, struct.unpack("<IH", mode.payload)[1]


def listen(channel, seconds, decode=lambda data: data):
    """PCM of so many seconds, and the times that stand on its frames."""
    pcm, times = b"", []
    while len(pcm) < seconds * 48000 * 4:
        message = channel.recv(PATIENCE)
        assert message, "no sound comes"
        if message.type == DATA:
            times.append(struct.unpack_from("<I", message.payload)[0])
            pcm += decode(message.payload[4:])
    return pcm, times


@pytest.mark.parametrize("caps, mode", [([], RAW), ([1, 2, 3], OPUS)], ids=["raw", "opus"])
def test_a_tone_of_the_guest_is_heard(beeping, caps, mode):
    with raw_client(beeping.port, ()) as (session, _):
        channel, told = open_playback(session, caps)
        assert told == mode
        channels, fmt, rate, _ = struct.unpack("<IHII", channel.expect(START, PATIENCE).payload)
        assert (channels, fmt, rate) == (2, 1, 48000)
        pcm, times = listen(channel, 2, Codec().decode if mode == OPUS else lambda data: data)
        assert pitch(left(pcm)) == 440
        assert max(left(pcm)) > 10000
        # Time goes on as the sound does: 10 ms a frame over all, and never back.
        assert all(a <= b for a, b in zip(times, times[1:])), times
        assert 1600 < times[-1] - times[0] < 2600, times
        channel.close()
        # The clock is the server's again.
        session.main.expect(MULTI_MEDIA_TIME, PATIENCE)


def test_the_tone_goes_on_after_reconnects(beeping):
    for turn in range(20):
        with raw_client(beeping.port, ()) as (session, _):
            channel, mode = open_playback(session, [3] if turn % 2 else [])
            channel.expect(START, PATIENCE)
            pcm, _ = listen(channel, 0.3, Codec().decode if mode == OPUS else lambda data: data)
            assert pitch(left(pcm)) == 440, turn
            channel.close()


def test_spice_gtk_plays_the_tone(beeping, tmp_path):
    pcm = tmp_path / "tone.pcm"
    with Client(tmp_path, beeping.port) as client:
        client(f"pcm:{pcm}")
        client("audio:2")
        start = next(e for e in client.events if e["event"] == "playback-start")
        assert (start["channels"], start["rate"]) == (2, 48000)
    assert pitch(left(pcm.read_bytes()[:4 * 48000])) == 440


def frames(channel, count):
    """The sample of so many raw frames, or None for another message of the stream."""
    got = []
    while len(got) < count:
        message = channel.recv(PATIENCE)
        assert message, got
        if message.type == DATA:
            assert len(message.payload) == 4 + 4 * FRAME
            got.append(struct.unpack_from("<I", message.payload, 4)[0])
        elif message.type in (START, STOP):
            got.append({START: "start", STOP: "stop"}[message.type])
    return got


def test_starts_and_stops_are_heard_in_order(guest):
    session = raw_session(guest.port)
    channel, mode = open_playback(session, [])
    assert mode == RAW
    for turn in range(20):
        for words in ((1,), (4, turn + 1), (0,)):
            guest("n", *words)
    assert [answer.strip() for answer in guest.flush()] == [b"ok", b"played", b"ok"] * 20
    want = [part for turn in range(20) for part in ("start", turn + 1, "stop")]
    assert frames(channel, 60) == want


def test_volume_and_mute_are_told(guest):
    ask(guest, 6, 100, 65535)
    ask(guest, 7, 1)
    session = raw_session(guest.port)
    channel, _ = open_playback(session, [1])
    assert channel.expect(VOLUME, PATIENCE).payload == struct.pack("<BHH", 2, 100, 65535)
    assert channel.expect(MUTE, PATIENCE).payload == b"\1"
    ask(guest, 6, 3, 4)
    assert channel.expect(VOLUME, PATIENCE).payload == struct.pack("<BHH", 2, 3, 4)
    ask(guest, 7, 0)
    assert channel.expect(MUTE, PATIENCE).payload == b"\0"
    ask(guest, 8, 5, 6)
    ask(guest, 9, 1)
    record = session.open("record", caps=[1])
    assert record.expect(R_VOLUME, PATIENCE).payload == struct.pack("<BHH", 2, 5, 6)
    assert record.expect(R_MUTE, PATIENCE).payload == b"\1"


def test_buffers_belong_to_the_host_until_it_gives_them_back(guest):
    ask(guest, 1)
    assert ask(guest, 13, 0) == "unwanted"
    session = raw_session(guest.port)
    channel, _ = open_playback(session, [])
    channel.expect(START, PATIENCE)
    assert [ask(guest, 13, n) for n in range(4)] == ["kept", "kept", "kept", "unwanted"]
    ask(guest, 14, 0, 11)
    assert frames(channel, 1) == [11]
    channel.close()
    wait_for(lambda: ask(guest, 4, 1) == "unwanted", "the host notices")
    # A buffer of before is not played to the next client.
    channel, _ = open_playback(session, [])
    channel.expect(START, PATIENCE)
    ask(guest, 14, 1, 12)
    assert ask(guest, 4, 13) == "played"
    assert frames(channel, 1) == [13]


@ours_only
def test_all_clients_hear_the_guest(guest):
    """With SPICE_DEBUG_ALLOW_MC; the original plays to the newest only."""
    sessions = [raw_session(guest.port) for _ in range(3)]
    heard = [open_playback(session, caps) for session, caps in zip(sessions, ([], [1, 3], [1]))]
    assert [mode for _, mode in heard] == [RAW, OPUS, RAW]
    raw, opus, other = (channel for channel, _ in heard)
    ask(guest, 1)
    codec = Codec()
    for turn in range(1, 31):
        assert ask(guest, 4, turn << 16 | turn) == "played"
        if turn == 20:
            # One leaves in the middle.
            other.close()
    assert frames(raw, 31) == ["start", *(turn << 16 | turn for turn in range(1, 31))]
    opus.expect(START, PATIENCE)
    for _ in range(30):
        codec.decode(opus.expect(DATA, PATIENCE).payload[4:])
    ask(guest, 6, 1, 2)
    assert opus.expect(VOLUME, PATIENCE).payload == struct.pack("<BHH", 2, 1, 2)
    # The clock is the server's again when the last is gone.
    raw.close()
    opus.close()
    for session in sessions:
        session.main.expect(MULTI_MEDIA_TIME, PATIENCE)


@ours_only
def test_misuse_by_the_host_is_harmless(guest):
    session = raw_session(guest.port)
    channel, _ = open_playback(session, [])
    assert ask(guest, 21) == "48000 48000"
    assert ask(guest, 20) == "-1 -1"
    # Nothing was started.
    assert ask(guest, 4, 1) == "unwanted" and ask(guest, 13, 0) == "unwanted"
    recorder = session.open("record", caps=[])
    recorder.send(R_DATA, bytes(4 + 4 * 5000))
    assert ask(guest, 5, 5000) == ""
    ask(guest, 2)
    ask(guest, 3)
    ask(guest, 3)
    recorder.expect(R_START, PATIENCE)
    for words in ((1,), (1,), (13, 0), (13, 1), (15, 0), (15, 1)):
        ask(guest, *words)
    ask(guest, 14, 0, 21)
    ask(guest, 14, 0, 22)  # the same again: it is not the host's any more
    ask(guest, 13, 2)
    ask(guest, 0)
    ask(guest, 0)
    ask(guest, 14, 2, 25)  # after the end of what it belongs to
    assert frames(channel, 3) == ["start", 21, "stop"]
    # A buffer outlives its interface.
    assert ask(guest, 16) == "0" and ask(guest, 16) == "-1"
    assert channel.wait_close(PATIENCE)
    ask(guest, 14, 1, 23)
    assert ask(guest, 18) == "0" and ask(guest, 18) == "-1"
    ask(guest, 1)
    again, _ = open_playback(session, [])
    again.expect(START, PATIENCE)
    assert ask(guest, 4, 24) == "played"
    assert frames(again, 1) == [24]
    assert guest.alive()


@ours_only
def test_compression_is_switched_while_it_plays(guest):
    session = raw_session(guest.port)
    channel, mode = open_playback(session, [3])
    assert mode == OPUS
    ask(guest, 1)
    channel.expect(START, PATIENCE)
    codec = Codec()
    for turn in range(20):
        assert ask(guest, 4, 7) == "played"
        message = channel.recv(PATIENCE)
        while message.type != DATA:
            message = channel.recv(PATIENCE)
        if turn % 2:
            assert message.payload[4:] == struct.pack("<I", 7) * FRAME
        else:
            codec.decode(message.payload[4:])
        ask(guest, 10, turn % 2)


def test_a_client_that_does_not_read_hears_the_newest(guest):
    session = raw_session(guest.port)
    channel, _ = open_playback(session, [])
    ask(guest, 1)
    before = guest.rss_kib()
    for sample in range(1, 20001):
        guest("n", 4, sample)
    assert set(guest.flush()) == {b"played\n"}
    assert guest.rss_kib() - before < 8 << 10
    ask(guest, 0)
    heard = []
    while not heard or heard[-1] != "stop":
        heard += frames(channel, 1)
    samples = heard[1:-1]
    assert heard[0] == "start" and samples == sorted(samples)
    assert samples[-1] == 20000, "the newest is dropped"


@pytest.mark.parametrize("mode", [RAW, OPUS])
def test_what_the_client_records_reaches_the_guest(guest, mode):
    ask(guest, 12, 48000)
    session = raw_session(guest.port)
    channel = session.open("record", caps=[1, 2])
    assert 2 in channel.reply.caps
    ask(guest, 3)
    assert channel.expect(R_START, PATIENCE).payload == struct.pack("<IHI", 2, 1, 48000)
    channel.send(R_MODE, struct.pack("<IH", 0, mode))
    channel.send(R_MARK, struct.pack("<I", 0))
    codec, got, sent = Codec(), [], 0
    end = time.monotonic() + PATIENCE
    while len(got) < 12000 and time.monotonic() < end:
        # As fast as the guest takes it: what it is behind would be dropped.
        while sent - len(got) < 6000:
            pcm = b"".join(struct.pack("<hh", int(12000 * math.sin(2 * math.pi * 440 * n / 48000)), 0) for n in range(sent, sent + FRAME))
            channel.send(R_DATA, struct.pack("<I", 0) + (codec.encode(pcm) if mode == OPUS else pcm))
            sent += FRAME
        got += [int(word) for word in ask(guest, 5, 2000).split()]
    pcm = struct.pack(f"<{len(got)}I", *got)
    assert pitch(left(pcm)) == 440
    if mode == RAW:
        assert left(pcm)[:4000] == tuple(int(12000 * math.sin(2 * math.pi * 440 * n / 48000)) for n in range(4000))
    ask(guest, 2)
    channel.expect(R_STOP, PATIENCE)


@pytest.mark.parametrize("mode", [RAW, OPUS], ids=["raw", "opus"])
def test_a_guest_of_qemu_records_what_the_client_says(tmp_path, listen_image, mode):
    """The samples that QEMU's sound card writes into the guest's memory."""
    with Qemu(tmp_path, "-audiodev", "spice,id=snd", "-device", "ES1370,audiodev=snd", "-vga", "qxl", image=listen_image) as qemu:
        with raw_client(qemu.port, ()) as (session, _):
            def open_record():
                # The channel is there when the guest has opened its card.
                with contextlib.suppress(spiceraw.SpiceError):
                    return session.open("record", caps=[1, 2])
            channel = wait_for(open_record, "the record channel")
            rate = struct.unpack("<IHI", channel.expect(R_START, PATIENCE).payload)[2]
            channel.send(R_MODE, struct.pack("<IH", 0, mode))
            channel.send(R_MARK, struct.pack("<I", 0))
            codec, sent, memory = Codec(rate), 0, tmp_path / "memory"
            begin = last = time.monotonic()

            def heard():
                nonlocal sent, last
                while sent < (time.monotonic() - begin) * rate:
                    pcm = b"".join(struct.pack("<hh", int(12000 * math.sin(2 * math.pi * 550 * n / rate)), 0) for n in range(sent, sent + FRAME))
                    channel.send(R_DATA, struct.pack("<I", 0) + (codec.encode(pcm) if mode == OPUS else pcm))
                    sent += FRAME
                if time.monotonic() - last < 0.5:
                    return False
                last = time.monotonic()
                qemu("pmemsave", val=0x20000, size=1 << 18, filename=str(memory))
                samples = left(memory.read_bytes())
                return max(samples) > 10000 and pitch(samples, 44100) == 550
            wait_for(heard, "the tone in the guest's memory")


def test_spice_gtk_records_for_the_guest(guest, tmp_path):
    ask(guest, 12, 48000)
    ask(guest, 3)
    guest.primary()
    guest.flush()
    got = []
    with Client(tmp_path, guest.port, "--tone", "700") as client:
        client("event:record-start")

        def enough():
            got.extend(int(word) for word in ask(guest, 5, 8192).split())
            client("sleep:0.02")
            return len(got) > 24000
        wait_for(enough, "half a second of sound")
    assert pitch(left(struct.pack(f"<{len(got)}I", *got))) == 700


@ours_only
def test_hostile_record_data_costs_its_channel_only(guest):
    ask(guest, 12, 48000)
    ask(guest, 3)
    session = raw_session(guest.port)
    for kind, body in ((R_MODE, struct.pack("<IH", 0, 2)), (R_MODE, b""), (R_DATA, b"\0\0"), (R_MARK, b""), (104, b""),
                       (R_DATA, bytes(70000))):
        channel = session.open("record", caps=[2])
        channel.expect(R_START, PATIENCE)
        channel.send(kind, body)
        assert channel.wait_close(PATIENCE), (kind, len(body))
    channel = session.open("record", caps=[2])
    channel.send(R_MODE, struct.pack("<IH", 0, OPUS))
    channel.send(R_DATA, struct.pack("<I", 0) + b"\xff" * 100)
    assert channel.wait_close(PATIENCE)
    assert not session.main.closed and guest.alive()


@ours_only
def test_a_client_that_chooses_its_codec_again_and_again_costs_nothing(guest):
    """The original keeps a decoder for each time, until the host has no memory left."""
    ask(guest, 12, 48000)
    ask(guest, 3)
    session = raw_session(guest.port)
    channel = session.open("record", caps=[2])
    channel.expect(R_START, PATIENCE)
    before, mode = guest.rss_kib(), channel.header(R_MODE, 6) + struct.pack("<IH", 0, OPUS)
    for _ in range(50):
        channel.sock.sendall(mode * 1000)
    # Sound that comes after them is heard.
    packet = Codec().encode(bytes(4 * FRAME))
    channel.sock.sendall((channel.header(R_DATA, 4 + len(packet)) + bytes(4) + packet) * 20)
    wait_for(lambda: ask(guest, 5, 480), "the client's sound")
    assert guest.rss_kib() - before < 4 << 10


@ours_only
def test_sound_and_video_arrive_whole(guest):
    """soak_sound.py does the same for hours."""
    result = soak(guest, 24)
    assert result["reconnects"] >= 3 and result["restarts"] >= 1
