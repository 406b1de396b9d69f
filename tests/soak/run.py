#!/usr/bin/env python3
"""All attacks at once for as long as you like, beside a viewer of the same server that must not notice.

    scripts/stage-lib /tmp/lib release && SPICE_LIB_DIR=/tmp/lib tests/soak/run.py [--minutes 20] [--attacks grid,combs,...]

A host (tests/tools/hostile_guest.c) has a hostile guest on one display and a peaceful one on another. Ten kinds of hostile clients
(attackers.py) do what they can. Meanwhile the viewer presses keys, on each of which the peaceful guest paints, and measures the time
until the picture is there, and from mouse motions to their acknowledgement; and visitors come to the hostile display and wait for
their first picture. Before, the viewer measures the same in peace.

Prints what was measured, and fails if the round trip of the viewer is not below 50 ms at the 99th percentile, a visitor waits
for more than 2 s, a request of the host takes more than 0.5 s of the processors, or if memory or descriptors do not return to
their start.
"""
import argparse, multiprocessing, os, re, struct, subprocess, sys, tempfile, threading, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools"), str(HERE.parent / "blackbox")]
import spiceraw  # noqa: E402
from attackers import ATTACKERS, display_of, first_picture, half_width, mouse_motion, session  # noqa: E402
from harness import Process, free_port, lib_env, wait_for  # noqa: E402

ATTACKS = "grid snapshots chain combs composites lines chequers image holes tiny shapes requests refusals refill".split()
KEY = struct.pack("<I", 0x1e)
MOTION_ACK = 111
ROUND_TRIP = 0.050
REQUEST_MS = 500  # of processors, since on a busy machine the worker has to wait for one
GROWTH_MIB = 32  # what is in use (told beside it), fragmented pieces, and 8 MiB of the ring of the host itself


class Viewer:
    """Presses keys and moves the mouse, some of each a second."""

    def __init__(self, port):
        self.client = session(port)
        self.inputs = self.client.open("inputs")
        self.display = display_of(self.client, 1)
        for _ in self.display.recv_for(1):
            pass

    def key(self):
        """Seconds from a key to its picture."""
        while self.display.recv(0):
            pass  # what other clients' keys have painted
        start = time.monotonic()
        self.inputs.send(spiceraw.MSGC_INPUTS_KEY_DOWN, KEY)
        self.inputs.send(spiceraw.MSGC_INPUTS_KEY_UP, KEY)
        while time.monotonic() < start + 20:
            message = self.display.recv(20)
            if message and 302 <= message.type <= 317 and message.type != 314:
                return time.monotonic() - start
        raise AssertionError("a key has no effect")

    def motion(self):
        """Seconds from four motions to their acknowledgement."""
        start = time.monotonic()
        for _ in range(4):
            self.inputs.send(spiceraw.MSGC_INPUTS_MOUSE_MOTION, mouse_motion(1))
        self.inputs.expect(MOTION_ACK, 20)
        return time.monotonic() - start

    def measure(self, seconds, over=lambda: False):
        keys, motions, end = [], [], time.monotonic() + seconds
        while time.monotonic() < end and not over():
            keys.append(self.key())
            motions.append(self.motion())
            while self.client.main.recv(0):
                pass
            time.sleep(0.04)
        return keys, motions


def visit(port, found, over):
    while not over.wait(5):
        try:
            found.append(first_picture(port))
        except (OSError, spiceraw.SpiceError) as error:
            found.append(float("inf"))
            print(f"a visitor was turned away: {error}")


def told(what, values):
    p50, p99 = (1000 * half_width(values, part) for part in (0.5, 0.99))
    print(f"{what:<28} n={len(values)} p50={p50:.1f} ms p99={p99:.1f} ms max={1000 * max(values, default=0):.0f} ms")


