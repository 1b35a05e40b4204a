"""Images on the page in a real browser, with a tiny random model that reads them."""

import json

import pytest

from tests.server.conftest import Live

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


# Pastes or drops an image: arguments are the event, its property, and a PNG in base64.
GIVING = """
const [type, property, png] = arguments, data = new DataTransfer();
const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
data.items.add(new File([bytes], "x.png", { type: "image/png" }));
const options = { [property]: data, bubbles: true, cancelable: true };
const event = type === "paste" ? new ClipboardEvent(type, options) : new DragEvent(type, options);
document.getElementById("text").dispatchEvent(event);
"""


# Notes the bodies of requests.
NOTING = """
const real = window.fetch;
window.bodies = [];
window.fetch = (url, options) => {
  if (options?.body) bodies.push(options.body);
  return real(url, options);
};
"""


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A server with a tiny random model that reads images."""
    from mistralrs import Runner, Which
    from tests.models.media import case, llava

    folder = case.save(
        llava.CASES[""], case.reference(llava.CASES[""]), tmp_path_factory.mktemp("llava")
    )
    with (
        Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=4096) as runner,
        Live(runner) as live,
    ):
        yield live


def test_images(window, seeing, tmp_path):
    """Chosen, pasted and dropped; the model gets them, and the conversation keeps them."""
    from PIL import Image

    Image.new("RGB", (3000, 2000), "teal").save(tmp_path / "large.png")
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "small.png")
    window.open(seeing.url)
    window.set(max_tokens="4")
    window.until(lambda: window.one("#attach").is_displayed())
    window.all("#files")[0].send_keys(f"{tmp_path}/large.png\n{tmp_path}/small.png")
    window.until(lambda: len(window.all(".thumbnail")) == 2)
    for event, key in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        window.js(GIVING, event, key, PIXEL)
    window.until(lambda: len(window.all(".thumbnail")) == 4)
    window.click(".thumbnail button")
    window.until(lambda: len(window.all(".thumbnail")) == 3)
    window.js(NOTING)
    window.say("What is this?")
    window.answered()
    assert window.all(".remark.wrong:not([hidden])") == []
    parts = json.loads(window.js("return bodies[0]"))["messages"][0]["content"]
    kinds = [part["image_url"]["url"].split(",")[0] for part in parts[:-1]]
    assert kinds == ["data:image/jpeg;base64", "data:image/png;base64", "data:image/png;base64"]
    assert parts[-1] == {"type": "text", "text": "What is this?"}
    window.driver.refresh()
    window.until(lambda: len(window.all(".picture")) == 3)
    assert window.js("return document.querySelector('.picture').naturalWidth") == 1536


def test_no_images_for_text_models(page):
    page.one("#status[data-status=loaded]")
    assert not page.one("#attach").is_displayed()
    page.js(GIVING, "paste", "clipboardData", PIXEL)
    assert page.text("#notice") == "This model reads only text"


def test_videos(window, tmp_path_factory, tmp_path):
    """Chosen for a model that sees them; the conversation shows them again."""
    from mistralrs import Runner, Which
    from tests.models.media import case, qwen2_vl
    from tests.prompt.test_film import filmed

    row = qwen2_vl.CASES["video"]
    folder = case.save(row, case.reference(row), tmp_path_factory.mktemp("qwen"))
    (tmp_path / "film.webm").write_bytes(filmed(format="webm", codec="libvpx"))
    which = Which.VisionPlain(str(folder), dtype="f32")
    with Runner(which=which, pa_ctxt_len=4096) as runner, Live(runner) as live:
        window.open(live.url)
        window.set(max_tokens="4")
        window.until(lambda: window.one("#attach").is_displayed())
        assert window.js("return document.querySelector('#files').accept") == "image/*,video/*"
        window.all("#files")[0].send_keys(f"{tmp_path}/film.webm")
        window.until(lambda: len(window.all(".thumbnail video")) == 1)
        window.js(NOTING)
        window.say("What happens?")
        window.answered()
        assert window.all(".remark.wrong:not([hidden])") == []
        parts = json.loads(window.js("return bodies[0]"))["messages"][0]["content"]
        assert parts[0]["video_url"]["url"].startswith("data:video/webm;base64,")
        window.driver.refresh()
        window.until(lambda: len(window.all("video.picture")) == 1)
        window.until(lambda: window.js("return document.querySelector('video').videoWidth") == 64)
