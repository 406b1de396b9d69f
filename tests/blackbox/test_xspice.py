"""A real QXL driver without a VM: Debian's Xspice draws, the client's picture equals the X server's own."""
import os, subprocess
from pathlib import Path

import pytest
from harness import TOOLS, Client, Process, free_port, lib_env, wait_for, x_picture

COMMANDS = """
# Xspice draws the pointer into the picture: let it have no pixels, and rest where no window is
xsetroot -solid '#204060'
xsetroot -cursor %(dir)s/blank.xbm %(dir)s/blank.xbm
xdotool mousemove 1020 765
xterm -geometry 80x24+20+20 -e sh -c 'i=0; while [ $i -lt 300 ]; do echo "line $i of a scrolling terminal"; i=$((i+1)); done; sleep 600' &
xterm -geometry 60x20+300+200 -bg black -fg green -e sh -c 'ls -lR /usr/lib/xorg | head -100; sleep 600' &
xlogo -geometry 200x200+500+30 &
for i in $(seq 100); do [ $(xwininfo -root -tree | grep -c xterm) -ge 2 ] && break; sleep 0.1; done
w=$(xdotool search --class xlogo | tail -1)
for i in 1 2 3 4 5 6 7 8 9 10; do xdotool windowmove $w $((500 - 30 * i)) $((30 + 20 * i)); sleep 0.05; done
xdotool mousemove 1020 765
touch %(dir)s/drawn
sleep 600
"""


class Xspice(Process):
    """An X server on the library under test with X programs on it."""

    def __init__(self, directory, options=""):
        self.port = free_port()
        self.display = next(n for n in range(60, 200) if not Path(f"/tmp/.X11-unix/X{n}").exists())
        blank = "#define blank_width 1\n#define blank_height 1\nstatic char blank_bits[] = { 0x00 };\n"
        (directory / "blank.xbm").write_text(blank)
        env = lib_env(XSPICE_CONF_OPTIONS=f'Option "SpicePort" "{self.port}"\nOption "SpiceDisableTicketing" "1"\n{options}',
                      XSPICE_LOG=str(directory / "xorg.out"))
        super().__init__(["bash", TOOLS / "xspice_session.sh", self.port, self.display, "300", COMMANDS % {"dir": directory}],
                         directory, "xspice", env=env, start_new_session=True)
        wait_for(lambda: (directory / "drawn").exists() or not self.alive(), "X programs have drawn")
        assert self.alive(), self.output() + (directory / "xorg.out").read_text()

    def picture(self, path):
        """The root window's pixels as a PPM."""
        return x_picture(f":{self.display}", path)

    def close(self):
        for pid in subprocess.run(["pgrep", "-f", f"Xorg .*:{self.display}$"], capture_output=True, text=True).stdout.split():
            os.kill(int(pid), 15)
        self.proc.terminate()
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            pass
        super().close()


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
        env = dict(os.environ, DISPLAY=f":{xspice.display}")
        subprocess.run(["bash", "-c", "for i in 1 2 3 4 5; do xdotool search --class xterm windowmove $((i*15)) $((i*10)); done"], env=env)
        shows(client, xspice, tmp_path)
