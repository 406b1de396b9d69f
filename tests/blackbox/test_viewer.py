"""remote-viewer, as users run it, in a window of an X server without a screen."""
import os, subprocess

import pytest
from harness import Process, Qemu, read_ppm, wait_for, x_picture


class Xvfb(Process):
    def __init__(self, directory):
        read, write = os.pipe()
        super().__init__(["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"], directory, "xvfb",
                         pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as f:
            self.display = f":{f.readline().strip()}"


def contains(outer, inner):
    """Whether the inner picture is part of the outer one."""
    (ow, oh, op), (iw, ih, ip) = outer, inner
    rows = [ip[y * iw * 3:(y + 1) * iw * 3] for y in range(ih)]
    busiest = max(range(ih), key=lambda y: len(set(rows[y][i:i + 3] for i in range(0, iw * 3, 3))) + rows[y].count(rows[y][:1]) % 7)
    start = op.find(rows[busiest])
    while start >= 0:
        x, y = start // 3 % ow, start // 3 // ow - busiest
        if start % 3 == 0 and 0 <= y <= oh - ih and all(
                op[((y + i) * ow + x) * 3:((y + i) * ow + x + iw) * 3] == rows[i] for i in range(ih)):
            return True
        start = op.find(rows[busiest], start + 1)
    return False


@pytest.mark.parametrize("card", ["VGA", "qxl-vga"])
def test_remote_viewer_shows_the_screen(tmp_path, echo_image, card):
    with Qemu(tmp_path, "-device", card, image=echo_image) as qemu, Xvfb(tmp_path) as x:
        root = tmp_path / "root.ppm"
        qemu.shows_text("READY>", why="guest started")
        for _ in range(2):  # the second time is a reconnect
            env = dict(os.environ, DISPLAY=x.display, HOME=str(tmp_path), NO_AT_BRIDGE="1", XDG_RUNTIME_DIR=str(tmp_path))
            with Process(["dbus-run-session", "--", "remote-viewer", f"spice://127.0.0.1:{qemu.port}"], tmp_path, "viewer", env=env,
                         start_new_session=True) as viewer:
                wait_for(lambda: len(qemu("query-spice").get("channels", [])) >= 4 or not viewer.alive(), "viewer connected")
                assert viewer.alive(), viewer.output()
                wait_for(lambda: x_picture(x.display, root) and contains(read_ppm(root), read_ppm(qemu.screendump())), "the screen in the window")
                subprocess.run(["pkill", "-g", str(viewer.pid)])
            wait_for(lambda: not qemu("query-spice").get("channels"), "viewer gone")


def test_spicy_screenshot_equals_the_screen(tmp_path, echo_image):
    with Qemu(tmp_path, "-device", "qxl-vga", image=echo_image) as qemu:
        qemu.shows_text("READY>", why="guest started")
        shot = tmp_path / "shot.ppm"

        def same():
            subprocess.run(["spicy-screenshot", "--uri", f"spice://127.0.0.1:{qemu.port}", "--out-file", shot], check=True, capture_output=True)
            return read_ppm(shot) == read_ppm(qemu.screendump())
        wait_for(same, "the screenshot equals the screen")
