"""Character devices on a test host: what guests, clients and hosts do to ports, USB redirection, shared folders and smartcards."""
import contextlib, os, random, struct, time

import pytest
import spiceraw
from harness import raw_client, wait_for
from ports import COMPRESSED, DATA, PORT_INIT, Ports

PLAIN = {"port": [], "usbredir": [], "webdav": []}  # Clients that do not know LZ4.
WEBDAV = "org.spice-space.webdav.0"
STREAM = "org.spice-space.stream.0"


def settled(host, name, what):
    """Waits until `count` of the device no longer changes between round trips, and returns it."""
    before = None
    while (now := host.count(name)) != before:
        before = now
        time.sleep(0.3)
    assert before, what
    return before


@pytest.mark.parametrize("kind", ["port", "usbredir", "webdav"])
def test_16_megabytes_pass_both_ways_by_slow_readers(tmp_path, ports, kind):
    data = random.Random(kind).randbytes(16 << 20)
    path, back = tmp_path / "data", tmp_path / "back"
    path.write_bytes(data)
    subtype, name = (kind, "-") if kind == "usbredir" else ("port", WEBDAV if kind == "webdav" else "org.example.x")
    with Ports(tmp_path, ports) as host:
        host.add("d", subtype, name)
        with raw_client(host.port, channels=(kind,), caps=PLAIN) as (_, opened):
            channel = opened[kind]
            host("sayfile", "d", path)
            # The client does not read: most stays with the guest.
            assert settled(host, "d", "the guest's data")[1] > 8 << 20
            heard = bytearray()
            while len(heard) < len(data):
                heard += channel.expect(DATA, timeout=60).payload
            assert heard == data
        with raw_client(host.port, channels=(kind,), caps=PLAIN) as (_, opened):
            channel = opened[kind]
            # The guest takes little at a time: most stays with the client.
            host("room", "d", 0)
            host("piece", "d", 4000)
            channel.sock.settimeout(0.1)
            stream = b"".join(channel.header(DATA, 65536) + data[i:i + 65536] for i in range(0, len(data), 65536))
            sent = memoryview(stream)
            with contextlib.suppress(TimeoutError):
                while sent:
                    sent = sent[channel.sock.send(sent[:1 << 20]):]
            assert len(sent) > 1 << 20
            host("room", "d", 100_000)
            wait_for(lambda: host.count("d")[0] == 100_000, "what the guest has room for")
            host("room", "d", -1)
            channel.sock.settimeout(60)
            channel.sock.sendall(sent)
            wait_for(lambda: host.count("d")[0] == len(data), "all of it")
        host("takenfile", "d", back)
        assert back.read_bytes() == data


def test_devices_come_and_go_in_every_order(tmp_path, ports):
    """Two of one name are two channels; whoever is removed first, the others stay, and a free number is given again."""
    with Ports(tmp_path, ports) as host:
        for name in "abc":
            host.add(name, "port", "same")
        with raw_client(host.port, channels=()) as (session, _):
            assert sorted(i for kind, i in session.channels if kind in (10, "port")) == [0, 1, 2]
            links = [session.open("port", i) for i in range(3)]
            for link in links:
                assert link.expect(PORT_INIT).payload.endswith(b"same\0")
            for gone in (1, 0, 2):
                assert host("remove", "abc"[gone]) == "removed 0"
                assert links[gone].wait_close(60)
                assert host.calls("abc"[gone])[-1] == "state0"
                # A host may be late: a device that is gone is nobody's.
                host("wake", "abc"[gone])
                host("event", "abc"[gone], 0)
                assert host("remove", "abc"[gone]) == "removed -1"
                host("free", "abc"[gone])
            host.add("d", "port", "again")
            assert session.main.expect(104).payload == b"\1\0\0\0\n\0"


def test_wakeups_and_events_while_nobody_is_there(tmp_path, ports):
    with Ports(tmp_path, ports) as host:
        host.add("p", "port", "org.example.x")
        host("wakes", "p", 1)
        host.say("p", b"early")
        for event in (0, 1, 77, 0):
            host("event", "p", event)
        assert host.count("p") == (0, 5)
        with raw_client(host.port, channels=("port",)) as (_, opened):
            init = opened["port"].expect(PORT_INIT).payload
            assert init[8] == 1 and opened["port"].expect(DATA).payload == b"early"
            opened["port"].send(PORT_INIT, b"\7")
            wait_for(lambda: "event7" in host.calls("p"), "the client's event")


