"""A slow link for tests and benches: a TCP relay with a delay and a bottleneck."""
import collections, selectors, socket, threading, time


class Flow:
    """One direction of a relayed connection."""

    def __init__(self, source, sink, to_client):
        self.source, self.sink, self.to_client = source, sink, to_client
        self.waiting = collections.deque()  # (time at which it is due, bytes); no bytes: the end
        self.reading = True
        self.ended = False


class Relay(threading.Thread):
    """A TCP relay with a delay in both directions and one shared bottleneck towards the client."""

    def __init__(self, port, target, rtt_ms, mbit):
        super().__init__(daemon=True)
        self.delay = rtt_ms / 2000
        self.set_rate(mbit)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = port
        self.target = target
        self.free_at = 0.0  # when the bottleneck has passed all that it was given
        self.backlog = 0  # bytes towards the client that the relay holds
        self.flows = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)

    def set_rate(self, mbit):
        """Sets what the bottleneck passes (Mbit/s), also while the relay runs; 0: everything at once."""
        self.rate = mbit * 125_000 if mbit else None
        self.buffer = max(16_384, int((self.rate or 1e8) / 10))

    def run(self):
        while True:
            wait = self.pass_on()
            self.choose_sources()
            for key, _ in self.selector.select(wait):
                if key.data is None:
                    self.accept()
                else:
                    self.receive(key.data)
            self.flows = [flow for flow in self.flows if not flow.ended or flow.waiting]

    def pass_on(self):
        """Sends everything that is due. Returns the time until more is."""
        now, wait = time.monotonic(), 0.05
        for flow in self.flows:
            while flow.waiting and flow.waiting[0][0] <= now:
                _, data = flow.waiting.popleft()
                if flow.to_client:
                    self.backlog -= len(data)
                try:
                    if data:
                        flow.sink.sendall(data)
                    else:
                        flow.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # the peer is gone; its own end of the connection says so
            if flow.waiting:
                wait = min(wait, max(0, flow.waiting[0][0] - now))
        return wait

    def choose_sources(self):
        """Reads from the server only while the bottleneck's buffer has room."""
        for flow in self.flows:
            wanted = not flow.ended and (not flow.to_client or self.backlog < self.buffer)
            if flow.reading != wanted:
                if wanted:
                    self.selector.register(flow.source, selectors.EVENT_READ, flow)
                else:
                    self.selector.unregister(flow.source)
                flow.reading = wanted

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.socket()
        # A large buffer here would let the server believe that the link is fast.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        server.connect(("127.0.0.1", self.target))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for flow in (Flow(client, server, False), Flow(server, client, True)):
            self.flows.append(flow)
            self.selector.register(flow.source, selectors.EVENT_READ, flow)

    def receive(self, flow):
        try:
            data = flow.source.recv(8192)
        except OSError:
            data = b""
        due = time.monotonic()
        if not data:
            self.selector.unregister(flow.source)
            flow.reading, flow.ended = False, True
        elif flow.to_client:
            self.backlog += len(data)
            if self.rate:
                self.free_at = max(self.free_at, due) + len(data) / self.rate
                due = self.free_at
        flow.waiting.append((due + self.delay, data))
