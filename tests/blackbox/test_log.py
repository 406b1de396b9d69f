"""What the host's log says: what GLib's log would, and nothing of what is in order."""
import re, subprocess

import pytest
import spiceraw
from harness import LIB_DIR, PATIENCE, Qemu, free_port, lib_env, raw_session, wait_for

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original says other things")


def chardev(kind, name, ident):
    return ["-chardev", f"{kind},name={name},id={ident}"]


def port(kind, name, ident, guest):
    return [*chardev(kind, name, ident), "-device", f"virtserialport,chardev={ident},name={guest}"]


# Each kind of interface, and some of which there may be one only.
DEVICES = [
    "-device", "qxl-vga", "-device", "qxl", "-audiodev", "spice,id=a", "-device", "intel-hda", "-device", "hda-duplex,audiodev=a",
    "-device", "virtio-serial",
    *port("spicevmc", "vdagent", "v1", "com.redhat.spice.0"), *port("spicevmc", "vdagent", "v2", "com.redhat.spice.1"),
    *port("spiceport", "org.example.0", "p1", "org.example.0"),
    *port("spiceport", "org.spice-space.webdav.0", "w1", "org.spice-space.webdav.0"),
    *port("spiceport", "org.spice-space.webdav.0", "w2", "org.spice-space.webdav.1"),
    *port("spiceport", "org.spice-space.stream.0", "s1", "org.spice-space.stream.0"),
    "-device", "usb-ehci", *chardev("spicevmc", "usbredir", "u1"), "-device", "usb-redir,chardev=u1",
    "-device", "qemu-xhci,id=x", "-device", "usb-tablet,bus=x.0",
    "-device", "usb-ccid,bus=x.0", *chardev("spicevmc", "smartcard", "c1"), "-device", "ccid-card-passthru,chardev=c1",
]


def spice_lines(text):
    return [line for line in text.splitlines() if "Spice" in line]


def test_nothing_is_said_when_qemu_quits(tmp_path, echo_image):
    with Qemu(tmp_path, *DEVICES, image=echo_image) as qemu:
        started = spice_lines(qemu.output())
        assert all("is not attached" in line for line in started), started
        qemu("quit")
        wait_for(lambda: not qemu.alive(), "QEMU's end")
        assert qemu.proc.returncode == 0 and spice_lines(qemu.output()) == started, qemu.output()


def test_nothing_is_said_when_qemu_gives_up(tmp_path):
    """It removes its interfaces from a function that runs at its exit, when thread-local values are gone."""
    out = subprocess.run(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", *DEVICES, "-device", "no-such-device",
                          "-spice", f"port={free_port()},addr=127.0.0.1,disable-ticketing=on"],
                         env=lib_env(), capture_output=True, text=True, timeout=PATIENCE)
    assert out.returncode == 1 and "no-such-device" in out.stderr, out
    assert all("is not attached" in line for line in spice_lines(out.stderr)), out.stderr


def test_lines_go_to_the_hosts_log(tmp_path):
    """QEMU adds its own name, and the time if it is asked to."""
    with Qemu(tmp_path, "-S", "-msg", "timestamp=on", "-object", "secret,id=pw,data=right", spice="password-secret=pw") as qemu:
        with pytest.raises(spiceraw.LinkError):
            raw_session(qemu.port, password="wrong")
        line = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z qemu-system-x86_64: warning: Spice: \S+:\d+: .*wrong or expired password"
        wait_for(lambda: re.search(line, qemu.output(), re.M), "the line")


def test_without_a_password_the_log_says_so(tmp_path):
    with Qemu(tmp_path, "-S", spice="image-compression=auto_glz") as qemu:
        with pytest.raises(spiceraw.LinkError):
            raw_session(qemu.port, password="any")
        wait_for(lambda: "no password was ever set" in qemu.output(), "the line")
