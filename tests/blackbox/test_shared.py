"""What a real client shares with the guest: a CD through USB redirection, a folder through WebDAV."""
import random, re, struct

import pytest
from harness import Client, Qemu, boot_image, wait_for
from ports import Ports

SECTOR, PIECE = 2048, 8 * 2048
WEBDAV = "org.spice-space.webdav.0"


def bootable_cd(path, program, data):
    """Writes a CD image that boots `program` (readcd.S), which is to read `data` (whole pieces)."""
    def volume(kind, body=b""):
        return (bytes([kind]) + b"CD001\1" + body).ljust(SECTOR, b"\0")
    assert len(data) % PIECE == 0
    first = 24
    program = program[:512] + struct.pack("<II", first, len(data) // PIECE) + program[520:SECTOR]
    catalog = bytes([1]).ljust(28, b"\0") + b"\xaa\x55\x55\xaa" + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 20)
    sectors = [volume(1), volume(0, b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", 19)), volume(255),
               catalog.ljust(SECTOR, b"\0"), program]
    path.write_bytes((bytes(16 * SECTOR) + b"".join(sectors)).ljust(first * SECTOR, b"\0") + data)


def sum_of(data):
    """What readcd.S makes of the data."""
    total = 0
    for word in struct.unpack(f"<{len(data) // 4}I", data):
        total = (total * 31 + word) & 0xffffffff
    return total


@pytest.mark.parametrize("controller", ["qemu-xhci", "usb-ehci"])
def test_a_guest_boots_from_the_clients_cd_and_reads_it_intact(tmp_path, controller):
    program = boot_image("readcd.S", tmp_path).read_bytes()
    data, cd = random.Random(controller).randbytes(2 << 20), tmp_path / "cd.iso"
    bootable_cd(cd, program, data)
    args = ["-device", controller, "-chardev", "spicevmc,id=u,name=usbredir", "-device", "usb-redir,chardev=u", "-device", "VGA"]
    with Qemu(tmp_path, *args) as qemu, Client(tmp_path, qemu.port, "--cd", cd) as client:
        for run in (1, 2):
            client("cd")
            wait_for(lambda: "480 Mb/s" in qemu.hmp("info usb"), "the CD drive at the guest")
            # The firmware looks for drives when it starts.
            qemu("system_reset")
            wait_for(lambda: qemu.memory_word(0x5008) == run and qemu.memory_word(0x5000) & 0xffff, "the guest's result", 120)
            assert qemu.memory_word(0x5000) & 0xffff == 0x4b4f, "the guest could not read the CD"
            assert qemu.memory_word(0x5004) == sum_of(data)
            client("uncd")
            wait_for(lambda: "480 Mb/s" not in qemu.hmp("info usb"), "the guest without the drive")
        assert qemu.alive()


class FolderGuest:
    """A guest's WebDAV daemon: asks the client for files through the port, on behalf of several programs at once."""

    def __init__(self, host, directory):
        self.host, self.path, self.stream, self.answers = host, directory / "taken", b"", {}

    def ask(self, program, request):
        self.answers[program] = b""
        self.host.say("w", struct.pack("<qH", program, len(request)) + request)

    def listen(self):
        """Sorts what came by program. Returns whether all answers are complete, which the client marks by an empty piece."""
        self.host("takenfile", "w", self.path)
        self.stream += self.path.read_bytes()
        while len(self.stream) >= 10:
            program, size = struct.unpack_from("<qH", self.stream)
            if len(self.stream) < 10 + size:
                break
            if size:
                self.answers[program] += self.stream[10:10 + size]
            else:
                self.done.add(program)
            self.stream = self.stream[10 + size:]
        return self.done == set(self.answers)

    def fetch(self, requests):
        """Runs requests (program: text) at the same time. Returns their answers: (head, body)."""
        self.answers, self.done = {}, set()
        for program, request in requests.items():
            self.ask(program, request.encode())
        wait_for(self.listen, "the client's answers", 120)
        return {program: tuple(answer.split(b"\r\n\r\n", 1)) for program, answer in self.answers.items()}


def test_a_guest_reads_the_clients_folder_intact(tmp_path, ports):
    folder = tmp_path / "folder"
    folder.mkdir()
    files = {"large.bin": random.Random(1).randbytes(16 << 20), "small.txt": b"small"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with Ports(tmp_path, ports) as host:
        host.add("w", "port", WEBDAV)
        with Client(tmp_path, host.port, "--shared-dir", folder) as client:
            client("channels:2")
            host("event", "w", 0)
            guest = FolderGuest(host, tmp_path)
            get = "GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            for _ in range(2):
                answers = guest.fetch({7 + i: get.format(name) for i, name in enumerate(files)})
                for (head, body), data in zip((answers[7 + i] for i in range(len(files))), files.values()):
                    assert head.startswith(b"HTTP/1.1 200") and re.search(rb"Content-Length: (\d+)", head)[1] == b"%d" % len(data)
                    assert body == data
                # The guest's daemon ends and starts again: both sides forget their sessions.
                host("event", "w", 1)
                host("event", "w", 0)
            head, _ = guest.fetch({9: get.format("missing")})[9]
            assert head.startswith(b"HTTP/1.1 404")
