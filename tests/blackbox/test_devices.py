"""Character devices of an unmodified QEMU: ports, the guest agent, USB redirection, smartcards."""
import json, struct

import pytest
from harness import Qemu, boot_image, raw_client, spiceraw, wait_for

DATA, PORT_INIT, PORT_EVENT = 101, 201, 202
AGENT_DATA, AGENT_TOKEN = 109, 110
CLIPBOARD = 4


@pytest.fixture(scope="session")
def serial_image(tmp_path_factory):
    return boot_image("serial.S", tmp_path_factory.mktemp("serial"))


def bytes_of(channel, size, kind=DATA):
    data = b""
    while len(data) < size:
        data += channel.expect(kind, timeout=60).payload
    return data


def port_args(name):
    return ["-chardev", f"spiceport,id=p0,name={name}", "-device", "isa-serial,chardev=p0"]


def test_a_serial_port_answers_every_client(tmp_path, serial_image):
    with Qemu(tmp_path, *port_args("org.example.serial"), "-device", "VGA", image=serial_image) as qemu:
        for _ in range(3):
            with raw_client(qemu.port, channels=("port",)) as (session, opened):
                port = opened["port"]
                assert (10, 0) in [(spiceraw.CHANNELS.get(kind, kind), i) for kind, i in session.channels]
                init = port.expect(PORT_INIT).payload
                assert init == struct.pack("<IIB", 19, 9, 1) + b"org.example.serial\0"
                for text in (b"hello", b"x" * 3000):
                    port.send(DATA, text)
                    assert bytes_of(port, len(text)) == text.upper()
                port.send(PORT_INIT, b"\2")  # the number of the client's PORT_EVENT: a break
        assert qemu.alive()


def test_the_monitor_speaks_through_a_port(tmp_path, serial_image):
    args = ["-chardev", "spiceport,id=m,name=org.qemu.monitor.qmp.0", "-mon", "chardev=m,mode=control", "-device", "VGA"]
    with Qemu(tmp_path, *args, image=serial_image) as qemu, raw_client(qemu.port, channels=("port",)) as (_, opened):
        port, text = opened["port"], b""
        assert b"org.qemu.monitor.qmp.0" in port.expect(PORT_INIT).payload

        def line():
            nonlocal text
            while b"\n" not in text:
                text += port.expect(DATA, timeout=60).payload
            first, text = text.split(b"\n", 1)
            return json.loads(first)

        assert "QMP" in line()
        port.send(DATA, b'{"execute": "qmp_capabilities"}\n')
        assert line() == {"return": {}}
        # Long answers, and many of them before the first is read.
        for i in range(30):
            port.send(DATA, b'{"execute": "query-qmp-schema", "id": %d}\n' % i)
        for i in range(30):
            answer = line()
            assert answer["id"] == i and len(answer["return"]) > 100


def test_clipboard_passes_through_the_agent_port(tmp_path, serial_image):
    """The guest says back whatever its agent port hears, so what a client copies comes back to it."""
    args = ["-device", "isa-serial", "-chardev", "spicevmc,id=va,name=vdagent", "-device", "isa-serial,iobase=0x2f8,irq=3,index=1,chardev=va",
            "-device", "VGA"]
    with Qemu(tmp_path, *args, image=serial_image) as qemu, raw_client(qemu.port, channels=()) as (session, _):
        main = session.main
        assert session.init["agent_connected"] == 1 and session.init["agent_tokens"] == 10
        main.send(spiceraw.MSGC_MAIN_AGENT_START, struct.pack("<I", 1 << 20))
        for size in (1, 2028, 2029, 20_000):
            text = bytes(i * 7 & 255 for i in range(size))
            message = struct.pack("<IIQI", 1, CLIPBOARD, 0, size) + text
            pieces = [message[i:i + 2048] for i in range(0, len(message), 2048)]
            back, tokens, expected = b"", getattr(session, "tokens", 10), len(message)
            while len(back) < expected:
                while pieces and tokens:
                    main.send(spiceraw.MSGC_MAIN_AGENT_DATA, pieces.pop(0))
                    tokens -= 1
                m = main.recv(60)
                assert m, "the guest says nothing more"
                if m.type == AGENT_DATA:
                    back += m.payload
                elif m.type == AGENT_TOKEN:
                    tokens += struct.unpack("<I", m.payload)[0]
            session.tokens = tokens
            assert back == message
        assert qemu.alive()


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


def test_a_client_that_leaves_while_the_guest_is_full(tmp_path, serial_image):
    """The original loses the machine here: data of a client that is gone, written later."""
    with Qemu(tmp_path, *port_args("p"), "-device", "VGA", image=serial_image) as qemu:
        qemu("stop")
        for _ in range(3):
            with raw_client(qemu.port, channels=("port",)) as (_, opened):
                opened["port"].expect(PORT_INIT)
                for _ in range(300):
                    opened["port"].send(DATA, b"y" * 100)
        qemu("cont")
        with raw_client(qemu.port, channels=("port",)) as (_, opened):
            opened["port"].expect(PORT_INIT)
            opened["port"].send(DATA, b"z")
            wait_for(lambda: b"Z" in opened["port"].expect(DATA, timeout=60).payload, "the guest's answer")
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
