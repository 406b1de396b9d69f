#!/usr/bin/python3
"""Recordings at their own pace through emulated links: when a viewer sees the last picture, and how much it is sent until then.

    links.py --lib DIR [--ref DIR] [--recordings DIR ...] [--only NAME,NAME] [--rounds N] [--work DIR]

For each recording and link, the libraries take turns. A real client (spice-gtk) is connected through a relay that delays both
directions and has one bottleneck for all channels. Prints one line of JSON per run and a table of medians:

  visible   milliseconds until the client's picture is the last one, and stays so: no tile of 16x16 pixels differs from it by more
            than a lossy codec explains. They count from the time at which the last command was due: a library that lets the guest
            wait for the client shows it later
  exact     the same until each pixel is right; "-": it never was, within PATIENCE
  frames    frames of video streams that a client was sent, in a run of its own whose client decodes nothing
  KB        what that client was sent on the display channel

--lib and --ref are directories of libspice-server.so.1; the reference defaults to the system's. --recordings are directories of
NAME.rec.zst; tests/data/recordings always is one of them. Needs what `scripts/packages test` installs.
"""
import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
TOOLS = TOP / "tests/tools"
sys.path.insert(0, str(TOOLS))
from relay import Relay  # noqa: E402  (found through the line above)

# Name, round trip in milliseconds, Mbit/s towards the client.
LINKS = [("10 Mbit/s", 50, 10), ("2 Mbit/s", 100, 2)]
# The second at which each recording is stopped, since at its end the screen is empty; others are played whole.
UNTIL = {"terminal": 6.5, "windows": 12, "browser": 15, "video": 5}
# So many seconds after the last command was taken the client is no longer waited for.
PATIENCE = 10
# A tile of TILE x TILE pixels looks the same if its samples differ by no more than this (of 255) on average.
TILE, ALIKE = 16, 24


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def build(work):
    for tool, libraries in (("replay_bench", ["-l:libspice-server.so.1"]), ("rawclient", ["-lcrypto"])):
        flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
        subprocess.check_call(["cc", "-O2", "-w", "-o", work / tool, TOOLS / f"{tool}.c", *flags, *libraries, "-lpthread"])


def environment(library):
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return dict(env, LD_LIBRARY_PATH=str(library)) if library else env


