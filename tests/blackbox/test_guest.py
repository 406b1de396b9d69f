"""A real guest with Xorg and spice-vdagent, made by tests/tools/build_guest.sh.

SPICE_TEST_GUEST names its directory; without it these tests are skipped, because they take minutes. The guest runs without hardware
acceleration unless SPICE_TEST_ACCEL says otherwise. `pytest -s` shows the rate at which files arrive, for comparison with the original.
"""
import hashlib, os, random, re, socket, struct, time, zlib
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


    def digest(self, command, seconds=120):
        """The MD5 sum of what a command prints."""
        return self(f"{command} | md5sum", seconds).split()[0]

    def start_agent(self):
        """The session's part of the agent, which keeps the files that it is sent."""
        self(f"mkdir -p {SAVE}; pkill -x spice-vdagent; sleep 1; (spice-vdagent -x -f {SAVE} -o 0 >/dev/null 2>&1 &)")


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    guest = Guest(tmp_path_factory.mktemp("guest"))
    try:
        guest.start_agent()
        yield guest
    finally:
        guest.qemu.close()


@pytest.fixture
def client(tmp_path, guest):
    with Client(tmp_path, guest.qemu.port) as client:
        client("display")
        client("agent")
        yield client


def md5(data):
    return hashlib.md5(data).hexdigest()


def test_client_mouse_mode(guest, client):
    wait_for(lambda: client.attempt("sleep:0.2") and any(e["event"] == "mouse-mode" and e["mode"] == 2 for e in client.events), "client mode")

    def follows(x, y):
        # Xorg may not have the agent's tablet yet; the tablet's coordinates are rounded.
        client(f"position:{x},{y}")
        at = re.search(r"x:(\d+) y:(\d+)", guest("xdotool getmouselocation"))
        return abs(int(at[1]) - x) <= 1 and abs(int(at[2]) - y) <= 1
    for x, y in [(123, 321), (500, 40)]:
        wait_for(lambda: follows(x, y), "the pointer at the guest")


def test_the_resolution_follows_the_client(guest, client):
    """Through the QXL device, whose driver offers the size. A desktop takes it by itself; here xrandr does."""
    for sizes, whole in [("1280x720", "1280x720"), ("800x600", "800x600"), ("800x600,640x480", "1440x600"), ("1024x768", "1024x768")]:
        client(f"monitors:{sizes}")
        heads = sizes.split(",")
        for head, size in enumerate(heads, 1):
            wait_for(lambda: re.search(rf"^Virtual-{head} connected.*\n +{size} ", guest("xrandr"), re.M), f"{size} is offered")
        outputs = "".join(f" --output Virtual-{head} --preferred" for head in range(1, len(heads) + 1))
        guest(f"xrandr{outputs}{' --right-of Virtual-1' if len(heads) > 1 else ' --output Virtual-2 --off'}")
        assert "current " + whole.replace("x", " x ") in guest("xrandr")
        client(f"resized:{whole}")


def text_of(size):
    """So many bytes of UTF-8."""
    letters = random.Random(size).choices("abcdefghijklmnopqrstuvwxyz0123456789 \u00e4\u20ac\n", k=size)
    return "".join(letters).encode()[:size].decode(errors="ignore").encode().ljust(size, b".")


@pytest.mark.parametrize("size", [1, 2000, 5000, 300_000, 8 << 20])
def test_clipboard(tmp_path, guest, client, size):
    text, mine, back = text_of(size), tmp_path / "mine", tmp_path / "back"
    mine.write_bytes(text)
    client(f"copyfile:{mine}")

    def arrived():
        # The client answers the guest's request while it is idle.
        guest("(timeout 60 xclip -o -selection clipboard >/tmp/text 2>/dev/null; mv /tmp/text /tmp/pasted) & true")
        return wait_for(lambda: client.attempt("sleep:0.3") and guest("ls /tmp/pasted 2>/dev/null"), "a paste") and guest.digest("cat /tmp/pasted") == md5(text)
    wait_for(arrived, "the client's text in the guest")
    guest("tr a-z A-Z </tmp/pasted >/tmp/copied; rm /tmp/pasted; (xclip -i -selection clipboard /tmp/copied &)")
    client(f"paste:{back}")
    assert back.read_bytes() == text.translate(bytes(range(97)) + bytes(range(65, 91)) + bytes(range(123, 256)))