def test_the_server_goes_before_its_devices(tmp_path, ports):
    """With a client and data under way, and without. What a host still does to the devices afterwards means nothing."""
    kinds = {"a": ("vdagent", "-"), "c": ("smartcard", "-"), "u": ("usbredir", "-"), "p": ("port", "x"), "w": ("port", WEBDAV),
             "s": ("port", STREAM)}
    with Ports(tmp_path, ports) as host:
        sizes = []
        for turn in range(20):
            for name, kind in kinds.items():
                host.add(name, *kind)
                host("room", name, 10)
            with contextlib.ExitStack() as stack:
                if turn % 2:
                    session, opened = stack.enter_context(raw_client(host.port, channels=("port", "usbredir", "webdav", "smartcard", "display")))
                    for channel in ("port", "usbredir", "webdav"):
                        opened[channel].send(DATA, os.urandom(100_000))
                    for name in "upw":
                        host("flow", name, 1 << 20)
                    wait_for(lambda: host.count("u")[0] >= 10, "the guest's first bytes")
                host("renew")
                if turn % 2:
                    assert session.main.wait_close(60) and all(channel.wait_close(60) for channel in opened.values())
            for name in kinds:
                host("wake", name)
                host("event", name, 0)
                assert host("remove", name) == "removed -1"
                host("free", name)
            sizes.append((host.rss_kib(), host.fds()))
        assert sizes[-1][1] <= sizes[5][1], "descriptors are left open"
        assert sizes[-1][0] < sizes[5][0] + 4000, sizes


def test_a_streaming_port_leaves_the_number_of_a_display_that_comes_later(tmp_path, ports):
    """Hosts add ports before displays, and choose the numbers of displays themselves."""
    with Ports(tmp_path, ports) as host:
        host.add("s", "port", STREAM)
        host("primary")
        with raw_client(host.port, channels=()) as (session, _):
            displays = [i for kind, i in session.channels if kind in (2, "display")]
            while sorted(displays) != [0, 1]:
                displays += [body[5] for body in [session.main.expect(104).payload] if body[4] == 2]


@pytest.mark.parametrize("where", ["state", "write", "read", "event"])
@pytest.mark.parametrize("subtype,name", [("port", "x"), ("usbredir", "-"), ("vdagent", "-"), ("smartcard", "-")])
def test_a_device_is_removed_from_inside_of_its_callback(tmp_path, ports, subtype, name, where):
    """A hypervisor unplugs the device in answer to a call of it. Nothing of it is touched any more."""
    if where == "event" and subtype != "port":
        pytest.skip("only ports have events")
    with Ports(tmp_path, ports) as host:
        if (subtype, where) == ("vdagent", "state"):
            pytest.skip("its state is told while it is added")
        host.add("d", subtype, name)
        host("leaves", "d", where)
        with raw_client(host.port, channels=()) as (session, _):
            if subtype == "vdagent":
                session.main.send(spiceraw.MSGC_MAIN_AGENT_START, struct.pack("<I", 10))
                session.main.send(spiceraw.MSGC_MAIN_AGENT_DATA, struct.pack("<IIQI", 1, 4, 0, 0))
            else:
                channel = session.open(subtype)
                data = struct.pack("<III", 3, 0, 0) if subtype == "smartcard" else b"data"
                with contextlib.suppress(OSError):
                    channel.send(DATA, data)
                    channel.send(PORT_INIT, b"\7")
            if where == "read":
                host("say", "d", "00000001" * 10)
            wait_for(lambda: host("remove", "d") == "removed -1", "it removed itself")
            host("free", "d")
            host.add("next", subtype, name)
        with raw_client(host.port, channels=() if subtype == "vdagent" else (subtype,)):
            host("wake", "next")
        assert host("remove", "next") == "removed 0"


