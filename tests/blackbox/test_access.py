"""Who is let in: SASL, TLS as operators need it, and what peers without a login can do to the host."""
import contextlib, os, pty, re, select, socket, ssl, struct, subprocess, threading, time

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, TOOLS, Client, Qemu, free_port, lib_env, raw_client, raw_session, wait_for

MECHANISMS = ["SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"]
ours = pytest.mark.skipif(not LIB_DIR, reason="the original does not do this")


# ---------------------------------------------------------------- certificates
class Pki:
    """A throw-away CA and a server certificate, under the names that QEMU expects."""

    def __init__(self, directory):
        self.dir = directory
        self.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-days", "2", "-subj", "/CN=test CA")
        self.issue("server")

    def run(self, *args):
        subprocess.run(["openssl", *args], cwd=self.dir, check=True, capture_output=True)

    def issue(self, name, *options, directory=None):
        """A new certificate and key, renamed into place as renewal tools do."""
        self.run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "new-key.pem", "-out", "server.csr", "-subj", f"/O=Test/CN={name}")
        self.run("x509", "-req", "-in", "server.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", "new-cert.pem",
                 *(options or ("-days", "2")))
        for what in ("key", "cert"):
            (self.dir / f"new-{what}.pem").rename((directory or self.dir) / f"server-{what}.pem")

    def client(self, directory, port, name, *options):
        return Client(directory, 0, "--ca-file", self.dir / "ca-cert.pem", "--host-subject", f"O=Test,CN={name}", *options,
                      uri=f"spice://127.0.0.1?tls-port={port}")


@pytest.fixture
def pki(tmp_path):
    directory = tmp_path / "x509"
    directory.mkdir()
    return Pki(directory)


@pytest.fixture
def tls_qemu(tmp_path, echo_image, pki):
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image, spice=f"disable-ticketing=on,x509-dir={pki.dir}",
              listen="tls-port={port},addr=127.0.0.1") as qemu:
        qemu.shows_text("READY>", why="guest started")
        yield qemu


def shown_name(port):
    """The name in the certificate that the server shows."""
    der = ssl.get_server_certificate(("127.0.0.1", port))
    text = subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"], input=der, capture_output=True, text=True, check=True)
    return re.search(r"commonName\s+= (.*)", text.stdout)[1]


# ---------------------------------------------------------------- SASL
class Users:
    """A user database and the configuration that names it."""

    def __init__(self, directory):
        self.dir, self.database = directory, directory / "users"
        subprocess.run(["saslpasswd2", "-c", "-p", "-a", "qemu", "-f", self.database, "alice"], input="secret", text=True, check=True)

    def configure(self, mechanisms, more=""):
        check = more or f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {self.database}"
        (self.dir / "qemu.conf").write_text(f"{check}\nmech_list: {mechanisms}\n")

    def env(self):
        return lib_env(SASL_CONF_PATH=str(self.dir))


@pytest.fixture
def users(tmp_path):
    directory = tmp_path / "sasl"
    directory.mkdir()
    return Users(directory)


@contextlib.contextmanager
def sasl_qemu(tmp_path, echo_image, users, pki=None, **more):
    listen = "tls-port={port},addr=127.0.0.1" if pki else "port={port},addr=127.0.0.1"
    spice = f"sasl=on,x509-dir={pki.dir}" if pki else "sasl=on"
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image, spice=spice, listen=listen, env=users.env(), **more) as qemu:
        qemu.shows_text("READY>", why="guest started")
        yield qemu


def sasl_client(tmp_path, qemu, pki, user, password):
    options = ["--username", user, "--password", password]
    return pki.client(tmp_path, qemu.port, "server", *options) if pki else Client(tmp_path, qemu.port, *options)


