"""Clients that a server must survive, and that must not be noticed by anybody else. Each is a function that goes on for ever, to be
run in a process of its own."""
import contextlib, os, random, socket, struct, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import spiceraw  # noqa: E402

UPGRADE = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"


def again_and_again(attack):
    """The attack, begun anew whenever the server ends it."""
    def run(port, *args):
        while True:
            with contextlib.suppress(OSError, spiceraw.SpiceError):
                attack(port, *args)
            time.sleep(0.05)
    run.__name__ = attack.__name__
    return run


def session(port):
    client = spiceraw.Session(port=port)
    client.open_main()
    return client


def display_of(client, ident=0):
    display = client.open("display", ident)
    display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
    return display


@again_and_again
def frames_without_data(port, frame):
    """WebSocket frames without data, before any login."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(UPGRADE)
        sock.recv(1000)
        while True:
            sock.sendall(frame * (4096 // len(frame)))
            time.sleep(0.002)


@again_and_again
def half_open_links(port):
    """Connections that never log in."""
    socks = []
    for _ in range(40):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"REDQ")
        socks.append(sock)
        time.sleep(0.01)
    for sock in socks:
        sock.close()


@again_and_again
def garbage(port):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(os.urandom(random.randrange(1, 400)))
        time.sleep(0.05)


@again_and_again
def scan_codes(port):
    """Messages of as many scan codes as fit, of keys that are released."""
    client = session(port)
    inputs = client.open("inputs")
    while True:
        inputs.send(spiceraw.MSGC_INPUTS_KEY_SCANCODE, b"\x9e" * 2000)
        time.sleep(0.005)


@again_and_again
def stopped(port):
    """A viewer that takes part in all of it, and then reads nothing any more."""
    client = session(port)
    channels = [display_of(client), client.open("cursor")]
    for _ in channels[0].recv_for(2):
        pass
    time.sleep(100)


@again_and_again
def slow(port):
    """A viewer that reads some kilobytes a second."""
    client = session(port)
    display = display_of(client)
    while True:
        display.recv(1)
        time.sleep(0.05)


@again_and_again
def eager(port):
    """A viewer that reads everything."""
    client = session(port)
    display = display_of(client)
    while True:
        display.recv(5)


@again_and_again
def coming_and_going(port):
    client = session(port)
    channels = [display_of(client), client.open("cursor"), client.open("inputs")]
    for _ in channels[0].recv_for(random.random()):
        pass
    for channel in [*channels, client.main]:
        channel.close()


@again_and_again
def bad_messages(port):
    """A logged-in client whose messages are garbage."""
    client = session(port)
    channel = client.open(random.choice(["display", "inputs", "cursor"]))
    channel.send(random.randrange(1, 200), os.urandom(random.randrange(64)), size=random.choice([0, 5, 64, 2**31, 2**32 - 1]))
    channel.wait_close(0.2)


ATTACKERS = [(frames_without_data, b"\x82\x00"), (frames_without_data, b"\x89\x7d" + b"x" * 125), (half_open_links,), (garbage,),
             (scan_codes,), (stopped,), (slow,), (eager,), (coming_and_going,), (bad_messages,)]


def half_width(values, part):
    """The value that this part of all values does not exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def first_picture(port):
    """Seconds until a new viewer of the hostile display has its first picture."""
    start = time.monotonic()
    client = session(port)
    display = display_of(client)
    try:
        while time.monotonic() < start + 30:
            message = display.recv(30)
            if message and 302 <= message.type <= 317 and message.type != 314:
                return time.monotonic() - start
    finally:
        display.close()
        client.main.close()
    return float("inf")


def mouse_motion(dx):
    return struct.pack("<iiH", dx, 0, 0)
