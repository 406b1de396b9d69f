"""The guest agent on a test host: clipboard, files, monitors, pointer; agents and clients that come and go."""
import os, random, struct

import pytest
import spiceraw
from harness import raw_client, raw_session, wait_for
from ports import (AGENT_DATA, AGENT_DISCONNECTED, AGENT_TOKEN, CAPABILITIES, CLIENT_DISCONNECTED, CLIPBOARD, CONNECTED_TOKENS, FILE_DATA,
                   FILE_START, FILE_STATUS, GRAB, MONITORS_CONFIG, MOUSE_MODE, RELEASE, REQUEST, Ports, chunk, chunks, message)

START, SEND, TOKENS = spiceraw.MSGC_MAIN_AGENT_START, spiceraw.MSGC_MAIN_AGENT_DATA, 108
FAREWELL = chunk(message(CLIENT_DISCONNECTED), 2)


class Talk:
    """A client's side of the conversation."""

    def __init__(self, session, tokens=0xffffffff):
        self.session, self.main, self.window, self.waiting = session, session.main, 10, []
        self.main.send(START, struct.pack("<I", tokens))

    def next(self, timeout=60):
        answer = self.main.recv(timeout)
        if answer and answer.type == AGENT_TOKEN:
            self.window += struct.unpack("<I", answer.payload)[0]
        return answer

    def send(self, data, piece=2048):
        """Sends a whole message, as the tokens allow."""
        for i in range(0, len(data), piece):
            while not self.window:
                answer = self.next()
                assert answer, "no token comes back"
                if answer.type == AGENT_DATA:
                    self.waiting.append(answer.payload)
            self.main.send(SEND, data[i:i + piece])
            self.window -= 1

    def hear(self, size):
        """So many bytes of the guest's messages."""
        heard = b"".join(self.waiting)
        self.waiting = []
        parts = [heard]
        total = len(heard)
        while total < size:
            answer = self.next()
            assert answer, f"{total} of {size} bytes came"
            if answer.type == AGENT_DATA:
                parts.append(answer.payload)
                total += len(answer.payload)
        return b"".join(parts)

    def round_trip(self):
        self.main.send(spiceraw.MSGC_MAIN_ATTACH_CHANNELS)
        while (answer := self.next()).type != 104:
            if answer.type == AGENT_DATA:
                self.waiting.append(answer.payload)


@pytest.fixture
def host(tmp_path, ports):
    with Ports(tmp_path, ports) as host:
        host.add("a", "vdagent")
        yield host


@pytest.mark.parametrize("size", [1, 2, 2027, 2028, 2029, 4076, 65536, 1_000_003, 8 << 20])
def test_clipboard_passes_byte_for_byte_both_ways(tmp_path, host, size):
    text = random.Random(size).randbytes(size)
    whole = message(CLIPBOARD, text)
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session)
        talk.send(whole)
        wait_for(lambda: host.count("a")[0] == len(chunks(whole)), "the clipboard at the guest")
        host("takenfile", "a", tmp_path / "taken")
        assert (tmp_path / "taken").read_bytes() == chunks(whole)
        # Guests make chunks of any size.
        (tmp_path / "say").write_bytes(chunk(whole) if size < 5000 else chunks(whole))
        host("sayfile", "a", tmp_path / "say")
        assert talk.hear(len(whole)) == whole


def test_a_guest_that_takes_and_gives_a_byte_at_a_time(host):
    with raw_client(host.port, channels=()) as (session, _):
        host("piece", "a", 1)
        talk, whole = Talk(session), message(CLIPBOARD, random.Random(1).randbytes(5000))
        talk.send(whole)
        wait_for(lambda: host.count("a")[0] == len(chunks(whole)), "the message at the guest")
        assert host.taken("a") == chunks(whole)
        # The library reads as it is woken.
        host.say("a", chunks(whole))
        assert talk.hear(len(whole)) == whole


