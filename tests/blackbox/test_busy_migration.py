"""A machine moves while its clients do something with it, which goes on at the target."""
import contextlib, random, threading

import harness
import pytest
from far_agent import FarAgent
from harness import Client, boot_image, wait_for
from test_migration import MODES, machines
from test_sound import left, pitch

# With the original on one side, which the system has.
PAIRS = {"ours": [harness.LIB_DIR] * 2, "to-the-original": [harness.LIB_DIR, None], "from-the-original": [None, harness.LIB_DIR]}


@pytest.fixture(params=PAIRS if harness.LIB_DIR else ["ours"])
def pair(request):
    """Whose library source and target have."""
    return request.param


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    directory = tmp_path_factory.mktemp("busy")
    return {name: boot_image(f"{name}.S", directory) for name in ("busy", "tone", "bridge", "serial")}


def arrives(client, source, channels):
    """The client is at the target with all its channels, and none was closed and opened again by the user's program."""
    client("migrated:60")
    wait_for(lambda: not source.channels(), "the client gone from the source")
    client(f"channels:{channels}")
    assert not [event for event in client.events if event["event"] in ("channel-destroy", "failed")]


@contextlib.contextmanager
def meanwhile(client, action):
    """Runs an action of the client beside the block, and waits for its success."""
    results = []
    thread = threading.Thread(target=lambda: results.append(client.attempt(action)))
    thread.start()
    yield
    thread.join(harness.PATIENCE)
    assert results == [True], (action, results, client.events[-5:])


@pytest.mark.parametrize("mode", MODES)
def test_video_streams_go_on(tmp_path, images, mode, pair):
    spice = MODES[mode] + ",streaming-video=all"
    with machines(tmp_path, images["busy"], "VGA", spice=spice, libraries=PAIRS[pair]) as (source, target), \
            Client(tmp_path, source.port) as client:
        client("display")
        client("channels:4")
        client("invalidated:100")
        source.announce(target)
        source.move(target)
        arrives(client, source, 4)
        frames = target.memory_word(0x7e00)
        client("invalidated:100")
        wait_for(lambda: target.memory_word(0x7e00) != frames, "the guest draws at the target")
        target("stop")
        client.shows(target)


@pytest.mark.parametrize("mode", MODES)
def test_sound_goes_on(tmp_path, images, mode, pair):
    args = ["-audiodev", "spice,id=snd", "-machine", "pc,pcspk-audiodev=snd"]
    with machines(tmp_path, images["tone"], "qxl-vga", spice=MODES[mode], libraries=PAIRS[pair], args=args) as (source, target), \
            Client(tmp_path, source.port) as client:
        client("display")
        client("audio:1")
        channels = len(source.channels())
        source.announce(target)
        source.move(target)
        arrives(client, source, channels)
        pcm = tmp_path / "tone.pcm"
        client(f"pcm:{pcm}")
        second = 4 * 48000

        def heard():
            client("sleep:0.1")
            return pcm.stat().st_size >= 2 * second
        wait_for(heard, "the tone at the target")
        assert pitch(left(pcm.read_bytes()[second:2 * second])) == 440


# The original as the target aborts where the agent's device is open before the machine runs, as that of a serial port is.
@pytest.mark.skipif(not harness.LIB_DIR, reason="the original aborts here")
@pytest.mark.parametrize("pair", ["ours", "from-the-original"], indirect=True)
def test_a_file_transfer_goes_on(tmp_path, images, pair):
    agent = FarAgent()
    agent.start()
    args = ["-chardev", "spicevmc,id=a,name=vdagent", "-device", "isa-serial,chardev=a,index=0",
            "-chardev", f"socket,id=far,host=127.0.0.1,port={agent.port}", "-device", "isa-serial,chardev=far,index=1"]
    content = random.Random(1).randbytes(200_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    with machines(tmp_path, images["bridge"], "VGA", libraries=PAIRS[pair], args=args) as (source, target), \
            Client(tmp_path, source.port) as client:
        wait_for(lambda: source.memory_word(0x5000) & 0xffff == 0x4f4b, "guest started")
        client("agent")
        client("channels:4")
        with meanwhile(client, f"filecopy:{path}"):
            wait_for(lambda: agent.taken() > 20_000, "a part of the file at the guest")
            source.announce(target)
            source.move(target)
            assert agent.taken() < len(content), "the file was there before the machine moved"
        assert [bytes(data) for data in agent.files.values()] == [content]
        client("migrated:60")
        assert not source.channels()


def test_what_a_port_was_sent_reaches_the_guest_once(tmp_path, images, pair):
    # spice-gtk complains of the second INIT that a port gets at the target, from the original likewise.
    args = ["-chardev", "spiceport,id=p,name=org.example.serial", "-device", "isa-serial,chardev=p"]
    content = random.Random(2).randbytes(100_000)
    (tmp_path / "sent").write_bytes(content)
    with machines(tmp_path, images["serial"], "VGA", libraries=PAIRS[pair], args=args) as (source, target), \
            Client(tmp_path, source.port, ends_at_criticals=False) as client:
        wait_for(lambda: source.memory_word(0x5000) & 0xffff == 0x4f4b, "guest started")
        client("port:org.example.serial")
        client("channels:5")
        client(f"sendfile:org.example.serial:{tmp_path / 'sent'}")
        with meanwhile(client, f"recvfile:org.example.serial:{len(content)}:{tmp_path / 'heard'}"):
            source.announce(target)
            source.move(target)
        client("migrated:60")
        assert (tmp_path / "heard").read_bytes() == bytes(byte ^ 0x20 for byte in content)


def test_a_usb_device_of_the_client_stays_plugged_in(tmp_path, images, pair):
    iso = tmp_path / "cd.iso"
    iso.write_bytes(bytes(1 << 20))
    args = ["-device", "qemu-xhci", "-chardev", "spicevmc,id=ur,name=usbredir", "-device", "usb-redir,chardev=ur,id=usb"]
    with machines(tmp_path, images["tone"], "VGA", libraries=PAIRS[pair], args=args) as (source, target), \
            Client(tmp_path, source.port, "--cd", iso) as client:
        def plugged(machine):
            return "USB Redirection Device, attached" in machine.hmp("info qtree")
        client("display")
        # spice-gtk crashes if it plugs a device in before it has handled the guest's greeting.
        client("channels:5")
        client.shows(source)
        assert not plugged(source)
        client("cd")
        wait_for(lambda: plugged(source), "the device at the source")
        channels = len(source.channels())
        source.announce(target)
        source.move(target)
        arrives(client, source, channels)
        assert plugged(target)
        client("uncd")
        wait_for(lambda: not plugged(target), "the device unplugged at the target")
