"""A browser's decoder (WebCodecs) plays the H.264 stream from its first frame, as web clients have it do.

Needs Chromium, which is large: `scripts/packages browser` installs it, `scripts/packages test` does not.
"""
import base64, http.server, json, shutil, threading

import pytest
from harness import HERE, PATIENCE, Process, raw_client, read_ppm, wait_for
from test_host import program  # noqa: F401 (a fixture)
from test_video import CAPS, VIDEO, Stream, load_encoders, needs_plugin, psnr, screen, verbose  # noqa: F401 (verbose is a fixture)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """Serves the page that decodes, and takes its answer."""

    def __init__(self, frames):
        self.result = None
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, kind, body):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/frames":
                    self.answer("application/json", json.dumps([base64.b64encode(frame).decode() for frame in frames]).encode())
                else:
                    self.answer("text/html", (HERE / "browser.html").read_bytes())

            def do_POST(self):
                page.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer("text/plain", b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def in_browser(self, directory):
        """What the page says in a browser."""
        args = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={directory / 'profile'}",
                f"http://127.0.0.1:{self.server.server_address[1]}/"]
        with Process(args, directory, "browser") as browser:
            wait_for(lambda: self.result is not None or not browser.alive(), "the page's answer", 2 * PATIENCE)
            assert self.result, browser.output()[-2000:]
        return self.result


@needs_plugin
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_a_browser_decodes_h264_from_the_first_frame(tmp_path, program):
    with screen(tmp_path, program, "--codecs", "gstreamer:h264") as (host, port), raw_client(port, ("display",), caps=CAPS) as (_, channels):
        load_encoders(host)
        stream = Stream(channels["display"])
        stream.play(host, count=60)
        host(f"picture {tmp_path / 'last.ppm'}")
        stream.rest()
        [frames] = stream.data
    page = Page(frames)
    try:
        result = page.in_browser(tmp_path)
    finally:
        page.close()
    assert "error" not in result, result["error"]
    x, y, width, height = VIDEO
    assert (result["count"], result["width"], result["height"]) == (len(frames), width, height)
    w, _, pixels = read_ppm(tmp_path / "last.ppm")
    last = b"".join(pixels[((y + row) * w + x) * 3:][:width * 3] for row in range(height))
    pictures = []
    for text in result["last"]:
        rgba, rgb = base64.b64decode(text), bytearray(width * height * 3)
        rgb[0::3], rgb[1::3], rgb[2::3] = rgba[0::4], rgba[1::4], rgba[2::4]
        pictures.append(bytes(rgb))
    quality = max(psnr(picture, last) for picture in pictures)
    print("psnr", quality, "of", len(frames), "frames")
    assert quality >= 35, quality
