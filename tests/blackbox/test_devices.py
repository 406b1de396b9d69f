"""Character devices of an unmodified QEMU: ports, its monitor, the agent's port, USB redirection and smartcards."""
import json, random, struct

import pytest
import spiceraw
from harness import LIB_DIR, Client, Qemu, boot_image, raw_client, wait_for
from ports import AGENT_DATA, AGENT_TOKEN, CLIPBOARD, DATA, PORT_INIT, message
from test_migration import machines

SERIAL = ["-chardev", "spiceport,id=p,name=org.example.serial", "-device", "isa-serial,chardev=p", "-device", "VGA"]
AGENT = ["-chardev", "spicevmc,id=a,name=vdagent", "-device", "isa-serial,iobase=0x2f8,irq=3,index=1,chardev=a", "-device", "VGA"]


@pytest.fixture(scope="session")
def serial_image(tmp_path_factory):
    return boot_image("serial.S", tmp_path_factory.mktemp("serial"))


def bytes_of(channel, size, kind=DATA):
    data = b""
    while len(data) < size:
        data += channel.expect(kind, timeout=60).payload
    return data


def listens(qemu):
    """Waits until the guest of serial.S has emptied its serial ports of what the firmware left, and listens."""
    wait_for(lambda: qemu.memory_word(0x5000) & 0xffff == 0x4f4b, "guest started")


def test_a_serial_port_echoes(tmp_path, serial_image):
    with Qemu(tmp_path, *SERIAL, image=serial_image) as qemu:
        listens(qemu)
        for client in range(2):
            with raw_client(qemu.port, channels=("port",)) as (_, opened):
                port = opened["port"]
                assert port.expect(PORT_INIT, timeout=60).payload == struct.pack("<IIB", 19, 9, 1) + b"org.example.serial\0"
                data = random.Random(client).randbytes(1 << 17)
                # More than the serial port, QEMU and the library hold at a time.
                for start in range(0, len(data), 8192):
                    port.send(DATA, data[start:start + 8192])
                assert bytes_of(port, len(data)) == bytes(byte ^ 0x20 for byte in data)
        with Client(tmp_path, qemu.port) as client:
            client("port:org.example.serial")
            client("send:org.example.serial:hello")
            client("recv:org.example.serial:5")
            client("portevent:org.example.serial:2")
        assert qemu.alive()


def test_data_of_a_client_that_left_reaches_the_guest(tmp_path, serial_image):
    """The original crashes here, and its VM with it."""
    with Qemu(tmp_path, *SERIAL, image=serial_image) as qemu:
        listens(qemu)
        for _ in range(3):
            qemu("stop")
            with raw_client(qemu.port, channels=("port",)) as (_, opened):
                opened["port"].expect(PORT_INIT, timeout=60)
                for _ in range(20):
                    opened["port"].send(DATA, b"x" * 1000)
            wait_for(lambda: not qemu("query-spice").get("channels"), "the client's end")
            qemu("cont")
        with raw_client(qemu.port, channels=("port",)) as (_, opened):
            opened["port"].expect(PORT_INIT, timeout=60)
            opened["port"].send(DATA, b"last.")
            heard = b""
            while not heard.endswith(b"LAST\x0e"):
                heard += opened["port"].expect(DATA, timeout=60).payload


def test_the_monitor_through_a_port(tmp_path, serial_image):
    args = ["-chardev", "spiceport,id=m,name=org.qemu.monitor.qmp.0", "-mon", "chardev=m,mode=control", "-device", "VGA"]
    with Qemu(tmp_path, *args, image=serial_image) as qemu:
        for _ in range(3):
            with raw_client(qemu.port, channels=("port",), caps={"port": []}) as (_, opened):
                monitor = opened["port"]
                assert b"org.qemu.monitor.qmp.0\0" in monitor.expect(PORT_INIT, timeout=60).payload
                text = b""
                while b"QMP" not in text or not text.endswith(b"\r\n"):
                    text += monitor.expect(DATA, timeout=60).payload
                # All at once: QEMU takes commands one by one.
                names = ["qmp_capabilities", "query-status", *["query-commands", "query-qmp-schema"] * 4, "query-name"]
                commands = b"".join(json.dumps({"execute": name, "id": i}).encode() + b"\n" for i, name in enumerate(names))
                monitor.send(DATA, commands)
                text = b""
                while text.count(b"\n") < len(names):
                    text += monitor.expect(DATA, timeout=60).payload
                answers = [json.loads(line) for line in text.splitlines()]
                assert [answer["id"] for answer in answers if "event" not in answer] == list(range(len(names)))
                assert all("return" in answer for answer in answers)


def test_a_console_port_has_the_guests_text(tmp_path, serial_image):
    args = ["-chardev", "spiceport,id=c,name=org.qemu.console.serial.0", "-device", "isa-serial,chardev=c", "-device", "VGA"]
    with Qemu(tmp_path, *args, image=serial_image) as qemu, Client(tmp_path, qemu.port) as client:
        listens(qemu)
        client("port:org.qemu.console.serial.0")
        client("send:org.qemu.console.serial.0:ABC")
        client(f"recvfile:org.qemu.console.serial.0:3:{tmp_path / 'text'}")
        assert (tmp_path / "text").read_bytes() == b"abc"


def test_an_agent_that_repeats_everything(tmp_path, serial_image):
    """The guest says what it hears, byte by byte: whole messages and tokens pass both ways."""
    with Qemu(tmp_path, *AGENT, image=serial_image) as qemu:
        listens(qemu)
        for size in [1, 2048, 50_000]:
            with raw_client(qemu.port, channels=()) as (session, _):
                main = session.main
                assert session.init["agent_connected"] == 1
                main.send(spiceraw.MSGC_MAIN_AGENT_START, struct.pack("<I", 0xffffffff))
                whole = message(CLIPBOARD, random.Random(size).randbytes(size))
                back, sent, window = b"", 0, 10
                while len(back) < len(whole):
                    if window and sent < len(whole):
                        main.send(spiceraw.MSGC_MAIN_AGENT_DATA, whole[sent:sent + 2048])
                        window, sent = window - 1, sent + 2048
                        continue
                    answer = main.recv(60)
                    if answer.type == AGENT_DATA:
                        back += answer.payload
                    elif answer.type == AGENT_TOKEN:
                        window += struct.unpack("<I", answer.payload)[0]
                assert back == whole


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


def test_the_agent_goes_on_where_the_machine_moves_to(tmp_path, serial_image):
    """The target's agent port is open before its client brings the state of the source's, which ends the original's process.
    The guest repeats what it hears, so that the client answers its own request of the clipboard."""
    def talk(client, text):
        client("agent")
        client(f"copy:{text}")
        client(f"fetch:{tmp_path / text}")
        assert (tmp_path / text).read_text() == text

    with machines(tmp_path, serial_image, "VGA", count=3, libraries=[LIB_DIR] * 3, args=AGENT[:-2]) as hosts, \
            Client(tmp_path, hosts[0].port) as client:
        listens(hosts[0])
        # The second time the client has heard what the agent can do.
        client("event:agent:2")
        client("channels:4")
        talk(client, "before")
        for number, (source, target) in enumerate(zip(hosts, hosts[1:])):
            client("unmigrated")
            source.announce(target)
            source.move(target)
            client("migrated:60")
            wait_for(lambda: not source.channels(), "the client gone from the source")
            talk(client, f"after{number}")
            assert target.alive()
