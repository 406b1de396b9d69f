#!/usr/bin/python3
"""Sound and video for a long time: what the guest plays must arrive whole, and the host must not grow.

    SPICE_LIB_DIR=DIR tests/blackbox/soak_sound.py SECONDS

A host (tests/tools/puppet_host.c) plays numbered frames of sound every 10 ms and numbered frames of video 30 times a second.
One client listens to raw sound and one watches the video for the whole time; a third listens to compressed sound and connects
anew every ten seconds. Every 20 s the guest stops and starts its sound, at once or after a moment. Prints a line of JSON each
minute and at the end, and fails when a frame is lost or the host's memory grows.
"""
import json, os, struct, subprocess, sys, tempfile, threading, time
from pathlib import Path

from harness import PATIENCE, TOOLS, raw_session, spiceraw
from puppet import Guest

DATA, START, STREAM_DATA = 101, 103, 123
FRAME_BYTES, PERIOD, VIDEO_PERIOD = 20 << 10, 0.01, 1 / 30
WARM_UP, MAX_GROWTH_KIB = 20, 4 << 10


class Listener(threading.Thread):
    """Reads a channel until it is told to stop; keeps the numbers of its frames in order, and the longest silence."""

    def __init__(self, channel, kind, number):
        super().__init__(daemon=True)
        self.channel, self.kind, self.number = channel, kind, number
        self.count = self.lost = self.longest_ms = self.last = 0
        self.over = False
        self.start()

    def run(self):
        came = None
        while not self.over:
            try:
                message = self.channel.recv(0.2)
            except (OSError, spiceraw.SpiceError):
                return
            if not message:
                if self.channel.closed:
                    return
                continue
            if message.type == START:
                came = None
            if message.type != self.kind:
                continue
            now, number = time.monotonic(), self.number(message.payload)
            self.longest_ms = max(self.longest_ms, round(1000 * (now - (came or now))))
            came = now
            self.count += 1
            if number is not None:
                self.lost += max(number - self.last - 1, 0) if self.last else 0
                assert number > self.last, "frames out of order"
                self.last = number


def soak(guest, seconds, out=print):
    """Runs it on a host and returns what it came to."""
    def ask(*words):
        guest(*words)
        return guest.flush()[-1].decode().strip()

    first = raw_session(guest.port)
    ask("j", 0, 0)
    ask("j", 2, 0)
    sound = Listener(first.open("playback", caps=[]), DATA, lambda body: struct.unpack_from("<I", body, 4)[0])
    video = Listener(first.open("display", 1, caps=[4, 8, 9]), STREAM_DATA, lambda body: struct.unpack_from("<I", body, 12)[0])
    second = raw_session(guest.port)
    ask("n", 1)
    ask("j", 1, struct.pack("<BBHIIIB3x", 1, 0, 2, 12, 640, 480, 1).hex())  # FORMAT: MJPEG
    rest_of_frame = os.urandom(FRAME_BYTES - 4).hex()
    played = shown = unwanted = restarts = reconnects = 0
    packets, compressed, rss = 0, None, []
    begin = time.monotonic()
    report = begin + 60
    next_restart, next_connect = begin + 20, begin
    behind = 0

    def state():
        return {"seconds": round(time.monotonic() - begin), "played": played, "heard": sound.count, "lost": sound.lost,
                "longest_silence_ms": sound.longest_ms, "unwanted": unwanted, "shown": shown, "seen": video.count, "video_lost": video.lost,
                "packets": packets + compressed.count, "reconnects": reconnects, "restarts": restarts, "behind_ms": behind,
                "rss_kib": rss[0] if rss else 0, "rss_now_kib": guest.rss_kib(), "fds": guest.fds()}
    tick = 0
    while time.monotonic() - begin < seconds:
        due = begin + tick * PERIOD
        now = time.monotonic()
        behind = max(behind, round(1000 * (now - due)))
        if now < due:
            time.sleep(due - now)
        tick += 1
        if ask("n", 4, played + 1) == "played":
            played += 1
        else:
            unwanted += 1
        if (shown + 1) * VIDEO_PERIOD <= tick * PERIOD:
            shown += 1
            ask("j", 1, (struct.pack("<BBHII", 1, 0, 3, FRAME_BYTES, shown)).hex() + rest_of_frame)
        if now >= next_connect:
            if compressed:
                compressed.over = True
                compressed.join()
                packets += compressed.count
                compressed.channel.close()
            compressed = Listener(second.open("playback", caps=[1, 3]), DATA, lambda body: None)
            reconnects += 1
            next_connect += 10
        if now >= next_restart:
            ask("n", 0)
            if restarts % 2:
                time.sleep(0.02)
            ask("n", 1)
            ask("n", 10, restarts // 2 % 2)
            restarts += 1
            next_restart += 20
        if now - begin >= min(WARM_UP, seconds / 2) and not rss:
            rss.append(guest.rss_kib())
        if now >= report:
            out(json.dumps(state()), flush=True)
            report += 60
    end = time.monotonic() + PATIENCE
    while (sound.last < played or video.last < shown) and time.monotonic() < end:
        time.sleep(0.05)
    result = state()
    for listener in (sound, video, compressed):
        listener.over = True
        listener.join()
    out(json.dumps(result), flush=True)
    assert sound.last == played and sound.lost == 0, "sound is lost"
    assert video.last == shown and video.lost == 0, "video is lost"
    assert result["rss_now_kib"] - rss[0] < MAX_GROWTH_KIB, "the host grows"
    return result


def main():
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "puppet_host"
        flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
        subprocess.run(["cc", "-O1", "-w", "-o", program, TOOLS / "puppet_host.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
        with Guest(directory, program) as guest:
            soak(guest, float(sys.argv[1]))


if __name__ == "__main__":
    main()
