"""A real QXL driver without a VM: Debian's Xspice draws, the client's picture equals the X server's own."""
import os, struct, subprocess

import pytest
from harness import TOOLS, Client, Process, close_enough, free_port, lib_env, read_ppm, wait_for, x_picture

COMMANDS = """
# Xspice draws the pointer into the picture: let it have no pixels, and rest where no window is
xsetroot -solid '#204060'
xsetroot -cursor %(dir)s/blank.xbm %(dir)s/blank.xbm
xdotool mousemove 1020 765
xterm -geometry 80x24+20+20 -e sh -c 'i=0; while [ $i -lt 300 ]; do echo "line $i of a scrolling terminal"; i=$((i+1)); done; sleep 600' &
xterm -geometry 60x20+300+200 -bg black -fg green -e sh -c 'ls -lR /usr/lib/xorg | head -100; sleep 600' &
xlogo -geometry 200x200+500+30 &
echo $DISPLAY > %(dir)s/display
until [ $(xwininfo -root -tree | grep -c xterm) -ge 2 ]; do sleep 0.1; done
until w=$(xdotool search --class xlogo | tail -1) && [ -n "$w" ]; do sleep 0.1; done
for i in 1 2 3 4 5 6 7 8 9 10; do xdotool windowmove $w $((500 - 30 * i)) $((30 + 20 * i)); sleep 0.05; done
xdotool mousemove 1020 765
touch %(dir)s/drawn
sleep 600
"""


class Xspice(Process):
    """An X server on the library under test with X programs on it."""

    def __init__(self, directory, options=""):
        self.port = free_port()
        blank = "#define blank_width 1\n#define blank_height 1\nstatic char blank_bits[] = { 0x00 };\n"
        (directory / "blank.xbm").write_text(blank)
        env = lib_env(XSPICE_CONF_OPTIONS=f'Option "SpicePort" "{self.port}"\nOption "SpiceDisableTicketing" "1"\n{options}',
                      XSPICE_LOG=str(directory / "xorg.out"))
        super().__init__(["bash", TOOLS / "xspice_session.sh", self.port, "600", COMMANDS % {"dir": directory}],
                         directory, "xspice", env=env, start_new_session=True)
        wait_for(lambda: (directory / "drawn").exists() or not self.alive(), "X programs have drawn")
        assert self.alive(), self.output() + (directory / "xorg.out").read_text()
        self.display = (directory / "display").read_text().strip()

    def picture(self, path):
        """The root window's pixels as a PPM."""
        return wait_for(lambda: x_picture(self.display, path), "a picture of the X server")

    def close(self):
        for pid in subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True, text=True).stdout.split():
            os.kill(int(pid), 15)  # what runs in the session; the X server follows
        self.proc.terminate()
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            pass
        super().close()

    def run(self, commands, **popen):
        """Starts this shell command as a child on the X server."""
        return subprocess.Popen(["bash", "-c", commands], env=dict(os.environ, DISPLAY=self.display), **popen)


