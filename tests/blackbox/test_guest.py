"""A real guest with Xorg and spice-vdagent, made by tests/tools/build_guest.sh.

SPICE_TEST_GUEST names its directory; without it these tests are skipped. The guest runs without hardware acceleration unless
SPICE_TEST_ACCEL says otherwise.
"""
import hashlib, os, random, socket, time
from pathlib import Path

import pytest
from harness import Client, Qemu, wait_for

DIR = os.environ.get("SPICE_TEST_GUEST", "")
pytestmark = pytest.mark.skipif(not DIR, reason="SPICE_TEST_GUEST does not name a guest of tests/tools/build_guest.sh")
SAVE = "/tmp/received"


class Guest:
    """The machine, and a root shell on its serial console."""

    def __init__(self, directory):
        console = Path(directory) / "console"
        args = ["-machine", "q35", "-smp", "2", "-kernel", f"{DIR}/vmlinuz", "-initrd", f"{DIR}/initrd.gz",
                "-append", "console=ttyS0 quiet root=/dev/vda", "-drive", f"file={DIR}/root.img,if=virtio,format=raw,snapshot=on",
                "-device", "qxl-vga", "-serial", f"unix:{console},server=on,wait=off", "-device", "virtio-serial",
                "-chardev", "spicevmc,id=a,name=vdagent", "-device", "virtserialport,chardev=a,name=com.redhat.spice.0",
                "-chardev", "spiceport,id=p,name=org.example.bulk", "-device", "virtserialport,chardev=p,name=org.example.bulk"]
        self.qemu = Qemu(directory, *args, memory="1024", accel=os.environ.get("SPICE_TEST_ACCEL", "tcg"))
        self.shell, self.heard, self.count = socket.socket(socket.AF_UNIX), b"", 0
        wait_for(console.exists, "the console")
        self.shell.connect(str(console))
        self.read_until(b"GUEST-READY", 400)
        self("stty -echo; export DISPLAY=:0")

    def read_until(self, mark, seconds):
        end = time.monotonic() + seconds
        while mark not in self.heard:
            self.shell.settimeout(max(0.1, end - time.monotonic()))
            data = self.shell.recv(4096)
            assert data, "the guest is gone"
            self.heard += data
        before, _, self.heard = self.heard.partition(mark)
        return before.decode(errors="replace")

    def __call__(self, command, seconds=120):
        """Runs a shell command in the guest. Returns what it prints."""
        self.count += 1
        begin, mark = f"begin-{self.count}-", f"end-{self.count}-"
        # The marks are spelled so that an echo of the command does not hold them.
        self.shell.sendall(f"echo begin'-'{self.count}-; {command}; echo end'-'{self.count}-\n".encode())
        self.read_until(begin.encode(), seconds)
        return self.read_until(mark.encode(), seconds).replace("\r", "").strip("\n# ")


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    guest = Guest(tmp_path_factory.mktemp("guest"))
    try:
        guest(f"mkdir -p {SAVE}; pkill spice-vdagent$; sleep 1; (spice-vdagent -x -f {SAVE} -o 0 >/dev/null 2>&1 &)")
        yield guest
    finally:
        guest.qemu.close()


@pytest.fixture
def client(tmp_path, guest):
    with Client(tmp_path, guest.qemu.port) as client:
        client("display")
        client("agent")
        yield client


def test_client_mouse_mode(guest, client):
    wait_for(lambda: client.attempt("sleep:0.2") and any(e["event"] == "mouse-mode" and e["mode"] == 2 for e in client.events), "client mode")
    client("position:123,321")
    wait_for(lambda: "x:123 y:321" in guest("xdotool getmouselocation"), "the pointer at the guest")


@pytest.mark.parametrize("size", [1, 5000, 300_000])
def test_clipboard(tmp_path, guest, client, size):
    text = "".join(random.Random(size).choice("abcdefghijklmnopqrstuvwxyz0123456789 \u00e4\u20ac\n") for _ in range(size))
    if size == 1:
        text = "x"
    mine, back = tmp_path / "mine", tmp_path / "back"
    mine.write_bytes(text.encode())
    digest = hashlib.md5(text.encode()).hexdigest()
    client(f"copyfile:{mine}")
    wait_for(lambda: client.attempt("sleep:0.3") and guest("timeout 20 xclip -o -selection clipboard | md5sum").startswith(digest),
             "the client's text in the guest")
    guest(f"timeout 20 xclip -o -selection clipboard >/tmp/text; echo >>/tmp/text; (xclip -i -selection clipboard /tmp/text &)")
    client(f"paste:{back}")
    assert back.read_bytes() == text.encode() + b"\n"


def test_files_arrive_and_an_agent_killed_in_between_does_no_harm(tmp_path, guest, client):
    data = random.Random(1).randbytes(64 << 20)
    path = tmp_path / "large.bin"
    path.write_bytes(data)
    start = time.monotonic()
    client(f"filecopy:{path}")
    print(f"64 MiB in {time.monotonic() - start:.1f} s")
    assert guest(f"md5sum {SAVE}/large.bin").split()[0] == hashlib.md5(data).hexdigest()
    guest(f"rm {SAVE}/*; (sleep 1; pkill spice-vdagent$; sleep 1; spice-vdagent -x -f {SAVE} -o 0 >/dev/null 2>&1) & true")
    client.attempt(f"filecopy:{path}")
    small = tmp_path / "small.bin"
    small.write_bytes(data[:100_000])
    client("agent")
    wait_for(lambda: client.attempt(f"filecopy:{small}") and guest(f"md5sum {SAVE}/small.bin").startswith(hashlib.md5(data[:100_000]).hexdigest()),
             "a file after the agent came back")


def test_a_virtio_port_carries_16_megabytes_both_ways(tmp_path, guest, client):
    data = random.Random(2).randbytes(16 << 20)
    path, back = tmp_path / "data", tmp_path / "back"
    path.write_bytes(data)
    port = "/dev/virtio-ports/org.example.bulk"
    guest(f"(head -c {len(data)} {port} >/tmp/bulk; md5sum /tmp/bulk >/tmp/sum; cat /tmp/bulk >{port}) >/dev/null 2>&1 & true")
    client("port:org.example.bulk")
    client(f"sendfile:org.example.bulk:{path}")
    wait_for(lambda: guest("cat /tmp/sum").startswith(hashlib.md5(data).hexdigest()), "the data in the guest")
    client(f"recvfile:org.example.bulk:{len(data)}:{back}")
    assert back.read_bytes() == data
