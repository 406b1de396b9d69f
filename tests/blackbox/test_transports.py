"""How clients reach the server: TLS, unix sockets, IPv6, descriptors from the host."""
import contextlib, socket, ssl, struct, subprocess

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, Client, Qemu, free_port, has_ipv6, raw_client, raw_session, wait_for


@pytest.fixture(scope="module")
def x509(tmp_path_factory):
    """A throw-away CA and a server certificate, under the names that QEMU expects."""
    d = tmp_path_factory.mktemp("x509")

    def run(*args):
        subprocess.run(["openssl", *args], cwd=d, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-days", "2", "-subj", "/CN=test CA")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server-key.pem", "-out", "server.csr", "-subj", "/CN=server")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-out", "server-cert.pem")
    return d


@pytest.fixture
def tls_qemu(tmp_path, echo_image, x509):
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image, spice=f"disable-ticketing=on,x509-dir={x509}",
              listen="tls-port={port},addr=127.0.0.1") as qemu:
        qemu.shows_text("READY>", why="guest started")
        yield qemu


def test_picture_and_keys_over_tls(tmp_path, tls_qemu, x509):
    with Client(tmp_path, 0, "--ca-file", x509 / "ca-cert.pem", "--host-subject", "CN=server",
                uri=f"spice://127.0.0.1?tls-port={tls_qemu.port}") as client:
        client("display")
        client.shows(tls_qemu)
        client("text:spice")
        tls_qemu.shows_text("s1f p19 i17 c2e e12", why="typed keys at the guest")
        client.shows(tls_qemu)
        assert all(c["tls"] for c in tls_qemu("query-spice")["channels"])


def test_an_unknown_ca_is_refused_by_the_client_and_harms_nobody(tmp_path, tls_qemu, x509):
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k", "-out", other, "-subj", "/CN=x"],
                   check=True, capture_output=True)
    with Client(tmp_path, 0, "--ca-file", other, "--host-subject", "CN=server", uri=f"spice://127.0.0.1?tls-port={tls_qemu.port}") as client:
        assert not client.attempt("display")
    # a plain client on the TLS port
    with socket.create_connection(("127.0.0.1", tls_qemu.port)) as sock:
        sock.sendall(spiceraw.link_message(1))
        sock.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):
                pass
    with raw_client(tls_qemu.port, tls=True, ca=x509 / "ca-cert.pem") as (_, channels):
        channels["display"].expect(102, PATIENCE)


def test_secure_channels_are_only_let_in_over_tls(tmp_path, echo_image, x509):
    port = free_port()
    with Qemu(tmp_path, "-device", "VGA", image=echo_image, spice=f"tls-port={port},disable-ticketing=on,x509-dir={x509},tls-channel=main") as qemu:
        with pytest.raises(spiceraw.LinkError) as refused:
            raw_session(qemu.port)
        assert refused.value.code == 5  # NEED_SECURED
        raw_session(port, tls=True).main.close()
        # spice-gtk changes to the secure port by itself
        with Client(tmp_path, 0, "--ca-file", x509 / "ca-cert.pem", "--host-subject", "CN=server",
                    uri=f"spice://127.0.0.1?port={qemu.port}&tls-port={port}") as client:
            client("display")
            client.shows(qemu)
            secure = {c["channel-type"]: c["tls"] for c in qemu("query-spice")["channels"]}
            assert secure[1] and not secure[2]


@pytest.mark.parametrize("channel,first", [("display", (spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())), ("inputs", (101, struct.pack("<I", 0x1e)))])
def test_what_comes_in_one_record_with_the_ticket_is_read(tls_qemu, channel, first):
    """OpenSSL has read all bytes before the connection changes threads, so no poll ever reports them."""
    session = raw_session(tls_qemu.port, tls=True)
    sock = spiceraw.dial(port=tls_qemu.port, tls=True)
    sock.sendall(spiceraw.link_message(spiceraw.CHANNELS[channel], 0, session.conn_id, [0, 1, 3], []))
    reply = spiceraw.LinkReply(sock)
    ticket = spiceraw.rsa_oaep_encrypt(reply.pub_key, b"\0")
    sock.sendall(struct.pack("<I", 1) + ticket + struct.pack("<HI", first[0], len(first[1])) + first[1])
    assert spiceraw.recv_exact(sock, 4) == b"\0\0\0\0"
    opened = spiceraw.Channel(sock, spiceraw.CHANNELS[channel], 0, True)
    if channel == "display":
        opened.expect(102, PATIENCE)  # MARK
    else:
        tls_qemu.shows_text("a1e", why="the key at the guest")
    opened.close()
    session.main.close()


