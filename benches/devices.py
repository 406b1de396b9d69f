#!/usr/bin/env python3
"""Throughput of ports and USB redirection beside the original's: megabytes a second, and processor time of the host per megabyte.

    benches/devices.py --lib DIR [--reference DIR] [--megabytes N] [--rounds N]

DIR holds libspice-server.so.1; the reference is the system's library unless it is named. Rounds alternate between the libraries, so
that a busy moment meets both, and the medians count: client and host run in step in some rounds and in turns in others, which makes a
difference of a third, and the best round only tells which library met the luckier step. The host is tests/blackbox/ports.c, whose guest takes and gives as fast
as it is asked. Prints a line of JSON for each case, and a table.
"""
import argparse, json, os, pathlib, socket, statistics, struct, subprocess, sys, tempfile, time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "tests" / "blackbox"), str(TOP / "tests" / "tools")]
import harness  # noqa: E402
from ports import COMPRESSED, DATA, Ports  # noqa: E402

PIECE = 1 << 16
# Name, channel, whether the client knows LZ4, kinds of blocks in the guest's data (0: random), direction.
CASES = [("port, to the client", "port", False, 0, "down"), ("port, to the guest", "port", False, 0, "up"),
         ("USB, random, to the client", "usbredir", True, 0, "down"), ("USB, compressible, to the client", "usbredir", True, 40, "down"),
         ("USB, to the guest", "usbredir", False, 0, "up"), ("port, 64-byte messages to the guest", "port", False, 0, "small")]


def receive(sock, size):
    """Reads data messages that carry so many bytes of the guest."""
    head, body = bytearray(6), bytearray(1 << 20)
    while size > 0:
        sock.recv_into(head, 6, socket.MSG_WAITALL)
        kind, length = struct.unpack("<HI", head)
        if length:
            sock.recv_into(body, length, socket.MSG_WAITALL)
        if kind == DATA:
            size -= length
        elif kind == COMPRESSED:
            size -= struct.unpack_from("<I", body, 1)[0]


def measure(program, directory, lib, case, megabytes):
    """(MB a second, ms of processor time per MB)"""
    _, channel, lz4, kinds, direction = case
    harness.LIB_DIR = lib
    total = megabytes << 20
    with Ports(directory, program) as host:
        host.add("d", "port" if channel == "port" else "usbredir", "org.example.x" if channel == "port" else "-")
        host("keeps", "d", 0)
        with harness.raw_client(host.port, channels=(channel,), caps={channel: [0] if lz4 else []}) as (_, opened):
            link = opened[channel]
            if channel == "port":
                link.expect(201)
            time.sleep(0.3)  # The first pings.
            link.recv(0)
            link.sock.settimeout(None)  # Or reads would not wait for all.
            sock, cpu, start = link.sock, int(host("cpu").split()[1]), time.monotonic()
            if direction == "down":
                host("flow", "d", total, kinds)
                receive(sock, total)
            else:
                piece = PIECE if direction == "up" else 64
                message = struct.pack("<HI", DATA, piece) + os.urandom(piece)
                block = message * max(1, PIECE // piece)
                total = max(total // 8, 1 << 20) if direction == "small" else total
                for _ in range(total // (len(block) - 6 * (len(block) // len(message)))):
                    sock.sendall(block)
                while host.count("d")[0] < total // PIECE * PIECE:
                    pass
            seconds, used = time.monotonic() - start, int(host("cpu").split()[1]) - cpu
    return (total / 1e6) / seconds, used / (total / 1e6)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lib", required=True)
    options.add_argument("--reference", default="")
    options.add_argument("--megabytes", type=int, default=512)
    options.add_argument("--rounds", type=int, default=21)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / "ports"
        flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
        subprocess.run(["cc", "-O2", "-w", "-o", program, TOP / "tests/blackbox/ports.c", *flags, "-l:libspice-server.so.1", "-lpthread"],
                       check=True)
        print(f"{'':38} {'MB/s':>14} {'original':>9} {'CPU ms/MB':>12} {'original':>9}")
        for case in CASES:
            libs = {"ours": args.lib, "original": args.reference}
            rounds = {name: [] for name in libs}
            for i in range(args.rounds):
                for name in sorted(libs, reverse=i % 2 == 1):
                    rounds[name].append(measure(program, directory, libs[name], case, args.megabytes))
            median = {name: tuple(map(statistics.median, zip(*got))) for name, got in rounds.items()}
            print(json.dumps({"case": case[0], **{name: {"mb_s": r, "cpu_ms_mb": c} for name, (r, c) in median.items()}}), file=sys.stderr)
            (rate, cost), (rate0, cost0) = median["ours"], median["original"]
            print(f"{case[0]:38} {rate:14.0f} {rate0:9.0f} {cost:12.3f} {cost0:9.3f}", flush=True)


if __name__ == "__main__":
    main()
