import subprocess, sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import harness  # noqa: E402


@pytest.fixture(scope="session")
def echo_image(tmp_path_factory):
    return harness.boot_image("echo.S", tmp_path_factory.mktemp("boot"))


@pytest.fixture(scope="session")
def busy_image(tmp_path_factory):
    return harness.boot_image("busy.S", tmp_path_factory.mktemp("boot"))


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "replay_bench"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    subprocess.run(["cc", "-O2", "-w", "-o", out, harness.TOOLS / "replay_bench.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


@pytest.fixture(scope="session")
def ports(tmp_path_factory):
    out = tmp_path_factory.mktemp("ports") / "ports"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    subprocess.run(["cc", "-O2", "-w", "-o", out, harness.HERE / "ports.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out


@pytest.fixture(scope="session")
def puppet(tmp_path_factory):
    out = tmp_path_factory.mktemp("puppet") / "puppet_host"
    flags = subprocess.check_output(["pkg-config", "--cflags", "spice-server", "spice-protocol"], text=True).split()
    subprocess.run(["cc", "-O1", "-w", "-o", out, harness.TOOLS / "puppet_host.c", *flags, "-l:libspice-server.so.1", "-lpthread"], check=True)
    return out
