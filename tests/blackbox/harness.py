"""What the black-box tests share: QEMU, Xspice and real clients on the library under test.

SPICE_LIB_DIR names the directory that holds libspice-server.so.1; empty means the system's own library, so that every
test can also be run against the original. NEWEST_ROOT names a tree of tests/tools/newest_root.sh, whose QEMU test_newest.py runs.
"""
import contextlib, json, os, random, re, signal, socket, struct, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent / "tools"
sys.path.insert(0, str(TOOLS))
import spiceraw  # noqa: E402

LIB_DIR = os.environ.get("SPICE_LIB_DIR", "")
NEWEST_ROOT = os.environ.get("NEWEST_ROOT", "")
PATIENCE = 60  # seconds until a condition that must come true is given up: a loaded machine is slow, not wrong


def lib_env(**extra):
    env = dict(os.environ, **extra)
    if LIB_DIR:
        env["LD_LIBRARY_PATH"] = LIB_DIR
    return env


def free_port():
    """A free TCP port outside the range from which the kernel assigns ports, so that no other connection gets it by chance."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first, last = map(int, f.read().split())
    while True:
        port = random.randrange(5000, 65000)
        with socket.socket() as s, contextlib.suppress(OSError):
            if not first <= port <= last:
                s.bind(("127.0.0.1", port))
                return port


def has_ipv6():
    """Whether the loopback of this machine knows IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
        return True
    return False


def wait_for(condition, what, seconds=PATIENCE):
    """Polls until the condition holds and returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.05)


def boot_image(source, directory):
    """Assembles a boot sector of this directory into a disk image."""
    obj, out = Path(directory) / (source + ".o"), Path(directory) / (source + ".img")
    subprocess.run(["as", "--32", "-o", obj, HERE / source], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", out, obj], check=True)
    out.write_bytes(out.read_bytes().ljust(1 << 20, b"\0"))
    return out


def read_ppm(path):
    """(width, height, pixels) of a binary PPM."""
    data = Path(path).read_bytes()
    m = re.match(rb"P6\s+(?:#.*\n)?(\d+)\s+(\d+)\s+255\s", data)
    return int(m[1]), int(m[2]), data[m.end():]


def close_enough(pixels, want, mean=4):
    """Whether two pictures differ by no more than a lossy codec explains: `mean` steps (of 255) per channel on average."""
    return len(pixels) == len(want) and sum(map(abs, map(int.__sub__, pixels, want))) <= mean * len(want)


def x_picture(display, path):
    """Writes an X server's root window as a PPM. Returns None while it cannot be read."""
    out = subprocess.run(["xwd", "-root", "-silent", "-display", display], capture_output=True)
    if out.returncode:
        return None
    head = struct.unpack(">25I", out.stdout[:100])  # XWDFileHeader
    size, width, height, stride, colors = head[0], head[4], head[5], head[12], head[19]
    step = head[11] // 8  # xwd packs pixels to 3 bytes where windows differ in visual
    assert step in (3, 4), head
    raw = out.stdout[size + 12 * colors:]
    rows = b"".join(raw[y * stride:y * stride + width * step] for y in range(height))
    rgb = bytearray(width * height * 3)
    rgb[0::3], rgb[1::3], rgb[2::3] = rows[2::step], rows[1::step], rows[0::step]
    Path(path).write_bytes(b"P6\n%d %d\n255\n" % (width, height) + rgb)
    return path


class Process:
    """A child process whose output goes to a file. The test kills it at its end."""

    def __init__(self, args, directory, name, **popen):
        self.log_path = Path(directory) / (name + ".log")
        self.log = open(self.log_path, "wb")
        self.proc = subprocess.Popen([str(a) for a in args], stdout=popen.pop("stdout", self.log), stderr=self.log, **popen)
        self.pid = self.proc.pid

    def output(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.proc.poll() is None

    def close(self):
        if self.alive():
            self.proc.send_signal(signal.SIGCONT)
            self.proc.kill()
        self.proc.wait()
        for stream in (self.proc.stdin, self.proc.stdout):
            if stream:
                # Data that a dead process did not take does not matter.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def status(self, field):
        """A number of /proc/PID/status."""
        return int(re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.M)[1])

    def rss_kib(self):
        return self.status("VmRSS")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def tasks(self):
        """The folders of all threads in /proc."""
        return list(Path(f"/proc/{self.pid}/task").iterdir())

    def threads(self, name):
        return [t for t in self.tasks() if (t / "comm").read_text().strip() == name]


