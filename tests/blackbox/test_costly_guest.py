"""Guests whose commands are legal one by one and cost as much as they can: none of them hangs or fills the host."""
import re, subprocess

import pytest
from harness import LIB_DIR, TOOLS, Process, free_port, lib_env, wait_for

pytestmark = pytest.mark.skipif(not LIB_DIR, reason="the original does not survive this")

# Many times what it takes here: without a bound, each takes minutes or gigabytes.
LONGEST_REQUEST_MS, MOST_MIB = 5000, 700


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile") / "hostile_guest"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    source = TOOLS / "hostile_guest.c"
    subprocess.run(["cc", "-O2", "-w", "-o", out, source, *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


@pytest.mark.parametrize("attack", ["grid:2", "snapshots", "chain", "combs:20", "composites:3", "lines", "chequers:20000", "image", "holes:4",
                                    "tiny:2000", "shapes", "requests:20000", "refusals:500", "refill"])
def test_costly_commands_neither_hang_nor_fill_the_host(tmp_path, program, attack):
    with Process([program, free_port(), 0, attack], tmp_path, "host", stdin=subprocess.PIPE, env=lib_env()) as host:
        host.proc.stdin.write(b"\n")
        host.proc.stdin.flush()
        wait_for(lambda: "\ndone\n" in host.output() or not host.alive(), "the end of the attack", 180)
        output = host.output()
        assert host.alive() and "panic" not in output, output[-2000:]
        worst, rss, back, given = map(int, re.search(r" worst=(\d+) rss=(\d+) released=(\d+)/(\d+)$", output, re.M).groups())
        assert back == given
        assert worst < LONGEST_REQUEST_MS and rss < MOST_MIB
