#!/usr/bin/python3
"""Compares the library with what a user could take in place of SPICE: the same seeded pictures through SPICE and VNC servers.

    run.py --lib DIR [--quick] [--part x|qemu|all] [--scenes a,b] [--servers a,b] [--rounds N] [--seconds N] [--ref DIR] [--work DIR]

DIR holds the libspice-server.so.1 to measure; --ref (by default the system's) is the original. Part x: one X program (workload.c) on
Xspice with either library, on TigerVNC's Xvnc, and on Xvfb with x11vnc. Part qemu: one guest (frames.S) through QEMU's SPICE with either
library, and through QEMU's VNC. By default one QEMU has -spice and -vnc, and a viewer watches one of them; CPU and memory of VNC then
include the unwatched -spice, so the tables compare only net CPU. With --qemu-alone QEMU has only the display that is watched, and the tables
compare all. The viewer (peerclient.c) decodes nothing. Prints one line of JSON per run and the tables at the end, and writes them to
WORK/results.jsonl and WORK/table.md. Rounds alternate in direction (A..Z, Z..A). --list names scenes and servers.

Columns:
  cpu       CPU seconds of the server from the first frame to one second after the last (all threads; Xvfb and x11vnc together; QEMU
            without its vCPU thread)
  net       cpu minus the median of the same scene's runs without a viewer
  KiB       bytes that reached the viewer in that time
  RSS       peak memory of the server (VmHWM, MiB)
  fps       updates of the counter block per second (those within 5 ms of each other count as one, because a viewer shows only the last)
  area fps  frames per second that were followed, before the next frame, by an update of the drawing area; shows servers that drop frames of
            a video but not of the counter
  JPEG q    lowest, mean and highest quality of JPEG data (libjpeg's scale, from the files' tables); % with 4:2:0 colour; share of the bytes
  latency   ms from the moment before frame k is drawn until pixels of frame k or later cover the counter block; part qemu: from a key of the
            viewer until the guest's answer on the screen
"""
import argparse, bisect, contextlib, ctypes, glob, json, os, random, re, select, shutil, signal, socket, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
X_SCENES = {"terminal": 20, "window": 25, "web": 25, "video": 25, "typing": 8, "idle": 1}  # frames a second, as in workload.c
Q_SCENES = {"terminal": (1, 2, "terminal"), "web": (1, 2, "web"), "video": (0, 2, "video"), "typing": (2, 6, "web"), "idle": (3, 50, "web")}
# name: (kind of server, viewer's arguments)
SPICE = ["spice"]
RFB = {"tight": ["rfb", "--encodings", "tight"], "lossless": ["rfb", "--encodings", "tight-lossless"], "zrle": ["rfb", "--encodings", "zrle"]}
X_SERVERS = {
    "xspice-ours": ("xspice-ours", SPICE), "xspice-ref": ("xspice-ref", SPICE),
    "xvnc-tight": ("xvnc", RFB["tight"]), "xvnc-lossless": ("xvnc", RFB["lossless"]), "xvnc-zrle": ("xvnc", RFB["zrle"]),
    "x11vnc-tight": ("x11vnc", RFB["tight"]),
}
Q_SERVERS = {
    "qemu-ours": ("qemu-ours", SPICE), "qemu-ref": ("qemu-ref", SPICE),
    "qemu-ours-video": ("qemu-ours-video", SPICE), "qemu-ref-video": ("qemu-ref-video", SPICE),
    "qemu-vnc-tight": ("qemu-vnc", RFB["lossless"]), "qemu-vnc-jpeg": ("qemu-vnc-lossy", RFB["tight"]), "qemu-vnc-zrle": ("qemu-vnc", RFB["zrle"]),
}
XORG_CONF = """
Section "Device"
    Identifier "XSPICE"
    Driver "spiceqxl"
    Option "NumHeads" "1"
    Option "EnableImageCache" "True"
    Option "EnableFallbackCache" "True"
    Option "EnableSurfaces" "True"
    Option "SurfaceBufferSize" "128"
    Option "CommandBufferSize" "128"
    Option "FrameBufferSize" "16"
    Option "SpiceAddr" "127.0.0.1"
    Option "SpicePort" "%d"
    Option "SpiceDisableTicketing" "True"
    %s
EndSection
Section "InputDevice"
    Identifier "XSPICE POINTER"
    Driver "xspice pointer"
EndSection
Section "InputDevice"
    Identifier "XSPICE KEYBOARD"
    Driver "xspice keyboard"
EndSection
Section "Monitor"
    Identifier "Configured Monitor"
EndSection
Section "Screen"
    Identifier "XSPICE Screen"
    Monitor "Configured Monitor"
    Device "XSPICE"
    DefaultDepth 24
EndSection
Section "ServerLayout"
    Identifier "XSPICE Example"
    Screen "XSPICE Screen"
    InputDevice "XSPICE KEYBOARD"
    InputDevice "XSPICE POINTER"
EndSection
Section "ServerFlags"
    Option "AutoAddDevices" "False"
EndSection
"""


