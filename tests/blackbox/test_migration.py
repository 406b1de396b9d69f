"""A machine moves to another QEMU on this computer, and the connected clients with it."""
import contextlib, os
from pathlib import Path

import harness
import pytest
from harness import Client, Qemu, free_port, lib_env, wait_for

CARDS = ["qxl-vga", "VGA"]
MODES = {"seamless": "disable-ticketing=on,seamless-migration=on", "semi-seamless": "disable-ticketing=on"}


class Machine(Qemu):
    """A QEMU that a machine can move to, with `incoming`, and from. `library` is a directory, or None for the system's own."""

    def __init__(self, directory, image, card, name, incoming=False, spice=MODES["seamless"], library=harness.LIB_DIR, args=(), env=None):
        self.incoming = free_port()
        args = ["-device", card, *args, *(["-incoming", f"tcp:127.0.0.1:{self.incoming}"] if incoming else [])]
        env = dict(os.environ, **(env or {}))
        if library:
            env["LD_LIBRARY_PATH"] = str(library)
        super().__init__(directory, *args, image=image, name=name, spice=spice, env=env)

    def channels(self):
        return self("query-spice").get("channels", [])

    def announce(self, target, clients=1):
        """Has the clients link to the target as well."""
        here = len(self.channels())
        self("client_migrate_info", protocol="spice", hostname="127.0.0.1", port=target.port)
        if clients:
            wait_for(lambda: len(target.channels()) == here, "the clients' links to the target")

    def move(self, target):
        """Moves the machine."""
        self("migrate", uri=f"tcp:127.0.0.1:{target.incoming}")
        wait_for(lambda: self("query-migrate").get("status") in ("completed", "failed"), "the end of the migration")
        assert self("query-migrate")["status"] == "completed", self("query-migrate")
        wait_for(lambda: target("query-status")["status"] == "running", "the machine running at the target")


@contextlib.contextmanager
def machines(directory, image, card, count=2, **options):
    """Machines on one disk: the first runs, the others await it."""
    libraries = options.pop("libraries", [harness.LIB_DIR] * count)
    with contextlib.ExitStack() as stack:
        found = []
        for n, library in enumerate(libraries):
            found.append(stack.enter_context(Machine(directory, image, card, f"qemu{n}", incoming=n > 0, library=library, **options)))
        yield found


def follows(client, source, target):
    """Waits until the client has arrived, then proves that its picture and its keyboard are the target's."""
    client("migrated:60")
    wait_for(lambda: not source.channels(), "the client gone from the source")
    client.shows(target)
    client("text:z")
    target.shows_text("z2c", why="typed key at the target")
    client.shows(target)
    restarts = [e for e in client.events if e["event"] == "channel-destroy"]
    assert not restarts, "the client reconnected: %s" % restarts


def picture_and_keys(client, machine):
    client("display")
    machine.shows_text("READY>", why="guest started")
    client("channels:4")
    client("text:spice")
    machine.shows_text("s1f p19 i17 c2e e12", why="typed keys at the guest")
    client.shows(machine)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("card", CARDS)
def test_a_client_follows_its_machine(tmp_path, echo_image, card, mode):
    with machines(tmp_path, echo_image, card, spice=MODES[mode]) as (source, target), Client(tmp_path, source.port) as client:
        picture_and_keys(client, source)
        source.announce(target)
        source.move(target)
        follows(client, source, target)


# The library under test and the system's own, which is the original unless it was replaced.
PAIRS = {"to-the-original": [harness.LIB_DIR, None], "from-the-original": [None, harness.LIB_DIR]}


@pytest.mark.skipif(not harness.LIB_DIR, reason="the original alone")
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("card", CARDS)
def test_a_client_follows_between_the_original_and_this_library(tmp_path, echo_image, card, mode, pair):
    with machines(tmp_path, echo_image, card, spice=MODES[mode], libraries=PAIRS[pair]) as (source, target), \
            Client(tmp_path, source.port) as client:
        picture_and_keys(client, source)
        source.announce(target)
        source.move(target)
        follows(client, source, target)