@pytest.mark.parametrize("kind,name,delivered", [("port", "x", True), ("usbredir", "-", False), ("port", WEBDAV, False)])
def test_a_client_leaves_while_its_guest_is_full(tmp_path, ports, kind, name, delivered):
    """The original crashes when the guest takes the data of a client that is gone. What a port was sent still arrives; the others
    speak protocols of which the next client begins a new session."""
    channel_type = "webdav" if name == WEBDAV else kind
    with Ports(tmp_path, ports) as host:
        host.add("d", kind, name)
        host("room", "d", 2)
        for round in range(3):
            with raw_client(host.port, channels=(channel_type,)) as (_, opened):
                for _ in range(20):
                    opened[channel_type].send(DATA, b"abcdef")
                wait_for(lambda: host.count("d")[0] == (120 if delivered else 4) * round + 2, "the guest's first bytes")
            wait_for(lambda: host.calls("d")[-1:] == ["state0"], "the client's end")
            host("room", "d", 118 if delivered else 0)
            wait_for(lambda: host.count("d")[0] == (120 * (round + 1) if delivered else 4 * round + 2), "what was sent")
            assert host.taken("d") == (b"abcdef" * 20 if delivered else b"ab")
            host("room", "d", 2)
            if delivered:
                continue
            # The next client's data begins a stream of its own.
            with raw_client(host.port, channels=(channel_type,)) as (_, opened):
                opened[channel_type].send(DATA, b"XY")
                wait_for(lambda: host.count("d")[0] == 4 * round + 4, "the next client's data")
                assert host.taken("d") == b"XY"
            host("room", "d", 2)


def test_connections_leave_nothing_behind(tmp_path, ports):
    """Clients come and go, some with data under way in both directions, some in the middle of a message."""
    with Ports(tmp_path, ports) as host:
        host.add("p", "port", "x")
        host.add("u", "usbredir")
        host.add("w", "port", WEBDAV)
        host("keeps", "u", 0)
        sizes = []
        for round in range(60):
            host("room", "u", 100)
            host("flow", "u", 300_000)
            with raw_client(host.port, channels=("port", "usbredir", "webdav")) as (_, opened):
                opened["usbredir"].send(DATA, os.urandom(200_000))
                opened["webdav"].send(DATA, b"half of it", size=20)
                opened["port"].send(DATA, b"whole")
            wait_for(lambda: host.calls("u")[-1:] == ["state0"], "the client's end")
            sizes.append((host.rss_kib(), host.fds()))
        assert sizes[-1][1] <= sizes[20][1], "descriptors are left open"
        assert sizes[-1][0] < sizes[20][0] + 1500, sizes


def test_the_second_client_of_a_device_is_refused(tmp_path, ports):
    with Ports(tmp_path, ports, SPICE_DEBUG_ALLOW_MC="1") as host:
        host.add("u", "usbredir")
        with raw_client(host.port, channels=("usbredir",)) as (_, first), raw_client(host.port, channels=()) as (second, _):
            assert ("usbredir", 0) not in second.channels and (9, 0) not in second.channels, "devices are not shared"
            assert second.open("usbredir").wait_close(60)
            first["usbredir"].send(DATA, b"mine")
            wait_for(lambda: host.count("u")[0] == 4, "the first client's data")
        assert host.calls("u").count("state1") == 1


# What makes the original's process end, hang or grow without bound.

def test_sizes_that_lie_end_the_channel_only(tmp_path, ports):
    with Ports(tmp_path, ports) as host:
        host.add("p", "port", "x")
        host.add("u", "usbredir")
        host.add("w", "port", WEBDAV)
        host.add("c", "smartcard")
        before = host.rss_kib()
        lz4 = bytes([0x1f, 0x51, 1, 0, 0xff, 0xff, 0xff, 0xd3, 0x50]) + b"Q" * 5
        for kind, name in [("port", "p"), ("usbredir", "u"), ("webdav", "w"), ("smartcard", "c")]:
            bad = [(DATA, b"", 0xffffffff), (DATA, b"x", 1 << 31), (DATA, b"", 0)]
            if kind != "smartcard":
                bad += [(COMPRESSED, struct.pack("<BI", 1, size) + lz4, None) for size in (1, 1000, 1002, 1 << 30, 1 << 31, (1 << 32) - 1)]
                bad += [(COMPRESSED, struct.pack("<BI", 0, 1001) + lz4, None), (COMPRESSED, b"\1", None), (COMPRESSED, b"", None)]
            for msg_type, body, size in bad:
                with raw_client(host.port, channels=(kind,)) as (session, opened):
                    with contextlib.suppress(OSError):
                        opened[kind].send(msg_type, body, size=size)
                    assert opened[kind].wait_close(60), (kind, msg_type, body, size)
                    session.main.send(spiceraw.MSGC_MAIN_ATTACH_CHANNELS)
                    session.main.expect(104, 60)
        assert host.rss_kib() < before + 20_000
        assert host.count("p")[0] == host.count("u")[0] == 0


