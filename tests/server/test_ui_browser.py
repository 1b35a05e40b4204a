"""The page in a real browser, used as people use it: mostly against the demo model, some answers are scripted."""

import json

import httpx
import pytest

from tests.server.browser import Window, chooser, started
from tests.server.test_http import settled

ENTER, ESCAPE, UP, TAB, SHIFT = "\ue007", "\ue00c", "\ue013", "\ue004", "\ue008"
FOX = "Tell me a story about a fox."
ENDLESS = """
const real = window.fetch;
window.fetch = (url, options) => options?.body
  ? real(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ignore_eos: true, max_tokens: 6000 }) })
  : real(url, options);
"""


@pytest.fixture(scope="module")
def driver():
    with started() as running:
        yield running


@pytest.fixture
def window(driver):
    """A window with nothing stored; the console has to stay clean."""
    window = Window(driver)
    yield window
    assert window.complaints() == []


@pytest.fixture
def page(window, live):
    return window.open(live.url)


def ask(live, text: str) -> str:
    """The whole answer of the API, to compare."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0}
    found = httpx.post(f"{live.url}/v1/chat/completions", json=body, timeout=60).json()
    return found["choices"][0]["message"]["content"]


def settings(page, **values: str) -> None:
    """Set fields of the drawer, and close it."""
    page.click("#tune")
    for name, value in values.items():
        page.one(f"#settings [name={name}]").send_keys(value)
    page.press(ESCAPE)


def test_chat_streams(page, live):
    """The answer of a real model grows, is the API's, and is read out."""
    settings(page, temperature="0")
    page.js(
        "window.seen = new Set();"
        "new MutationObserver(() => seen.add(document.querySelector('.answer .prose:not(details *)')?.innerText))"
        ".observe(document.getElementById('thread'), { subtree: true, childList: true })"
    )
    page.js(ENDLESS.replace("ignore_eos: true, max_tokens: 6000", "ignore_eos: true, max_tokens: 400"))
    page.say(FOX)
    page.answered()
    assert len(page.js("return [...seen]")) > 5
    assert page.text(".remark").startswith("Cut off")
    page.driver.refresh()
    page.click("#new")
    page.say(FOX)
    assert page.answered() == ask(live, FOX)
    assert page.one("#live").get_attribute("textContent") == ask(live, FOX)
    assert "tokens" in page.text("article:last-child footer")


def test_the_first_examples_work(page):
    """What the empty page offers, the demo model answers."""
    assert "What is on your mind?" in page.text("#welcome")
    settings(page, temperature="0")
    page.all("#examples button")[1].click()
    assert "19" in page.answered()
    assert page.text(".reasoning summary") == "Thought for a moment"
    assert not page.all("#welcome h1")[0].is_displayed()
    settings(page)
    page.click("#new")
    page.click("#tune")
    page.click("[name=thinking]")
    page.press(ESCAPE)
    page.all("#examples button")[1].click()
    page.answered()
    assert not page.all(".reasoning")[0].is_displayed()


@pytest.mark.parametrize("way", ["button", "escape", "leave"])
def test_stop_frees_the_request(page, demo, way):
    engine = next(iter(demo._slots.values())).get().engine
    page.js(ENDLESS)
    page.say(FOX)
    page.until(lambda: len(page.text(".answer")) > 40)
    assert engine.scheduler.running
    assert page.one("#send").get_attribute("aria-label") == "Stop"
    if way == "leave":
        page.driver.refresh()  # the conversation is kept as far as it came
    else:
        page.click("#send") if way == "button" else page.press(ESCAPE)
    assert settled(lambda: not engine.scheduler.running)
    assert len(page.answered()) > 20
    if way != "leave":
        assert page.text(".remark") == "Stopped."
    page.say("Hello!")
    assert page.answered(2)