class Qemu(Process):
    """QEMU with -spice on the library under test and a monitor (QMP)."""
    program = os.environ.get("SPICE_TEST_QEMU", "qemu-system-x86_64").split()

    def __init__(self, directory, *args, spice="disable-ticketing=on", name="qemu", image=None, env=None, memory="64",
                 listen="port={port},addr=127.0.0.1", accel="tcg"):
        self.directory, self.port = Path(directory), free_port()
        monitor = self.directory / (name + ".qmp")
        cmd = [*self.program, "-nodefaults", "-accel", accel, "-m", memory, "-display", "none",
               "-spice", f"{listen.format(port=self.port)},{spice}",
               "-qmp", f"unix:{monitor},server=on,wait=off"]
        if image:
            cmd += ["-drive", f"file={image},format={'qcow2' if str(image).endswith('.qcow2') else 'raw'},if=ide"]
        super().__init__(cmd + list(args), directory, name, env=env or lib_env())
        try:
            self._open_monitor(monitor)
        except BaseException:
            # Nobody else would end it, and it would keep the disk's lock from all tests that follow.
            self.close()
            raise

    def _open_monitor(self, path):
        self.qmp = None
        wait_for(lambda: path.exists() or not self.alive(), "QMP socket")
        assert self.alive(), self.output()
        self.qmp = socket.socket(socket.AF_UNIX)
        self.qmp.settimeout(PATIENCE)
        wait_for(lambda: self._connected(path), "QMP connection")
        self.lines = self.qmp.makefile("rb")
        # Whatever QEMU has to say before, its greeting comes before the first command.
        while "QMP" not in json.loads(self.lines.readline()):
            pass
        self("qmp_capabilities")

    def _connected(self, path):
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            self.qmp.connect(str(path))
            return True

    def __call__(self, command, **arguments):
        """Runs one QMP command. Events that arrive meanwhile are dropped."""
        self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        answer = self.answer()
        assert "error" not in answer, answer
        return answer["return"]

    def answer(self):
        while True:
            line = self.lines.readline()
            assert line, "QEMU is gone: " + self.output()
            answer = json.loads(line)
            if "event" not in answer:
                return answer

    def give_fd(self, sock, name):
        """Sends a descriptor to QEMU, for a later command to name."""
        self.qmp.sendmsg([json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode()],
                         [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", sock.fileno()))])
        assert "return" in self.answer()

    def hmp(self, line):
        return self("human-monitor-command", **{"command-line": line})

    def screendump(self, name="dump", **where):
        path = self.directory / (name + ".ppm")
        path.unlink(missing_ok=True)
        self("screendump", filename=str(path), **where)
        return path

    def memory_word(self, address):
        """A 32-bit word of the guest's physical memory."""
        return int(self.hmp(f"xp /1xw {address}").split()[-1], 16)

    def text_screen(self):
        """The guest's 80x25 text screen."""
        words = []
        for line in self.hmp("xp /1000xw 0xb8000").splitlines():
            words += [int(w, 16) for w in line.split(":")[1].split()]
        return b"".join(struct.pack("<I", w) for w in words)[::2].decode("latin1")

    def shows_text(self, what, without="\0", why="text at the guest"):
        """Waits for a text screen that contains `what` and, at the same moment, not `without`."""
        def shown():
            text = self.text_screen()
            return what in text and without not in text
        wait_for(shown, f"{why}: {what}")

    def close(self):
        if self.qmp:
            self.qmp.close()
        super().close()


class Client(Process):
    """The scriptable spice-gtk client, which runs one action at a time."""

    def __init__(self, directory, port, *options, name="client", uri=None, ends_at_criticals=True, **env):
        super().__init__(["/usr/bin/python3", TOOLS / "gtkclient.py", "--uri", uri or f"spice://127.0.0.1:{port}",
                          "--timeout", PATIENCE, *options, "-"], directory, name,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env={**os.environ, "G_MESSAGES_DEBUG": "",
                              "G_DEBUG": "fatal-criticals" if ends_at_criticals else "", **env})
        self.events = []

    def __call__(self, action):
        """Runs one action to its end. If it fails, the test fails."""
        assert self.attempt(action), f"{action}: {self.events[-5:]} {self.output()[-2000:]}"

    def attempt(self, action):
        try:
            self.proc.stdin.write((action + "\n").encode())
            self.proc.stdin.flush()
        except BrokenPipeError:
            self.proc.wait()
            return False
        for line in self.proc.stdout:
            if not line.startswith(b"{"):  # GLib's debug messages, if they are wanted
                self.log.write(line)
                continue
            event = json.loads(line)
            self.events.append(event)
            if event["event"] == "action":
                return event["ok"]
        return False

    def shows(self, qemu, **where):
        """Waits until the client's picture equals QEMU's own, which may still be changing."""
        for _ in range(20):
            dump = qemu.screendump(**where)
            if self.attempt(f"until:{dump}:3"):
                return
            assert not self.events[-1]["failed"], self.events[-5:]
        raise AssertionError("the client's picture never equals QEMU's screendump")


def raw_session(port, **options):
    """A raw client with its main channel open."""
    session = spiceraw.Session(port=port, **options)
    session.open_main()
    return session


@contextlib.contextmanager
def raw_client(port, channels=("display", "cursor", "inputs"), **options):
    """A raw client with these channels linked; display is initialized."""
    session, opened = raw_session(port, **options), {}
    try:
        for name in channels:
            channel = opened[name] = session.open(name)
            if name == "display":
                channel.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        yield session, opened
    finally:
        for channel in [*opened.values(), session.main]:
            channel.close()
