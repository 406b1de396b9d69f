"""Guests whose commands are legal one by one and cost as much as they can: none of them hangs or fills the host."""
import contextlib, re, subprocess, sys, threading, time

import pytest
import spiceraw
from harness import HERE, LIB_DIR, TOOLS, Process, free_port, lib_env, raw_session, wait_for

sys.path.insert(0, str(HERE.parent / "soak"))
from attackers import display_of, first_picture  # noqa: E402

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original does not survive this")

# Many times what it takes here: without a bound, each takes minutes or gigabytes.
LONGEST_REQUEST_MS, MOST_MIB, MOST_LINES, LONGEST_WAIT = 5000, 700, 200, 10


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile") / "hostile_guest"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    source = TOOLS / "hostile_guest.c"
    subprocess.run(["cc", "-O2", "-w", "-o", out, source, *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


@contextlib.contextmanager
def attacked(program, directory, port, seconds, *attacks):
    """A host that attacks the library as soon as the block begins. The environment asks for small stacks."""
    env = lib_env(SPICE_DEBUG_ALLOW_MC="1", RUST_MIN_STACK="262144")
    with Process([program, port, seconds, *attacks], directory, "host", stdin=subprocess.PIPE, env=env) as host:
        wait_for(lambda: "serving" in host.output(), "serving")
        yield host


def begin(host):
    host.proc.stdin.write(b"\n")
    host.proc.stdin.flush()


def survived(host):
    """The lines of the attacks: longest request, most memory."""
    wait_for(lambda: "\ndone\n" in host.output() or not host.alive(), "the end of the attack", 180)
    output = host.output()
    assert host.alive() and "panic" not in output and "internal fault" not in output, output[-2000:]
    assert output.count("\n") < MOST_LINES, output[:2000]
    for worst, rss, back, given in re.findall(r" worst=(\d+) rss=(\d+) released=(\d+)/(\d+)$", output, re.M):
        assert back == given
        assert int(worst) < LONGEST_REQUEST_MS and int(rss) < MOST_MIB, output


class Viewers:
    """One that reads everything, and one that stops reading when it has its picture."""

    def __init__(self, port):
        self.sessions, self.over = [], threading.Event()
        for _ in range(2):
            session = raw_session(port)
            self.sessions.append((session, display_of(session), session.open("cursor")))
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        session, display, cursor = self.sessions[0]
        while not self.over.is_set():
            for channel, wait in ((display, 0.05), (cursor, 0), (session.main, 0)):
                with contextlib.suppress(OSError, spiceraw.SpiceError):
                    channel.recv(wait)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.reader.join()
        for session, *channels in self.sessions:
            for channel in [*channels, session.main]:
                channel.close()


@pytest.mark.parametrize("attack", ["grid:2", "snapshots:60:2500", "chain", "combs:20", "composites:3", "lines", "chequers:20000", "image", "holes:4",
                                    "tiny:2000", "shapes", "requests:20000", "refusals:500", "refill"])
@pytest.mark.parametrize("viewers", [False, True], ids=["alone", "watched"])
def test_costly_commands_neither_hang_nor_fill_the_host(tmp_path, program, attack, viewers):
    port = free_port()
    with attacked(program, tmp_path, port, 0, attack) as host, Viewers(port) if viewers else contextlib.nullcontext():
        begin(host)
        survived(host)


def test_a_viewer_comes_while_the_guest_does_its_worst(tmp_path, program):
    port = free_port()
    with attacked(program, tmp_path, port, 8, "composites:3", "lines:4", "combs:20", "image", "grid:2", "refill") as host:
        begin(host)
        times, end = [], time.monotonic() + 8
        while time.monotonic() < end:
            times.append(first_picture(port))
        survived(host)
    print("first pictures after", sorted(times))
    assert times and max(times) < LONGEST_WAIT, times
