"""The newest QEMU, which was built against 0.16.0, passes the same tests on the library as the installed one, and more."""
import re
from pathlib import Path

import harness
import pytest
from harness import Client, Qemu, wait_for
# These run here again, with the QEMU of the fixture `newest`.
from test_busy_migration import (images, test_a_file_transfer_goes_on, test_a_usb_device_of_the_client_stays_plugged_in,  # noqa: F401
                                 test_sound_goes_on, test_video_streams_go_on, test_what_a_port_was_sent_reaches_the_guest_once)
from test_migration import test_a_client_follows_between_the_original_and_this_library, test_a_client_follows_its_machine  # noqa: F401
from test_qemu import (test_picture_and_keys, test_query_spice_lists_the_channels, test_relative_mouse_and_tablet,  # noqa: F401
                       test_reset_stop_cont_savevm_loadvm, test_resize, test_two_qxl_devices_give_two_displays)

pytestmark = pytest.mark.skipif(not harness.NEWEST_ROOT, reason="NEWEST_ROOT names no tree (tests/tools/newest_root.sh)")
CARDS = ["qxl-vga", "VGA", "virtio-vga"]


@pytest.fixture(autouse=True)
def newest(monkeypatch):
    monkeypatch.setattr(Qemu, "program", [Path(harness.NEWEST_ROOT).resolve() / "run", "qemu-system-x86_64"])


@pytest.fixture(params=["to-the-original", "from-the-original"] if harness.LIB_DIR else ["ours"])
def pair(request):
    """Busy machines move between 0.16.0 and the library under test. Between two of the latter it makes no difference which QEMU it is."""
    return request.param


def test_it_is_the_newest_qemu_with_the_library_under_test(tmp_path):
    with Qemu(tmp_path, "-device", "qxl-vga") as qemu:
        assert qemu("query-version")["qemu"]["major"] >= 11
        maps = Path(f"/proc/{qemu.pid}/maps").read_text()
        [library] = set(re.findall(r"\S*/libspice-server\.so\S*", maps))
        where = Path(harness.LIB_DIR or harness.NEWEST_ROOT).resolve()
        assert where in Path(library).parents
        assert qemu("query-spice")["compiled-version"] == "0.16.0"


@pytest.mark.parametrize("card", CARDS)
def test_clients_come_again(tmp_path, echo_image, card):
    with Qemu(tmp_path, "-device", card, image=echo_image) as qemu:
        qemu.shows_text("READY>", why="guest started")
        for letter, code in ("a", "a1e"), ("b", "b30"), ("c", "c2e"):
            with Client(tmp_path, qemu.port, name=letter) as client:
                client("display")
                client.shows(qemu)
                client(f"text:{letter}")
                qemu.shows_text(code, why="typed key at the guest")
                client.shows(qemu)
            wait_for(lambda: not qemu("query-spice").get("channels"), "channels gone")


@pytest.mark.parametrize("cards", [["qxl", "qxl"], ["VGA", "qxl", "qxl"]], ids="+".join)
def test_two_plain_qxl_devices(tmp_path, echo_image, cards):
    """Each device is a display. One without VGA shows nothing until a driver in the guest finds it."""
    args = [word for n, card in enumerate(cards) for word in ("-device", f"{card},id=card{n}")]
    with Qemu(tmp_path, *args, image=echo_image) as qemu, Client(tmp_path, qemu.port) as client:
        client(f"channels:{2 + 2 * len(cards)}")
        opened = {e["channel"] for e in client.events if e["event"] == "channel" and e["state"] == "opened"}
        assert opened == {"main:0", "inputs:0", *(f"{kind}:{n}" for kind in ("display", "cursor") for n in range(len(cards)))}
        if cards[0] == "VGA":
            client("display:0")
            client.shows(qemu, device="card0")
            client("text:q")
            qemu.shows_text("q10", why="typed key at the guest")
            client.shows(qemu, device="card0")


def test_codec_and_converter_that_hosts_choose(tmp_path, echo_image):
    """The library accepts options and environment variables that only 0.16.0 and its QEMU know."""
    env = harness.lib_env(SPICE_CONVERTER_PREFERRED_FORMAT="NV12")
    spice = "disable-ticketing=on,video-codec=gstreamer:h264,streaming-video=all"
    with Qemu(tmp_path, "-device", "VGA", image=echo_image, spice=spice, env=env) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        client.shows(qemu)
