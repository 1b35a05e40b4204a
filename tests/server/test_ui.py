"""The page's files: what they are served with, and what must not be in them."""

import mimetypes
import re
from pathlib import Path

import httpx
import pytest

from mistralrs.server.page import FOLDER
from tests.server.conftest import Live

FILES = sorted(FOLDER.iterdir())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")
# Ways to turn text into markup or code, and ways around the API.
FORBIDDEN = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment",
    "setHTML", "srcdoc", "eval(", "Function(", "import(", "XMLHttpRequest", "WebSocket", "sendBeacon",
)  # fmt: skip


def name(file: Path) -> str:
    return file.name


@pytest.mark.parametrize("file", FILES, ids=name)
def test_file(file):
    """Short, and it leads nowhere else."""
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    addresses = set(re.findall(r"((?:https?:|(?<=[\"'(]))//\w[\w.-]*\.\w[^\s\"'`]*)", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert [word for word in FORBIDDEN if word in text] == []


@pytest.mark.parametrize("file", SCRIPTS, ids=name)
def test_script(file):
    """It says what it is for, and imports what exists."""
    text = file.read_text(encoding="utf-8")
    assert text.startswith(("/** ", "// "))
    for names, source in re.findall(r'import \{ (.*?) \} from "\./(.*?)"', text):
        exports = re.findall(
            r"export (?:async )?(?:class|const|function\*?) ([\w$]+)", (FOLDER / source).read_text()
        )
        assert set(names.split(", ")) <= set(exports), source


def test_index_has_no_inline_code():
    assert (
        re.findall(r"<script(?! src=| type=\"module\" src=)|<style|\sstyle=|\son\w+=", INDEX) == []
    )
    used, there = re.findall(r'href="#(i-\w+)"', INDEX), re.findall(r'<symbol id="(i-\w+)"', INDEX)
    made = {
        f"i-{icon}"
        for file in SCRIPTS
        for icon in re.findall(r'con(?:Button)?\("(\w+)"', file.read_text())
    }
    assert set(used) | made <= set(there)


@pytest.fixture
def strange():
    """A system that takes scripts for text, as some Windows systems do."""
    mimetypes.add_type("text/plain", ".js")
    assert mimetypes.guess_type("app.js")[0] == "text/plain"
    yield
    mimetypes.add_type("text/javascript", ".js")


def test_headers(http, strange):
    """Every file has a strict policy and its right type."""
    types = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg",
    }
    for file in FILES:
        found = http.get(f"/ui/{file.name}")
        assert found.text == file.read_text(encoding="utf-8")
        assert found.headers["content-type"].startswith(types[file.suffix])
        assert found.headers["x-content-type-options"] == "nosniff"
        policy = dict(
            part.split(" ", 1) for part in found.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        again = http.get(f"/ui/{file.name}", headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["nothing.js", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "%5c..%5capp.py"]
)
def test_no_other_files(http, path):
    assert http.get(f"/ui/{path}").status_code == 404


def test_way_to_the_page(http):
    """Browsers find it from the root; machines still read there that the server runs."""
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    found = http.get("/", headers=browser, follow_redirects=True)
    assert (found.url.path, found.text) == ("/ui/", INDEX)
    assert http.get("/ui", follow_redirects=True).text == INDEX
    assert http.get("/").text == "OK"


def test_without_page(demo):
    with Live(demo, ui=False) as live, httpx.Client(base_url=live.url) as http:
        assert http.get("/ui/").status_code == 404
        assert http.get("/", headers={"Accept": "text/html"}).text == "OK"


def test_models_tell_what_they_read(http, demo):
    """The page offers images only where the model reads them, and hides models that do not write."""
    (id,) = demo.list_models()
    default, entry = http.get("/v1/models").json()["data"]
    assert (default["id"], default["root"], entry["id"]) == ("default", id, id)
    assert default["modalities"] == entry["modalities"] == {"input": ["text"], "output": ["text"]}
    demo.unload_model(id)
    assert http.get(f"/v1/models/{id}").json()["modalities"] == entry["modalities"]
    demo.reload_model(id)
