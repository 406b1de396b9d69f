#!/usr/bin/env python3
"""Random commands on several surfaces that read each other, through two builds of libspice-server.so.1: pixels and the
dirty rectangles of update_area have to be the same.

    surfaces_random.py --ours DIR [--reference DIR] [--seed 1] [--count 500] [--jobs 2] [--keep DIR] [--dump SEED]

The reference is the installed library unless a directory is named. A script that differs is made as short as it can be
and printed. Effects are what a truthful guest would say: only what overwrites every pixel is opaque.
"""
import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import sys
import tempfile

from canvas_diff import build_oracle, play

SIZE = 64


def rect(r):
    return ",".join(map(str, r))


class Script:
    """One script: surfaces, commands that draw and read, and updates in between."""

    def __init__(self, seed):
        self.rnd = rnd = random.Random(seed)
        self.lines = [f"# surfaces {seed}", f"primary w={SIZE} h={SIZE} fmt=xrgb init=solid:0"]
        self.count = rnd.choice((1, 2, 2, 3, 4))
        for surface in range(1, self.count):
            self.lines.append(f"surface id={surface} w={SIZE} h={SIZE} fmt=xrgb init=solid:0")
        for surface in range(self.count):
            self.lines.append(f"image name=s{surface} surface={surface}")
        self.lines += [f"image name=i fmt=32 w={SIZE} h={SIZE} gen=rand seed=7", "image name=m fmt=1be w=64 h=64 gen=rand seed=3"]
        # Opacity and size decide which commands are covered and which stay.
        self.opaque, self.large = rnd.random(), rnd.choice((8, 24, 64))
        # Few positions, so that commands repeat.
        self.places, self.repeats = [self.box() for _ in range(2)], rnd.choice((0, 4, 40))
        for _ in range(rnd.choice((4, 10, 30, 100))):
            kinds = (self.fill, self.copy, self.read, self.copybits, self.blend, self.own, self.update, self.rects, self.again,
                     self.repeat)
            rnd.choices(kinds, (8, 4, 8, 4, 4, 1, 2, 2, 1, self.repeats))[0]()
        for surface in range(self.count):
            self.lines += [f"rects s={surface}", f"dump s={surface}"]

    def emit(self, *words):
        self.lines.append(" ".join(w for w in words if w))

    def box(self, most=None):
        rnd = self.rnd
        most = most or self.large
        w, h = rnd.randint(1, most), rnd.randint(1, most)
        x, y = rnd.randint(0, SIZE - w), rnd.randint(0, SIZE - h)
        return x, y, x + w, y + h

    def surface(self):
        return self.rnd.randrange(self.count)

    def clip(self):
        rnd = self.rnd
        if rnd.randrange(5):
            return ""
        return "clip=" + ";".join(rect(self.box()) for _ in range(rnd.randint(1, 3)))

    def effect(self):
        return "effect=1" if self.rnd.random() < self.opaque else ""

    def colour(self):
        return f"solid:{self.rnd.getrandbits(24):#x}"

    def fill(self):
        self.emit(f"fill s={self.surface()} box={rect(self.box())} brush={self.colour()}", self.clip(), self.effect())

    def blend(self):
        rnd = self.rnd
        kind = rnd.choice(("fill", "invers", "copy", "mask"))
        head = f"s={self.surface()} box={rect(self.box())}"
        if kind == "fill":
            self.emit("fill", head, f"brush={self.colour()} rop=xor", self.clip())
        elif kind == "invers":
            self.emit("invers", head, self.clip())
        elif kind == "copy":
            self.emit("copy", head, "src=i rop=xor", self.clip())
        else:
            self.emit("fill", head, f"brush={self.colour()} mask=m:0:0:0", self.clip())

    def copy(self):
        self.emit(f"copy s={self.surface()} box={rect(self.box())} src=i", self.clip(), self.effect())

    def pair(self):
        """A target and another surface."""
        target = self.surface()
        return target, self.rnd.choice([s for s in range(self.count) if s != target])

    def read(self):
        """A copy from another surface, unscaled or scaled without interpolation (with it the original reads more than it has rendered)."""
        rnd = self.rnd
        if self.count == 1:
            return self.fill()
        if rnd.randrange(4) == 0:
            return self.read_all()
        target, source = self.pair()
        box = self.box()
        w, h = box[2] - box[0], box[3] - box[1]
        x, y = rnd.randint(0, SIZE - w), rnd.randint(0, SIZE - h)
        area = (x, y, x + w, y + h) if rnd.randrange(6) else self.box()
        rop = rnd.choice(("", "", "rop=xor"))
        scale = "scale=nearest"
        return self.emit(f"copy s={target} box={rect(box)} src=s{source} srect={rect(area)}", scale, rop, self.clip(),
                  "" if rop else self.effect())

    def read_all(self):
        """Uses another surface as a brush, mask or operand of COMPOSITE."""
        rnd = self.rnd
        target, source = self.pair()
        head = f"s={target} box={rect(self.box())}"
        kind = rnd.choice(("brush", "composite", "transparent"))
        if kind == "brush":
            self.emit("fill", head, f"brush=pat:s{source}:{rnd.randrange(9)}:{rnd.randrange(9)}", self.clip())
        elif kind == "composite":
            self.emit("composite", head, f"src=s{source} op=1 so={rnd.randrange(9)},{rnd.randrange(9)}", self.clip())
        else:
            self.emit("transparent", head, f"src=s{source} srect={rect(self.box())} key=0", self.clip())

    def repeat(self):
        """Commands that are often drawn twice: reverted, without effect, or with another brush."""
        rnd = self.rnd
        box = rnd.choice(self.places)
        clip = rnd.choice(("", "", f"clip={rect(self.places[0])}"))
        effect, rop = rnd.choice(((2, "xor"), (5, "or"), (7, "put"), (1, "put")))
        brush = rnd.choice(("solid:0x1234", "solid:0xff00ff", "pat:i:0:0"))
        if rnd.randrange(3):
            self.emit(f"fill s={self.surface()} box={rect(box)} brush={brush} rop={rop} effect={effect}", clip)
        elif effect in (2, 5):
            line = f"seg=be:{box[0]},{box[1]}:{box[2]},{box[3]}"
            dash = rnd.choice(("", "", "style=3,2"))
            self.emit(f"stroke s={self.surface()} box={rect(box)} {line} {dash} brush={brush} fore={rop} effect={effect}", clip)

    def own(self):
        """A copy from a snapshot of the target."""
        rnd = self.rnd
        area = self.box()
        self.emit(f"opaque s={self.surface()} box={rect(self.box())} src=self selfarea={rect(area)} "
                  f"srect=0,0,{area[2] - area[0]},{area[3] - area[1]} scale=nearest brush={self.colour()} rop=xor", self.clip())

    def again(self):
        """Replaces a surface by a new one with the same id."""
        surface = self.rnd.randrange(self.count)
        if surface:
            self.lines += [f"destroy id={surface}", f"surface id={surface} w={SIZE} h={SIZE} fmt=xrgb init=solid:0"]

    def copybits(self):
        rnd = self.rnd
        box = self.box()
        w, h = box[2] - box[0], box[3] - box[1]
        x, y = rnd.randint(0, SIZE - w), rnd.randint(0, SIZE - h)
        self.emit(f"copybits s={self.surface()} box={rect(box)} from={x},{y}", self.clip(), self.effect())

    def update(self):
        self.emit(f"update s={self.surface()} box={rect(self.box(SIZE))} clear={self.rnd.randrange(2)}")

    def rects(self):
        rnd = self.rnd
        most = f"max={rnd.randint(1, 4)}" if rnd.randrange(4) == 0 else ""
        self.emit(f"rects s={self.surface()} box={rect(self.box(SIZE))} clear={rnd.randrange(2)}", most)