def test_images_through_the_clipboard(tmp_path, guest, client):
    rows = b"".join(b"\0" + random.Random(y).randbytes(300 * 3) for y in range(200))

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 300, 200, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    mine, back = tmp_path / "mine.png", tmp_path / "back.png"
    mine.write_bytes(png)
    client(f"copyimage:{mine}")
    paste = "xclip -o -selection clipboard -t image/png"
    guest(f"(for i in $(seq 60); do timeout 20 {paste} >/tmp/image 2>/dev/null && mv /tmp/image /tmp/image.png && break; sleep 1; done) & true")
    wait_for(lambda: client.attempt("sleep:0.3") and guest("ls /tmp/image.png 2>/dev/null"), "the client's image in the guest")
    assert guest.digest("cat /tmp/image.png") == md5(png)
    guest("(xclip -i -selection clipboard -t image/png /tmp/image.png &)")
    client(f"pasteimage:{back}")
    assert back.read_bytes() == png


def test_a_file_of_64_megabytes_arrives(tmp_path, guest, client):
    data, path = random.Random(1).randbytes(64 << 20), tmp_path / "large.bin"
    path.write_bytes(data)
    for _ in range(3):
        start = time.monotonic()
        client(f"filecopy:{path}")
        print(f"64 MiB at {(64 << 20) / 1e6 / (time.monotonic() - start):.2f} MB/s")
    assert guest.digest(f"cat {SAVE}/large.bin", 300) == md5(data)
    guest(f"rm {SAVE}/*")


@pytest.mark.parametrize("victim", ["spice-vdagent", "spice-vdagentd"])
def test_an_agent_that_is_killed_in_the_middle_of_a_file_does_no_harm(tmp_path, guest, client, victim):
    """The daemon's end closes the port; the session's part only ends the transfer."""
    data, path, small = random.Random(1).randbytes(64 << 20), tmp_path / "large.bin", tmp_path / "small.bin"
    path.write_bytes(data)
    small.write_bytes(data[:100_000])
    for _ in range(3):
        daemon = "rm -f /run/spice-vdagentd/*; spice-vdagentd -X; " if victim.endswith("d") else ""
        again = f"{daemon}sleep 1; spice-vdagent -x -f {SAVE} -o 0"
        # When some of the file is there.
        guest(f"(while [ $(stat -c %s {SAVE}/large.bin 2>/dev/null || echo 0) -lt 300000 ]; do sleep 0.1; done;"
              f" pkill -9 -x {victim}; sleep 1; touch /tmp/killed; {again}) >/dev/null 2>&1 & true")
        client.attempt(f"filecopy:{path}")
        wait_for(lambda: guest("ls /tmp/killed 2>/dev/null"), "the end of the agent")
        client("agent")

        def arrives():
            return client.attempt(f"filecopy:{small}") and guest.digest(f"cat {SAVE}/small.bin") == md5(data[:100_000])
        wait_for(arrives, "a file after the agent came back")
        guest(f"rm {SAVE}/* /tmp/killed")


def test_a_virtio_port_carries_16_megabytes_both_ways(tmp_path, guest, client):
    data = random.Random(2).randbytes(16 << 20)
    path, back = tmp_path / "data", tmp_path / "back"
    path.write_bytes(data)
    port = "/dev/virtio-ports/org.example.bulk"
    guest(f"(head -c {len(data)} {port} >/tmp/bulk; md5sum /tmp/bulk >/tmp/sum; cat /tmp/bulk >{port}) >/dev/null 2>&1 & true")
    client("port:org.example.bulk")
    client(f"sendfile:org.example.bulk:{path}")
    wait_for(lambda: guest("cat /tmp/sum 2>/dev/null").startswith(md5(data)), "the data in the guest")
    client(f"recvfile:org.example.bulk:{len(data)}:{back}")
    assert back.read_bytes() == data