class Server:
    """A replay of one recording, and the time at which its last command was due."""

    def __init__(self, work, library, recording, *options):
        self.port = free_port()
        until = UNTIL.get(recording.stem)
        self.process = subprocess.Popen(
            [work / "replay_bench", "--port", str(self.port), "--streaming", "3", "--drain-ms", "600000",
             *(["--until", str(until)] if until else []), *options, recording],
            env=environment(library), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if not self.process.stdout.readline().startswith("listening"):
            sys.exit("the host does not start")
        self.replayed = threading.Event()
        self.ended = None
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        for line in self.process.stdout:
            if line.startswith("replayed"):
                self.ended = time.monotonic() - float(line.split()[1]) / 1000
                self.replayed.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Viewer:
    """spice-gtk without a window, asked for its picture."""

    def __init__(self, port, work):
        self.file = work / "shot.ppm"
        self.process = subprocess.Popen(["/usr/bin/python3", TOOLS / "gtkclient.py", "--uri", f"spice://127.0.0.1:{port}", "-"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.act("display")

    def act(self, action):
        self.process.stdin.write(action + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{") and (event := json.loads(line))["event"] == "action":
                if event["ok"]:
                    return
                break
        raise RuntimeError(f"the client failed: {action}")

    def picture(self):
        self.act(f"shot:{self.file}")
        return self.file.read_bytes()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def pixels(ppm):
    head = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", ppm)
    return int(head[1]), int(head[2]), ppm[head.end():]


def looks_like(picture, wanted):
    """Whether no tile differs visibly. Every fourth row is looked at."""
    if picture == wanted:
        return True
    (width, height, ours), (*size, theirs) = pixels(picture), pixels(wanted)
    if [width, height] != size:
        return False
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            difference = samples = 0
            for y in range(top, min(top + TILE, height), 4):
                span = slice(3 * (y * width + left), 3 * (y * width + min(left + TILE, width)))
                difference += sum(map(abs, map(int.__sub__, ours[span], theirs[span])))
                samples += span.stop - span.start
            if difference > ALIKE * samples:
                return False
    return True


def last_picture(work, reference, recording):
    """The lossless picture of a client that connects when everything is drawn."""
    with Server(work, reference, recording, "--clients", "0", "--render") as server:
        if not server.replayed.wait(300):
            sys.exit("the reference does not play the recording")
        with Viewer(server.port, work) as viewer:
            before = None
            while (now := viewer.picture()) != before:
                before = now
                time.sleep(1)
            return now


def through(server, rtt, mbit):
    relay = Relay(free_port(), server.port, rtt, mbit)
    relay.start()
    return relay.port


def seen(work, library, recording, link, wanted):
    """When a viewer sees the last picture."""
    _, rtt, mbit = link
    shots = []  # (time, picture), where the picture changed
    with Server(work, library, recording, "--speed", "1") as server, Viewer(through(server, rtt, mbit), work) as viewer:
        if not server.replayed.wait(300):
            sys.exit("the recording does not end")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            picture = viewer.picture()
            if not shots or shots[-1][1] != picture:
                shots.append((time.monotonic(), picture))
            if picture == wanted:
                break
            time.sleep(0.01)
        exact = shots[-1][0] if shots[-1][1] == wanted else None
        visible = None
        for when, picture in reversed(shots):
            if not looks_like(picture, wanted):
                break
            visible = when
        return {"visible_ms": since(server, visible), "exact_ms": since(server, exact)}


def since(server, when):
    return None if when is None else round((when - server.ended) * 1000)


def sent(work, library, recording, link):
    """What a client is sent until the last command."""
    _, rtt, mbit = link
    with Server(work, library, recording, "--speed", "1") as server:
        client = subprocess.Popen([work / "rawclient", "--port", str(through(server, rtt, mbit))], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        try:
            server.replayed.wait(300)
        finally:
            client.terminate()
        counts = json.loads(client.communicate(timeout=30)[0])
    kinds = counts["display_types"]
    # STREAM_DATA and STREAM_DATA_SIZED.
    frames = sum(kinds.get(kind, [0])[0] for kind in ("123", "316"))
    return {"frames": frames, "kbytes": round(counts["channels"]["display"]["bytes"] / 1000)}


def recordings_of(directories, only, work):
    """The recordings, unpacked."""
    found = {path.name.split(".")[0]: path for directory in directories for path in sorted(directory.glob("*.rec.zst"))}
    for name, packed in sorted(found.items()):
        if not only or name in only:
            path = work / f"{name}.rec"
            if not path.exists():
                subprocess.check_call(["zstd", "-q", "-d", "--long=27", packed, "-o", path])
            yield path


def table(results, libraries):
    lines = ["| recording | link | library | visible ms | exact ms | frames | KB |", "|---|---|---|--:|--:|--:|--:|"]
    for recording, link in dict.fromkeys((r["recording"], r["link"]) for r in results):
        for name in libraries:
            runs = [r for r in results if (r["recording"], r["link"], r["library"]) == (recording, link, name)]
            cells = []
            for key in ("visible_ms", "exact_ms", "frames", "kbytes"):
                values = [r[key] for r in runs if r[key] is not None]
                cells.append(f"{statistics.median(values):.0f}" if values else "-")
            lines.append(f"| {recording} | {link} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", required=True, type=pathlib.Path)
    parser.add_argument("--ref", type=pathlib.Path, help="default: the system's library")
    parser.add_argument("--recordings", action="append", type=pathlib.Path, default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path)
    options = parser.parse_args()
    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="links-"))
    work.mkdir(parents=True, exist_ok=True)
    build(work)
    libraries = {"this library": options.lib, "original": options.ref}
    results = []
    for recording in recordings_of([TOP / "tests/data/recordings", *options.recordings], set(filter(None, options.only.split(","))), work):
        wanted = last_picture(work, options.ref, recording)
        for turn in range(options.rounds):
            for link in LINKS:
                for name, library in sorted(libraries.items(), reverse=turn % 2 == 0):
                    result = {"recording": recording.stem, "link": link[0], "library": name, "round": turn,
                              **seen(work, library, recording, link, wanted), **sent(work, library, recording, link)}
                    print(json.dumps(result), flush=True)
                    results.append(result)
    (work / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results))
    (work / "table.md").write_text(table(results, libraries) + "\n")
    print(table(results, libraries))


if __name__ == "__main__":
    main()
