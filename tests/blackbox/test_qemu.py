"""An unmodified QEMU runs its screen, keyboard and mouse on the library."""
import re, subprocess

import pytest
from harness import Client, Qemu, lib_env, raw_client, wait_for

CARDS = ["qxl-vga", "VGA", "virtio-vga"]


@pytest.mark.parametrize("card", CARDS)
def test_picture_and_keys(tmp_path, echo_image, card):
    with Qemu(tmp_path, "-device", card, image=echo_image) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        qemu.shows_text("READY>", why="guest started")
        client.shows(qemu)
        client("text:spice")
        qemu.shows_text("s1f p19 i17 c2e e12", why="typed keys at the guest")
        client.shows(qemu)
        client("shot:%s" % (tmp_path / "shot.ppm"))
        for word in ("version", "undefined symbol", "no version information"):
            assert word not in qemu.output()


def test_the_library_under_test_is_loaded(tmp_path, echo_image):
    with Qemu(tmp_path, "-device", "VGA", image=echo_image) as qemu:
        maps = open(f"/proc/{qemu.pid}/maps").read()
        path = re.search(r"\S*/libspice-server\S*", maps)[0]
        want = lib_env().get("LD_LIBRARY_PATH", "/usr/lib")
        assert path.startswith(subprocess.run(["realpath", want], capture_output=True, text=True).stdout.strip().split("/stage")[0])


def test_relative_mouse_and_tablet(tmp_path, echo_image):
    trace = tmp_path / "trace.log"
    args = ["-device", "VGA", "-trace", "input_event_rel", "-trace", "input_event_abs", "-trace", "input_event_btn", "-D", trace]
    with Qemu(tmp_path, *args, image=echo_image) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        client("channels:4")
        assert not any(m["current"] and m["absolute"] for m in qemu("query-mice"))
        client("motion:5,7")
        client("click:1")
        wait_for(lambda: re.search(r"input_event_rel .*axis x, value 5", trace.read_text()), "relative motion at the guest")
        wait_for(lambda: re.search(r"input_event_btn .*button left, down 1", trace.read_text()), "button at the guest")
    trace.unlink()
    args += ["-device", "piix3-usb-uhci", "-device", "usb-tablet"]
    with Qemu(tmp_path, *args, image=echo_image) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        client("channels:4")
        # no operating system runs that could switch the tablet on
        tablet = next(m["index"] for m in qemu("query-mice") if m["absolute"])
        qemu.hmp(f"mouse_set {tablet}")
        wait_for(lambda: any(m["current"] and m["absolute"] for m in qemu("query-mice")), "tablet in use")
        client("mouse:2")
        wait_for(lambda: client.attempt("sleep:0.1") and any(e.get("mode") == 2 for e in client.events if e["event"] == "mouse-mode"),
                 "client mouse mode")
        client("position:100,50")
        wait_for(lambda: re.search(r"input_event_abs .*axis x, value 0x", trace.read_text()), "position at the guest")


def test_two_qxl_devices_give_two_displays(tmp_path, echo_image):
    with Qemu(tmp_path, "-device", "qxl-vga", "-device", "qxl,id=second", image=echo_image) as qemu:
        with raw_client(qemu.port, channels=()) as (session, _):
            displays = sorted(i for kind, i in session.channels if kind in (2, "display"))
            assert displays == [0, 1], session.channels
        with Client(tmp_path, qemu.port) as client:
            client("display")
            client("channels:6")
            client.shows(qemu)


@pytest.mark.parametrize("card", CARDS)
def test_reset_stop_cont_savevm_loadvm(tmp_path, echo_image, card):
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", echo_image, disk], check=True)
    args = ["-device", card]
    with Qemu(tmp_path, *args, image=disk) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        qemu.shows_text("READY>", why="guest started")
        client("text:abc")
        qemu.shows_text("c2e", why="typed keys at the guest")
        client.shows(qemu)
        if card != "virtio-vga":  # QEMU cannot save every virtio-vga configuration
            assert not qemu.hmp("savevm one").strip()
        client("text:de")
        qemu.shows_text("e12", why="more keys")
        qemu("stop")
        client.shows(qemu)
        qemu("cont")
        if card != "virtio-vga":
            assert not qemu.hmp("loadvm one").strip()
            qemu.shows_text("c2e", without="d20", why="state came back")
            if card == "VGA":  # a qxl-vga in VGA mode is not redrawn by QEMU itself until the guest draws
                client.shows(qemu)
        starts = qemu.memory_word(0x5000)
        qemu("system_reset")
        wait_for(lambda: qemu.memory_word(0x5000) == starts + 1, "guest started again")
        qemu.shows_text("READY>", without="a1e")
        if card == "qxl-vga":
            # QEMU's reset of a qxl-vga in VGA mode makes a new (black) primary surface but keeps its record of what it has drawn
            # (the original's clients lack parts of the picture then, too): a change of the mode starts both anew.
            client("key:1")
            client("resized:640x400")
            client("key:1")
            client("resized:720x400")
            qemu.shows_text("READY>", why="guest in text mode again")
        client.shows(qemu)
        client("text:x")
        qemu.shows_text("x2d", why="keys after reset")
        client.shows(qemu)


def test_resize(tmp_path, busy_image, echo_image):
    """The firmware's text mode and then 320x200 graphics give two sizes of the primary surface."""
    with Qemu(tmp_path, "-S", "-device", "VGA", image=busy_image) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        qemu("cont")
        client("resized:640x400")
        wait_for(lambda: qemu.memory_word(0x7e00) > 3, "guest draws")
        qemu("stop")
        client.shows(qemu)


def test_query_spice_lists_the_channels(tmp_path, echo_image):
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image) as qemu:
        assert qemu("query-spice")["enabled"]
        with raw_client(qemu.port) as (session, _):
            types = wait_for(lambda: (lambda c: len(c) == 4 and c)(qemu("query-spice").get("channels", [])), "four channels")
            assert sorted(c["channel-type"] for c in types) == [1, 2, 3, 4]
            assert {c["connection-id"] & 0xffffffff for c in types} == {session.conn_id}
        wait_for(lambda: not qemu("query-spice").get("channels"), "channels gone")
