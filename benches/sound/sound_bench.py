#!/usr/bin/env python3
"""Measures playback: processor time per frame of sound, and the time from the host's call to the client's socket.

    cc -O2 -o sound_host sound_host.c $(pkg-config --cflags spice-server) -l:libspice-server.so.1 -lpthread -lm
    ./sound_bench.py ./sound_host DIR [DIR ...] [--frames N] [--rounds N]

Each DIR holds a libspice-server.so.1; they are measured in turns, so that a busy moment meets all. Prints one line of JSON per
run and a table of medians at the end. Cost is measured with a frame each millisecond, delay at the real pace of 10 ms.
"""
import argparse, json, os, pathlib, random, statistics, struct, subprocess, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "tools"))
import spiceraw  # noqa: E402

DATA, OPUS_CAP = 101, 3


def measure(host, lib, mode, frames, gap):
    port = random.randrange(20000, 30000)
    with subprocess.Popen([host, str(port), str(frames), str(gap)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=dict(os.environ, LD_LIBRARY_PATH=lib)) as proc:
        assert proc.stdout.readline() == b"ready\n", "the host does not start"
        session = spiceraw.Session(port=port)
        session.open_main()
        channel = session.open("playback", caps=[OPUS_CAP] if mode == "opus" else [])
        came, size = [], 0
        while len(came) <= frames:
            try:
                message = channel.recv(5)
            except spiceraw.SpiceError:
                message = None  # the host is done: frames were lost
            if not message:
                break
            if message.type == DATA:
                came.append(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
                size += len(message.payload)
        cpu, *handed = map(int, proc.stdout.readline().split())
        proc.wait()
    lost = handed.count(0) + frames + 1 - len(came)
    result = {"lib": lib, "mode": mode, "gap_us": gap, "cpu_us_per_frame": cpu / frames, "lost": lost, "bytes_per_frame": size / max(len(came), 1)}
    if not lost:
        delays = sorted((b - a) / 1000 for a, b in zip(handed, came[1:]))
        result |= {"delay_us": delays[len(delays) // 2], "delay_p99_us": delays[len(delays) * 99 // 100]}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("libs", nargs="+")
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    runs = {}
    for _ in range(args.rounds):
        for mode in ("raw", "opus"):
            for kind, frames, gap in (("cost", args.frames, 1000), ("delay", args.frames // 8, 10000)):
                for lib in args.libs:
                    result = measure(args.host, lib, mode, frames, gap)
                    print(json.dumps(result), flush=True)
                    runs.setdefault((mode, kind, lib), []).append(result)
    for (mode, kind, lib), results in runs.items():
        keys = ["cpu_us_per_frame"] if kind == "cost" else ["delay_us", "delay_p99_us"]
        medians = {key: round(statistics.median(r[key] for r in results if key in r), 1) for key in keys if any(key in r for r in results)}
        print(f"{mode:5} {kind:6} {medians} lost {sum(r['lost'] for r in results)}  {lib}")


if __name__ == "__main__":
    main()
