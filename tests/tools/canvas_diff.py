#!/usr/bin/env python3
"""Plays random scripts on two builds of libspice-server.so.1, whose pixels must be the same.

    canvas_diff.py --ours target/release [--reference DIR] [--seed 1] [--count 2000] [--jobs 2] [--keep DIR]

The reference is the installed library unless a directory is named. On a difference the script is played again with a
dump after every command, and the first command that differs is named. Bits without meaning (the unused byte of xRGB,
bit 15 of 555) may differ, since they depend on the CPU; they are counted, together with what snapshots of them make of
later commands. Where the reference draws other pixels when nobody looks than step by step, and ours are those of the
steps, it is at odds with itself: counted too. Exit status 0: no other pixel differs.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import canvas_random

HERE = pathlib.Path(__file__).resolve().parent
DRAWING = re.compile(r"(fill|opaque|copy|blend|black|white|invers|rop3|transparent|alpha|copybits|stroke|text|composite)\b")


def build_oracle(directory):
    """Compiles qxl_oracle.c against the installed headers; the library is chosen when it runs."""
    binary = directory / "qxl_oracle"
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "spice-server"], text=True).split()
    subprocess.run(["cc", "-O2", "-w", "-o", binary, HERE / "qxl_oracle.c", *flags], check=True)
    return binary


def play(oracle, library, scripts):
    """The oracle's lines for each script, by name."""
    env = dict(os.environ)
    if library:
        env["LD_LIBRARY_PATH"] = str(library)
    run = subprocess.run([oracle, *scripts], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = {pathlib.Path(s).name: [] for s in scripts}
    for line in run.stdout.splitlines():
        lines.setdefault(line.split()[0], []).append(line)
    return lines


def differs(ours, reference):
    """"pixels", "unused" or "" for two lists of lines."""
    if len(ours) != len(reference):
        return "pixels"
    result = ""
    for a, b in zip(ours, reference):
        if a == b:
            continue
        meaningless = re.search(r" (xrgb|555) raw=", a)
        if not meaningless or a.split(" rgb=")[-1] != b.split(" rgb=")[-1] or "FAILED" in a + b:
            return "pixels"
        result = "unused"
    return result


def first_difference(oracle, args, text, ours, directory):
    """Plays the script step by step. Returns what differs first ("pixels", "unused" or "odds") and the command."""
    lines, commands = [], []
    for line in text.splitlines():
        if line.startswith("dump"):
            continue
        lines.append(line)
        if DRAWING.match(line):
            surface = re.search(r" s=(\d+)", line)
            lines.append(f"dump s={surface[1] if surface else 0}")
            commands.append(line)
    path = directory / "located.txt"
    path.write_text("\n".join(lines) + "\n")
    stepped = play(oracle, args.ours, [path])[path.name]
    reference = play(oracle, args.reference, [path])[path.name]
    for i, command in enumerate(commands):
        kind = "pixels" if i >= len(stepped) or i >= len(reference) else differs([stepped[i]], [reference[i]])
        if kind:
            return kind, command

    def last(lines):
        return {line.split()[2]: line.split(" ", 3)[3] for line in lines}
    ours, steps = last(ours), last(reference)
    agree = all(ours[surface] == steps[surface] for surface in ours if surface in steps)
    return ("odds" if agree else "pixels"), "none when every command is followed by an update"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", type=pathlib.Path, required=True, help="directory of the library under test")
    parser.add_argument("--reference", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=pathlib.Path, help="where to put scripts that differ")
    args = parser.parse_args()
    unused = odds = failed = 0
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        directory = pathlib.Path(temporary)
        oracle = build_oracle(directory)

        def batch(start):
            scripts = {}
            for seed in range(start, min(start + 20, args.seed + args.count)):
                path = directory / f"random-{seed}.txt"
                scripts[path.name] = canvas_random.script(seed)
                path.write_text(scripts[path.name])
            paths = [directory / name for name in scripts]
            return scripts, play(oracle, args.ours, paths), play(oracle, args.reference, paths)

        for scripts, ours, reference in pool.map(batch, range(args.seed, args.seed + args.count, 20)):
            for name, text in scripts.items():
                kind = differs(ours[name], reference[name])
                unused += kind == "unused"
                if kind == "pixels":
                    first, command = first_difference(oracle, args, text, ours[name], directory)
                    unused += first == "unused"
                    odds += first == "odds"
                    if first != "pixels":
                        continue
                    failed += 1
                    print(f"{name}: {command}", flush=True)
                    if args.keep:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        (args.keep / name).write_text(text)
    print(f"{args.count} scripts: {failed} differ, {unused} only in unused bits, {odds} where the reference is at odds with itself")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
