"""QEMU as libvirt starts it: in its default sandbox, stopped, with TLS and a password that the monitor sets."""
import contextlib

import pytest
from harness import LIB_DIR, Client, Qemu, free_port, raw_session, wait_for
from test_access import Pki
import spiceraw

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
SECURE = ["main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir"]


@pytest.fixture
def domain(tmp_path, echo_image):
    """A running machine whose password is "first", and a maker of its clients."""
    directory = tmp_path / "x509"
    directory.mkdir()
    pki, tls_port = Pki(directory), free_port()
    channels = ",".join(f"tls-channel={name}" for name in SECURE)
    spice = f"tls-port={tls_port},x509-dir={directory},{channels},image-compression=off,seamless-migration=on"
    args = ["-sandbox", SANDBOX, "-S", "-device", "qxl-vga", "-audiodev", "spice,id=sound", "-device", "intel-hda", "-device", "hda-duplex,audiodev=sound",
            "-device", "virtio-serial", "-chardev", "spicevmc,id=agent,name=vdagent", "-device", "virtserialport,chardev=agent,name=com.redhat.spice.0",
            "-device", "qemu-xhci", "-chardev", "spicevmc,id=usb,name=usbredir", "-device", "usb-redir,chardev=usb"]
    with Qemu(tmp_path, *args, image=echo_image, spice=spice) as qemu:
        qemu.tls_port = tls_port
        set_password(qemu, "first", "keep")
        qemu("cont")
        qemu.shows_text("READY>", why="guest started")

        def client(password, name):
            return pki.client(tmp_path / name, tls_port, "server", "--password", password)
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
        yield qemu, client


def set_password(qemu, password, connected):
    qemu("set_password", protocol="spice", password=password, connected=connected)
    qemu("expire_password", protocol="spice", time="never")


def works(qemu, client, letter, code):
    client("display")
    client("channels:6")
    client.shows(qemu)
    client(f"text:{letter}")
    qemu.shows_text(code, why="typed key at the guest")
    client.shows(qemu)


def test_password_change_and_kick(domain):
    qemu, client = domain
    with client("first", "one") as one:
        works(qemu, one, "a", "a1e")
        assert all(channel["tls"] for channel in qemu("query-spice")["channels"])
        assert qemu("query-spice")["auth"] == "spice"
        set_password(qemu, "second", "keep")
        works(qemu, one, "b", "b30")
        with client("first", "two") as two:
            assert not two.attempt("display")
        works(qemu, one, "c", "c2e")
        set_password(qemu, "third", "disconnect")
        assert not one.attempt("event:failed")
        wait_for(lambda: not qemu("query-spice").get("channels"), "the client thrown out")
    with client("third", "three") as three:
        works(qemu, three, "d", "d20")
    # QEMU refuses the change while somebody is connected, if it is to.
    with client("third", "three") as three:
        works(qemu, three, "e", "e12")
        with pytest.raises(AssertionError):
            set_password(qemu, "fourth", "fail")


@pytest.mark.skipif(not LIB_DIR, reason="the original does not say why")
def test_the_one_who_is_thrown_out_hears_why(domain):
    qemu, _ = domain
    session = raw_session(qemu.tls_port, tls=True, password="first")
    with contextlib.closing(session.main) as main:
        set_password(qemu, "second", "disconnect")
        notice = main.expect(7, 30)
        assert notice.payload[24:-1] == b"disconnected: the password changed"
        assert main.expect(6, 30).payload[8:] == (7).to_bytes(4, "little")
        assert main.wait_close(30)
    # Without TLS the channels of the list are not to be had.
    with pytest.raises(spiceraw.LinkError) as refused:
        raw_session(qemu.port, password="second")
    assert refused.value.code == 5