def test_an_agent_is_killed_and_started_anew_in_the_middle_of_messages(host):
    """Whatever was under way is gone, in both directions; what comes after is whole."""
    with raw_client(host.port, channels=()) as (session, _):
        for round in range(10):
            talk = Talk(session)
            talk.round_trip()
            host("taken", "a")
            host("room", "a", 3000)
            talk.send(message(FILE_DATA, bytes(9000)))  # Its tail waits for the guest.
            host.say("a", chunk(message(CLIPBOARD, bytes(4000)))[:1000 + round])
            talk.round_trip()
            assert host("remove", "a") == "removed 0"
            host("free", "a")
            assert session.main.expect(AGENT_DISCONNECTED).payload == bytes(4)
            session.main.send(SEND, message(FILE_DATA, b"to nobody"))
            host.add("a", "vdagent")
            assert session.main.expect(CONNECTED_TOKENS).payload == struct.pack("<I", 10)
            session.main.send(SEND, message(FILE_DATA, b"too early"))
            talk = Talk(session)
            talk.send(message(GRAB, b"new"))
            host.say("a", chunk(message(GRAB, b"agent")))
            assert talk.hear(20 + 5) == message(GRAB, b"agent")
            wait_for(lambda: host.count("a")[0] >= 31, "the new message")
            assert host.taken("a") == chunk(message(GRAB, b"new"))
            host("room", "a", -1)


@pytest.mark.parametrize("rest_comes", [True, False])
def test_a_client_goes_on_with_a_message_to_an_agent_that_is_gone(host, rest_comes):
    """Clients do not know yet that the agent is gone, or send what they have queued: the rest is dropped, nobody is disconnected."""
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session)
        whole = message(FILE_DATA, bytes([0xb8]) * 20_000)
        talk.send(whole[:6000])
        talk.round_trip()
        host("remove", "a")
        host("free", "a")
        session.main.send(SEND, whole[6000:7000])
        host.add("a", "vdagent")
        session.main.expect(CONNECTED_TOKENS)
        session.main.send(SEND, whole[7000:8000])
        talk = Talk(session)
        if rest_comes:
            talk.send(whole[8000:])
        talk.send(message(GRAB, b"next"))
        wait_for(lambda: host.count("a")[0] == 32, "the next message")
        assert host.taken("a") == chunk(message(GRAB, b"next"))
        talk.round_trip()


class Anything:
    """Agent, client and machine, each of which comes and goes."""

    def __init__(self, host):
        self.host, self.agent, self.made, self.client, self.talk, self.running = host, None, 0, None, None, True

    def plug(self):
        if self.agent:
            assert self.host("remove", self.agent) == "removed 0"
            self.host("free", self.agent)
            self.agent = None
            return
        self.made += 1
        self.agent = f"agent{self.made}"
        self.host.add(self.agent, "vdagent")

    def link(self):
        if self.client:
            self.client.main.close()
            self.client = self.talk = None
        else:
            self.client = raw_session(self.host.port)

    def start(self):
        if self.client:
            self.talk = Talk(self.client, random.choice([0, 1, 0xffffffff]))

    def machine(self):
        self.running = not self.running
        self.host("start" if self.running else "stop")

    def begin_message(self):
        """No more than fits into the window of a new agent, of which the client may not know."""
        if self.talk:
            self.client.main.send(SEND, message(FILE_DATA, bytes(9000))[:2048])
            self.talk = None

    def say(self):
        if self.agent:
            whole = chunks(message(CLIPBOARD, bytes(4000)))
            self.host.say(self.agent, random.choice([whole, chunk(message(GRAB))]))

    def wake(self):
        if self.agent:
            self.host("wake", self.agent)

    def fill(self):
        if self.agent:
            self.host("room", self.agent, random.choice([0, 5, 1000, -1]))

    def works(self):
        """A client and an agent that are new to each other understand each other."""
        if self.client:
            self.link()
        if self.agent:
            self.plug()
        if not self.running:
            self.machine()
        self.plug()
        with raw_client(self.host.port, channels=()) as (session, _):
            assert session.init["agent_connected"] == 1 and session.init["agent_tokens"] == 10
            talk = Talk(session)
            expect, taken = chunk(message(GRAB, b"client")), bytearray()
            talk.send(expect[8:])
            wait_for(lambda: taken.extend(self.host.taken(self.agent)) or taken.endswith(expect), "the client's message")
            # The host may have noticed the end of the last client only now.
            assert taken in (expect, FAREWELL + expect)
            self.host.say(self.agent, chunk(message(GRAB, b"agent")))
            assert talk.hear(25) == message(GRAB, b"agent")