@pytest.mark.parametrize("mechanism,secure", [*((m, True) for m in MECHANISMS), ("DIGEST-MD5", False)])
def test_spice_gtk_logs_in_by_sasl(tmp_path, echo_image, users, pki, mechanism, secure):
    users.configure(mechanism)
    pki = pki if secure else None
    with sasl_qemu(tmp_path, echo_image, users, pki) as qemu:
        with sasl_client(tmp_path, qemu, pki, "alice", "secret") as client:
            client("display")
            client("channels:4")
            client.shows(qemu)
            client("text:spice")
            qemu.shows_text("s1f p19 i17 c2e e12", why="typed keys at the guest")
            client.shows(qemu)
        for user, password in (("alice", "wrong"), ("bob", "secret")):
            with sasl_client(tmp_path, qemu, pki, user, password) as client:
                assert not client.attempt("display")
        with sasl_client(tmp_path, qemu, pki, "alice", "secret") as client:
            client("display")
        assert "secret" not in qemu.output() and "wrong" not in qemu.output()


def choose_sasl(qemu, tls=True):
    """A connection whose client is offered the mechanisms, which are returned."""
    sock = spiceraw.dial(port=qemu.port, tls=tls)
    sock.sendall(spiceraw.link_message(1, 0, 0, [0, 1, 2, 3], [0, 3]))
    assert spiceraw.LinkReply(sock).error == 0
    sock.sendall(struct.pack("<I", spiceraw.CAP_AUTH_SASL))
    return sock, spiceraw.recv_exact(sock, *struct.unpack("<I", spiceraw.recv_exact(sock, 4)))


def answer(sock):
    """Everything until the server closes."""
    sock.settimeout(PATIENCE)
    out = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(4096):
            out += data
    return out


PLAIN = struct.pack("<I", 5) + b"PLAIN" + struct.pack("<I", 14) + b"\0alice\0secret\0"


def test_mechanisms_that_are_not_offered_are_refused(tmp_path, echo_image, users, pki):
    users.configure("PLAIN DIGEST-MD5")
    with sasl_qemu(tmp_path, echo_image, users, pki) as qemu:
        for name in (b"SCRAM-SHA-256", b"PLAI", b"PLAIN,DIGEST-MD5", b"\xff"):
            sock, offer = choose_sasl(qemu)
            assert sorted(offer.strip(b",").split(b",")) == [b"DIGEST-MD5", b"PLAIN"]
            sock.sendall(struct.pack("<I", len(name)) + name)
            reply = answer(sock)
            assert len(reply) == 194 and struct.unpack_from("<I", reply, 16)[0] == 3, (name, reply)  # INVALID_DATA
        # a password is told nothing
        sock, _ = choose_sasl(qemu)
        sock.sendall(PLAIN.replace(b"secret", b"public"))
        assert answer(sock) == b""
        session = raw_session(qemu.port, tls=True, sasl=("PLAIN", "alice", "secret"))
        session.main.close()
    users.configure(" ".join(MECHANISMS))
    with sasl_qemu(tmp_path, echo_image, users) as qemu:
        assert choose_sasl(qemu, tls=False)[1] == b",DIGEST-MD5,"


@ours
def test_clients_that_stall_at_any_step_are_dropped(tmp_path, echo_image, users, pki):
    users.configure("PLAIN")
    with sasl_qemu(tmp_path, echo_image, users, pki) as qemu:
        stalled = []
        for end in range(len(PLAIN)):
            sock, _ = choose_sasl(qemu)
            sock.sendall(PLAIN[:end])
            stalled.append(sock)
        with raw_client(qemu.port, tls=True, sasl=("PLAIN", "alice", "secret")) as (_, channels):
            channels["display"].expect(102, PATIENCE)
            for sock in stalled:
                assert answer(sock) == b""
            assert qemu.alive()


