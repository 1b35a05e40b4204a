"""The page in a real browser: hostile text, keyboard, colors, scrolling, small screens."""

import pytest

from tests.server.browser import ENTER, ESCAPE, SHIFT, TAB, UP

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
    '```"><img/src=x onerror=pwned=1>\ncode\n```',
    "# <iframe src=javascript:pwned=1>\n- <style>*{display:none}</style>\n> <form action=x>",
)


def test_hostile_text(page):
    """Whatever a model writes, it stays text: no element, no script, no request, no link but to http(s)."""
    page.answers(*({"reasoning": [text], "content": [text]} for text in HOSTILE))
    for count, text in enumerate(HOSTILE, 1):
        page.say(text)
        page.answered(count)
    tags = page.js(
        "return [...new Set([...document.querySelectorAll('.prose *')].map((e) => e.tagName))]"
    )
    assert {"IMG", "SCRIPT", "IFRAME", "STYLE", "FORM"}.isdisjoint(tags)
    assert page.js("return [...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()"
                   ".filter((name) => name.startsWith('on') || name === 'style'))") == []  # fmt: skip
    links = page.js(
        "return [...document.querySelectorAll('.prose a')].map((a) => [a.protocol, a.rel, a.target])"
    )
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
    page.js(
        "const s = document.createElement('img'); s.src = 'http://127.0.0.1:1/x.png'; document.body.append(s)"
    )
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
    """Colors follow the system, the switch overrules it and lasts, and all text can be read."""
    page.colors(dark)
    page.answers(
        {"reasoning": ["so"], "content": ["# A\n`code` [link](http://a.b)"]}, {"end": True}
    )
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
    return rgb_of(page.js("return getComputedStyle(document.body).backgroundColor"))[0]


def rgb_of(text: str) -> list[float]:
    """Red, green and blue of a computed color, and how opaque it is."""
    values = [float(value) for value in text[text.index("(") + 1 : -1].split(",")]
    return values if len(values) == 4 else [*values, 1.0]


def contrasts(page, selector: str) -> list[tuple[str, float]]:
    """The contrast of text to what is behind it (WCAG 2), for all visible elements."""
    page.js("for (const animation of document.getAnimations()) animation.cancel()")
    page.js(
        "document.documentElement.append(Object.assign(document.createElement('i'), {id: 'still'}))"
    )
    script = """
    const behind = (e) => e && [getComputedStyle(e).backgroundColor, ...behind(e.parentElement) || []];
    const shown = (e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled;
    return [...document.querySelectorAll(arguments[0])].filter(shown)
      .map((e) => [e.id || e.className || e.tagName, getComputedStyle(e).color, behind(e)])"""
    found = []
    for label, front, layers in page.js(script, selector):
        back = next(layer for layer in map(rgb_of, layers) if layer[3] > 0)
        low, high = sorted((luminance(rgb_of(front)), luminance(back)))
        found.append((label, (high + 0.05) / (low + 0.05)))
    return found


def luminance(rgb: list[float]) -> float:
    parts = [value / 255 for value in rgb[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


SHIFTS = """
window.shift = 0;
const add = (list) => list.getEntries().forEach((entry) => { shift += entry.value });
new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""


def test_following_the_end(page):
    """The page scrolls with the answer until the reader scrolls up; nothing jumps meanwhile."""
    page.js(SHIFTS)
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
    for button, text in (
        ("Copy the code", "ls -l"),
        ("Copy the answer", "Run\n\n```sh\nls -l\n```"),
    ):
        page.click(f"[aria-label='{button}']")
        page.until(lambda text=text: page.driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], arguments[0])") == text)  # fmt: skip


WIDE = "```\n" + "wide " * 60 + "\n```\n\n|" + "a|" * 30 + "\n|" + "-|" * 30 + "\n\n" + "x" * 300
EXCESS = "const e = document.querySelector(arguments[0]); return e.scrollWidth - e.clientWidth"


def test_narrow(page, live):
    """On a telephone the side bar covers the chat, and nothing is wider than the screen."""
    page.open(live.url, 360, 640)
    page.answers({"content": [WIDE]})
    page.say("Wide")
    page.answered()
    assert [page.js(EXCESS, part) for part in ("html", "#scroll", ".prose")] == [0, 0, 0]
    assert not page.one("#sidebar").is_displayed()
    page.click("#menu")
    assert page.one("#sidebar").is_displayed()
    assert page.js("return document.querySelector('main').inert")
    page.press(ESCAPE)
    assert not page.one("#sidebar").is_displayed()
    assert page.focus() == "Side bar"