def build(directory):
    out = Path(directory) / "hostile_guest"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    source = HERE.parent / "tools" / "hostile_guest.c"
    subprocess.run(["cc", "-O2", "-w", "-o", out, source, *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


def memory(host):
    return host.rss_kib() / 1024, host.fds()


def settled(host, start):
    """Memory and descriptors when all clients have gone: connections end one by one, and workers give memory back late."""
    end, best = time.monotonic() + 60, (float("inf"), float("inf"))
    while time.monotonic() < end and (best[0] > start[0] + GROWTH_MIB or best[1] > start[1]):
        host.proc.stdin.write(b"\n")
        host.proc.stdin.flush()
        time.sleep(1)
        now = memory(host)
        best = min(best[0], now[0]), min(best[1], now[1])
    return best


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=20)
    options.add_argument("--attacks", default=",".join(ATTACKS))
    options.add_argument("--no-clients", action="store_true", help="only the guest is hostile")
    options = options.parse_args()
    seconds = int(60 * options.minutes)
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        args = [build(directory), port, seconds, *options.attacks.split(",")]
        env = lib_env(SPICE_DEBUG_ALLOW_MC="1")
        with Process(args, directory, "host", stdin=subprocess.PIPE, env=env) as host:
            wait_for(lambda: "serving" in host.output(), "serving")
            viewer = Viewer(port)
            in_peace = viewer.measure(min(30, seconds))
            start = memory(host)
            print(f"start: {start[0]:.0f} MiB, {start[1]} descriptors; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            host.proc.stdin.write(b"\n")
            host.proc.stdin.flush()
            crowd = [] if options.no_clients else ATTACKERS
            crowd = [multiprocessing.Process(target=run, args=(port, *more), daemon=True) for run, *more in crowd]
            for attacker in crowd:
                attacker.start()
            visits, over = [], threading.Event()
            visitor = threading.Thread(target=visit, args=(port, visits, over))
            visitor.start()
            in_war = viewer.measure(seconds + 600, over=lambda: "\ndone\n" in host.output() or not host.alive())
            load = os.getloadavg()[0]
            over.set()
            visitor.join()
            for attacker in crowd:
                attacker.kill()
            if not host.alive():
                print(host.output()[-3000:])
                sys.exit("the host died")
            end = settled(host, start)
            output = host.output()
    for when, (keys, motions) in (("in peace", in_peace), ("under attack", in_war)):
        told(f"key to picture {when}", keys)
        told(f"motion to ack {when}", motions)
    told("visitor's first picture", visits)
    for attack in options.attacks.split(","):
        runs = re.findall(rf"^{attack} ms=\d+ cpu=(\d+) worst=(\d+) rss=(\d+) released=(\d+)/(\d+)$", output, re.M)
        lost = sum(int(given) - int(back) for *_, back, given in runs)
        cpu, longest, rss = (max((int(r[n]) for r in runs), default=0) for n in range(3))
        print(f"{attack:<12} {len(runs)} times, longest request {longest} ms (of processors at most {cpu} ms), most memory"
              f" {rss} MiB, commands not released {lost}")
        if cpu > REQUEST_MS:
            failed.append(f"{attack}: a request took {cpu} ms of the processors")
        if lost or not runs:
            failed.append(f"{attack}: {len(runs)} runs, {lost} commands not released")
    heap = int(re.findall(r"^heap=(\d+) KiB$", output, re.M)[-1]) / 1024
    print(f"end: {end[0]:.0f} MiB (heap in use {heap:.1f}), {end[1]} descriptors; load {load:.1f}")
    for what, values in (("key to picture", in_war[0]), ("motion to ack", in_war[1])):
        if half_width(values, 0.99) >= ROUND_TRIP:
            failed.append(f"{what}: not below {1000 * ROUND_TRIP:.0f} ms at the 99th percentile")
    if half_width(visits, 0.99) > 2:
        failed.append("a visitor waited for more than 2 s")
    if end[0] > start[0] + GROWTH_MIB or end[1] > start[1]:
        failed.append("memory or descriptors did not return")
    if "panic" in output:
        failed.append("something panicked")
    print("\n".join(f"FAILED: {line}" for line in failed) or "passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