def test_compressed_data_counts_too(tmp_path, ports):
    """The original takes compressed messages without end while the guest takes none."""
    with Ports(tmp_path, ports) as host:
        host.add("u", "usbredir")
        host("room", "u", 0)
        with raw_client(host.port, channels=("usbredir",)) as (_, opened):
            before, channel = host.rss_kib(), opened["usbredir"]
            # A million zeros in 4 KB.
            size = 1 << 20
            block = b"\x1f\0\1\0" + b"\xff" * ((size - 25) // 255) + bytes([(size - 25) % 255]) + b"\x50" + bytes(5)
            body = struct.pack("<BI", 1, size) + block
            channel.sock.settimeout(1)
            with contextlib.suppress(TimeoutError):
                for _ in range(2000):
                    channel.send(COMPRESSED, body)
            assert host.rss_kib() < before + 40_000
            host("keeps", "u", 0)
            host("room", "u", -1)
            wait_for(lambda: host.count("u")[0] >= 3 * size, "what waited")
            assert host.count("u")[0] % size == 0


def test_misuse_by_the_host_is_refused(tmp_path, ports):
    with Ports(tmp_path, ports) as host:
        # As with the original the answer is 0, but nothing was attached.
        assert host("add", "nameless", "port", "-") == "added 0 0"
        assert host("add", "unknown", "nonsense", "-") == "added 0 0"
        host.add("a", "vdagent")
        assert host("add", "second", "vdagent", "-") == "added 0 0"
        for name in ("nameless", "unknown", "second"):
            assert host("remove", name) == "removed -1"
            host("wake", name)
            host("event", name, 0)
        assert host("add", "old", "port", "x", 1, 0) == "added 0 1"
        with raw_client(host.port, channels=("port",)) as (_, opened):
            # Hosts of that version have no event callback.
            opened["port"].send(PORT_INIT, b"\7")
            opened["port"].send(DATA, b"data")
            wait_for(lambda: host.count("old")[0] == 4, "data")
            assert host.calls("old") == ["state1", "w1"] or "event7" not in host.calls("old")


def vsc(kind, reader, data=b"", order="<"):
    return struct.pack(order + "III", kind, reader, len(data)) + data


def card_conversation(directory, program, original):
    """A guest and a client say all that they may. Returns what the device was called and given, and what the client heard."""
    ok, cards, calls, heard = struct.pack(">I", 0), [], [], []
    with Ports(directory, program, original) as host:
        host.add("c", "smartcard")
        host.say("c", vsc(1, 0xffffffff, b"init", ">"))  # Before a client is there.
        for _ in range(2):
            with raw_client(host.port, channels=("smartcard",)) as (_, opened):
                card = opened["smartcard"]

                def client(message, taken=None, answer=None):
                    """The client says something, of which the device gets so many bytes or to which the library itself answers."""
                    before = host.count("c")[0]
                    card.send(DATA, message)
                    if taken is None:
                        heard.append(card.expect(DATA).payload)
                        return
                    wait_for(lambda: host.count("c")[0] >= before + taken, "the message at the device")
                    cards.append(host.taken("c"))

                def guest(*pieces, answers=1):
                    for piece in pieces:
                        host.say("c", piece)
                    heard.extend(card.expect(DATA).payload for _ in range(answers))

                client(vsc(1, 0, b"hello"), 0)
                client(vsc(4, 0))
                client(vsc(3, 0xffffffff, b"a reader's name"), 12)
                guest(vsc(2, 0, ok, ">"))
                client(vsc(5, 0, bytes(range(40))), 52)
                guest(vsc(2, 0, ok, ">"))
                for size in (0, 1, 255, 256, 270):
                    apdu = random.Random(size).randbytes(size)
                    guest(vsc(7, 0, apdu, ">"))
                    client(vsc(7, 0, apdu[::-1]), 12 + size)
                client(vsc(7, 0, b"short") + b"and what is not counted", 17)
                # In pieces, and several at once; the guest's ids are its own.
                whole = vsc(7, 9, b"abcdef", ">") + vsc(7, 0xffffffff, b"", ">") + vsc(5, 0, b"xyz", ">")
                guest(whole, answers=3)
                guest(*(whole[i:i + 1] for i in range(len(whole))), answers=3)
                guest(vsc(1, 0, b"swallowed", ">"), vsc(2, 0, struct.pack(">I", 7), ">"))
                client(vsc(2, 0, struct.pack("<I", 3)), 16)
                client(vsc(8, 0, b"flush"), 0)
                client(vsc(6, 0), 12)
                client(vsc(4, 0), 12)
                client(vsc(4, 0))
                client(vsc(3, 0xffffffff), 12)
            wait_for(lambda: calls.extend(host.calls("c")) or calls[-2:] == ["state0", "w1"], "the end of the reader")
            cards.append(host.taken("c"))
    # How often the device is called for a message is not part of the contract.
    return [call for call in calls if not call.startswith("w")], cards, heard


def test_smartcard_streams_are_the_originals(tmp_path, ports):
    ours, originals = (card_conversation(tmp_path, ports, original) for original in (False, True))
    assert ours == originals
    assert len(ours[1]) == 30 and len(ours[2]) == 32


def test_smartcard_readers_come_and_go(tmp_path, ports):
    """The original's process ends when a second reader is added, and when one is added after another was removed."""
    with Ports(tmp_path, ports) as host:
        host.add("a", "smartcard")
        host.add("b", "smartcard")
        with raw_client(host.port, channels=("smartcard",)) as (_, opened):
            card = opened["smartcard"]
            for reader, name in enumerate("ab"):
                card.send(DATA, vsc(3, 0xffffffff, b"reader"))
                wait_for(lambda: host.taken(name) == vsc(3, reader, b"", ">"), "the reader at its device")
            card.send(DATA, vsc(3, 0xffffffff))
            assert card.expect(DATA).payload == vsc(2, 0xffffffff, struct.pack("<I", 2))
            for bad in (5, 261, 0xffffffff):
                card.send(DATA, vsc(4, bad))
                assert card.expect(DATA).payload == vsc(2, bad, struct.pack("<I", 1))
        for name in "ab":
            assert host("remove", name) == "removed 0"
        host.add("c", "smartcard")
        with raw_client(host.port, channels=("smartcard",)) as (_, opened):
            card = opened["smartcard"]
            for size in (0, 270, 271, 282, 283, 4000, 65000):
                host.say("c", vsc(7, 0, bytes(size), ">"))
                assert card.expect(DATA).payload == vsc(7, 0, bytes(size)), "the original waits for ever from 271 to 282 bytes"
            host.say("c", struct.pack(">III", 7, 0, 0xfffffff8))
            wait_for(lambda: host.calls("c")[-1:] == ["state0"], "the end of a device that lies")
        assert host("remove", "c") == "removed 0"


def test_smartcard_data_of_a_client_that_has_no_reader(tmp_path, ports):
    """Its reader is unplugged while it talks. Another reader that is there is not its own until it adds one."""
    with Ports(tmp_path, ports) as host:
        host.add("a", "smartcard")
        host.add("b", "smartcard")
        with raw_client(host.port, channels=("smartcard",)) as (_, opened):
            card = opened["smartcard"]
            card.send(DATA, vsc(3, 0xffffffff))
            wait_for(lambda: host.count("a")[0] == 12, "the reader at its device")
            host("remove", "a")
            host("free", "a")
            card.send(DATA, vsc(4, 0))
            assert card.expect(DATA).payload == vsc(2, 0, struct.pack("<I", 1))
            card.send(DATA, vsc(3, 0xffffffff))
            wait_for(lambda: host.taken("b") == vsc(3, 1, b"", ">"), "the other reader")
            card.send(DATA, vsc(5, 1, b"\x3b\0"))
            wait_for(lambda: host.taken("b") == vsc(5, 1, b"\x3b\0", ">"), "its card")
            card.send(DATA, vsc(7, 0, b"to a reader that is gone"))
            assert card.wait_close(60)
        wait_for(lambda: host.taken("b") == vsc(4, 1, b"", ">"), "the end of the client's reader")


def test_smartcard_data_before_there_is_a_reader(tmp_path, ports):
    """The original copies to where no buffer is."""
    with Ports(tmp_path, ports) as host:
        host.add("a", "smartcard")
        with raw_client(host.port, channels=("smartcard",)) as (_, opened):
            opened["smartcard"].send(DATA, vsc(7, 3, b"to no reader"))
            assert opened["smartcard"].wait_close(60)
        host("remove", "a")
        assert host.count("a")[0] == 0
