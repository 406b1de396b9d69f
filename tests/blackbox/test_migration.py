"""A machine moves to another QEMU on this computer, and the connected clients with it."""
import contextlib, os
from pathlib import Path

import harness
import pytest
from harness import Client, Qemu, free_port, wait_for

CARDS = ["qxl-vga", "VGA"]
MODES = {"seamless": "disable-ticketing=on,seamless-migration=on", "semi-seamless": "disable-ticketing=on"}


class Machine(Qemu):
    """A QEMU that a machine can move to, with `incoming`, and from. `library` is a directory, or None for the system's own."""

    def __init__(self, directory, image, card, name, incoming=False, spice=MODES["seamless"], library=harness.LIB_DIR, args=(), env=None):
        self.incoming = free_port()
        args = ["-device", card, *args, *(["-incoming", f"tcp:127.0.0.1:{self.incoming}"] if incoming else [])]
        env = dict(os.environ, **(env or {}))
        # The newest tree takes the library's place from the one variable, the installed QEMU from the other.
        env.pop("SPICE_LIB_DIR", None)
        if library:
            env["LD_LIBRARY_PATH"] = env["SPICE_LIB_DIR"] = str(library)
        super().__init__(directory, *args, image=image, name=name, spice=spice, env=env)
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        ours = bool(harness.LIB_DIR) and str(Path(harness.LIB_DIR).resolve()) in maps
        if ours != bool(library):
            self.close()
            raise AssertionError("the host runs on the other library")

    def channels(self):
        return self("query-spice").get("channels", [])

    def announce(self, target, clients=1):
        """Has the clients link to the target as well. All their channels must be open: the target gets as many links as are counted here."""
        here = len(self.channels())
        self("client_migrate_info", protocol="spice", hostname="127.0.0.1", port=target.port)
        if clients:
            wait_for(lambda: len(target.channels()) == here, "the clients' links to the target")

    def migration(self):
        return self("query-migrate").get("status")

    def begin(self, target, bytes_per_second=1 << 30):
        self("migrate-set-parameters", **{"max-bandwidth": bytes_per_second})
        self("migrate", uri=f"tcp:127.0.0.1:{target.incoming}")

    def move(self, target):
        """Moves the machine."""
        self.begin(target)
        wait_for(lambda: self.migration() in ("completed", "failed"), "the end of the migration")
        assert self.migration() == "completed"
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


@pytest.mark.parametrize("mode", MODES)
def test_three_hops(tmp_path, echo_image, mode):
    with machines(tmp_path, echo_image, "qxl-vga", count=4, libraries=[harness.LIB_DIR] * 4, spice=MODES[mode]) as hosts, \
            Client(tmp_path, hosts[0].port) as client:
        picture_and_keys(client, hosts[0])
        for source, target in zip(hosts, hosts[1:]):
            client("unmigrated")
            source.announce(target)
            source.move(target)
            follows(client, source, target)


def test_two_clients_follow(tmp_path, echo_image):
    with machines(tmp_path, echo_image, "qxl-vga", env={"SPICE_DEBUG_ALLOW_MC": "1"}) as (source, target), \
            Client(tmp_path, source.port, name="one") as one, Client(tmp_path, source.port, name="two") as two:
        picture_and_keys(one, source)
        two("display")
        two("channels:4")
        wait_for(lambda: len(source.channels()) == 8, "both clients' channels")
        source.announce(target)
        source.move(target)
        for client in (one, two):
            follows(client, source, target)


def stays(client, source):
    """The client goes on where it is."""
    client("text:z")
    source.shows_text("z2c", why="typed key at the source")
    client.shows(source)
    assert not [e for e in client.events if e["event"] in ("channel-destroy", "failed")]


def running_again(source, why):
    wait_for(lambda: source.migration() == why, "the end of the migration")
    wait_for(lambda: source("query-status")["status"] == "running", "the machine running at the source")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_target_that_dies_leaves_the_client_where_it_is(tmp_path, echo_image, when, mode):
    with machines(tmp_path, echo_image, "qxl-vga", count=3, libraries=[harness.LIB_DIR] * 3, spice=MODES[mode]) as (source, target, other), \
            Client(tmp_path, source.port) as client:
        picture_and_keys(client, source)
        source.announce(target)
        if when == "before":
            target.proc.kill()
        source.begin(target, bytes_per_second=100_000)
        if when == "during":
            wait_for(lambda: source.migration() == "active", "the migration under way")
            target.proc.kill()
        running_again(source, "failed")
        stays(client, source)
        client("unmigrated")
        source.announce(other)
        source.move(other)
        follows(client, source, other)


@pytest.mark.parametrize("mode", MODES)
def test_a_cancelled_migration_leaves_the_client_where_it_is(tmp_path, echo_image, mode):
    with machines(tmp_path, echo_image, "qxl-vga", spice=MODES[mode]) as (source, target), Client(tmp_path, source.port) as client:
        picture_and_keys(client, source)
        source.announce(target)
        source.begin(target, bytes_per_second=100_000)
        wait_for(lambda: source.migration() == "active", "the migration under way")
        source("migrate_cancel")
        running_again(source, "cancelled")
        stays(client, source)


def test_a_client_without_a_way_to_the_target_stays_and_then_switches(tmp_path, echo_image):
    """Nobody listens where the host sends its clients: the machine moves all the same."""
    with machines(tmp_path, echo_image, "qxl-vga") as (source, target), Client(tmp_path, source.port) as client:
        picture_and_keys(client, source)
        source("client_migrate_info", protocol="spice", hostname="127.0.0.1", port=free_port())
        stays(client, source)
        source("client_migrate_info", protocol="spice", hostname="127.0.0.1", port=target.port)
        wait_for(lambda: len(target.channels()) == len(source.channels()), "the client's links to the target")
        source.move(target)
        follows(client, source, target)