HOSTILE = (
    "<img src=x onerror='window.pwned=1'>",
    "<script>window.pwned=1</script>",
    "[a](javascript:window.pwned=1)",
    "[b](JaVaScRiPt&colon;window.pwned=1) [c](\tjavascript:pwned=1) [d](<javascript:pwned=1>)",
    "[e](data:text/html,<script>parent.pwned=1</script>) [f](vbscript:x) [g](//127.0.0.1:1/x) [h](/v1/models)",
    "![pixel](http://127.0.0.1:1/pixel.png)",
    "<javascript:window.pwned=1> <a href='javascript:pwned=1'>x</a>",
    "`<img src=x onerror=pwned=1>` and\n\n```html\n<img src=x onerror=pwned=1>\n```",
    "| <img src=x onerror=pwned=1> |\n|---|\n| <svg onload=pwned=1> |",
    "[![x](http://127.0.0.1:1/y)](javascript:pwned=1)",
    '[x](http://127.0.0.1:1/" onmouseover="pwned=1)',
    "```\"><img/src=x onerror=pwned=1>\ncode\n```",
    "# <iframe src=javascript:pwned=1>\n- <style>*{display:none}</style>\n> <form action=x>",
)


def test_hostile_text(page):
    """Whatever a model writes, it stays text: no element, no script, no request, no link but to http(s)."""
    page.answers(*({"reasoning": [text], "content": [text]} for text in HOSTILE))
    for count, text in enumerate(HOSTILE, 1):
        page.say(text)
        page.answered(count)
    tags = page.js("return [...new Set([...document.querySelectorAll('.prose *')].map((e) => e.tagName))]")
    assert {"IMG", "SCRIPT", "IFRAME", "STYLE", "FORM"}.isdisjoint(tags)
    assert page.js("return [...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()"
                   ".filter((name) => name.startsWith('on') || name === 'style'))") == []  # fmt: skip
    links = page.js("return [...document.querySelectorAll('.prose a')].map((a) => [a.protocol, a.rel, a.target])")
    assert {tuple(link) for link in links} == {("http:", "noopener noreferrer", "_blank")}
    origin = page.js("return location.origin")
    loaded = page.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [url for url in loaded if not url.startswith(origin)] == []
    assert page.js("return window.pwned") is None
    assert HOSTILE[0] in page.all("#talks a")[0].text + page.one("#talks a").get_attribute("title")
    assert HOSTILE[0] in page.text(".question")


def test_no_script_can_make_markup(page):
    """The policy holds even if a later change of the page forgets it."""
    script = "try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (error) { return error.name }"
    assert page.js(script) == "TypeError"
    page.js("const s = document.createElement('img'); s.src = 'http://127.0.0.1:1/x.png'; document.body.append(s)")
    page.until(lambda: any("Content Security Policy" in message for message in page.complaints()))


def test_keyboard_only(page):
    """A whole session without a mouse; everything has a name and shows that it has the focus."""
    page.until(lambda: page.js("return document.activeElement.id") == "text")
    page.press("Hello", SHIFT + ENTER, "there!")
    assert page.one("#text").get_attribute("value") == "Hello\nthere!"
    page.press(ENTER)
    page.answered()
    page.press(UP)
    assert page.focus() == "Edit the question"
    page.press(ESCAPE)
    assert page.focus() == "Edit"
    page.press(ENTER, " Who are you?", ENTER)
    page.answered()
    assert page.text(".bubble") == "Hello\nthere! Who are you?"
    page.tab_to("Copy the answer")
    page.tab_to("Answer again")
    page.press(ENTER)
    page.answered()
    page.tab_to("Settings")
    page.press(ENTER)
    assert page.one("#settings").is_displayed()
    page.press(ESCAPE)
    assert page.focus() == "Settings"
    page.tab_to("Skip to the message")
    page.press(ENTER)
    assert page.focus() == "text"
    page.tab_to("New chat")
    page.press(ENTER)
    page.until(lambda: page.focus() == "text")
    page.tab_to("Hello")  # the conversation in the side bar
    page.press(ENTER)
    page.until(lambda: page.all(".answer"))
    names, rings = walk(page)
    assert all(names), names
    assert all(rings), list(zip(names, rings))