# What a client says first, for mechanisms whose server then asks something.
BEGINNINGS = {"SCRAM-SHA-256": b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL\0", "DIGEST-MD5": b""}


@ours
@pytest.mark.parametrize("mechanism", BEGINNINGS)
def test_clients_that_stall_after_the_servers_question_are_dropped(tmp_path, echo_image, users, pki, mechanism):
    users.configure(f"{mechanism} PLAIN")
    begin = BEGINNINGS[mechanism]
    begin = struct.pack("<I", len(mechanism)) + mechanism.encode() + struct.pack("<I", len(begin)) + begin
    reply = struct.pack("<I", 12) + b"no answer..\0"
    with sasl_qemu(tmp_path, echo_image, users, pki) as qemu:
        stalled = []
        for end in range(len(reply)):
            sock, _ = choose_sasl(qemu)
            sock.sendall(begin)
            [size] = struct.unpack("<I", spiceraw.recv_exact(sock, 4))
            assert size and spiceraw.recv_exact(sock, size + 1)[-1] == 0, "the server asks, and is not done"
            sock.sendall(reply[:end])
            stalled.append(sock)
        with raw_client(qemu.port, tls=True, sasl=("PLAIN", "alice", "secret")) as (_, channels):
            channels["display"].expect(102, PATIENCE)
            for sock in stalled:
                assert answer(sock) == b""
        # Who answers wrongly hears no more than who answers nothing.
        sock, _ = choose_sasl(qemu)
        sock.sendall(begin)
        [size] = struct.unpack("<I", spiceraw.recv_exact(sock, 4))
        spiceraw.recv_exact(sock, size + 1)
        sock.sendall(reply)
        assert answer(sock) == b""
        assert qemu.alive()


class SlowAuthority(threading.Thread):
    """A saslauthd that takes as long as a directory server that does not answer, for one user."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def run(self):
        while True:
            threading.Thread(target=self.serve, args=[self.listener.accept()[0]], daemon=True).start()

    def serve(self, sock):
        words = [spiceraw.recv_exact(sock, *struct.unpack(">H", spiceraw.recv_exact(sock, 2))) for _ in range(4)]
        if words[0] == b"slow":
            self.asked.set()
            self.go_on.wait(PATIENCE)
        text = b"OK" if words[1] == b"secret" else b"NO"
        sock.sendall(struct.pack(">H", len(text)) + text)


@ours
def test_a_slow_user_database_holds_up_only_who_waits_for_it(tmp_path, echo_image, users, pki):
    path = tmp_path / "mux"
    users.configure("PLAIN", f"pwcheck_method: saslauthd\nsaslauthd_path: {path}")
    authority = SlowAuthority(path)
    authority.start()
    with sasl_qemu(tmp_path, echo_image, users, pki) as qemu:
        sock, _ = choose_sasl(qemu)
        sock.sendall(struct.pack("<I", 5) + b"PLAIN" + struct.pack("<I", 13) + b"\0slow\0secret\0")
        assert authority.asked.wait(PATIENCE)
        with Latency(qemu) as latency, raw_client(qemu.port, tls=True, sasl=("PLAIN", "alice", "secret")) as (_, channels):
            channels["display"].expect(102, PATIENCE)
        assert latency.worst < 1, latency.worst
        authority.go_on.set()
        assert spiceraw.recv_exact(sock, 13) == b"\0\0\0\0\x01" + bytes(8)


# ---------------------------------------------------------------- TLS
def test_eight_channels_check_the_certificate(tmp_path, echo_image, pki):
    ports = ["-device", "virtio-serial"]
    for i in (1, 2):
        ports += ["-chardev", f"spiceport,name=org.test.{i},id=p{i}", "-device", f"virtserialport,chardev=p{i},name=org.test.{i}"]
    with Qemu(tmp_path, "-device", "qxl-vga", "-device", "qxl,id=second", *ports, image=echo_image,
              spice=f"disable-ticketing=on,x509-dir={pki.dir}", listen="tls-port={port},addr=127.0.0.1") as qemu, \
            pki.client(tmp_path, qemu.port, "server") as client:
        client("display")
        client("channels:8")
        client.shows(qemu)
        channels = qemu("query-spice")["channels"]
        assert len(channels) == 8 and all(c["tls"] for c in channels), channels
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image, spice=f"disable-ticketing=on,x509-dir={pki.dir}",
              listen="tls-port={port},addr=127.0.0.1") as qemu, pki.client(tmp_path, qemu.port, "impostor") as client:
        assert not client.attempt("display")


@ours
def test_a_renewed_certificate_is_for_the_next_client(tmp_path, tls_qemu, pki):
    with pki.client(tmp_path, tls_qemu.port, "server") as connected:
        connected("display")
        pki.issue("renewed")
        assert shown_name(tls_qemu.port) == "renewed"
        with raw_client(tls_qemu.port, tls=True, ca=pki.dir / "ca-cert.pem"):
            pass
        # A bad file leaves what is in use, and is told once.
        (pki.dir / "server-cert.pem").write_text("half a certificate")
        for _ in range(3):
            assert shown_name(tls_qemu.port) == "renewed"
        assert tls_qemu.output().count("the files have changed but cannot be used") == 1
        assert "server-cert.pem: it holds none" in tls_qemu.output()
        pki.issue("again")
        assert shown_name(tls_qemu.port) == "again"
    # who was connected was replaced by the raw client; a new one finds the new name
    with pki.client(tmp_path, tls_qemu.port, "again") as client:
        client("display")
        client.shows(tls_qemu)
        pki.issue("later")
        client("text:x")
        tls_qemu.shows_text("x2d", why="typed key at the guest")
        client.shows(tls_qemu)


def refused(tmp_path, pki, *more, **popen):
    """What QEMU says when it does not start."""
    out = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-spice",
                          ",".join([f"tls-port={free_port()},addr=127.0.0.1,disable-ticketing=on,x509-dir={pki.dir}", *more])],
                         env=lib_env(), capture_output=True, text=True, timeout=PATIENCE, **popen)
    assert out.returncode != 0, out
    return out.stderr


@ours
def test_each_thing_that_is_wrong_has_a_line(tmp_path, pki):
    def lines(text):
        return [line for line in text.splitlines() if "TLS:" in line]
    whole = lines(refused(tmp_path, pki, "tls-ciphers=NONSENSE"))
    assert len(whole) == 1 and 'cipher list "NONSENSE": no cipher match' in whole[0], whole
    (pki.dir / "dh.pem").write_text("rubbish")
    (pki.dir / "ca-cert.pem").rename(pki.dir / "away.pem")
    several = lines(refused(tmp_path, pki, "tls-ciphers=NONSENSE", f"x509-dh-key-file={pki.dir / 'dh.pem'}"))
    assert len(several) == 3, several
    for part in ("CA certificate", "ca-cert.pem: No such file", "DH parameters", "dh.pem: not a PEM file", "cipher list"):
        assert any(part in line for line in several), (part, several)
    (pki.dir / "away.pem").rename(pki.dir / "ca-cert.pem")
    key = (pki.dir / "server-key.pem").read_bytes()
    pki.issue("other")
    (pki.dir / "server-key.pem").write_bytes(key)
    mismatch = lines(refused(tmp_path, pki))
    assert len(mismatch) == 1 and "does not belong to the certificate" in mismatch[0] and "O=Test,CN=other" in mismatch[0], mismatch


@ours
def test_an_expired_certificate_is_told_and_does_not_stop_the_vm(tmp_path, echo_image, pki):
    pki.issue("old", "-days", "-1")
    with Qemu(tmp_path, image=echo_image, spice=f"disable-ticketing=on,x509-dir={pki.dir}", listen="tls-port={port},addr=127.0.0.1") as qemu:
        assert re.search(r"TLS: certificate .*server-cert\.pem \(subject O=Test,CN=old\) expired on ", qemu.output()), qemu.output()
        raw_session(qemu.port, tls=True).main.close()


@ours
def test_an_encrypted_key_never_asks_the_terminal(tmp_path, pki):
    pki.run("pkcs8", "-topk8", "-in", "server-key.pem", "-out", "encrypted.pem", "-passout", "pass:secret")
    (pki.dir / "encrypted.pem").rename(pki.dir / "server-key.pem")
    args = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-spice",
            f"tls-port={free_port()},addr=127.0.0.1,disable-ticketing=on,x509-dir={pki.dir}"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(args[0], args, lib_env())
    said, end = b"", time.monotonic() + PATIENCE
    with contextlib.suppress(OSError):  # EIO: QEMU has ended
        while time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                said += os.read(terminal, 4096)
    os.close(terminal)
    assert time.monotonic() < end, said
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    assert b"it is encrypted, and no key password is configured" in said and b"pass phrase" not in said, said


# ---------------------------------------------------------------- peers without a login
class Latency(threading.Thread):
    """How long QEMU's main loop lets the monitor wait, at worst (seconds)."""

    def __init__(self, qemu):
        super().__init__()
        self.qemu, self.worst, self.over = qemu, 0.0, threading.Event()

    def run(self):
        while not self.over.is_set():
            start = time.monotonic()
            self.qemu("query-status")
            self.worst = max(self.worst, time.monotonic() - start)
            time.sleep(0.01)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


UPGRADE = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: base64, binary\r\n"


def upgraded(sock, headers=b""):
    """The status of the answer to an upgrade request, after which frames may be sent."""
    sock.sendall(UPGRADE + headers + b"\r\n")
    reply = b""
    while b"\r\n\r\n" not in reply:
        data = sock.recv(1000)
        if not data:
            break
        reply += data
    return int(reply.split()[1])


def send_without_end(sock, frame, seconds):
    """Whether the server ended the connection."""
    block = frame * (65536 // len(frame))
    sock.settimeout(5)
    end = time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        try:
            while time.monotonic() < end:
                sock.sendall(block)
        except OSError as error:
            return not isinstance(error, TimeoutError)
    return False


@ours
@pytest.mark.parametrize("frame", [b"\x82\0", b"\x89\x7d" + b"x" * 125, b"\x8a\0"], ids=["empty", "ping", "pong"])
def test_frames_without_data_neither_hang_nor_fill_the_host(tmp_path, echo_image, frame):
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image) as qemu:
        qemu.shows_text("READY>", why="guest started")
        rss = qemu.rss_kib()
        with Latency(qemu) as latency, socket.create_connection(("127.0.0.1", qemu.port)) as sock:
            assert upgraded(sock) == 101
            assert send_without_end(sock, frame, 10)
        assert latency.worst < 1, latency.worst
        assert qemu.rss_kib() - rss < 16 * 1024
        # On a channel of the worker after a login likewise.
        session = raw_session(qemu.port)
        display = spiceraw.link(spiceraw.dial(port=qemu.port, websocket=True), "display", conn_id=session.conn_id)
        display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        display.expect(102, PATIENCE)
        with Latency(qemu) as latency:
            assert send_without_end(display.sock.sock, frame, 10)
        assert latency.worst < 1, latency.worst
        qemu("system_reset")
        qemu.shows_text("READY>", why="guest started again")
        session.main.close()


@pytest.fixture(scope="module")
def tls_flood(tmp_path_factory):
    out = tmp_path_factory.mktemp("flood") / "tls_flood"
    subprocess.run(["cc", "-O2", "-o", out, TOOLS / "tls_flood.c", "-lssl", "-lcrypto"], check=True)
    return out


@ours
def test_tls_records_without_data_do_not_hang_the_host(tls_qemu, tls_flood):
    for kind, most in (("keyupdate", 20_000), ("renegotiate", 0)):
        with Latency(tls_qemu) as latency:
            out = subprocess.run([tls_flood, str(tls_qemu.port), kind, "10"], capture_output=True, text=True, timeout=PATIENCE, check=True)
        count, how = out.stdout.split()
        assert how == "ended" and int(count) <= most, out.stdout
        assert latency.worst < 1, latency.worst
    raw_session(tls_qemu.port, tls=True).main.close()


class Handshake:
    """A TLS client that sends a certain number of the bytes of its handshake, and then nothing more."""

    def __init__(self, port):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ssl._create_unverified_context().wrap_bio(self.incoming, self.outgoing)
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(PATIENCE)

    def flight(self):
        """What the client sends next."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            if self.outgoing.pending:
                return self.outgoing.read()
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self.incoming.write(data)

    def send(self, count=None):
        """Sends so many bytes, or all, and returns how many were sent."""
        sent = 0
        for _ in range(2):
            data = self.flight()[:None if count is None else count - sent]
            self.sock.sendall(data)
            sent += len(data)
            if sent == count:
                break
        return sent


@ours
def test_handshakes_that_stall_at_any_byte_delay_nobody(tls_qemu):
    whole = Handshake(tls_qemu.port).send()
    with raw_client(tls_qemu.port, ("inputs",), tls=True) as (session, _):
        def round_trip():
            start = time.monotonic()
            session.main.send(spiceraw.MSGC_MAIN_ATTACH_CHANNELS)
            session.main.expect(104, PATIENCE)
            return time.monotonic() - start
        round_trip()
        stalled, times = [], []
        for i in range(1000):
            # The server drops the oldest when there are too many.
            with contextlib.suppress(OSError):
                stalled.append(Handshake(tls_qemu.port))
                stalled[-1].send(i % whole)
            times.append(round_trip())
        times.sort()
        # A busy machine may hold up single ones.
        assert times[len(times) * 95 // 100] < 0.02, times[-20:]
        for client in stalled:
            client.sock.close()


def guess(port, address, password):
    """The result of a login from this address of the computer, and when it came."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))
    with contextlib.closing(sock):
        try:
            spiceraw.link(sock, "main", password=password)
            return 0, time.monotonic()
        except spiceraw.LinkError as error:
            return error.code, time.monotonic()


@ours
def test_ticket_guesses_are_answered_ever_later_and_others_at_once(tmp_path, echo_image):
    with Qemu(tmp_path, "-object", "secret,id=ticket,data=right", image=echo_image, spice="password-secret=ticket") as qemu:
        assert guess(qemu.port, "127.0.0.1", "wrong")[0] == 7
        start, answers = time.monotonic(), []
        threads = [threading.Thread(target=lambda: answers.append(guess(qemu.port, "127.0.0.1", "wrong"))) for _ in range(20)]
        for thread in threads:
            thread.start()
        code, when = guess(qemu.port, "127.0.0.2", "right")
        assert code == 0 and when - start < 1, when - start
        for thread in threads:
            thread.join(PATIENCE)
        times = sorted(when - start for _, when in answers)
        assert [code for code, _ in answers] == [7] * 20
        # A tenth of a second apart, so that the last waits for all others.
        assert times[-1] > 1.5 and times[9] > 0.7, times
        assert guess(qemu.port, "127.0.0.1", "right")[0] == 0


@ours
def test_plain_http_and_web_pages(tmp_path, echo_image):
    def status(qemu, headers):
        with socket.create_connection(("127.0.0.1", qemu.port)) as sock:
            return upgraded(sock, headers)
    with Qemu(tmp_path, image=echo_image, env=lib_env(SPICE_WEBSOCKET_ORIGINS="https://a.example, http://b.example:81")) as qemu:
        with socket.create_connection(("127.0.0.1", qemu.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head, body = answer(sock).split(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n") and b"SPICE" in body
        for headers, want in ((b"", 101), (b"Origin: https://a.example\r\n", 101), (b"Origin: http://b.example:81\r\n", 101),
                              (b"Origin: http://a.example\r\n", 403), (b"Origin: null\r\n", 403)):
            assert status(qemu, headers) == want, headers
    with Qemu(tmp_path, image=echo_image) as qemu:
        assert status(qemu, b"Origin: http://anywhere\r\n") == 101
