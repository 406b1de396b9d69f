"""An agent of the guest that takes files, at the far end of a serial line (bridge.S): its line may come from one QEMU, then another."""
import select, socket, struct, threading

from ports import CAPABILITIES, FILE_DATA, FILE_START, FILE_STATUS, chunk, message

CAN_SEND, SUCCESS = 0, 3


class FarAgent(threading.Thread):
    """Takes whatever files it is offered. Its state is the guest's, so it lives on when the guest moves."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock, self.lines = threading.Lock(), []
        self.stream, self.body, self.sizes, self.files = b"", b"", {}, {}
        self.fault = None

    def run(self):
        while True:
            ready, _, _ = select.select([self.listener, *self.lines], [], [])
            if self.listener in ready:
                self.lines.append(self.listener.accept()[0])
            for line in list(self.lines):
                self.listen(line)

    def listen(self, line):
        """Hears everything that this line has now."""
        earlier = self.lines[:self.lines.index(line)]
        try:
            while data := line.recv(4096, socket.MSG_DONTWAIT):
                # What came from the source was said before anything from the target, also what came since this thread read it last.
                for source in earlier:
                    if source in self.lines:
                        self.listen(source)
                with self.lock:
                    try:
                        self.hear(data, line)
                    except Exception as error:  # the test looks at it
                        self.fault = self.fault or repr(error)
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass
        self.lines.remove(line)

    def hear(self, data, line):
        self.stream += data
        while len(self.stream) >= 8:
            port, size = struct.unpack_from("<II", self.stream)
            assert port in (1, 2) and 0 < size <= 2048, (port, size)
            if len(self.stream) < 8 + size:
                return
            piece, self.stream = self.stream[8:8 + size], self.stream[8 + size:]
            # What the library itself says is not for files.
            if port == 1:
                self.body += piece
                self.messages(line)

    def messages(self, line):
        while len(self.body) >= 20:
            protocol, kind, _, size = struct.unpack_from("<IIQI", self.body)
            assert protocol == 1, protocol
            if len(self.body) < 20 + size:
                return
            body, self.body = self.body[20:20 + size], self.body[20 + size:]
            if kind == CAPABILITIES:
                self.say(line, CAPABILITIES, struct.pack("<II", 0, 0))
            elif kind == FILE_START:
                [file], text = struct.unpack_from("<I", body), body[4:].rstrip(b"\0").decode()
                self.files[file] = bytearray()
                self.sizes[file] = int(text.split("size=")[1].split()[0])
                self.say(line, FILE_STATUS, struct.pack("<II", file, CAN_SEND))
            elif kind == FILE_DATA:
                file, length = struct.unpack_from("<IQ", body)
                assert length == len(body) - 12, (length, len(body))
                self.files[file] += body[12:]
                if len(self.files[file]) >= self.sizes[file]:
                    self.say(line, FILE_STATUS, struct.pack("<II", file, SUCCESS))

    def say(self, line, kind, body):
        line.sendall(chunk(message(kind, body)))

    def taken(self):
        """Bytes of files so far."""
        with self.lock:
            assert not self.fault, self.fault
            return sum(map(len, self.files.values()))
