"""Where media come from, and the limits of that."""

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from mistralrs.api.errors import MediaError
from mistralrs.prompt import fetch
from mistralrs.prompt.fetch import Access

DATA = b"content of a file"


class Pages(BaseHTTPRequestHandler):
    """A small site with every kind of trouble."""

    def do_GET(self) -> None:
        kind = self.path[1:]
        if kind.startswith("to:"):
            self.send_response(302)
            self.send_header("Location", kind[3:])
            self.end_headers()
        elif kind == "missing":
            self.send_error(404)
        else:
            self.send_response(200)
            if kind == "short":
                self.send_header("Content-Length", "1000")
            self.end_headers()
            getattr(self, f"write_{kind}", self.write_file)()

    def write_file(self) -> None:
        self.wfile.write(DATA)

    write_short = write_file

    def write_empty(self) -> None:
        pass

    def write_large(self) -> None:
        self.wfile.write(bytes(3 << 20))

    def write_slow(self) -> None:
        for _ in range(100):
            self.wfile.write(b"x" * 10)
            self.wfile.flush()
            time.sleep(0.05)

    def write_hanging(self) -> None:
        time.sleep(2)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a b.png").write_bytes(DATA)
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


def test_sources(site, folder):
    text = base64.b64encode(DATA).decode()
    path = folder / "a b.png"
    for source in (
        DATA, bytearray(DATA), memoryview(DATA), path, str(path), f"  {path} ", path.as_uri(), f"file:{path}",
        f"file://localhost{path}".replace(" ", "%20"), f"data:image/png;base64,{text}", f"data:;base64,{text}",
        f"DATA:image/png;BASE64,{text.rstrip('=')}", "data:,content%20of%20a%20file", f"{site}/file",
        f"{site}/to:/file", f"{site}/to:{site}/file",
    ):  # fmt: skip
        assert Access().read(source) == DATA, source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{site}/missing", "HTTP 404"),
        ("{site}/empty", "is empty"),
        ("{site}/large", "larger than the limit of 1 MB"),
        ("{site}/slow", "took longer"),
        ("{site}/hanging", "timed out"),
        ("{site}/to:/to:/to:/to:/to:/to:/to:/file", "redirect|HTTP 30"),
        ("{site}/to:file:///etc/passwd", "not allowed"),
        ("{site}/to:ftp://example.com/x", "refused"),
        ("http://127.0.0.1:1/x", "cannot be downloaded"),
        ("http:///x", "names no host"),
        ("http://[::1/x", "cannot be downloaded"),
        ("http://no.such.host.invalid/x", "cannot be downloaded"),
        ("{folder}/missing.png", "no such file"),
        ("{folder}", "no such file"),
        ("{folder}/empty", "is empty"),
        ("file:///nowhere/at/all", "no such file"),
        ("file://elsewhere/x.png", "another machine"),
        ("ftp://example.com/x.png", "no such file"),
        ("x\0y", "cannot be read|no such file"),
        ("x" * 5000, "cannot be read|no such file"),
        ("data:image/png;base64", "comma"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,@@@@", "base64"),
        ("data:image/png;base64,abcde", "base64"),
        (b"", "is empty"),
        (bytes(2 << 20), "larger than the limit"),
    ],
)
def test_refused(source, message, site, folder):
    if isinstance(source, str):
        source = source.replace("{site}", site).replace("{folder}", str(folder))
    started = time.monotonic()
    with pytest.raises(MediaError, match=message) as error:
        Access(limit=1 << 20, timeout=0.5).read(source)
    assert len(str(error.value)) < 400
    assert time.monotonic() - started < 10


def test_no_files_and_no_private_network_for_strangers(site, folder):
    access = Access(files=False, private=False)
    with pytest.raises(MediaError, match="only http"):
        access.read(str(folder / "a b.png"))
    with pytest.raises(MediaError, match="only http"):
        access.read((folder / "a b.png").as_uri())
    with pytest.raises(MediaError, match="private network"):
        access.read(f"{site}/file")


def test_redirects_from_outside_into_a_private_network(site, monkeypatch):
    outside = f"{site}/to:http://localhost:{site.rpartition(':')[2]}/file"
    monkeypatch.setattr(fetch, "is_private", lambda url: urlsplit(url).hostname == "localhost")
    with pytest.raises(MediaError, match="redirects into a private network"):
        Access().read(outside)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1/", True),
        ("http://10.1.2.3/", True),
        ("http://192.168.0.1/", True),
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://[::1]/", True),
        ("http://[::ffff:127.0.0.1]/", True),
        ("http://0.0.0.0/", True),
        ("http://2130706433/", True),
        ("http://8.8.8.8/", False),
        ("http://[2606:4700::1111]/", False),
    ],
)
def test_private_addresses(url, private):
    assert fetch.is_private(url) == private
