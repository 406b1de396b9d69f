"""Character devices of an unmodified QEMU: USB redirection and smartcards."""
import struct

import pytest
from harness import Qemu, boot_image, raw_client

DATA, PORT_INIT = 101, 201


@pytest.fixture(scope="session")
def serial_image(tmp_path_factory):
    return boot_image("serial.S", tmp_path_factory.mktemp("serial"))


def bytes_of(channel, size, kind=DATA):
    data = b""
    while len(data) < size:
        data += channel.expect(kind, timeout=60).payload
    return data


def test_usb_redirection_says_hello_to_every_client(tmp_path, serial_image):
    args = ["-device", "qemu-xhci", "-chardev", "spicevmc,id=ur,name=usbredir", "-device", "usb-redir,chardev=ur", "-device", "VGA"]
    with Qemu(tmp_path, *args, image=serial_image) as qemu:
        for _ in range(5):
            with raw_client(qemu.port, channels=("usbredir",)) as (_, opened):
                hello = bytes_of(opened["usbredir"], 80)
                assert struct.unpack_from("<III", hello) == (0, 68, 0) and b"qemu usb-redir guest" in hello
        # Nonsense is the device's business; what breaks the channel's protocol ends the channel.
        with raw_client(qemu.port, channels=("usbredir",)) as (session, opened):
            opened["usbredir"].send(DATA, b"\xff" * 5000)
            opened["usbredir"].send(PORT_INIT, b"\0")
            assert opened["usbredir"].wait_close(60)
            assert not session.main.wait_close(0.5)
        assert qemu.alive()


def test_smartcard_exchange(tmp_path, serial_image):
    args = ["-device", "piix3-usb-uhci", "-device", "usb-ccid", "-chardev", "spicevmc,id=sc,name=smartcard",
            "-device", "ccid-card-passthru,chardev=sc", "-device", "VGA"]

    def vsc(kind, reader, data=b""):
        return struct.pack("<III", kind, reader, len(data)) + data

    with Qemu(tmp_path, *args, image=serial_image) as qemu, raw_client(qemu.port, channels=("smartcard",)) as (_, opened):
        card = opened["smartcard"]
        ok, general = struct.pack(">I", 0), struct.pack(">I", 1)
        for message, answer in [
                (vsc(3, 0xffffffff, b"reader"), ok), (vsc(5, 0, b"\x3b\0"), ok), (vsc(5, 0, b"\xff\xff"), general), (vsc(6, 0), ok),
                (vsc(4, 0), ok), (vsc(4, 0), struct.pack("<I", 1))]:
            card.send(DATA, message)
            assert card.expect(DATA, timeout=60).payload == vsc(2, 0, answer), message
        card.send(DATA, vsc(7, 9))
        assert card.wait_close(60)
        assert qemu.alive()
