#!/usr/bin/python3
"""Time that the library adds between a key press and its pixels at the client, on a plain or an emulated slow link.

    key_latency.py HOST LIBDIR [--load idle|video|photo|text] [--keys N] [--rtt MS] [--mbit N]

HOST is latency_host, built against the original's headers. LIBDIR is the directory of the libspice-server.so.1 to measure.
A raw client presses keys at random times. The guest answers each key with one small drawing. The latency is the time until
a display message covers that place. With --rtt or --mbit all channels run through a relay: it delays both directions and
passes that many Mbit/s towards the client, over all channels together, with a buffer of a tenth of a second.
Prints one line of JSON: latency in milliseconds (median, p95, p99, max), keys without an answer, Mbit/s of the display.
After 20 lost keys in a row it gives up.
"""
import argparse
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/tools"))
import spiceraw  # noqa: E402  (found through the line above)
from relay import Relay  # noqa: E402

# The host draws the answers to keys in this row of pixels, and nothing else there.
ANSWER_ROW = 1041
# Messages of the display channel that draw: DRAW_FILL to DRAW_COMPOSITE.
DRAWS = range(302, 319)
# A key without an answer for so long (seconds) is lost.
PATIENCE = 3.0
# After so many lost keys in a row the link is hopeless, and the rest counts as lost.
HOPELESS = 20


class Viewer:
    """A raw client that presses keys and notes when their answers arrive."""

    def __init__(self, port):
        self.session = spiceraw.Session(port=port)
        self.session.open_main()
        self.display = self.session.open("display", 0)
        self.display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        self.inputs = self.session.open("inputs", 0)
        self.bytes = 0
        self.stopped = threading.Event()
        self.answered = threading.Condition()
        self.column, self.arrival = None, None  # the place of the awaited answer, and when it came
        threading.Thread(target=self.read_display, daemon=True).start()
        for channel in (self.session.main, self.inputs):
            threading.Thread(target=self.discard, args=(channel,), daemon=True).start()

    def discard(self, channel):
        while not self.stopped.is_set():
            try:
                channel.recv(0.5)
            except (spiceraw.SpiceError, OSError):
                return

    def read_display(self):
        while not self.stopped.is_set():
            try:
                message = self.display.recv(0.5)
            except (spiceraw.SpiceError, OSError):
                return
            if message is None:
                continue
            now = time.monotonic()
            self.bytes += len(message.payload)
            if message.type not in DRAWS or len(message.payload) < 20:
                continue
            # Every draw message begins with the surface and the box: top, left, bottom, right.
            _, top, left, bottom, right = struct.unpack_from("<Iiiii", message.payload)
            with self.answered:
                if self.column is not None and left <= self.column < right and top <= ANSWER_ROW < bottom:
                    self.column, self.arrival = None, now
                    self.answered.notify()

    def press(self, column):
        """Presses a key whose answer covers `column`. Returns the latency in milliseconds; None: no answer came."""
        with self.answered:
            self.column, self.arrival = column, None
        begin = time.monotonic()
        self.inputs.send(spiceraw.MSGC_INPUTS_KEY_DOWN, struct.pack("<I", 0x1E))
        with self.answered:
            self.answered.wait_for(lambda: self.arrival is not None, PATIENCE)
            self.column = None
            return None if self.arrival is None else (self.arrival - begin) * 1000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def measure(options):
    port = free_port()
    environment = dict(os.environ, LD_LIBRARY_PATH=options.libdir)
    host = subprocess.Popen([options.host, str(port), options.load], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            env=environment)
    try:
        if host.stdout.readline() != b"ready\n":
            sys.exit("the host did not start")
        if options.rtt or options.mbit:
            via = free_port()
            Relay(via, port, options.rtt, options.mbit).start()
        else:
            via = port
        viewer = Viewer(via)
        time.sleep(options.warm)
        rng = random.Random(5)
        before, begin = viewer.bytes, time.monotonic()
        answers = []
        for n in range(options.keys):
            time.sleep(0.02 + rng.random() * 0.06)
            answers.append(viewer.press(16 * (n % 100) + 1))
            if len(answers) >= HOPELESS and not any(answers[-HOPELESS:]):
                break
        took = time.monotonic() - begin
        mbit = (viewer.bytes - before) * 8 / took / 1e6
        viewer.stopped.set()
    finally:
        host.kill()
        host.wait()
    times = sorted(answer for answer in answers if answer is not None)

    def quantile(share):
        return round(times[min(len(times) - 1, int(len(times) * share))], 2) if times else None

    return {"load": options.load, "rtt": options.rtt, "mbit": options.mbit, "median": quantile(0.5), "p95": quantile(0.95),
            "p99": quantile(0.99), "max": quantile(1), "lost": options.keys - len(times), "display_mbit": round(mbit, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("host")
    parser.add_argument("libdir")
    parser.add_argument("--load", default="idle", choices=["idle", "video", "photo", "text"])
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--rtt", type=float, default=0, help="round trip of the link in milliseconds")
    parser.add_argument("--mbit", type=float, default=0, help="Mbit/s of the link towards the client; 0: no limit")
    parser.add_argument("--warm", type=float, default=2.0, help="seconds before the first key")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
