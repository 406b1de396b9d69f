"""What guests are told of the clients of their displays (set_client_capabilities): what both originals tell them, too, of clients
that leave a quiet display."""
import contextlib

import pytest
import spiceraw
from harness import LIB_DIR, raw_session, wait_for
from puppet import ARENA, Guest

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original sometimes reports once more, without the client that has left")

FULL, OLD = dict(spiceraw.DEFAULT_CAPS), dict(spiceraw.DEFAULT_CAPS, display=[0, 1])


class Told:
    """The reports of a guest, "PRESENT:CAPABILITIES" for each display, in order."""

    def __init__(self, guest):
        self.guest, self.reports = guest, {"0": [], "1": []}

    def collect(self):
        self.guest("C")
        for report in self.guest.flush()[-1].decode().split():
            display, what = report.split(":", 1)
            self.reports[display].append(what)
        return self.reports

    def is_told(self, *first, second=()):
        """Waits until just these reports have come since the last call."""
        want = {"0": list(first), "1": list(second)}
        wait_for(lambda: self.collect() == want or len(self.reports["0"]) > len(first), f"{want}")
        assert self.reports == want
        self.reports = {"0": [], "1": []}

    def does(self, command):
        self.guest(command)
        self.guest.flush()


class Viewer:
    def __init__(self, guest, caps=FULL, displays=(0,)):
        self.session = raw_session(guest.port, caps=caps)
        self.displays = [self.open(ident) for ident in displays]

    def open(self, ident):
        display = self.session.open("display", ident)
        display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        return display

    def close(self):
        for channel in [*self.displays, self.session.main]:
            channel.close()


@contextlib.contextmanager
def told(tmp_path, puppet):
    with Guest(tmp_path, puppet, displays=2) as guest:
        guest("m", 0, 1, 0, 0, ARENA, 0)
        guest.primary()
        guest.flush()
        reports = Told(guest)
        reports.is_told("0:00", second=["0:00"])
        yield guest, reports


def test_a_guest_is_told_of_each_client_that_comes_and_goes(tmp_path, puppet):
    with told(tmp_path, puppet) as (guest, reports):
        for _ in range(2):
            viewer = Viewer(guest)
            reports.is_told("1:0f")
            viewer.close()
            # As if the client were there: the guest goes on to draw for the next one.
            reports.is_told("1:0f")


def test_a_guest_is_told_what_all_clients_can_do(tmp_path, puppet):
    with told(tmp_path, puppet) as (guest, reports):
        first = Viewer(guest)
        reports.is_told("1:0f")
        second = Viewer(guest, OLD)
        reports.is_told("1:03")
        second.close()
        reports.is_told("1:03")
        third = Viewer(guest)
        reports.is_told("1:0f")
        first.close()
        reports.is_told("1:0f")
        third.close()
        reports.is_told("1:0f")


def test_each_display_has_reports_of_its_own(tmp_path, puppet):
    with told(tmp_path, puppet) as (guest, reports):
        viewer = Viewer(guest)
        reports.is_told("1:0f")
        second = viewer.open(1)
        reports.is_told(second=["1:0f"])
        second.close()
        reports.is_told(second=["1:0f"])
        viewer.close()
        reports.is_told("1:0f")


def test_a_guest_that_starts_is_told_who_is_there(tmp_path, puppet):
    with told(tmp_path, puppet) as (guest, reports):
        viewer = Viewer(guest)
        reports.is_told("1:0f")
        reports.does("t")
        reports.does("T")
        reports.is_told("1:0f", second=["0:00"])
        reports.does("t")
        viewer.close()
        # It is gone once nobody can log in with its session any more; a stopped guest is not told.
        wait_for(lambda: not joins(guest, viewer.session.conn_id), "the session ends")
        reports.does("T")
        reports.is_told("0:00", second=["0:00"])


def joins(guest, session):
    """Whether a further channel can join a session."""
    try:
        spiceraw.link(spiceraw.dial(port=guest.port), "inputs", conn_id=session).close()
    except spiceraw.SpiceError:
        return False
    return True