@pytest.mark.parametrize("seed", range(6))
def test_agent_client_and_machine_come_and_go_in_any_order(tmp_path, ports, seed):
    random.seed(seed)
    with Ports(tmp_path, ports) as host:
        what = Anything(host)
        moves = [what.plug, what.plug, what.link, what.link, what.start, what.machine, what.begin_message, what.say, what.wake, what.fill]
        for _ in range(8):
            for _ in range(25):
                random.choice(moves)()
            what.works()


def test_a_client_leaves_in_the_middle_of_messages(host):
    host("room", "a", 0)
    for round in range(5):
        with raw_client(host.port, channels=()) as (session, _):
            talk = Talk(session)
            host("room", "a", 10)
            talk.send(message(FILE_DATA, bytes(9000)))
            wait_for(lambda: host.count("a")[0] == taken_in(round) + 10, "the first bytes at the guest")
        first = chunk(message(FILE_DATA, bytes(9000))[:2048])
        wait_for(lambda: not clients(host), "the client's end")
        host("room", "a", len(first) - 10 + len(FAREWELL))
        wait_for(lambda: host.count("a")[0] == taken_in(round + 1), "the rest of the piece, and the farewell")
        assert host.taken("a") == first + FAREWELL


def taken_in(rounds):
    """Bytes that the guest of the test above takes in so many rounds."""
    return rounds * (8 + 2048 + len(FAREWELL))


def clients(host):
    """Whether the host has sockets of clients (beside its listener's)."""
    links = [f"/proc/{host.pid}/fd/{fd}" for fd in os.listdir(f"/proc/{host.pid}/fd")]
    return sum(os.path.lexists(link) and os.readlink(link).startswith("socket:") for link in links) - 1


def monitors(count, flags=0):
    body = struct.pack("<II", count, flags)
    for i in range(count):
        body += struct.pack("<IIIii", 480 + i, 640 + i, 32, 640 * i, -i)
    if flags & 2:
        for i in range(count):
            body += struct.pack("<HH", 200 + i, 300 + i)
    return body


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_monitors_configurations_reach_the_device(tmp_path, ports, attached, flags):
    """Byte for byte, in one piece and in many, with and without an agent."""
    with Ports(tmp_path, ports) as host:
        if attached:
            host.add("a", "vdagent")
        host("takes", 1)
        host("primary")
        with raw_client(host.port, channels=()) as (session, _):
            if attached:
                Talk(session)
            for count in (1, 2, 16, 256):
                body = monitors(count, flags)
                whole = message(MONITORS_CONFIG, body)
                for piece in {2048, 28 if count < 3 else 2047, len(whole)}:
                    if piece > 2048:
                        continue
                    host.said.clear()
                    Window(session, attached).send(whole, piece)
                    wait_for(lambda: host("cpu") and any(line.startswith("monitors ") for line in host.said), "the configuration")
                    assert bytes.fromhex(host.said[-1].split()[1]) == body
            if attached:
                assert host.taken("a") == b"", "it is for one of them"


class Window(Talk):
    """Sends without AGENT_START; pieces to nobody need no tokens."""

    def __init__(self, session, attached):
        self.session, self.main, self.waiting = session, session.main, []
        self.window = 10 if attached else 1 << 30
        if attached:
            self.main.send(START, struct.pack("<I", 10))


@pytest.mark.parametrize("flags", [0, 2])
def test_monitors_configurations_reach_the_agent_if_no_device_wants_them(host, flags):
    host("primary")
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session)
        for piece in (2048, 28):
            whole = message(MONITORS_CONFIG, monitors(16, flags))
            talk.send(whole, piece)
            expect = b"".join(chunk(whole[i:i + piece]) for i in range(0, len(whole), piece))
            wait_for(lambda: host.count("a")[0] >= len(expect), "the configuration")
            got = host.taken("a")
            assert got == expect
            # The count begins anew with a new agent.
            host("remove", "a")
            host("free", "a")
            host.add("a", "vdagent")
            talk = Talk(session)


