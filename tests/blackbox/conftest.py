import sys
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
