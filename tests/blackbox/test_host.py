"""A test host with two devices, for what QEMU and Xspice never do."""
import contextlib, os, re, struct, subprocess, time

import pytest
import spiceraw
from harness import HERE, PATIENCE, Client, Process, free_port, lib_env, raw_client, wait_for

GL_SCANOUT_UNIX, GL_DRAW, GL_SCANOUT2_UNIX, MSGC_GL_DRAW_DONE = 320, 321, 323, 104
GL_CAPS = {"display": [*spiceraw.DEFAULT_CAPS["display"], 7]}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    out = tmp_path_factory.mktemp("host") / "host"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    subprocess.run(["cc", "-O2", "-w", "-o", out, HERE / "host.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


class Host(Process):
    def __init__(self, program, directory, *args):
        super().__init__([program, *args], directory, "host", stdin=subprocess.PIPE, env=lib_env())
        wait_for(lambda: "serving" in self.output() or not self.alive(), "serving")
        assert self.alive(), self.output()

    def __call__(self, line):
        count = self.output().count(f"ok {line}\n")
        self.proc.stdin.write((line + "\n").encode())
        self.proc.stdin.flush()
        wait_for(lambda: self.output().count(f"ok {line}\n") > count, line)

    def planes(self):
        """Number of scanout planes that are open in the host."""
        links = [os.path.join(f"/proc/{self.pid}/fd", fd) for fd in os.listdir(f"/proc/{self.pid}/fd")]
        return sum("memfd:plane" in os.readlink(link) for link in links if os.path.lexists(link))

    def has_done(self, cookie):
        return re.search(rf"^done {cookie}$", self.output(), re.M)


@pytest.mark.parametrize("compression", [2, 5, 4])  # auto_glz, glz, quic
def test_two_displays_share_a_tiny_cache_and_a_dictionary(tmp_path, program, compression):
    port = free_port()
    with Host(program, tmp_path, "--port", port, "--compression", compression) as host, \
            Client(tmp_path, port, "--cache-size", 400_000, "--glz-window-size", 1_000_000) as client:
        client("channels:6")
        client("display")
        client("display:1")

        def agree(display):
            dump = tmp_path / f"{display}.ppm"
            host(f"dump {display} {dump}")
            client(f"until:{dump}:{PATIENCE}:{display}")

        # spice-gtk expects the first image of a dictionary first, but nothing orders the messages of two channels.
        host("paint 0 150 1000")
        agree(0)
        for seed in range(8):
            host(f"paint {seed % 2} 150 {seed}")
            host(f"paint {1 - seed % 2} 150 {seed + 100}")
        agree(0)
        agree(1)


def gl_client(path):
    session = spiceraw.Session(unix=str(path), caps=GL_CAPS)
    session.open_main()
    display = session.open("display")
    display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
    return session, display


def scanout(display):
    message = display.expect(GL_SCANOUT_UNIX, PATIENCE)
    [fd] = message.fds
    with os.fdopen(fd, "rb") as f:
        return struct.unpack("<5I", message.payload), os.pread(f.fileno(), 100, 0)


def test_gl_scanout_goes_to_local_clients(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path) as host:
        fds = host.fds()
        host("draw 0 0 0 8 8 1")  # without a scanout: at once
        wait_for(lambda: host.has_done(1), "draw without a scanout")
        host("scanout 0 800 600")
        host("draw 0 0 0 8 8 2")  # without a client: at once
        wait_for(lambda: host.has_done(2), "draw without a client")
        session, a = gl_client(path)  # gets the scanout before anything else
        assert scanout(a) == ((800, 600, 3200, 0x34325258, 1), b"800x600")
        host("draw 0 1 2 30 40 3")
        assert struct.unpack("<4I", a.expect(GL_DRAW, PATIENCE).payload) == (1, 2, 30, 40)
        a.send(MSGC_GL_DRAW_DONE)
        wait_for(lambda: host.has_done(3), "the client's answer")
        # a new scanout replaces the old one; the worker no longer waits for the client that left
        host("scanout 0 1024 768")
        assert scanout(a)[1] == b"1024x768"
        host("draw 0 0 0 1 1 4")
        a.expect(GL_DRAW, PATIENCE)
        a.close()
        wait_for(lambda: host.has_done(4), "the client is gone")
        session.main.close()
        host("scanout 0 0 0")
        wait_for(lambda: host.fds() <= fds, "all descriptors are closed")


def test_gl_scanout_of_planes(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path, "--devices", "1") as host:
        wait_for(lambda: "tablet 640 480" in host.output(), "the tablet knows the primary surface's size")
        session, display = gl_client(path)
        display.expect(102, PATIENCE)  # MARK
        for planes in range(1, 5):
            host(f"scanout2 0 800 {600 + planes} {planes}")
            assert scanout(display) == ((800, 600 + planes, 3200, 0x34325258, 1), b"plane 0")
            # each plane has a descriptor; the library closes those of the previous scanout
            wait_for(lambda: host.planes() == planes, "descriptors of this scanout's planes alone")
        wait_for(lambda: "tablet 800 604" in host.output(), "the tablet follows the scanout's size")
        host("scanout2 0 800 600 5")
        assert "taken" not in host.output()
        host("draw 0 1 2 30 40 5")  # the scanout of four planes is still there
        assert struct.unpack("<4I", display.expect(GL_DRAW, PATIENCE).payload) == (1, 2, 30, 40)
        display.send(MSGC_GL_DRAW_DONE)
        wait_for(lambda: host.has_done(5), "the client's answer")
        host("scanout2 0 0 0 0")
        wait_for(lambda: re.search(r"tablet 800 604\s.*tablet 640 480", host.output(), re.S), "the tablet is back at the primary surface")
        wait_for(lambda: host.planes() == 0, "all descriptors are closed")
        display.close()
        session.main.close()


def test_gl_scanout_of_planes_goes_whole_to_clients_that_know_it(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path, "--devices", "1") as host:
        session = spiceraw.Session(unix=str(path), caps={"display": [*GL_CAPS["display"], 15]})
        session.open_main()
        display = session.open("display")
        display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        for planes in range(1, 5):
            host(f"scanout2 0 800 600 {planes}")
            message = display.expect(GL_SCANOUT2_UNIX, PATIENCE)
            assert message.payload == struct.pack("<4IBQ", 800, 600, 0x34325258, 1, planes, 0) + struct.pack("<2I", 0, 3200) * planes
            found = []
            for fd in message.fds:
                with os.fdopen(fd, "rb") as f:
                    found.append(os.pread(f.fileno(), 100, 0))
            assert found == [b"plane %d" % n for n in range(planes)]
        display.close()
        session.main.close()


def test_multimedia_time_is_real_time(tmp_path, program):
    port = free_port()
    with Host(program, tmp_path, "--port", port):
        before = time.monotonic_ns() // 1_000_000
        with raw_client(port, ()) as (session, _):
            after = time.monotonic_ns() // 1_000_000
            # one millisecond of rounding
            assert (session.init["multi_media_time"] - before + 1) % (1 << 32) <= after - before + 2


def test_gl_client_that_never_draws_does_not_hold_the_guest(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path) as host:
        session, display = gl_client(path)
        display.expect(102, PATIENCE)  # MARK
        host("scanout 0 800 600")
        scanout(display)
        for cookie in range(1, 6):
            host(f"draw 0 0 0 8 8 {cookie}")
            wait_for(lambda: host.has_done(cookie), "the guest goes on")
        # late answers are accepted, more answers than questions are not
        for _ in range(2):
            display.expect(GL_DRAW, PATIENCE)
            display.send(MSGC_GL_DRAW_DONE)
        display.expect(GL_DRAW, PATIENCE)
        with contextlib.suppress(ConnectionError):
            for _ in range(3):
                display.send(MSGC_GL_DRAW_DONE)
        with pytest.raises(spiceraw.SpiceError):
            display.expect(9999, PATIENCE)
        wait_for(lambda: "GL_DRAW_DONE without GL_DRAW" in host.output(), "the reason in the log")
        session.main.close()


def test_clients_that_cannot_show_a_scanout_are_told_to_go(tmp_path, program):
    path = tmp_path / "sock"
    with Host(program, tmp_path, "--unix", path) as host:
        with raw_client(None, ("display",), unix=str(path)) as (_, channels):
            channels["display"].expect(102, PATIENCE)
            host("scanout 0 800 600")
            with pytest.raises(spiceraw.SpiceError):
                channels["display"].expect(9999, PATIENCE)
        wait_for(lambda: host.output().count("GL scanout, for clients that know it") == 1, "one line in the log")
