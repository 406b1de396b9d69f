"""A domain of libvirt, whose screen is shared by TLS with a password: QEMU runs in libvirt's sandbox and as libvirt's user."""
import json, os, pwd, re, shutil, subprocess
from pathlib import Path

import harness
import libvirtd
import pytest
from harness import Client, Process, free_port, read_ppm, wait_for, x_picture
from test_access import Pki
from test_managed import SANDBOX, works
from test_viewer import Xvfb, contains

pytestmark = pytest.mark.skipif(bool(libvirtd.why_not()), reason=f"libvirtd: {libvirtd.why_not()}")
NAME = "guest"
# Debian's name first.
USERS = ["libvirt-qemu", "qemu"]

DOMAIN = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'/><target dev='hda' bus='ide'/></disk>
    {graphics}
    <video><model type='qxl'/></video>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <controller type='usb' model='qemu-xhci'/>
    <redirdev bus='usb' type='spicevmc'/>
    <audio id='1' type='spice'/>
    <sound model='ich9'/>
    <memballoon model='none'/>
  </devices>
  {environment}
</domain>"""


class Domain:
    """A running domain, whose channels are had by TLS alone if it is `secure`."""

    def __init__(self, directory, image, secure=True):
        self.mode = "secure" if secure else "any"
        self.logs, self.port, self.tls_port = directory, free_port(), free_port()
        self.user = next(name for name in USERS if name in {entry.pw_name for entry in pwd.getpwall()})
        self.libvirt = libvirtd.Libvirt(directory, self.config)
        try:
            self.start(image)
        except BaseException:
            self.libvirt.close()
            raise

    def config(self, libvirt):
        self.x509 = libvirt.home / "x509"
        self.x509.mkdir()
        self.pki = Pki(self.x509)
        return [f'user = "{self.user}"', "spice_tls = 1", f'spice_tls_x509_cert_dir = "{self.x509}"', "cgroup_controllers = [ ]"]

    def start(self, image):
        home = self.libvirt.home
        # Where QEMU writes its pictures.
        self.directory = home / "pictures"
        self.directory.mkdir()
        for path in (self.directory, self.x509, *self.x509.iterdir()):
            shutil.chown(path, self.user)
        shutil.copy(image, home / "disk.img")
        library = ""
        if harness.LIB_DIR:
            shutil.copytree(harness.LIB_DIR, home / "lib", symlinks=True)
            library = f"<qemu:commandline><qemu:env name='LD_LIBRARY_PATH' value='{home / 'lib'}'/></qemu:commandline>"
        (home / "domain.xml").write_text(DOMAIN.format(
            name=NAME, emulator=shutil.which("qemu-system-x86_64"), image=home / "disk.img", graphics=self.graphics("first"), environment=library))
        self.libvirt.virsh("create", str(home / "domain.xml"))

    def graphics(self, password, connected="keep"):
        return (f"<graphics type='spice' port='{self.port}' tlsPort='{self.tls_port}' autoport='no' listen='127.0.0.1' defaultMode='{self.mode}' "
                f"passwd='{password}' connected='{connected}'/>")

    def set_password(self, password, connected="keep"):
        path = self.libvirt.home / "graphics.xml"
        path.write_text(self.graphics(password, connected))
        self.libvirt.virsh("update-device", NAME, str(path))

    def __call__(self, command, **arguments):
        """One command of QEMU's monitor."""
        answer = json.loads(self.libvirt.virsh("qemu-monitor-command", NAME, json.dumps({"execute": command, "arguments": arguments})))
        assert "error" not in answer, answer
        return answer["return"]

    def hmp(self, line):
        return self.libvirt.virsh("qemu-monitor-command", "--hmp", NAME, line).replace("\r", "")

    text_screen = harness.Qemu.text_screen
    shows_text = harness.Qemu.shows_text
    screendump = harness.Qemu.screendump

    def channels(self):
        return self("query-spice").get("channels", [])

    def client(self, password, name):
        return Client(self.logs, 0, "--ca-file", self.x509 / "ca-cert.pem", "--host-subject", "O=Test,CN=server", "--password", password,
                      name=name, uri=f"spice://127.0.0.1?tls-port={self.tls_port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.libvirt.close()


@pytest.fixture
def domain(tmp_path, echo_image):
    with Domain(tmp_path, echo_image) as domain:
        domain.shows_text("READY>", why="guest started")
        yield domain


def qemu_of(domain):
    """The process of the domain."""
    [pid] = [int(path.name) for path in Path("/proc").glob("[0-9]*")
             if f"guest={NAME},".encode() in command_line(path) and str(domain.libvirt.home).encode() in command_line(path)]
    return pid


def command_line(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_domain_in_the_default_sandbox(domain):
    """Picture, keys, `virsh domdisplay`, a new password, and the end of all sessions from the monitor."""
    process = Path(f"/proc/{qemu_of(domain)}")
    words = command_line(process).decode().split("\0")
    assert words[words.index("-sandbox") + 1] == SANDBOX
    libraries = set(re.findall(r"\S*/libspice-server\.so\S*", (process / "maps").read_text()))
    assert len(libraries) == 1 and (not harness.LIB_DIR or str(domain.libvirt.home) in libraries.pop())
    assert domain.libvirt.virsh("domdisplay", NAME) == f"spice://127.0.0.1:{domain.port}?tls-port={domain.tls_port}"
    assert "password=first" in domain.libvirt.virsh("domdisplay", "--include-password", NAME)
    with domain.client("first", "one") as one:
        works(domain, one, "a", "a1e")
        assert all(channel["tls"] for channel in domain.channels())
        domain.set_password("second")
        works(domain, one, "b", "b30")
        with domain.client("first", "two") as two:
            assert not two.attempt("display")
        domain("set_password", protocol="spice", password="third", connected="disconnect")
        assert not one.attempt("event:failed")
        wait_for(lambda: not domain.channels(), "the client thrown out")
    with domain.client("third", "three") as three:
        works(domain, three, "c", "c2e")
    assert domain.libvirt.virsh("domstate", NAME) == "running"
    domain.libvirt.virsh("destroy", NAME)


def viewer_shows(domain, tmp_path, options, password=None):
    """Runs virt-viewer until its window shows the guest's screen. Types the password if there is one."""
    with Xvfb(tmp_path) as x:
        env = dict(os.environ, DISPLAY=x.display, HOME=str(tmp_path), NO_AT_BRIDGE="1", XDG_RUNTIME_DIR=str(tmp_path))
        viewer = ["virt-viewer", "--connect", domain.libvirt.uri, *options, NAME]
        with Process(["dbus-run-session", "--", *viewer], tmp_path, "viewer", env=env, start_new_session=True) as process:
            try:
                if password:
                    answer_password_question(x.display, password, process)
                wait_for(lambda: len(domain.channels()) >= 4 or not process.alive(), "viewer connected")
                assert process.alive(), process.output()
                root = tmp_path / "root.ppm"
                wait_for(lambda: x_picture(x.display, root) and contains(read_ppm(root), read_ppm(domain.screendump())), "the screen in the window")
            finally:
                subprocess.run(["pkill", "-g", str(process.pid)])
        wait_for(lambda: not domain.channels(), "viewer gone")


def test_virt_viewer_asks_for_the_password_and_shows_the_screen(domain, tmp_path):
    viewer_shows(domain, tmp_path, [f"--spice-ca-file={domain.x509 / 'ca-cert.pem'}", "--spice-host-subject=O=Test,CN=server"], "first")


def test_virt_viewer_shows_the_screen_over_connections_that_libvirt_hands_over(tmp_path, echo_image):
    """They come without TLS and password."""
    with Domain(tmp_path, echo_image, secure=False) as domain:
        domain.shows_text("READY>", why="guest started")
        viewer_shows(domain, tmp_path, ["--attach"])


def answer_password_question(display, password, viewer):
    """Types the password into virt-viewer's dialog."""
    def xdotool(*words):
        return subprocess.run(["xdotool", *words], env=dict(os.environ, DISPLAY=display), capture_output=True, text=True, timeout=harness.PATIENCE)
    found = wait_for(lambda: xdotool("search", "--onlyvisible", "--name", "Authentication|authentication").stdout.split() or not viewer.alive(),
                     "the question for the password")
    assert viewer.alive(), viewer.output()
    # Without a window manager keys go to the window under the pointer.
    xdotool("mousemove", "--window", found[-1], "20", "20")
    xdotool("type", "--delay", "50", password)
    xdotool("key", "Return")