def walk(page) -> tuple[list[str], list[bool]]:
    """Press Tab through the page: the name of every stop, and whether it shows the focus."""
    names, rings = [], []
    page.js("document.activeElement.blur()")
    for _ in range(40):
        page.press(TAB)
        if page.js("return document.activeElement === document.body"):
            break
        names.append(page.js(
            "const e = document.activeElement;"
            "return e.ariaLabel || e.labels?.[0]?.innerText || e.innerText || e.title"))  # fmt: skip
        rings.append(page.js(
            "const e = document.activeElement, style = getComputedStyle(e);"
            "return style.outlineStyle !== 'none' || e.id === 'text'"))  # fmt: skip
    return names, rings


PAIRS = "#sidebar, .fine, #talks a, .bubble, .answer .prose, .reasoning summary, #model, #send, .remark, a, code, kbd"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_light_and_dark(page, dark):
    """Colours follow the system, the switch overrules it and lasts, and all text can be read."""
    page.colours(dark)
    page.answers({"reasoning": ["so"], "content": ["# A\n`code` [link](http://a.b)"]}, {"end": True})
    page.say("Hello!")
    page.answered()
    page.say("Nothing")
    page.answered(2)
    assert (brightness(page) < 60) is dark
    assert [found for found in contrasts(page, PAIRS) if found[1] < 4.5] == []
    page.click("#theme")
    assert (brightness(page) > 200) is dark
    assert [found for found in contrasts(page, PAIRS) if found[1] < 4.5] == []
    page.driver.refresh()
    page.answered(2)
    assert (brightness(page) > 200) is dark


def brightness(page) -> int:
    """How light the page is, 0 to 255."""
    return colour(page.js("return getComputedStyle(document.body).backgroundColor"))[0]


def colour(text: str) -> list[float]:
    """Red, green and blue of a computed colour, and how opaque it is."""
    values = [float(value) for value in text[text.index("(") + 1 : -1].split(",")]
    return values if len(values) == 4 else [*values, 1.0]


def contrasts(page, selector: str) -> list[tuple[str, float]]:
    """The contrast of text to what is behind it (WCAG 2), for all visible elements."""
    page.js("for (const animation of document.getAnimations()) animation.cancel()")
    page.js("document.documentElement.append(Object.assign(document.createElement('i'), {id: 'still'}))")
    script = """
    const behind = (e) => e && [getComputedStyle(e).backgroundColor, ...behind(e.parentElement) || []];
    return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled)
      .map((e) => [e.id || e.className || e.tagName, getComputedStyle(e).color, behind(e)])"""
    found = []
    for label, front, layers in page.js(script, selector):
        back = next(layer for layer in map(colour, layers) if layer[3] > 0)
        low, high = sorted((luminance(colour(front)), luminance(back)))
        found.append((label, (high + 0.05) / (low + 0.05)))
    return found


