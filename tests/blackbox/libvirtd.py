"""A libvirtd of the test's own, in name spaces of its own, so that it never meets one that runs on the machine."""
import contextlib, os, shutil, subprocess, tempfile
from pathlib import Path

from harness import PATIENCE, Process, wait_for

# Directories in which libvirtd keeps its state. The test's has other ones in their place.
PLACES = ["/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"]


def why_not():
    """Why libvirtd cannot run here, or None."""
    missing = [name for name in ("libvirtd", "virtlogd", "virsh", "unshare") if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing:
        return "not installed: " + " ".join(missing)
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return "name spaces of mounts are not to be had"
    return None


class Libvirt(Process):
    """Runs virtlogd and libvirtd. `config` gives the lines of qemu.conf. QEMU's files are in `home`, which its user can read."""

    def __init__(self, directory, config):
        self.home = Path(tempfile.mkdtemp(prefix="libvirt-"))
        self.home.chmod(0o755)
        self.socket = self.home / "libvirt-sock"
        mounts = []
        for place in PLACES:
            own = self.home / place.replace("/", "_")
            own.mkdir()
            mounts.append(f"mkdir -p {place}; mount --bind {own} {place}")
        etc = self.home / "_etc_libvirt"
        (etc / "qemu.conf").write_text("\n".join(config(self)) + "\n")
        (etc / "libvirtd.conf").write_text(f'unix_sock_dir = "{self.home}"\nauth_unix_rw = "none"\n')
        # All of them, and the guests, end with the name space of processes.
        script = "\n".join(["set -e", *mounts, "virtlogd &", f"libvirtd --config /etc/libvirt/libvirtd.conf --pid-file {self.home}/pid"])
        try:
            super().__init__(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script], directory, "libvirtd",
                             env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
            wait_for(lambda: not self.alive() or self.attempt("version").returncode == 0, "libvirtd")
            assert self.alive(), self.output()
        except BaseException:
            self.close()
            raise

    @property
    def uri(self):
        return f"qemu+unix:///system?socket={self.socket}"

    def attempt(self, *words):
        return subprocess.run(["virsh", "--quiet", "--connect", self.uri, *words], capture_output=True, text=True, timeout=PATIENCE)

    def virsh(self, *words):
        """What virsh prints."""
        out = self.attempt(*words)
        assert out.returncode == 0, (words, out.stderr, self.output())
        return out.stdout.strip()

    def close(self):
        # It may not have started.
        with contextlib.suppress(AttributeError):
            super().close()
        shutil.rmtree(self.home, ignore_errors=True)