def photograph(path, width=320, height=240):
    """A photo-like picture, which the server sends as JPEG, as a window dump for xwud."""
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            pixels += bytes(((x * x + y * y) // 300 % 512 ^ -(((x * x + y * y) // 300 >> 8) & 1)) & 0xff if c else (x + y) * 255 // 560
                            for c in (0, 1, 0)) + b"\0"
    name = b"photograph\0"
    head = struct.pack(">25I", 100 + len(name), 7, 2, 24, width, height, 0, 0, 32, 0, 32, 32, width * 4, 4, 0xff0000, 0xff00, 0xff, 8, 256, 0,
                       width, height, 0, 0, 0)
    path.write_bytes(head + name + pixels)
    return path


def shows(client, xspice, directory):
    for _ in range(20):
        if client.attempt(f"until:{xspice.picture(directory / 'root.ppm')}:3"):
            return
    raise AssertionError("the client's picture never equals the X server's")


@pytest.mark.parametrize("compression", ["auto-glz", "quic", "glz", "lz", "lz4", "off"])
def test_picture_equals_the_x_servers(tmp_path, compression):
    with Xspice(tmp_path) as xspice, Client(tmp_path, xspice.port, "--compression", compression) as client:
        client("display")
        shows(client, xspice, tmp_path)
        env = dict(os.environ, DISPLAY=xspice.display)
        subprocess.run(["bash", "-c", "for i in 1 2 3 4 5; do xdotool search --class xterm windowmove $((i*15)) $((i*10)); done"], env=env)
        shows(client, xspice, tmp_path)


# Words of different inks on one background, which the server joins to lines and sends as text; the second window is at the left edge.
COLOURS = """
xterm %s -bg '#101418' -fg '#d0d0d0' -e sh -c '
i=0; while [ $i -lt 60 ]; do
    printf "\\033[31mred %%d\\033[32m green,\\033[33m and yellow_j|\\033[0m plain \\033[36mcyan words of line %%d\\033[0m\\n" $i $i; i=$((i+1))
done; sleep 600' &
"""


@pytest.mark.parametrize("compression", ["auto-glz", "lz"])
def test_text_of_several_inks_is_exact(tmp_path, compression):
    with Xspice(tmp_path) as xspice, Client(tmp_path, xspice.port, "--compression", compression) as client:
        client("display")
        shows(client, xspice, tmp_path)
        for place in ("-geometry 100x30+150+40", "-geometry 90x20+0+300"):
            with xspice.run(COLOURS % place) as started:
                started.wait()
            shows(client, xspice, tmp_path)
        subprocess.run(["bash", "-c", "for i in 1 2 3; do xdotool search --class xterm windowmove $((i*15)) $((i*10)); done"],
                       env=dict(os.environ, DISPLAY=xspice.display))
        shows(client, xspice, tmp_path)


@pytest.mark.parametrize("jpeg,zlib", [("always", "never"), ("never", "always"), ("always", "always")])
def test_wan_picture_is_close_while_busy_and_exact_at_rest(tmp_path, jpeg, zlib):
    photo = photograph(tmp_path / "photo.xwd")
    options = f'Option "SpiceJpegWanCompression" "{jpeg}"\nOption "SpiceZlibGlzWanCompression" "{zlib}"\n'
    with Xspice(tmp_path, options) as xspice, Client(tmp_path, xspice.port) as client:
        client("display")
        shows(client, xspice, tmp_path)
        # something always moves in the last row, so that the link is never idle
        busy = xspice.run("xlogo -title busy -geometry 20x4+1000+764 & until w=$(xdotool search --name '^busy$' | tail -1) && [ -n \"$w\" ]; do sleep 0.1; done;"
                          f"touch {tmp_path}/busy; while :; do xdotool windowmove $w 990 764; sleep 0.03; xdotool windowmove $w 1000 764; sleep 0.03; done",
                          start_new_session=True)
        wait_for(lambda: (tmp_path / "busy").exists(), "something moves")
        viewer = xspice.run(f"exec xwud -in {photo} -geometry +200+300")

        def pictures():
            client(f"shot:{tmp_path}/shot.ppm")
            xspice.picture(tmp_path / "root.ppm")
            return [read_ppm(tmp_path / name)[2][:1024 * 3 * 750] for name in ("shot.ppm", "root.ppm")]

        def photo_is_there():
            rows = pictures()[1][:1024 * 3 * 600]
            return len(set(rows[400 * 3072:420 * 3072])) > 200
        wait_for(photo_is_there, "the photograph on the X server")
        wait_for(lambda: close_enough(*pictures()), "a picture within the bound")
        if jpeg == "always":
            shot, root = pictures()
            assert shot != root, "nothing lossy while the link is busy"
        xspice.run("xdotool search --class xterm windowmove 100 320").wait()
        wait_for(lambda: close_enough(*pictures()), "a picture within the bound after a move")
        os.killpg(busy.pid, 15)
        busy.wait()
        shows(client, xspice, tmp_path)
        viewer.kill()
        viewer.wait()
        shows(client, xspice, tmp_path)


def test_pointer_and_keys_of_a_client_reach_the_x_server(tmp_path):
    with Xspice(tmp_path) as xspice, Client(tmp_path, xspice.port) as client:
        client("display")
        client("channels:4")

        def out(command):
            return subprocess.run(["bash", "-c", command], env=dict(os.environ, DISPLAY=xspice.display), capture_output=True, text=True).stdout

        def at(x, y):
            client(f"position:{x},{y}")
            return f"x:{x} y:{y} " in out("xdotool getmouselocation")
        client("mouse:2")
        wait_for(lambda: at(700, 600), "the pointer where the client says")
        log = tmp_path / "keys"
        xev = xspice.run(f"exec xev -geometry 200x200+700+500 -event keyboard > {log}")
        wait_for(lambda: out("xdotool search --name 'Event Tester'").strip(), "the key listener")
        wait_for(lambda: at(800, 600) and out("xdotool getwindowfocus getwindowname").strip() == "Event Tester"
                 or out("xdotool windowfocus $(xdotool search --name 'Event Tester' | head -1)"), "keyboard focus")
        client("text:q")
        wait_for(lambda: "keysym 0x71, q" in log.read_text(), "the key at the X client")
        xev.kill()
        xev.wait()
