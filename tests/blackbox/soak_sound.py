#!/usr/bin/python3
"""Sound and video for a long time: what the guest plays must arrive whole and in time, and the host must not grow.

    SPICE_LIB_DIR=DIR tests/blackbox/soak_sound.py SECONDS [--beside [DIR]]

A host (tests/tools/puppet_host.c) plays numbered frames of sound every 10 ms and numbered frames of video 30 times a second.
One client listens to raw sound and one watches the video for the whole time; a third listens to compressed sound and connects
anew every ten seconds. Every 20 s the guest stops and starts its sound, at once or after a moment. Prints a line of JSON each
minute and at the end. Fails when a frame is lost, when frames are late without the machine standing still, or when the host's
memory grows.

With `--beside` it then measures, in turns with another library (the system's own unless DIR names one), how long a frame takes
from the host's call to the client.
"""
import argparse, json, os, statistics, struct, subprocess, tempfile, threading, time
from pathlib import Path

import harness
from harness import PATIENCE, TOOLS, raw_session, spiceraw
from puppet import Guest

DATA, START, STREAM_DATA = 101, 103, 123
FRAME_BYTES, PERIOD, VIDEO_PERIOD = 20 << 10, 0.01, 1 / 30
WARM_UP, MAX_GROWTH_KIB, SAMPLE_PERIOD = 20, 2 << 10, 2
# Clients hold back at least this much sound (seconds), so that a frame which comes later is a gap.
LATE = 0.2
# A machine on which a sleeping thread wakes so much too late (seconds) says nothing about lateness.
STANDSTILL = 0.05
TURNS, TURN_SECONDS = 3, 20