def test_monitors_configurations_that_lie_end_the_client(tmp_path, ports):
    """CVE-2017-7506."""
    with Ports(tmp_path, ports) as host:
        host("takes", 1)
        host("primary")
        host.add("a", "vdagent")
        for body, size in [(b"", None), (bytes(7), None), (struct.pack("<II", 0xffffffff, 0) + bytes(1000), None),
                           (struct.pack("<II", 2, 0) + bytes(39), None), (struct.pack("<II", 2, 2) + bytes(47), None),
                           (struct.pack("<II", 1 << 28, 0) + bytes(40), None), (bytes(2000), 0xfffffff0), (bytes(2028), 1 << 20)]:
            session = raw_session(host.port)
            talk = Talk(session)
            whole = message(MONITORS_CONFIG, body, size=size)
            for i in range(0, 5 if size else 1):
                session.main.send(SEND, whole if not i else bytes(2048))
            assert session.main.wait_close(60), (body[:8], size)
        assert not any(line.startswith("monitors") for line in host.said)


def test_who_has_the_pointer(host):
    """Client mode is offered while an agent or a tablet is there, and buttons pass between modes without getting lost or stuck."""
    host("mouse")
    host("primary")
    assert host("remove", "a") == "removed 0"
    with raw_client(host.port, channels=("inputs",)) as (session, opened):
        inputs, main = opened["inputs"], session.main
        assert session.init["supported_mouse_modes"] == 1
        host.add("v", "vdagent")
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 3, 1)
        Talk(session)
        main.send(spiceraw.MSGC_MAIN_MOUSE_MODE_REQUEST, struct.pack("<H", 2))
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 3, 2)

        def said(line):
            wait_for(lambda: host("cpu") and line in host.said, line)

        def states():
            taken = host.taken("v")
            assert len(taken) % 41 == 0
            return [struct.unpack_from("<IIIB", taken, i + 28) for i in range(0, len(taken), 41)]

        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_POSITION, struct.pack("<IIHB", 100, 50, 0, 0))
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_PRESS, struct.pack("<BH", 1, 1))
        wait_for(lambda: host.count("v")[0] >= 41, "the press at the agent")
        wait_for(lambda: states()[-1:] == [(100, 50, 2, 0)] or host.count("v")[0] == 82, "the press")
        # The agent goes while the button is held: the mode is the server's again, and the release is the mouse's.
        host("remove", "v")
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 1, 1)
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_RELEASE, struct.pack("<BH", 1, 0))
        said("mouse buttons 0")
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_PRESS, struct.pack("<BH", 3, 4))
        said("mouse +0 +0 wheel +0 buttons 0x2")
        # A tablet comes while another is held.
        host("tablet")
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 3, 1)
        main.send(spiceraw.MSGC_MAIN_MOUSE_MODE_REQUEST, struct.pack("<H", 2))
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 3, 2)
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_RELEASE, struct.pack("<BH", 3, 0))
        said("tablet buttons 0")
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_POSITION, struct.pack("<IIHB", 7, 8, 0, 0))
        said("tablet at 7 8 0")
        host("untablet")
        assert main.expect(MOUSE_MODE).payload == struct.pack("<HH", 1, 1)
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_POSITION, struct.pack("<IIHB", 9, 9, 0, 0))
        inputs.send(spiceraw.MSGC_INPUTS_MOUSE_MOTION, struct.pack("<iiH", 3, -2, 0))
        said("mouse +3 -2 wheel +0 buttons 0")
        assert "tablet at 9 9 0" not in host.said


def test_several_clients_share_the_agent(tmp_path, ports):
    """What the guest says goes to all of them; each has its own window; the guest hears of the end of the last only."""
    with Ports(tmp_path, ports, SPICE_DEBUG_ALLOW_MC="1") as host:
        host.add("a", "vdagent")
        with raw_client(host.port, channels=()) as (first, _):
            with raw_client(host.port, channels=()) as (second, _):
                talks = [Talk(first), Talk(second)]
                for talk in talks:
                    talk.round_trip()
                host.say("a", chunk(message(GRAB, b"all")))
                for talk in talks:
                    assert talk.hear(23) == message(GRAB, b"all")
                for n, talk in enumerate(talks):
                    talk.send(message(GRAB, bytes([n])))
                    wait_for(lambda: host.count("a")[0] == 29 * (n + 1), "the message")
            talks[0].round_trip()
            assert host.taken("a") == chunk(message(GRAB, b"\0")) + chunk(message(GRAB, b"\1")), "no farewell"
            talks[0].send(message(GRAB, b"x"))
            wait_for(lambda: host.count("a")[0] == 87, "the message")
        wait_for(lambda: host.count("a")[0] == 87 + len(FAREWELL), "the farewell")