def test_slowly_reading_tls_client_gets_everything(tls_qemu):
    with raw_client(tls_qemu.port, ("display",), tls=True) as (session, channels):
        display = channels["display"]
        display.expect(102, PATIENCE)
        for _ in range(3):
            tls_qemu("system_reset")
        tls_qemu.shows_text("READY>", why="guest started again")
        assert list(display.recv_for(1))
        assert isinstance(display.sock, ssl.SSLSocket) and not display.closed


@pytest.mark.parametrize("abstract", [False, True])
def test_unix_socket(tmp_path, echo_image, abstract):
    path = f"@spice-{tmp_path.name}-{free_port()}" if abstract else str(tmp_path / "spice.sock")
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image, listen=f"unix=on,addr={path}") as qemu:
        session = spiceraw.Session(unix=path)
        session.open_main()
        display = session.open("display")
        display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        display.expect(102, PATIENCE)
        display.close()
        session.main.close()
        if not abstract:  # spice-gtk knows no abstract sockets
            with Client(tmp_path, 0, uri=f"spice+unix://{path}") as client:
                client("display")
                qemu.shows_text("READY>", why="guest started")
                client.shows(qemu)
                client("text:u")
                qemu.shows_text("u16", why="typed keys at the guest")
                client.shows(qemu)


def test_a_unix_socket_beside_a_tls_port_speaks_tls(tmp_path, echo_image, x509):
    path = tmp_path / "spice.sock"
    with Qemu(tmp_path, image=echo_image, listen=f"unix=on,addr={path},tls-port={{port}},x509-dir={x509}"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            # Two listeners have the same path, and the later one is found there.
            sock.connect(str(path))
            with ssl._create_unverified_context().wrap_socket(sock) as tls:
                assert tls.version()


def test_a_unix_socket_without_an_address_is_none(tmp_path, echo_image):
    with Qemu(tmp_path, "-device", "VGA", image=echo_image, listen="unix=on") as qemu:
        assert qemu("query-status")["running"]


@pytest.mark.parametrize("listen,hosts", [
    ("port={port},addr=::1", ["::1"]), ("port={port},addr=::1,ipv6=on", ["::1"]), ("port={port},addr=127.0.0.1,ipv4=on", ["127.0.0.1"]),
    ("port={port}", ["127.0.0.1"]), ("port={port},addr=::", ["::1", "127.0.0.1"])])
def test_addresses(tmp_path, echo_image, listen, hosts):
    if "::1" in hosts and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with Qemu(tmp_path, "-device", "VGA", image=echo_image, listen=listen) as qemu:
        for host in hosts:
            raw_session(qemu.port, host=host).main.close()
        servers = qemu("query-spice")
        assert servers["enabled"] and servers["port"] == qemu.port


def test_clients_that_the_host_hands_over(tmp_path, echo_image, x509):
    with Qemu(tmp_path, "-device", "VGA", image=echo_image, listen="tls-port={port},addr=127.0.0.1", spice=f"password=secret,x509-dir={x509}",
              ) as qemu, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hand_over(tls, skip):
            theirs, ours = socket.create_connection(("127.0.0.1", port)), server.accept()[0]
            qemu.give_fd(ours, "client")
            qemu("add_client", protocol="spice", fdname="client", tls=tls, skipauth=skip)
            ours.close()
            return ssl._create_unverified_context().wrap_socket(theirs) if tls else theirs
        for tls in (False, True):
            main = spiceraw.link(hand_over(tls, True), "main", password="wrong")
            main.expect(103, PATIENCE)  # INIT
            main.close()
            with pytest.raises(spiceraw.LinkError) as refused:
                spiceraw.link(hand_over(tls, False), "main", password="wrong")
            assert refused.value.code == 7
            main = spiceraw.link(hand_over(tls, False), "main", password="secret")
            main.expect(103, PATIENCE)
            main.close()


def test_a_port_in_use_is_an_error_of_qemu(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        out = subprocess.run(["qemu-system-x86_64", "-display", "none", "-spice", f"port={taken.getsockname()[1]},addr=127.0.0.1,disable-ticketing=on"],
                             env={"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": LIB_DIR}, capture_output=True, text=True, timeout=PATIENCE)
    assert out.returncode == 1 and "failed to initialize spice server" in out.stderr, out
    if LIB_DIR:
        assert out.stderr.lower().count("warning") == 1 and "in use" in out.stderr, out
