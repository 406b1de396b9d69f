"""A host whose character devices follow the test (ports.c)."""
import os, select, struct, subprocess, time

from harness import PATIENCE, Process, free_port, lib_env

DATA, COMPRESSED, PORT_INIT = 101, 102, 201
AGENT_DISCONNECTED, AGENT_DATA, AGENT_TOKEN, CONNECTED_TOKENS = 108, 109, 110, 115
MOUSE_MODE = 105
(MONITORS_CONFIG, REPLY, CLIPBOARD, DISPLAY_CONFIG, CAPABILITIES, GRAB, REQUEST, RELEASE, FILE_START, FILE_STATUS, FILE_DATA,
 CLIENT_DISCONNECTED) = range(2, 14)


class Ports(Process):
    """The host. `host("line")` runs a line and returns its answer; what else the host says is in `said`."""

    def __init__(self, directory, program, original=False, **env):
        """With `original` the host runs on the system's library, to compare with."""
        self.port, self.said, self.buffer = free_port(), [], b""
        super().__init__([program, "--port", self.port], directory, "ports", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env=dict(os.environ, **env) if original else lib_env(**env))
        assert self.line() == "serving", self.output()

    def line(self):
        """The next line that the host says."""
        end = time.monotonic() + PATIENCE
        while b"\n" not in self.buffer:
            assert select.select([self.proc.stdout], [], [], max(0, end - time.monotonic()))[0], "the host hangs: " + self.output()[-2000:]
            data = self.proc.stdout.read1(1 << 16)
            assert data, f"the host died ({self.proc.wait()}): " + self.output()[-2000:]
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def __call__(self, *words):
        self.proc.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.proc.stdin.flush()
        while True:
            answer = self.line()
            first = answer.split()[0]
            assert first not in ("misuse:", "unknown"), (words, answer)
            if first in ("ok", "added", "removed", "taken", "count", "log", "cpu"):
                return answer
            self.said.append(answer)

    def add(self, name, subtype, portname="-", minor=3, flags=1):
        """Adds a device, which the library must accept."""
        assert self("add", name, subtype, portname, minor, flags) == "added 0 1"

    def taken(self, name):
        return bytes.fromhex(self("taken", name)[6:])

    def say(self, name, data):
        self("say", name, data.hex())

    def count(self, name):
        """(bytes that the guest took, bytes that it still offers)"""
        return tuple(map(int, self("count", name).split()[1:]))

    def calls(self, name):
        return self("log", name).split()[1:]


def message(kind, data=b"", protocol=1, size=None):
    """A message of the agent protocol."""
    return struct.pack("<IIQI", protocol, kind, 0, len(data) if size is None else size) + data


def chunk(data, port=1):
    """It, or a part of it, as it passes the guest's port."""
    return struct.pack("<II", port, len(data)) + data


def chunks(data, port=1):
    """A whole message as the library passes it on: in pieces of at most 2048 bytes."""
    return b"".join(chunk(data[i:i + 2048], port) for i in range(0, len(data), 2048))