class Listener(threading.Thread):
    """Reads a channel until it is told to stop. Keeps the numbers of its frames in order, and how long each was on its way."""

    def __init__(self, channel, kind, number):
        super().__init__(daemon=True)
        self.channel, self.kind, self.number = channel, kind, number
        self.count = self.lost = self.last = 0
        self.sent, self.delays = {}, []
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            try:
                message = self.channel.recv(0.2)
            except (OSError, spiceraw.SpiceError):
                return
            if not message:
                if self.channel.closed:
                    return
                continue
            if message.type != self.kind:
                continue
            now, number = time.monotonic(), self.number(message.payload)
            self.count += 1
            if number is not None:
                self.lost += max(number - self.last - 1, 0) if self.last else 0
                assert number > self.last, "frames out of order"
                self.last = number
                self.delays.append(now - self.sent.pop(number, now))

    def late(self):
        return sum(delay > LATE for delay in self.delays)

    def delay_ms(self):
        """Median, 99th of a hundred, and longest."""
        delays = sorted(self.delays) or [0]
        return [round(1000 * delays[min(len(delays) * part // 100, len(delays) - 1)], 2) for part in (50, 99, 100)]


class Standstills(threading.Thread):
    """How much too late a thread wakes, at worst: that of the machine, not of the library."""

    def __init__(self):
        super().__init__(daemon=True)
        self.worst, self.over = 0, False
        self.start()

    def run(self):
        while not self.over:
            start = time.monotonic()
            time.sleep(PERIOD)
            self.worst = max(self.worst, time.monotonic() - start - PERIOD)


def growth(samples):
    """KiB between the beginning and the end of what was measured after the warm-up."""
    part = max(len(samples) // 4, 1)
    return round(statistics.median(samples[-part:]) - statistics.median(samples[:part]))


def soak(guest, seconds, out=print, plain=False):
    """Runs it on a host and returns what it came to. `plain`: one client that hears and sees all, and nothing else."""
    def ask(*words):
        guest(*words)
        return guest.flush()[-1].decode().strip()

    first = raw_session(guest.port)
    ask("j", 0, 0)
    ask("j", 2, 0)
    sound = Listener(first.open("playback", caps=[]), DATA, lambda body: struct.unpack_from("<I", body, 4)[0])
    video = Listener(first.open("display", 1, caps=[4, 8, 9]), STREAM_DATA, lambda body: struct.unpack_from("<I", body, 12)[0])
    second = None if plain else raw_session(guest.port)
    ask("n", 1)
    ask("j", 1, struct.pack("<BBHIIIB3x", 1, 0, 2, 12, 640, 480, 1).hex())  # FORMAT: MJPEG
    rest_of_frame = os.urandom(FRAME_BYTES - 4).hex()
    played = shown = unwanted = restarts = reconnects = packets = behind = 0
    compressed, rss, standstills = None, [], Standstills()
    begin = time.monotonic()
    report, next_restart, next_connect, next_rss = begin + 60, begin + 20, begin, begin + min(WARM_UP, seconds / 2)

    def state():
        return {"seconds": round(time.monotonic() - begin), "played": played, "heard": sound.count, "lost": sound.lost,
                "late": sound.late(), "delay_ms": sound.delay_ms(), "unwanted": unwanted, "shown": shown, "seen": video.count,
                "video_lost": video.lost, "video_late": video.late(), "video_delay_ms": video.delay_ms(),
                "packets": packets + (compressed.count if compressed else 0), "reconnects": reconnects, "restarts": restarts,
                "behind_ms": behind, "standstill_ms": round(1000 * standstills.worst), "growth_kib": growth(rss) if rss else 0,
                "rss_kib": guest.rss_kib(), "fds": guest.fds()}

    def hand_over(listener, number, *words):
        listener.sent[number] = time.monotonic()
        return ask(*words)
    tick, due = 0, begin
    while time.monotonic() - begin < seconds:
        now = time.monotonic()
        behind = max(behind, round(1000 * (now - due)))
        if now < due:
            time.sleep(due - now)
        # A guest that was late does not play faster afterwards.
        due = max(due, now - PERIOD) + PERIOD
        tick += 1
        if hand_over(sound, played + 1, "n", 4, played + 1) == "played":
            played += 1
        else:
            unwanted += 1
        if (shown + 1) * VIDEO_PERIOD <= tick * PERIOD:
            shown += 1
            hand_over(video, shown, "j", 1, (struct.pack("<BBHII", 1, 0, 3, FRAME_BYTES, shown)).hex() + rest_of_frame)
        if now >= next_connect and not plain:
            if compressed:
                compressed.over = True
                compressed.join()
                packets += compressed.count
                compressed.channel.close()
            compressed = Listener(second.open("playback", caps=[1, 3]), DATA, lambda body: None)
            reconnects += 1
            next_connect += 10
        if now >= next_restart and not plain:
            ask("n", 0)
            if restarts % 2:
                time.sleep(0.02)
            ask("n", 1)
            ask("n", 10, restarts // 2 % 2)
            restarts += 1
            next_restart += 20
        if now >= next_rss:
            rss.append(guest.rss_kib())
            next_rss += SAMPLE_PERIOD
        if now >= report:
            out(json.dumps(state()), flush=True)
            report += 60
    end = time.monotonic() + PATIENCE
    while (sound.last < played or video.last < shown) and time.monotonic() < end:
        time.sleep(0.05)
    rss.append(guest.rss_kib())
    result = state()
    for thread in (sound, video, standstills, *([compressed] if compressed else [])):
        thread.over = True
        thread.join()
    out(json.dumps(result), flush=True)
    if plain:
        return result
    assert sound.last == played and sound.lost == 0, "sound is lost"
    assert video.last == shown and video.lost == 0, "video is lost"
    calm = standstills.worst < STANDSTILL and behind < 1000 * STANDSTILL
    assert not calm or result["late"] + result["video_late"] == 0, "there are gaps"
    assert compressed.count + packets > 0, "nobody hears compressed sound"
    assert result["growth_kib"] < MAX_GROWTH_KIB, "the host grows"
    return result


def beside(directory, program, libraries):
    """Prints the delays of sound and video with each library, which take turns."""
    results = {library: [] for library in libraries}
    for _ in range(TURNS):
        for library in libraries:
            harness.LIB_DIR = library
            with Guest(directory, program) as guest:
                results[library].append(soak(guest, TURN_SECONDS, lambda *_, **__: None, plain=True))
    for library, turns in results.items():
        medians = {what: [statistics.median(turn[what][i] for turn in turns) for i in range(3)] for what in ("delay_ms", "video_delay_ms")}
        lost = sum(turn["played"] - turn["heard"] + turn["shown"] - turn["seen"] for turn in turns)
        print(json.dumps({"library": library or "the system's", **medians, "lost": lost}), flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("seconds", type=float)
    options.add_argument("--beside", nargs="?", const="", metavar="DIR")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "puppet_host"
        flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
        subprocess.run(["cc", "-O1", "-w", "-o", program, TOOLS / "puppet_host.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
        with Guest(directory, program) as guest:
            print("delays in ms: median, 99th of a hundred, longest")
            soak(guest, args.seconds)
        if args.beside is not None:
            beside(directory, program, [harness.LIB_DIR, args.beside])


if __name__ == "__main__":
    main()
