#!/usr/bin/env python3
"""Random drawing scripts for qxl_oracle (language: the head of qxl_oracle.c and canvas.md 15.2).

    canvas_random.py DIR --seed S --count N      writes DIR/random-S.txt ... random-(S+N-1).txt

The same seed always gives the same script. Scripts cover every drawing command on every surface format with colours,
within what the reference library defines: canvas.md 13 lists what it dies of, and that is left out here.
"""
import argparse
import pathlib
import random

ROP3_DEGENERATE = {int(c, 16) for c in (
    "00 03 05 0a 0c 0f 11 22 30 33 3c 3f 44 50 55 5a 5f 66 77 88 99 a0 a5 aa af bb c0 c3 cc cf dd ee f0 f3 f5 fa fc "
    "ff").split()}
OPERATORS = [*range(0, 14), *range(0x10, 0x1c), *range(0x20, 0x2c), *range(0x30, 0x3f)]
PALETTE_FORMATS = ("1be", "4be", "8")
DEPTH = {"xrgb": 32, "argb": 32, "555": 16, "565": 16, "a8": 8}


class Script:
    """One script: a target, images and brushes, and commands."""

    def __init__(self, seed, commands=None):
        self.rnd = random.Random(seed)
        self.lines = [f"# random {seed}"]
        self.fmt = ("xrgb", "argb", "555", "565", "xrgb", "argb", "555", "565", "a8")[seed % 9]
        self.targets = {}
        self.images = {}
        self.setup()
        for _ in range(commands or self.rnd.choice((10, 40, 100))):
            self.command()
        for surface in self.targets:
            self.lines.append(f"dump s={surface}")

    def one_in(self, n):
        return self.rnd.randrange(n) == 0

    def emit(self, *words):
        self.lines.append(" ".join(str(w) for w in words if w != ""))

    # Surfaces, images and brushes

    def setup(self):
        rnd = self.rnd
        w, h = rnd.choice(((128, 64), (97, 83), (160, 120), (64, 64), (33, 17)))
        init = rnd.choice(("init=grad", "init=rand seed=%d" % rnd.randrange(1, 999), "init=premul", "init=solid:0", ""))
        stride = ""
        if self.one_in(4):
            row = (w * DEPTH[self.fmt] + 31) // 32 * 4 + rnd.choice((0, 4, 64))
            stride = f"stride={rnd.choice((row, -row))}"
        self.emit("primary", f"w={w} h={h} fmt={self.fmt}", stride, init)
        self.targets[0] = (w, h)
        for n in (2, 16, 256):
            self.emit("palette", f"name=p{n} rand={rnd.randrange(1, 9999)} n={n} mask={rnd.choice(('0xffffff', '0xffffffff'))}")
        formats = ["16", "24", "32", "rgba", "a8"]
        if self.fmt not in ("565", "a8"):
            formats += PALETTE_FORMATS
        if self.fmt == "a8":
            formats = ["a8"]
        for i in range(8):
            self.bitmap(f"i{i}", rnd.choice(formats))
        if self.fmt != "a8":
            self.bitmap("al", "rgba", "premul", (40, 40))
        self.plain_images = list(self.images)
        # Not for COMPOSITE, TEXT and ALPHA_BLEND: the reference keeps their transforms and filters with cached images.
        for i in range(2):
            self.bitmap(f"k{i}", rnd.choice(formats), cached=True)
        for name, fmt in (("m0", "1be"), ("m1", "1le")):
            self.emit("image", f"name={name} fmt={fmt} w={rnd.randrange(20, 90)} h={rnd.randrange(20, 90)}",
                      f"gen={rnd.choice(('rand', 'grad'))} seed={rnd.randrange(1, 999)} topdown={rnd.randrange(2)}")
        self.surface(1, self.fmt, (48, 40))
        self.targets[1] = (48, 40)
        self.emit("image name=s1 surface=1")
        # Sources of COMPOSITE alone: the reference keeps transform and filter of one command for the next.
        for surface, fmt in ((2, "argb"), (3, "a8"), (4, rnd.choice(("xrgb", "555", "565", "argb")))):
            size = (rnd.randrange(1, 50), rnd.randrange(1, 50))
            self.surface(surface, fmt, size)
            self.emit(f"image name=c{surface} surface={surface}")
        # A source of ALPHA_BLEND and scaled operations alone.
        self.surface(5, rnd.choice(("argb", "xrgb", self.fmt)), (30, 20))
        self.emit("image name=s5 surface=5")
        self.surface(6, "a1", (60, 50))
        self.emit("image name=m2 surface=6")
        for i in range(3):
            bpp = rnd.choice((1, 1, 4))
            self.emit("glyph", f"name=g{i} bpp=1 w={rnd.randrange(1, 20)} h={rnd.randrange(1, 16)}",
                      f"ox={rnd.randrange(-3, 4)} oy={rnd.randrange(-12, 3)} seed={rnd.randrange(1, 999)}")
            self.emit("glyph", f"name=h{i} bpp=4 w={rnd.randrange(1, 20)} h={rnd.randrange(1, 16)}",
                      f"ox={rnd.randrange(-3, 4)} oy={rnd.randrange(-12, 3)} seed={rnd.randrange(1, 999)}")
            del bpp

    def surface(self, number, fmt, size):
        init = self.rnd.choice(("grad", "premul", "rand")) if fmt != "a1" else "rand"
        self.emit("surface", f"id={number} w={size[0]} h={size[1]} fmt={fmt} init={init} seed={self.rnd.randrange(1, 999)}")

    def bitmap(self, name, fmt, gen=None, size=None, cached=False):
        rnd = self.rnd
        w, h = size or (rnd.randrange(1, 52), rnd.randrange(1, 42))
        bits = {"1be": 1, "4be": 4, "8": 8, "16": 16, "24": 24, "32": 32, "rgba": 32, "a8": 8}[fmt]
        words = [f"name={name} fmt={fmt} w={w} h={h} topdown={rnd.randrange(2)}"]
        words.append(f"gen={gen or rnd.choice(('rand', 'grad', 'premul' if fmt == 'rgba' else 'grad'))}")
        words.append(f"seed={rnd.randrange(1, 999)}")
        if fmt in PALETTE_FORMATS:
            words.append({"1be": "pal=p2", "4be": "pal=p16", "8": "pal=p256"}[fmt])
        if self.one_in(3):
            words.append(f"stride={(w * bits + 7) // 8 + rnd.choice((1, 3, 4, 10))}")
        if self.one_in(4):
            words.append(f"chunks={rnd.randrange(2, 6)}")
        elif self.one_in(4):
            words.append("direct=1")
        if cached:
            words.append("cache=1")
        if fmt == "32" and self.one_in(3):
            words.append("highbits=1")
        self.emit("image", *words)
        self.images[name] = (w, h, fmt)

    # Arguments

    def target(self):
        surface = 1 if self.one_in(4) else 0
        return surface, self.targets[surface]

    def box(self, size, most=None):
        rnd = self.rnd
        most = most or size
        w, h = rnd.randint(1, min(most[0], size[0])), rnd.randint(1, min(most[1], size[1]))
        x, y = rnd.randint(0, size[0] - w), rnd.randint(0, size[1] - h)
        return x, y, x + w, y + h

    def clip(self, box, most=6):
        rnd = self.rnd
        if not self.one_in(3):
            return ""
        if self.one_in(20):
            return "clip=empty"
        rects = []
        for _ in range(rnd.randint(1, most)):
            x = rnd.randint(box[0] - 5, box[2])
            y = rnd.randint(box[1] - 5, box[3])
            rects.append((x, y, x + rnd.randint(-2, box[2] - box[0] + 5), y + rnd.randint(-2, box[3] - box[1] + 5)))
        return "clip=" + ";".join(rect(r) for r in rects)

    def mask(self):
        rnd = self.rnd
        if not self.one_in(4):
            return ""
        return f"mask={rnd.choice(('m0', 'm1', 'm2'))}:{rnd.randint(-5, 30)}:{rnd.randint(-5, 30)}:{rnd.randrange(2)}"

    def colour(self):
        rnd = self.rnd
        return f"{rnd.choice((0, 0xffffff, 0xffff, rnd.getrandbits(24), rnd.getrandbits(32))):#x}"

    def brush(self, images=None):
        rnd = self.rnd
        kind = rnd.randrange(8)
        if kind == 0:
            return "none"
        if kind < 5:
            return "solid:" + self.colour()
        image = rnd.choice(images or list(self.images))
        return f"pat:{image}:{rnd.randint(-40, 40)}:{rnd.randint(-40, 40)}"

    def rop(self, key="rop"):
        rnd = self.rnd
        if rnd.randrange(2):
            return f"{key}=put"
        words = [rnd.choice(("put", "or", "and", "xor", "black", "white", "inv"))]
        words += [w for w in ("isrc", "ibrush", "idst", "ires") if self.one_in(3)]
        return f"{key}=" + "+".join(words)

    def scale(self):
        return self.rnd.choice(("", "scale=interp", "scale=nearest"))

    def source(self, size, surfaces=(), scaled=None, images=None):
        """A source image, its area and the box: the same size, or scaled."""
        rnd = self.rnd
        scaled = self.one_in(4) if scaled is None else scaled
        name = rnd.choice([*(images or self.images), *surfaces])
        w, h = self.images[name][:2] if name in self.images else {"s1": (48, 40), "s5": (30, 20)}[name]
        if scaled:
            box = self.box(size)
            return name, self.box((w, h)), box
        box = self.box(size, (w, h))
        bw, bh = box[2] - box[0], box[3] - box[1]
        x, y = rnd.randint(0, w - bw), rnd.randint(0, h - bh)
        return name, (x, y, x + bw, y + bh), box

    # Commands

    def command(self):
        kinds = ["fill", "opaque", "copy", "blend", "bwi", "rop3", "transparent", "alpha", "copybits", "stroke", "text",
                 "composite", "update"]
        if self.fmt == "a8":
            kinds = ["fill", "copy", "bwi", "copybits", "alpha", "composite", "update"]
        weights = [1 if k == "update" else 4 for k in kinds]
        getattr(self, "draw_" + self.rnd.choices(kinds, weights)[0])()

    def draw(self, verb, surface, box, *words):
        self.emit(verb, f"s={surface}" if surface else "", f"box={rect(box)}", *words)

    def draw_update(self):
        self.emit("update", f"s={self.rnd.choice(list(self.targets))}")

    def draw_fill(self):
        surface, size = self.target()
        box = self.box(size)
        brush = self.brush() if self.fmt != "a8" else "solid:" + self.colour()
        self.draw("fill", surface, box, f"brush={brush}", self.rop() if self.fmt != "a8" else "", self.mask(), self.clip(box))

    def draw_bwi(self):
        surface, size = self.target()
        box = self.box(size)
        verbs = ("black", "white", "invers") if self.fmt != "a8" else ("black", "white")
        self.draw(self.rnd.choice(verbs), surface, box, self.mask(), self.clip(box))

    def draw_copy(self, verb="copy"):
        surface, size = self.target()
        name, area, box = self.source(size, () if surface == 1 or self.fmt == "a8" else ("s1",),
                                      scaled=False if self.fmt == "a8" else None)
        rop = self.rop() if self.fmt != "a8" else ""
        self.draw(verb, surface, box, f"src={name} srect={rect(area)}", self.scale(), rop, self.mask(), self.clip(box))

    def draw_blend(self):
        self.draw_copy("blend")

    def self_source(self, surface, size):
        """A snapshot of the target as source, where there is an image format for it."""
        if self.fmt == "565" or not self.one_in(6):
            return None
        area = self.box(size)
        w, h = area[2] - area[0], area[3] - area[1]
        box = self.box(size, (w, h))
        bw, bh = box[2] - box[0], box[3] - box[1]
        x, y = self.rnd.randint(0, w - bw), self.rnd.randint(0, h - bh)
        return f"src=self selfarea={rect(area)} srect={rect((x, y, x + bw, y + bh))}", box

    def source_words(self, surface, size, surfaces=(), images=None):
        own = self.self_source(surface, size)
        if own:
            return own
        name, area, box = self.source(size, surfaces, images=images)
        return f"src={name} srect={rect(area)}", box

    def draw_opaque(self):
        surface, size = self.target()
        words, box = self.source_words(surface, size)
        self.draw("opaque", surface, box, words, f"brush={self.brush()}", self.scale(), self.rop(), self.mask(), self.clip(box))

    def draw_rop3(self):
        rnd = self.rnd
        surface, size = self.target()
        words, box = self.source_words(surface, size)
        brush = "solid:" + self.colour()
        if self.one_in(3):
            # Not right of or below the box: the reference reads before the tile there.
            brush = f"pat:{rnd.choice(list(self.images))}:{box[0] - rnd.randrange(60)}:{box[1] - rnd.randrange(60)}"
        code = rnd.choice([c for c in range(256) if c not in ROP3_DEGENERATE])
        self.draw("rop3", surface, box, words, f"brush={brush} rop3={code:#x}", self.scale(), self.mask(), self.clip(box))

    def draw_transparent(self):
        surface, size = self.target()
        words, box = self.source_words(surface, size)
        self.draw("transparent", surface, box, words, f"key={self.colour()}", self.clip(box))

    def draw_alpha(self):
        rnd = self.rnd
        surface, size = self.target()
        words, box = self.source_words(surface, size, ("s5",), self.plain_images)
        flags = ""
        if self.fmt == "argb" and self.one_in(4):
            flags = f"flags={rnd.randrange(4)}"
        self.draw("alpha", surface, box, words, f"alpha={rnd.choice((255, 255, 0, 128, rnd.randrange(256)))}", flags, self.clip(box))

    def draw_copybits(self):
        rnd = self.rnd
        surface, size = self.target()
        box = self.box(size)
        x, y = rnd.randint(-8, size[0]), rnd.randint(-8, size[1])
        if rnd.randrange(2):
            x, y = box[0] + rnd.randint(-9, 9), box[1] + rnd.randint(-9, 9)
        self.draw("copybits", surface, box, f"from={x},{y}", self.clip(box))

    def draw_stroke(self):
        rnd = self.rnd
        surface, size = self.target()
        box = (0, 0, *size) if rnd.randrange(2) else self.box(size)
        dashed = rnd.randrange(2)
        reach = rnd.choice((20, 20, 200, 3000))
        segments = []
        for index in range(rnd.choice((1, 1, 2))):
            curve = self.one_in(4) and reach < 1000
            raw = rnd.randrange(2) or curve
            scale = 16 if raw else 1
            letter = "f" if raw else ""
            point = lambda: (f"{letter}{rnd.randint(-reach * scale, (size[0] + reach) * scale)},"
                             f"{letter}{rnd.randint(-reach * scale, (size[1] + reach) * scale)}")
            count = 1 + 3 * rnd.randint(1, 2) if curve else rnd.randint(2, 6)
            flags = rnd.choice(("be", "be", "bec", "b")) + ("z" if curve else "")
            segments.append(f"seg={flags}:" + ":".join(point() for _ in range(count)))
            del index
        style = ""
        if dashed:
            lengths = [rnd.choice((0, 1, 2, 3, 5, 8, 13, 40)) for _ in range(rnd.randint(1, 6))]
            if not sum(lengths):
                lengths[0] = 4
            style = f"style={','.join(map(str, lengths))} gap={rnd.randrange(2)}"
        # With several clip rectangles the original loses pixels.
        self.draw("stroke", surface, box, *segments, style, f"brush={self.brush()}", self.rop("fore"), self.clip(box, 1))

    def draw_text(self):
        rnd = self.rnd
        surface, size = self.target()
        box = (0, 0, *size) if rnd.randrange(2) else self.box(size)
        kind = rnd.choice("gh")
        x, y = rnd.randint(-10, size[0]), rnd.randint(-10, size[1])
        glyphs = []
        for _ in range(rnd.randint(1, 6)):
            glyphs.append(f"{kind}{rnd.randrange(3)}@{x},{y + rnd.randint(-2, 2)}")
            x += rnd.randint(3, 15)
        back = f"back={rect(self.box(size))} bg={self.brush()}" if self.one_in(3) else ""
        self.draw("text", surface, box, "str=" + ";".join(glyphs), f"fg={self.brush(self.plain_images)}", back, self.clip(box))

    def transform(self):
        rnd = self.rnd
        near = lambda n: rnd.randrange(-n, n)
        kind = rnd.randrange(5)
        if kind == 0:
            return "65536,0,0,0,65536,0"
        if kind == 1:
            return f"{rnd.randrange(1, 200000)},0,{near(1 << 20)},0,{rnd.randrange(1, 200000)},{near(1 << 20)}"
        if kind == 2:
            return f"65536,0,{near(1 << 20)},0,65536,{near(1 << 20)}"
        if kind == 3:
            return rnd.choice(("0,-65536,%d,65536,0,%d", "-65536,0,%d,0,-65536,%d")) % (65536 * near(30), 65536 * near(30))
        return ",".join(str(near(n)) for n in (150000, 150000, 1 << 21, 150000, 150000, 1 << 21))

    def draw_composite(self):
        rnd = self.rnd
        surface, size = self.target()
        box = self.box(size)
        bitmaps = self.plain_images
        source = rnd.choice([*bitmaps, "c2", "c2", "c4"])
        words = [f"src={source} op={rnd.choice((1, 3, 3, 12, rnd.choice(OPERATORS), rnd.choice(OPERATORS))):#x}"]
        words.append(f"sfilter={rnd.randrange(5)} srepeat={rnd.randrange(4)} so={rnd.randint(-30, 30)},{rnd.randint(-30, 30)}")
        if source[0] == "c" or self.one_in(3):
            words.append("st=" + self.transform())
        if self.one_in(3):
            mask = rnd.choice([*bitmaps, "c3", "c3", "c4"])
            if mask == source:
                mask = "c3"
            words.append(f"mask={mask} ca={rnd.randrange(2)} mfilter={rnd.randrange(5)} mrepeat={rnd.randrange(4)}")
            words.append(f"mo={rnd.randint(-30, 30)},{rnd.randint(-30, 30)}")
            if mask[0] == "c" or self.one_in(3):
                words.append("mt=" + self.transform())
        if self.one_in(6):
            words.append("xflags=0x400000")
        self.draw("composite", surface, box, *words, self.clip(box))


def rect(r):
    return ",".join(str(v) for v in r)


def script(seed, commands=None):
    """The text of the script with this seed."""
    return "\n".join(Script(seed, commands).lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seed, args.seed + args.count):
        (args.directory / f"random-{seed}.txt").write_text(script(seed))


if __name__ == "__main__":
    main()
