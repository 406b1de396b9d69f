"""Recordings replay to the end, every command is released, and the picture is the one that the original leaves."""
import hashlib, json, os, struct, subprocess, time
from pathlib import Path

import pytest
import spiceraw
from harness import HERE, LIB_DIR, Client, Process, free_port, lib_env, raw_session, read_ppm, wait_for
from relay import Relay

DATA = HERE.parent / "data" / "recordings"
# SPICE_RECORDINGS names a directory with more: "video", which is large.
DIRECTORIES = [*map(Path, filter(None, [os.environ.get("SPICE_RECORDINGS")])), DATA]
RECORDINGS = {p.name.split(".")[0]: p for d in DIRECTORIES for p in sorted(d.glob("*.rec.zst"))}
ORIGINAL = ""
# The second of the recording at which pictures are compared, because at the end the screen is empty again.
BUSY = {"terminal": 6.5, "windows": 12, "browser": 15, "video": 5}


@pytest.fixture(scope="session", params=sorted(RECORDINGS))
def recording(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("rec") / (request.param + ".rec")
    subprocess.run(["zstd", "-q", "-d", "--long=27", RECORDINGS[request.param], "-o", path], check=True)
    yield path
    path.unlink()


def env_of(lib, **extra):
    env = dict(os.environ, **extra)
    env.pop("LD_LIBRARY_PATH", None)
    if lib:
        env["LD_LIBRARY_PATH"] = lib
    return env


def replay(bench, path, lib, *options, **env):
    out = subprocess.run([bench, *options, path], env=env_of(lib, **env), capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr[-2000:]
    return json.loads(out.stdout.strip().splitlines()[-1])


def final_picture(bench, path, lib, directory, name, until=1000):
    """The picture of a client that connects after everything is drawn: the surface itself, lossless."""
    port = free_port()
    with Process([bench, "--port", port, "--clients", 0, "--render", "--until", until, "--drain-ms", 600_000, path], directory, name, env=env_of(lib)) as server:
        wait_for(lambda: "replayed" in server.output() or not server.alive(), "replayed", 300)
        assert server.alive(), server.output()
        shot = directory / (name + ".ppm")
        with Client(directory, port, name=name + "-client") as client:
            client("display")
            client("event:mark")
            client(f"shot:{shot}")

            def rests():
                before = read_ppm(shot)
                client("sleep:1")
                client(f"shot:{shot}")
                return read_ppm(shot) == before
            wait_for(rests, "a picture that changes no more")
        width, height, pixels = read_ppm(shot)
        assert len(set(pixels[i:i + 3] for i in range(0, len(pixels), 3 * 101))) > 1, "an empty picture"
        return width, height, hashlib.sha256(pixels).hexdigest()


def test_without_a_client_every_command_comes_back(bench, recording):
    counts = replay(bench, recording, LIB_DIR, "--render", "--finish")
    assert counts["commands"] > 100 and counts["released"] == counts["commands"], counts


def test_with_a_client_every_command_comes_back(bench, recording, tmp_path):
    port = free_port()
    with Process([bench, "--finish", "--port", port, recording], tmp_path, "server", env=lib_env()) as server:
        wait_for(lambda: "listening" in server.output(), "listening")
        with Client(tmp_path, port) as client:
            client("display")
            wait_for(lambda: not server.alive(), "replayed", 300)
        counts = json.loads(server.output().strip().splitlines()[-1])
        assert counts["commands"] > 100 and counts["released"] == counts["commands"], counts


def test_same_picture_as_the_original(bench, recording, tmp_path):
    until = BUSY[recording.stem]
    assert final_picture(bench, recording, LIB_DIR, tmp_path, "tested", until) == final_picture(bench, recording, ORIGINAL, tmp_path, "original", until)


def test_recordings_of_both_libraries_replay_in_both(bench, recording, tmp_path):
    if recording.stat().st_size > 200 << 20:
        pytest.skip("the smaller ones tell as much")
    until = BUSY[recording.stem]
    want = final_picture(bench, recording, ORIGINAL, tmp_path, "original", until)
    for recorder, player in ((LIB_DIR, ORIGINAL), (ORIGINAL, LIB_DIR), (LIB_DIR, LIB_DIR)):
        again = tmp_path / "again.rec"
        replay(bench, recording, recorder, "--render", "--close", "--until", str(until), SPICE_WORKER_RECORD_FILENAME=str(again))
        assert final_picture(bench, again, player, tmp_path, "again") == want
        again.unlink()


def test_broken_recordings_end_with_an_error_line(bench, recording, tmp_path):
    if not LIB_DIR:
        pytest.skip("the original crashes")
    whole = recording.read_bytes()[:3 << 20]
    for name, data in {"empty": b"", "truncated": whole[:len(whole) // 2], "garbled": whole[:1 << 20] + b"\xff" * 100 + whole[1 << 20:],
                       "text": b"not a recording\n" * 100}.items():
        path = tmp_path / name
        path.write_bytes(data)
        out = subprocess.run([bench, "--render", "--finish", path], env=env_of(LIB_DIR), capture_output=True, text=True, timeout=300)
        assert out.returncode in (0, 1), (name, out)
        assert out.stderr, name


def pointer(bench, path, lib, directory, name, until):
    """What the server told a client about the pointer: last shape, visibility and position."""
    port = free_port()
    with Process([bench, "--port", port, "--until", until, "--drain-ms", 600_000, path], directory, name, env=env_of(lib)) as server:
        wait_for(lambda: "listening" in server.output(), "listening")
        with Client(directory, port, name=name + "-client") as client:
            client("channels:3")
            client("display")
            wait_for(lambda: "replayed" in server.output(), "replayed", 300)
            client("event:cursor-set")

            def told():
                return [e for e in client.events if e["event"].startswith("cursor-")]

            def rests():
                before = len(told())
                client("sleep:1")
                return len(told()) == before
            wait_for(rests, "a pointer that moves no more")
            shapes = [e for e in told() if e["event"] == "cursor-set"]
            moves = [e for e in told() if e["event"] in ("cursor-move", "cursor-hide")]
            return shapes[-1]["size"], shapes[-1]["hot"], [(m["event"], m.get("at")) for m in moves[-1:]]


def test_same_pointer_as_the_original(bench, recording, tmp_path):
    if not LIB_DIR or recording.stem != "windows":
        pytest.skip("the others have no shapes")
    until = BUSY[recording.stem]
    assert pointer(bench, recording, LIB_DIR, tmp_path, "tested", until) == pointer(bench, recording, ORIGINAL, tmp_path, "original", until)


@pytest.mark.parametrize("follows", [True, False])
def test_a_far_client_gets_a_larger_window(bench, recording, tmp_path, follows):
    """Small commands do not wait for ACKs of a far client. One that knows no second SET_ACK is served as before."""
    if not LIB_DIR or recording.stem != "terminal":
        pytest.skip("the original does not do this; one recording tells as much as all")
    port, windows, draws = free_port(), [], []
    with Process([bench, "--port", port, "--delay-us", 200, "--until", 2, "--drain-ms", 600_000, recording], tmp_path, "server", env=lib_env()) as server:
        wait_for(lambda: "listening" in server.output(), "listening")
        relay = Relay(free_port(), port, 100, 0)
        relay.start()
        session = raw_session(relay.port)
        display = session.open("display", 0)
        display.auto = False
        display.send(spiceraw.MSGC_DISPLAY_INIT, spiceraw.display_init())
        last = time.monotonic()
        while "replayed" not in server.output() or time.monotonic() < last + 1:
            session.main.recv(0)
            message = display.recv(0.1)
            if not message:
                continue
            if message.type > 100:
                last = time.monotonic()
                draws.append(len(windows))
            if message.type == 3:
                windows.append(struct.unpack("<II", message.payload))
            if message.type != 3 or follows or len(windows) == 1:
                display.auto_reply(message)
    assert [g for g, _ in windows] == [1, 2] and windows[1][1] == 320, windows
    assert draws.count(2) > 200, f"{len(draws)} messages, {draws.count(2)} behind the second SET_ACK"