def script(seed):
    return Script(seed).lines


def unused_away(lines):
    """The lines without the sums of the unused bytes of xRGB."""
    return [re.sub(r" raw=\w+", "", line) for line in lines]


def same(oracle, args, path, lines):
    path.write_text("\n".join(lines) + "\n")
    ours, reference = (unused_away(play(oracle, lib, [path])[path.name]) for lib in (args.ours, args.reference))
    return ours == reference


def shorten(oracle, args, path, lines):
    """A shorter script with the same difference, found by leaving out some lines at a time."""
    step = len(lines) // 2
    while step:
        at = len(lines)
        while at > 0:
            start = max(0, at - step)
            fewer = lines[:start] + lines[at:]
            if fewer and fewer[0].startswith("#") and fewer[1:2] and fewer[1].startswith("primary") \
                    and not any("FAILED" in line for line in play_ours(oracle, args, path, fewer)) \
                    and not same(oracle, args, path, fewer):
                lines = fewer
            at = start
        step //= 2
    path.write_text("\n".join(lines) + "\n")
    return lines


def play_ours(oracle, args, path, lines):
    path.write_text("\n".join(lines) + "\n")
    return play(oracle, args.ours, [path])[path.name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", type=pathlib.Path, help="directory of the library under test")
    parser.add_argument("--reference", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most", type=int, default=3, help="differences that are shortened and shown")
    parser.add_argument("--keep", type=pathlib.Path, help="where to put scripts that differ")
    parser.add_argument("--dump", type=int, help="print the script of this seed")
    args = parser.parse_args()
    if args.dump is not None:
        print("\n".join(script(args.dump)))
        return 0
    if not args.ours:
        parser.error("--ours is needed")
    bad = []
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        directory = pathlib.Path(temporary)
        oracle = build_oracle(directory)

        def batch(start):
            paths = {}
            for seed in range(start, min(start + 20, args.seed + args.count)):
                path = directory / f"surfaces-{seed}.txt"
                path.write_text("\n".join(script(seed)) + "\n")
                paths[seed] = path
            ours, reference = (play(oracle, lib, list(paths.values())) for lib in (args.ours, args.reference))
            return [s for s, p in paths.items() if unused_away(ours[p.name]) != unused_away(reference[p.name])]

        for differing in pool.map(batch, range(args.seed, args.seed + args.count, 20)):
            bad += differing
        for seed in bad[:args.most]:
            path = directory / f"short-{seed}.txt"
            lines = shorten(oracle, args, path, script(seed))
            print(f"seed {seed}:", *lines[1:], sep="\n  ")
            for name, lib in (("ours", args.ours), ("reference", args.reference)):
                print(f"  {name}:", *play(oracle, lib, [path])[path.name], sep="\n    ")
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / path.name).write_text("\n".join(lines) + "\n")
    print(f"{args.count} scripts on several surfaces: {len(bad)} differ", *bad[:20])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