class Trouble(Exception):
    """This run gave no figures. The next one may."""


def free_port(first=5000, last=32000):
    while True:
        port = random.randrange(first, last)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def free_display():
    return next(n for n in iter(lambda: random.randrange(200, 2000), None)
                if not os.path.exists(f"/tmp/.X11-unix/X{n}") and not os.path.exists(f"/tmp/.X{n}-lock"))


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Child:
    """A child process with its output in a file, or in a pipe that is read by lines."""

    def __init__(self, args, log, pipes=False, env=None):
        self.log = open(log, "ab")
        self.proc = subprocess.Popen([str(a) for a in args], stdin=subprocess.PIPE if pipes else subprocess.DEVNULL, stdout=subprocess.PIPE if pipes else self.log,
                                     stderr=self.log, env=env, preexec_fn=die_with_parent)
        self.pid, self.name, self.pending = self.proc.pid, os.path.basename(str(args[0])), b""

    def line(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self.pending:
            if not select.select([self.proc.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise Trouble(f"{self.name} printed nothing for {timeout:.0f} s")
            got = os.read(self.proc.stdout.fileno(), 65536)
            if not got:
                raise Trouble(f"{self.name} has ended, see {self.log.name}")
            self.pending += got
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def say(self, text):
        try:
            self.proc.stdin.write(text.encode())
            self.proc.stdin.flush()
        except BrokenPipeError:
            raise Trouble(f"{self.name} has ended, see {self.log.name}") from None

    def finish(self):
        """Closes its stdin and waits for it to end by itself."""
        with contextlib.suppress(BrokenPipeError):
            self.proc.stdin.close()
        try:
            if self.proc.wait(10):
                raise Trouble(f"{self.name} failed, see {self.log.name}")
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name} does not end") from None

    def close(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(3)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        for s in (self.proc.stdin, self.proc.stdout):
            if s:
                with contextlib.suppress(OSError):
                    s.close()
        self.log.close()


def wait_for(condition, what, child, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if child.proc.poll() is not None:
            raise Trouble(f"{child.name} ended, see {child.log.name}")
        if time.monotonic() > end:
            raise Trouble("waited in vain for " + what)
        time.sleep(0.05)


def listens(port):
    want = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as f:
        return any(l.split()[1] == want and l.split()[3] == "0A" for l in f.readlines()[1:])


class Server:
    """The processes of one server, and what the kernel knows about them."""

    def __init__(self, kind, dir, env_lib, accept):
        self.kind, self.dir, self.children, self.lib, self.accept = kind, dir, [], env_lib, accept
        self.env = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "DISPLAY")}
        if env_lib:
            self.env["LD_LIBRARY_PATH"] = env_lib

    def start(self, *args):
        self.children.append(Child(args, f"{self.dir}/{os.path.basename(args[0])}.log", env=self.env))
        return self.children[-1]

    def check_library(self, child):
        with open(f"/proc/{child.pid}/maps") as f:
            found = {l.split()[-1] for l in f if "libspice-server" in l}
        where = os.path.realpath(self.lib or self.accept)
        # Builds for newer processors lie in a folder below.
        if not found or any(not os.path.realpath(p).startswith(f"{where}/") for p in found):
            raise Trouble(f"{self.kind} runs on {found}, not on {where}")

    def threads(self):
        """{(pid, tid): (name, ns on CPU)} of all threads, and the processes' own sums in ns."""
        out, sums = {}, 0
        for c in self.children:
            with open(f"/proc/{c.pid}/stat") as f:
                v = f.read().rsplit(")", 1)[1].split()
            sums += (int(v[11]) + int(v[12])) * 1000000000 // TICK
            for t in glob.glob(f"/proc/{c.pid}/task/*"):
                with contextlib.suppress(OSError):
                    with open(t + "/comm") as f, open(t + "/schedstat") as g:
                        out[c.pid, int(os.path.basename(t))] = (f.read().strip(), int(g.read().split()[0]))
        return out, sums

    def peak_mib(self):
        total = 0
        for c in self.children:
            with open(f"/proc/{c.pid}/status") as f:
                total += int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
        return total / 1024

    def close(self):
        for c in reversed(self.children):
            c.close()
        display = getattr(self, "display", None)
        if display is not None:
            for path in (f"/tmp/.X{display}-lock", f"/tmp/.X11-unix/X{display}"):
                with contextlib.suppress(OSError):
                    os.unlink(path)


def cpu_between(before, after):
    """(seconds of all threads, seconds of vCPU threads). Clocks of threads are exact. If a thread ended in between, the ticks of the process count."""
    (a, a_sum), (b, b_sum) = before, after
    exact = sum(ns - a.get(t, (0, 0))[1] for t, (_, ns) in b.items()) / 1e9
    total = exact if set(a) <= set(b) else (b_sum - a_sum) / 1e9
    vcpu = sum(ns - a.get(t, (0, 0))[1] for t, (name, ns) in b.items() if name.startswith("CPU ")) / 1e9
    return total, vcpu


def x_server(o, kind, dir):
    lib = {"xspice-ours": o.lib}.get(kind, o.ref if kind == "xspice-ref" and o.ref_given else None)
    s = Server(kind, dir, lib, o.ref)
    try:
        s.display, s.port = free_display(), free_port()
        sock = f"/tmp/.X11-unix/X{s.display}"
        if kind.startswith("xspice"):
            with open(f"{dir}/xorg.conf", "w") as f:
                f.write(XORG_CONF % (s.port, o.xspice_option))
            x = s.start("/usr/lib/xorg/Xorg", "-config", f"{dir}/xorg.conf", "-noreset", "-logfile", f"{dir}/xorg.log", "-nolisten", "tcp", f":{s.display}")
        elif kind == "xvnc":
            x = s.start("/usr/bin/Xtigervnc", f":{s.display}", "-geometry", "1024x768", "-depth", "24", "-rfbport", s.port, "-SecurityTypes", "None",
                        "-interface", "127.0.0.1", "-AlwaysShared", "-noreset", "-nolisten", "tcp")
        else:
            x = s.start("/usr/bin/Xvfb", f":{s.display}", "-screen", "0", "1024x768x24", "-noreset", "-nolisten", "tcp")
        wait_for(lambda: os.path.exists(sock), "X socket", x)
        if kind == "x11vnc":
            x = s.start("/usr/bin/x11vnc", "-display", f":{s.display}", "-rfbport", s.port, "-localhost", "-noipv6", "-no6", "-nopw", "-forever", "-shared", "-norc", "-q")
        wait_for(lambda: listens(s.port), "listening port", x)
        if kind.startswith("xspice"):
            s.check_library(x)
        return s
    except BaseException:
        s.close()
        raise


class Qmp:
    def __init__(self, path, child):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)

        def connected():
            with contextlib.suppress(OSError):
                self.sock.connect(path)
                return True
            return False
        wait_for(connected, "QMP", child)
        self.lines = self.sock.makefile("rb")
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            line = self.lines.readline()
            if not line:
                raise Trouble("QEMU has ended")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Trouble(str(answer))

    def frame(self):
        return int(self("human-monitor-command", **{"command-line": "xp /1xw 0x500"}).split()[-1], 16)


def qemu_server(o, kind, dir, scene):
    ours = "-ours" in kind
    s = Server(kind, dir, o.lib if ours else o.ref if o.ref_given else None, o.ref)
    try:
        number, pace, pixels = Q_SCENES[scene]
        boot = bytearray(open(f"{o.work}/frames.img", "rb").read())
        boot[508], boot[509] = number, pace
        with open(f"{dir}/boot.img", "wb") as f:
            f.write(boot.ljust(1 << 20, b"\0"))
        spice_port, vnc_port = free_port(), free_port(5900, 32000)
        vnc = "qemu-vnc" in kind
        s.port = vnc_port if vnc else spice_port
        args = ["/usr/bin/qemu-system-x86_64", "-name", "peers,debug-threads=on", "-nodefaults", "-accel", o.accel, "-m", "64", "-display", "none", "-vga", "std",
                "-drive", f"file={dir}/boot.img,format=raw,if=ide", "-device", f"loader,file={o.work}/{pixels}.bin,addr=0x1000000,force-raw=on",
                "-qmp", f"unix:{dir}/qmp,server=on,wait=off"]
        if not (vnc and o.qemu_alone):
            args += ["-spice", f"port={spice_port},addr=127.0.0.1,disable-ticketing=on" + (f",streaming-video={o.streaming}" if kind.endswith("-video") else "")]
        if vnc or not o.qemu_alone:
            args += ["-vnc", f"127.0.0.1:{vnc_port - 5900}" + (",lossy=on" if kind.endswith("-lossy") else "")]
        q = s.start(*args)
        s.qmp = Qmp(f"{dir}/qmp", q)
        wait_for(lambda: listens(s.port), "listening port", q)
        wait_for(lambda: s.qmp.frame() > 0, "the guest's first frame", q)
        if not (vnc and o.qemu_alone):
            s.check_library(q)
        return s
    except BaseException:
        s.close()
        raise


def percentiles(values):
    if not values:
        return {"median": None, "p95": None, "max": None}
    v = sorted(values)
    return {"median": round(v[len(v) // 2], 2), "p95": round(v[min(len(v) - 1, int(len(v) * 0.95))], 2), "max": round(v[-1], 2)}


def merged(times, gap=5e6):
    """Number of separate moments; times within `gap` ns are one."""
    n, last = 0, None
    for t in times:
        if last is None or t - last > gap:
            n, last = n + 1, t
    return n


def latencies(frames, arrivals):
    """frames: (number, before, after drawing); arrivals: (time, number or -1). Returns ms from before and from after drawing until that frame or a later one arrives, and how many never do."""
    from_start, from_sync, lost, i = [], [], 0, 0
    arrivals = sorted(arrivals)
    for number, start, sync in frames:
        while i < len(arrivals) and arrivals[i][0] < start:
            i += 1
        j = i
        while j < len(arrivals) and -1 < arrivals[j][1] < number:
            j += 1
        if j == len(arrivals):
            lost += 1
            continue
        from_start.append((arrivals[j][0] - start) / 1e6)
        from_sync.append(max(0, (arrivals[j][0] - sync) / 1e6))
    return from_start, from_sync, lost


def read_events(path):
    with open(path, "rb") as f:
        return list(struct.iter_unpack("<QiI", f.read()))


def one_run(o, part, scene, name, round_no, number):
    """Starts server, viewer and workload. Returns the figures."""
    kind, viewer = o.all[name] if not name.endswith(":none") else (name[:-5], None)
    dir = f"{o.work}/run"
    shutil.rmtree(dir, ignore_errors=True)
    os.makedirs(dir)
    out = {"part": part, "scene": scene, "server": name, "round": round_no, "seconds": o.seconds, "load1": os.getloadavg()[0]}
    children, server = [], None
    try:
        server = x_server(o, kind, dir) if part == "x" else qemu_server(o, kind, dir, scene)
        work = client = None
        if part == "x":  # the opening picture is drawn before the viewer connects
            work = Child([f"{o.work}/workload", "--scene", scene, "--seconds", o.seconds, "--seed", o.seed, "--log", f"{dir}/frames"], f"{dir}/workload.log", True,
                         dict(server.env, DISPLAY=f":{server.display}", LD_LIBRARY_PATH=""))
            children.append(work)
            out["workload"] = work.line(30)
        if viewer:
            client = Child([f"{o.work}/peerclient", viewer[0], server.port, *viewer[1:], "--log", f"{dir}/events"], f"{dir}/client.log", True, server.env)
            children.append(client)
            if client.line(20) != "ready":
                raise Trouble("viewer is not ready")
        time.sleep(0.7)  # with and without a viewer, until the start has settled

        def mark():
            if not client:
                return {"bytes": 0, "messages": 0}
            client.say("m\n")
            return json.loads(client.line(10))
        first, cpu0, t0 = mark(), server.threads(), time.monotonic_ns()
        if part == "x":
            work.say("go\n")
            _, count, took = work.line(o.seconds * 6 + 30).split()
            out.update(frames=int(count), took_s=float(took), late_s=round(float(took) - (int(count) - 1) / X_SCENES[scene], 3))
            time.sleep(1.0)
        else:
            count, end, rng, keys = server.qmp.frame(), time.monotonic() + o.seconds, random.Random(o.seed), 0
            while time.monotonic() < end:
                time.sleep(min(rng.uniform(0.1, 0.25), max(0, end - time.monotonic())))
                if client and time.monotonic() < end - 0.1:
                    client.say("k\n")
                    keys += 1
            out.update(frames=server.qmp.frame() - count, took_s=round((time.monotonic_ns() - t0) / 1e9, 3), keys=keys)
        t1, cpu1, last = time.monotonic_ns(), server.threads(), mark()
        total, vcpu = cpu_between(cpu0, cpu1)
        out.update(cpu_s=round(total - vcpu, 4), cpu_ticks_s=round((cpu1[1] - cpu0[1]) / 1e9, 2), rss_mib=round(server.peak_mib(), 1), wall_s=round((t1 - t0) / 1e9, 3))
        if part == "qemu":
            out["vcpu_s"] = round(vcpu, 3)
        for c in reversed(children):
            c.finish()
        if client:
            out.update(bytes=last["bytes"] - first["bytes"], messages=last["messages"] - first["messages"])
            for k, b in last.items():
                if k not in ("bytes", "messages"):
                    a = first.get(k)
                    out[k] = [y - x for x, y in zip(a, b)] if isinstance(b, list) else b if k == "cu" or k.startswith("jpeg") else b - a
            events = [e for e in read_events(f"{dir}/events") if t0 <= e[0] <= t1]
            blocks = [(t, i) for t, i, k in events if k == 1]
            span = out["frames"] / X_SCENES[scene] if part == "x" else out["took_s"]
            span = max(span, out["took_s"]) if part == "x" else span
            area = [t for t, _, k in events if k == 2]
            out.update(fps=round(merged(t for t, _ in blocks) / span, 2),
                       numbered=round(sum(i >= 0 for _, i in blocks) / len(blocks), 2) if blocks else 0, block_updates=len(blocks),
                       distinct_numbers=len({i for _, i in blocks if i >= 0}))
            if part == "x":
                with open(f"{dir}/frames", "rb") as f:
                    frames = list(struct.iter_unpack("<QQQ", f.read()))
                starts = [a for _, a, _ in frames]
                area = {i for i in (bisect.bisect(starts, t) for t in area) if i}
                start, sync, lost = latencies(frames, blocks)
                out.update(latency_ms=percentiles(start), latency_from_sync_ms=percentiles(sync), never_shown=lost,
                           app_blocked_ms=percentiles([(b - a) / 1e6 for _, a, b in frames]))
                if viewer[0] == "rfb":
                    out["latency_update_end_ms"] = percentiles(latencies(frames, [(t, i) for t, i, k in events if k == 3])[0])
            else:
                sent, seen = [t for t, _, k in events if k == 4], [(t, -1) for t, _, k in events if k == 5]
                start, _, lost = latencies([(n, t, t) for n, t in enumerate(sent)], seen)
                pace = Q_SCENES[scene][1] * 20e6
                area = {int((t - t0) / pace) for t in area}
                out.update(latency_ms=percentiles(start), never_shown=lost)
            out["area_fps"] = round(len(area) / span, 2)
    except (Trouble, OSError, ValueError) as e:
        out["error"] = f"{type(e).__name__}: {e}"
        keep = f"{o.work}/failed-{number}"
        shutil.rmtree(keep, ignore_errors=True)
        shutil.copytree(dir, keep, ignore=lambda d, names: [n for n in names if n in ("qmp", "boot.img")])
    finally:
        for c in children:
            c.close()
        if server:
            server.close()
    return out


def median(values):
    v = [x for x in values if x is not None]
    return statistics.median(v) if v else None


def table(o, results):
    lines = []
    good = [r for r in results if "error" not in r]

    def show(v, digits=0):
        return "-" if v is None else f"{v:.{digits}f}"

    def jpeg(runs):
        r = [r for r in runs if r.get("jpegs")]
        return f"{r[-1]['jpeg_quality']}, {100 * r[-1]['jpegs_420'] // r[-1]['jpegs']}%, {r[-1]['jpeg_bytes'] / r[-1]['bytes']:.0%} of bytes" if r else "-"

    def ratio(a, b, floor):
        return "-" if a is None or b is None or max(a, b) < floor else f"{max(a, floor) / max(b, floor):.2f}"
    for part, what, ours in (("x", "X servers", "xspice-ours"), ("qemu", "QEMU", "qemu-ours")):
        mine = [r for r in good if r["part"] == part]
        if not mine:
            continue
        rows = {}
        for scene in dict.fromkeys(r["scene"] for r in mine):
            for server in dict.fromkeys(r["server"] for r in mine):
                runs = [r for r in mine if r["scene"] == scene and r["server"] == server]
                if not runs or server.endswith(":none"):
                    continue
                kind = o.all[server][0]
                idle = median(r["cpu_s"] for r in mine if r["scene"] == scene and r["server"] == kind + ":none")
                cpu = median(r["cpu_s"] for r in runs)
                rows[scene, server] = {
                    "n": len(runs), "cpu": cpu, "net": None if idle is None else cpu - idle, "kib": median(r["bytes"] for r in runs) / 1024,
                    "rss": median(r["rss_mib"] for r in runs), "fps": median(r["fps"] for r in runs), "area": median(r["area_fps"] for r in runs),
                    "lat": median(r["latency_ms"]["median"] for r in runs), "p95": median(r["latency_ms"]["p95"] for r in runs),
                    "drawn": median(r["frames"] / r["took_s"] for r in runs), "lost": median(r["never_shown"] for r in runs),
                    "blocked": median(r["app_blocked_ms"]["median"] for r in runs) if part == "x" else None, "jpeg": jpeg(runs)}
        lines += ["", f"## {what}: medians of the rounds", "",
                  "| scene | server | runs | cpu s | net s | KiB | RSS MiB | drawn/s | fps | area fps | latency ms median / p95 | never shown | "
                  "app blocked ms | JPEG q |", "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
        for (scene, server), r in rows.items():
            lines.append(f"| {scene} | {server} | {r['n']} | {show(r['cpu'], 3)} | {show(r['net'], 3)} | {show(r['kib'])} | {show(r['rss'])} | {show(r['drawn'], 1)} | "
                         f"{show(r['fps'], 1)} | {show(r['area'], 1)} | {show(r['lat'], 1)} / {show(r['p95'], 1)} | {show(r['lost'])} | "
                         f"{show(r['blocked'], 1)} | {r['jpeg']} |")
        lines += ["", f"## {what}: ours / peer (below 1: ours is better; fps above 1: ours is better)", "",
                  "| scene | peer | cpu | net cpu | bytes | RSS | fps | latency median | latency p95 |", "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
        for (scene, server), r in rows.items():
            a = rows.get((scene, ours + "-video" if server.endswith("-ref-video") else ours))
            if server.startswith(ours) or not a:
                continue
            both = "vnc" in server and part == "qemu" and not o.qemu_alone  # that process also pays for an unwatched -spice
            lines.append(f"| {scene} | {server} | {'-' if both else ratio(a['cpu'], r['cpu'], 0.005)} | {ratio(a['net'], r['net'], 0.005)} | {ratio(a['kib'], r['kib'], 0.1)} | "
                         f"{'-' if both else ratio(a['rss'], r['rss'], 1)} | {ratio(a['fps'], r['fps'], 0.01)} | {ratio(a['lat'], r['lat'], 0.1)} | {ratio(a['p95'], r['p95'], 0.1)} |")
    failed = [r for r in results if "error" in r]
    if failed:
        lines += ["", f"{len(failed)} runs failed:"] + [f"- {r['part']} {r['scene']} {r['server']} round {r['round']}: {r['error']}" for r in failed]
    return "\n".join(lines).strip() + "\n"


def build(o):
    flags = ["-O2", "-Wall"]
    if "x" in o.parts or "qemu" in o.parts:
        subprocess.run(["gcc", *flags, "-o", f"{o.work}/workload", f"{HERE}/workload.c", "-lX11", "-lm"], check=True, timeout=120)
        subprocess.run(["gcc", *flags, "-I/usr/include/spice-1", "-o", f"{o.work}/peerclient", f"{HERE}/peerclient.c", "-lcrypto"], check=True, timeout=120)
    if "qemu" in o.parts:
        subprocess.run(["as", "--32", "-o", f"{o.work}/frames.o", f"{HERE}/frames.S"], check=True, timeout=60)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", f"{o.work}/frames.img", f"{o.work}/frames.o"], check=True, timeout=60)
        for pixels in {Q_SCENES[s][2] for s in o.scenes if s in Q_SCENES}:
            subprocess.run([f"{o.work}/workload", "--dump", pixels, "--seed", str(o.seed), "--log", f"{o.work}/{pixels}.bin"], check=True, timeout=60)


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=__doc__.split("\n", 2)[2], formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--lib", help="directory of the libspice-server.so.1 to measure")
    a.add_argument("--ref", help="directory of the original; default: the system's own")
    a.add_argument("--part", choices=["x", "qemu", "all"], default="all")
    a.add_argument("--scenes", help="comma separated; default all")
    a.add_argument("--servers", help="comma separated; default all")
    a.add_argument("--rounds", type=int, help="default 4, with --quick 1")
    a.add_argument("--seconds", type=float, help="of a scene; default 8, with --quick 3")
    a.add_argument("--seed", type=int, default=7)
    a.add_argument("--quick", action="store_true")
    a.add_argument("--accel", default="tcg")
    a.add_argument("--qemu-alone", action="store_true", help="QEMU with only the display that is measured, not with -spice and -vnc both")
    a.add_argument("--streaming", choices=["filter", "all"], default="filter", help="streaming-video of the QEMU servers named -video; the others have QEMU's default, off")
    a.add_argument("--xspice-option", default="", metavar="LINE", help="one more line for Xspice's Device section")
    a.add_argument("--work", default=os.path.join(os.environ.get("TMPDIR", "/var/tmp"), "peersbench"))
    a.add_argument("--list", action="store_true")
    o = a.parse_args()
    if o.list:
        print("part x:   ", *X_SCENES, "on", *X_SERVERS, "\npart qemu:", *Q_SCENES, "on", *Q_SERVERS)
        return 0
    if not o.lib or not os.path.exists(f"{o.lib}/libspice-server.so.1"):
        a.error("--lib must name a directory with libspice-server.so.1")
    o.lib, o.ref_given = os.path.abspath(o.lib), bool(o.ref)
    o.ref = os.path.abspath(o.ref or "/usr/lib/x86_64-linux-gnu")
    o.parts = ["x", "qemu"] if o.part == "all" else [o.part]
    o.rounds = o.rounds or (1 if o.quick else 4)
    o.seconds = o.seconds or (3 if o.quick else 8)
    o.all = {**X_SERVERS, **Q_SERVERS}
    every = list(dict.fromkeys([*X_SCENES, *Q_SCENES]))
    o.scenes = o.scenes.split(",") if o.scenes else every
    names = o.servers.split(",") if o.servers else list(o.all)
    if set(o.scenes) - set(every) or set(names) - set(o.all):
        a.error("unknown scene or server, see --list")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    subprocess.run([f"{HERE}/../../scripts/packages", "bench"], check=True)
    os.makedirs(o.work, exist_ok=True)
    build(o)
    results, n = [], 0
    with open(f"{o.work}/results.jsonl", "w") as log:
        for part in o.parts:
            servers, scenes = (X_SERVERS, X_SCENES) if part == "x" else (Q_SERVERS, Q_SCENES)
            chosen = [s for s in names if s in servers]
            order = list(dict.fromkeys(servers[s][0] + ":none" for s in chosen)) + chosen
            for r in range(o.rounds):
                for scene in [s for s in o.scenes if s in scenes]:
                    for name in order if r % 2 == 0 else order[::-1]:
                        if part == "qemu" and "-video" in name and scene not in ("video", "web"):
                            continue
                        n += 1
                        out = one_run(o, part, scene, name, r, n)
                        results.append(out)
                        line = json.dumps(out)
                        print(line, flush=True)
                        log.write(line + "\n")
                        log.flush()
    text = table(o, results)
    with open(f"{o.work}/table.md", "w") as f:
        f.write(text)
    print("\n" + text)
    return 1 if any("error" in r for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
