"""Floods of connections: they take neither the host's descriptors nor the way of those who log in."""
import contextlib, multiprocessing, resource, socket, ssl, time

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, Qemu, free_port, raw_session, wait_for
from test_access import Pki

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original does not survive all of this")

SECONDS = 4
DESCRIPTORS = 1024


class FewDescriptors(Qemu):
    """A QEMU that may have as many descriptors as most have."""
    program = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *Qemu.program]


@contextlib.contextmanager
def guarded(kind, tmp_path, echo_image):
    """A QEMU with a plain port, a port of TLS, and a password."""
    directory = tmp_path / "x509"
    directory.mkdir()
    tls = free_port()
    with kind(tmp_path, "-device", "qxl-vga", "-object", "secret,id=pw,data=secret", image=echo_image,
                        spice=f"password-secret=pw,tls-port={tls},x509-dir={Pki(directory).dir}") as qemu:
        qemu.tls = tls
        qemu.shows_text("READY>", why="guest started")
        yield qemu


@pytest.fixture
def qemu(tmp_path, echo_image):
    with guarded(Qemu, tmp_path, echo_image) as qemu:
        yield qemu


@pytest.fixture
def qemu_of_few(tmp_path, echo_image):
    with guarded(FewDescriptors, tmp_path, echo_image) as qemu:
        yield qemu


def hello():
    """What a TLS client sends first."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def flood(port, first, keep, rate):
    """Makes so many connections a second, sends the first bytes of each and keeps the newest ones."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    kept, due = [], time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            kept.append(socket.create_connection(("127.0.0.1", port), 1))
            kept[-1].sendall(first)
        if len(kept) > keep:
            kept.pop(0).close()
        due = max(due + 1 / rate, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))


@contextlib.contextmanager
def flooded(*args):
    attacker = multiprocessing.Process(target=flood, args=args, daemon=True)
    attacker.start()
    try:
        yield
    finally:
        attacker.kill()
        attacker.join()


def log_in(port, tls, delay):
    """Whether a client gets in that takes so long (seconds) until it sends its first message."""
    with contextlib.closing(spiceraw.dial(port=port, tls=tls, timeout=PATIENCE)) as sock:
        time.sleep(delay)
        spiceraw.link(sock, "main", password="secret")


@pytest.mark.parametrize("first", ["hello", "nothing"])
def test_strangers_do_not_use_up_the_descriptors(qemu_of_few, first):
    qemu = qemu_of_few
    before, most = qemu.fds(), 0
    with flooded(qemu.tls, hello() if first == "hello" else b"", 6000, 2000):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            most = max(most, qemu.fds())
            time.sleep(0.02)
    # A quarter for strangers, and some that are just being closed.
    assert most < before + DESCRIPTORS // 4 + 64, (before, most)
    wait_for(lambda: qemu.fds() <= before + 2, "descriptors closed")
    raw_session(qemu.tls, tls=True, password="secret").main.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_clients_log_in_while_strangers_connect(qemu, tls):
    with flooded(qemu.tls if tls else qemu.port, hello() if tls else b"", 300, 900):
        time.sleep(1)  # the flood has filled all places
        for _ in range(4):
            log_in(qemu.tls if tls else qemu.port, tls, 0.15)


def test_further_channels_come_in_while_strangers_connect(qemu):
    """A client that has a session takes precedence."""
    session = raw_session(qemu.port, password="secret")
    with flooded(qemu.port, b"", 300, 900):
        time.sleep(1)
        for _ in range(4):
            with contextlib.closing(spiceraw.dial(port=qemu.port, timeout=PATIENCE)) as sock:
                sock.sendall(spiceraw.link_message(spiceraw.CHANNELS["inputs"], 0, session.conn_id, [0, 1, 3], []))
                time.sleep(1)  # its ticket takes its time
                reply = spiceraw.LinkReply(sock)
                sock.sendall(b"\1\0\0\0" + spiceraw.rsa_oaep_encrypt(reply.pub_key, b"secret\0"))
                assert spiceraw.recv_exact(sock, 4) == b"\0\0\0\0"
    session.main.close()
