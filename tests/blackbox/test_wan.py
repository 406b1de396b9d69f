"""Compression between server and a real client: every mode gives the exact picture, the lossy ones as soon as the link is idle."""
import pytest
from harness import Client, Qemu, boot_image, close_enough, read_ppm, wait_for

MODES = ["off", "auto_glz", "auto_lz", "quic", "glz", "lz"]
# QUIC becomes JPEG, GLZ becomes ZLIB_GLZ.
WAN = [("quic", "always", "never"), ("glz", "never", "always"), ("auto_glz", "always", "always")]
# Rows of the client's 640x400 picture that do not change while the others move.
STILL = 320


@pytest.fixture(scope="module")
def photo_image(tmp_path_factory):
    return boot_image("photo.S", tmp_path_factory.mktemp("photo"))


def top(path):
    """The part of a picture that does not change."""
    width, height, pixels = read_ppm(path)
    assert (width, height) == (640, 400)
    return pixels[:width * 3 * STILL]


def shot(client, directory):
    path = directory / "shot.ppm"
    client(f"shot:{path}")
    return top(path)


@pytest.mark.parametrize("mode", MODES)
def test_each_image_compression_of_qemu(tmp_path, photo_image, mode):
    spice = f"disable-ticketing=on,image-compression={mode}"
    with Qemu(tmp_path, "-S", "-device", "qxl-vga", image=photo_image, spice=spice) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        qemu("cont")
        client("resized:640x400")
        wait_for(lambda: qemu.memory_word(0x7e00) > 210, "the top rests")
        client("key:30")
        client.shows(qemu)


@pytest.mark.parametrize("mode,jpeg,zlib", WAN)
def test_wan_compression_is_close_while_busy_and_exact_at_rest(tmp_path, photo_image, mode, jpeg, zlib):
    spice = f"disable-ticketing=on,image-compression={mode},jpeg-wan-compression={jpeg},zlib-glz-wan-compression={zlib}"
    with Qemu(tmp_path, "-S", "-device", "VGA", image=photo_image, spice=spice) as qemu, Client(tmp_path, qemu.port) as client:
        client("display")
        qemu("cont")
        client("resized:640x400")
        wait_for(lambda: qemu.memory_word(0x7e00) > 220, "the top rests")
        want = top(qemu.screendump())
        wait_for(lambda: close_enough(shot(client, tmp_path), want), "a picture within the bound")
        if mode == "quic":
            assert shot(client, tmp_path) != want, "nothing lossy while the link is busy"
        client("key:30")
        client.shows(qemu)