def test_what_the_host_forbids_is_switched_while_clients_talk(host):
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session)
        passes = 0
        for copy, files in [(0, 1), (1, 0), (0, 0), (1, 1)]:
            host("option", "copypaste", copy)
            host("option", "filexfer", files)
            for kind in (GRAB, REQUEST, RELEASE, CLIPBOARD, FILE_START, FILE_STATUS, FILE_DATA):
                talk.send(message(kind, b"data"))
                passes += copy if kind in (GRAB, REQUEST, RELEASE, CLIPBOARD) else files
            talk.round_trip()
            wait_for(lambda: host.count("a")[0] == passes * 32, "what is allowed")
            host.say("a", chunk(message(CAPABILITIES, struct.pack("<II", 1, 0x7fff & ~(1 << 13)))))
            caps = struct.unpack("<I", talk.hear(28)[-4:])[0]
            assert bool(caps & 1 << 3) == bool(copy) and bool(caps & 1 << 13) == (not files)


# What makes the original's process end, hang or lose its agent for ever.

@pytest.mark.parametrize("stream", [chunk(b"x", 3), chunk(b""), chunk(b"short"), chunk(bytes(20)), chunk(message(CLIPBOARD, b"abc", size=1)),
                                    chunk(message(CLIPBOARD, protocol=2))])
def test_a_guest_that_breaks_the_protocol_loses_its_agent_only(host, stream):
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session)
        talk.round_trip()
        host.say("a", stream)
        assert session.main.expect(AGENT_DISCONNECTED, 60).payload == bytes(4)
        wait_for(lambda: "state0" in host.calls("a"), "the host is told")
        host.say("a", b"more")
        assert host("remove", "a") == "removed 0"
        host("free", "a")
        host.add("a", "vdagent")
        session.main.expect(CONNECTED_TOKENS, 60)
        talk = Talk(session)
        host.say("a", chunk(message(GRAB)))
        assert talk.hear(20) == message(GRAB)


def test_tokens_before_the_start_are_harmless(host):
    with raw_client(host.port, channels=()) as (session, _):
        session.main.send(TOKENS, struct.pack("<I", 5))
        session.main.send(SEND, message(GRAB))
        session.main.send(TOKENS, struct.pack("<I", 0xffffffff))
        talk = Talk(session, 0xffffffff)
        session.main.send(TOKENS, struct.pack("<I", 0xffffffff))
        talk.round_trip()
        host.say("a", chunk(message(GRAB)))
        assert talk.hear(20) == message(GRAB)


@pytest.mark.parametrize("data", [bytes(2049), bytes(19), message(GRAB, protocol=7), message(GRAB, b"long", size=1)])
def test_clients_that_break_the_protocol_are_disconnected(host, data):
    session = raw_session(host.port)
    Talk(session)
    session.main.send(SEND, data)
    assert session.main.wait_close(60)
    with raw_client(host.port, channels=()) as (session, _):
        Talk(session).round_trip()
    session = raw_session(host.port)
    session.main.send(SEND, b"", size=0xffffffff)
    assert session.main.wait_close(60)


def test_a_client_beyond_its_window_is_disconnected(host):
    host("room", "a", 0)
    session = raw_session(host.port)
    Talk(session)
    for _ in range(11):
        session.main.send(SEND, message(GRAB))
    assert session.main.wait_close(60)


def test_a_client_that_gives_no_tokens_costs_nothing(host):
    """What the guest says stays with it; the client is dropped only if another one wants to hear."""
    with raw_client(host.port, channels=()) as (session, _):
        talk = Talk(session, 1)
        before = host.rss_kib()
        host("sayfile", "a", "/dev/null")
        for _ in range(50):
            host.say("a", chunks(message(CLIPBOARD, bytes(60_000))))
        talk.round_trip()
        assert host.count("a")[1] > 49 * 60_000
        assert host.rss_kib() < before + 20_000
        session.main.send(TOKENS, struct.pack("<I", 0xffffffff))
        assert len(talk.hear(50 * 60_020)) == 50 * 60_020