def luminance(rgb: list[float]) -> float:
    parts = [value / 255 for value in rgb[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_reload_keeps_everything(page):
    settings(page, system="You are a fox.", max_tokens="12")
    page.answers({"content": ["first"]}, {"content": ["second"]})
    page.say("One")
    page.answered()
    sent = page.js("return bodies[0]")
    assert sent["messages"][0] == {"role": "system", "content": "You are a fox."}
    assert sent["max_tokens"] == 12
    page.click("#new")
    page.say("Two")
    page.answered()
    page.driver.refresh()
    assert page.answered() == "second"
    assert [link.text for link in page.all("#talks a")] == ["Two", "One"]
    page.all("#talks a")[1].click()
    page.until(lambda: page.answered() == "first")
    page.driver.back()
    page.until(lambda: page.answered() == "second")
    page.click("#talks li:first-child button")
    page.until(lambda: page.text("#notice").startswith("Conversation deleted"))
    assert [link.text for link in page.all("#talks a")] == ["One"]
    page.click("#notice button")
    assert [link.text for link in page.all("#talks a")] == ["Two", "One"]
    page.click("#tune")
    assert page.one("[name=system]").get_attribute("value") == "You are a fox."


def test_two_tabs(page, live):
    """What one tab writes appears in the other."""
    page.driver.switch_to.new_window("tab")
    other = Window(page.driver)
    page.driver.get(f"{live.url}/ui/")
    other.say("Hello!")
    other.answered()
    page.driver.close()
    page.driver.switch_to.window(page.driver.window_handles[0])
    page.until(lambda: [link.text for link in page.all("#talks a")] == ["Hello!"])


def test_key(window, locked):
    """A locked server: the page asks, says when the key is wrong, and keeps the right one."""
    window.open(locked.url)
    for key, message in (("wrong", "does not take"), ("secret", "")):
        window.until(lambda: window.one("#key").is_displayed())
        assert window.js("return document.activeElement.name") == "key"
        window.press(key, ENTER)
        window.until(lambda message=message: message in window.all("#key .wrong")[0].get_attribute("textContent"))
    window.until(lambda: not window.one("#key").is_displayed())
    window.say("What is the capital of France?")
    assert window.answered()
    window.driver.refresh()
    window.until(lambda: window.all("#status[data-status=loaded]"))
    window.click("#tune")
    window.click("#forget")
    window.press(ESCAPE)
    window.say("Hello!")
    window.until(lambda: window.one("#key").is_displayed())
    window.press("other", ENTER)  # the message that was refused is sent again
    assert window.answered(2)


def test_errors_are_the_servers(page, live):
    """Too long a message: the server's own words, and a way on."""
    words = "fox " * 9000
    body = {"messages": [{"role": "user", "content": words.strip()}]}
    message = httpx.post(f"{live.url}/v1/chat/completions", json=body, timeout=60).json()["message"]
    page.one("#text")
    page.js("document.getElementById('text').value = arguments[0]", words)
    page.one("#text").send_keys(ENTER)
    page.answered()
    assert page.text(".remark.wrong") == message
    page.click("[aria-label=Edit]")
    page.js("document.querySelector('.edited textarea').value = 'Hello!'")
    page.click(".edited .main")
    assert page.answered()


def test_broken_connection(page):
    """An answer that breaks off says so, and keeps what came."""
    page.answers({"content": ["half"], "end": False})
    page.js("window.scripted = window.fetch; window.fetch = async (...a) => { const found = await scripted(...a);"
            "return a[1]?.body ? new Response(found.body.pipeThrough(new TransformStream("
            "{ transform(chunk, sink) { sink.enqueue(chunk); sink.terminate() } }))) : found }")  # fmt: skip
    page.say("Hello!")
    assert page.answered() == "half"
    assert "ended before the answer" in page.text(".remark.wrong")


def test_reasoning_is_folded_and_streams(page):
    page.answers({"reasoning": ["First ", "**second**."], "content": ["Done."], "end": False})
    page.say("Think")
    page.until(lambda: "Done." in page.text(".answer"))
    thoughts = page.one(".reasoning .prose")
    assert not thoughts.is_displayed()
    page.click(".reasoning summary")
    assert thoughts.text == "First second."
    page.press(ESCAPE)
    assert page.answered() == "Done."


def test_following_the_end(page):
    """The page scrolls with the answer until the reader scrolls up; nothing jumps meanwhile."""
    page.js("window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) => { shift += e.value }))"
            ".observe({ type: 'layout-shift', buffered: true })")  # fmt: skip
    page.answers({"content": [f"Line {i} of a long answer.\n\n" for i in range(150)]})
    end = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    page.say("Long")
    page.until(lambda: "Line 60 " in page.text(".answer"))
    assert page.js(end) < 60
    page.js("document.getElementById('scroll').scrollTop = 0")
    page.answered()
    assert page.js(end) > 1000
    page.click("#latest")
    page.until(lambda: page.js(end) < 60)
    assert page.js("return shift") < 0.01


def test_copy(page, live):
    page.cdp("Browser.grantPermissions", origin=live.url, permissions=["clipboardReadWrite"])
    page.answers({"content": ["Run\n\n```sh\nls -l\n```"]})
    page.say("How?")
    page.answered()
    for button, text in (("Copy the code", "ls -l"), ("Copy the answer", "Run\n\n```sh\nls -l\n```")):
        page.click(f"[aria-label='{button}']")
        page.until(lambda text=text: page.driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], arguments[0])") == text)  # fmt: skip


def test_narrow(page):
    """On a telephone the side bar covers the chat, and nothing is wider than the screen."""
    page.open(page.js("return location.origin"), 360, 640)
    page.answers({"content": ["```\n" + "wide " * 60 + "\n```\n\n|" + "a|" * 30 + "\n|" + "-|" * 30 + "\n\n" + "x" * 300]})
    page.say("Wide")
    page.answered()
    wide = "return [document.documentElement, document.getElementById('scroll')].map((e) => e.scrollWidth - e.clientWidth)"
    assert page.js(wide) == [0, 0]
    assert not page.one("#sidebar").is_displayed()
    page.click("#menu")
    assert page.one("#sidebar").is_displayed()
    assert page.js("return document.querySelector('main').inert")
    page.press(ESCAPE)
    assert not page.one("#sidebar").is_displayed()
    assert page.focus() == "Side bar"


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A server with a tiny random model that reads images."""
    from mistralrs import Runner, Which
    from tests.models.media import case, llava
    from tests.server.conftest import Live

    folder = case.save(llava.CASES[""], case.reference(llava.CASES[""]), tmp_path_factory.mktemp("llava"))
    with Runner(which=Which.VisionPlain(str(folder), dtype="f32"), pa_ctxt_len=4096) as runner, Live(runner) as live:
        yield live


def test_images(window, seeing, tmp_path):
    """Chosen, pasted and dropped; the model gets them, and the conversation keeps them."""
    from PIL import Image

    Image.new("RGB", (3000, 2000), "teal").save(tmp_path / "large.png")
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "small.png")
    window.open(seeing.url)
    settings(window, max_tokens="4")
    window.until(lambda: window.one("#attach").is_displayed())
    window.all("#files")[0].send_keys(f"{chooser(tmp_path / 'large.png')}\n{chooser(tmp_path / 'small.png')}")
    window.until(lambda: len(window.all(".thumbnail")) == 2)
    for event, key in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        window.js(
            "const data = new DataTransfer(), target = document.getElementById('text');"
            "const bytes = Uint8Array.from(atob(arguments[2]), (c) => c.charCodeAt(0));"
            "data.items.add(new File([bytes], 'x.png', { type: 'image/png' }));"
            "const event = new (arguments[0] === 'paste' ? ClipboardEvent : DragEvent)"
            "(arguments[0], { [arguments[1]]: data, bubbles: true, cancelable: true });"
            "target.dispatchEvent(event)",
            event, key, PIXEL,
        )  # fmt: skip
    window.until(lambda: len(window.all(".thumbnail")) == 4)
    window.click(".thumbnail button")
    window.until(lambda: len(window.all(".thumbnail")) == 3)
    window.js("const real = fetch; window.bodies = []; window.fetch = (u, o) => { if (o?.body) bodies.push(o.body); return real(u, o) }")
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


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def test_no_images_for_text_models(page):
    page.one("#status[data-status=loaded]")
    assert not page.one("#attach").is_displayed()
    page.js("const data = new DataTransfer(); data.items.add(new File(['x'], 'x.png', { type: 'image/png' }));"
            "document.getElementById('text').dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))")  # fmt: skip
    assert page.text("#notice") == "This model reads only text"
