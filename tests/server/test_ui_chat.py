"""Chats on the page in a real browser: mostly with the demo model, some answers are scripted."""

import httpx
import pytest

from tests.server.browser import ENTER, ESCAPE, Window
from tests.server.test_http import settled

FOX = "Tell me a story about a fox."


ENDLESS = """
const real = window.fetch;
window.fetch = (url, options) => options?.body
  ? real(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ignore_eos: true, max_tokens: 6000 }) })
  : real(url, options);
"""


def ask(live, text: str) -> str:
    """The whole answer of the API, to compare."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0}
    found = httpx.post(f"{live.url}/v1/chat/completions", json=body, timeout=60).json()
    return found["choices"][0]["message"]["content"]


def test_chat_streams(page, live):
    """The answer of a real model grows, is the API's, and is read out."""
    page.set(temperature="0")
    page.js(
        "window.seen = new Set();"
        "new MutationObserver(() => seen.add(document.querySelector('.answer .prose:not(details *)')?.innerText))"
        ".observe(document.getElementById('thread'), { subtree: true, childList: true })"
    )
    page.js(
        ENDLESS.replace("ignore_eos: true, max_tokens: 6000", "ignore_eos: true, max_tokens: 400")
    )
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
    page.set(temperature="0")
    page.all("#examples button")[1].click()
    assert "19" in page.answered()
    assert page.text(".reasoning summary") == "Thought for a moment"
    assert not page.all("#welcome h1")[0].is_displayed()
    page.set()
    page.click("#new")
    page.click("#tune")
    page.click("[name=thinking]")
    page.press(ESCAPE)
    page.all("#examples button")[1].click()
    page.answered()
    assert not page.all(".reasoning")[0].is_displayed()


@pytest.mark.parametrize("way", ["button", "escape", "leave"])
def test_stop_frees_the_request(page, demo, way):
    engine = demo._pipeline(None).engine
    page.js(ENDLESS)
    page.say(FOX)
    page.until(lambda: len(page.text(".answer")) > 40)
    assert settled(lambda: engine.scheduler.running)
    assert page.one("#send").get_attribute("aria-label") == "Stop"
    if way == "leave":
        page.driver.refresh()  # the conversation is kept as far as it came
    else:
        page.click("#send") if way == "button" else page.press(ESCAPE)
    assert settled(lambda: not engine.scheduler.running)
    assert len(page.answered()) > 20
    assert page.text(".remark") == "Stopped."
    page.driver.refresh()  # and with it the change of the requests
    assert page.text(".remark") == "Stopped."
    page.say("Hello!")
    assert page.answered(2)


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


def test_reload_keeps_everything(page):
    page.set(system="You are a fox.", max_tokens="12")
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
        window.until(
            lambda message=message: (
                message in window.all("#key .wrong")[0].get_attribute("textContent")
            )
        )
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
    window.until(lambda: window.answered(2))


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


def test_questions_without_answer_join_the_next(page):
    """Many chat templates refuse two questions in a row."""
    page.answers({"end": False}, {"content": ["b"]}, {"content": ["d"]})
    for count, text in enumerate(("One", "Two", "Three"), 1):
        page.say(text)
        if count == 1:
            page.press(ESCAPE)
        page.answered(count)
    said = page.js("return bodies.at(-1).messages.map(({ role, content }) => [role, content])")
    assert said == [["user", "One\n\nTwo"], ["assistant", "b"], ["user", "Three"]]


def test_models_and_their_state(page, demo):
    """The picker tells that a model is not loaded; the next message loads it."""
    (id,) = demo.list_models()
    page.until(lambda: page.all("#status[data-status=loaded]"))
    demo.unload_model(id)
    page.js("dispatchEvent(new Event('focus'))")
    page.until(lambda: page.all("#status[data-status=unloaded]"))
    assert page.text("#model") == "demo/model (loads with the next message)"
    page.say("Hello!")
    assert page.answered()
    page.until(lambda: page.all("#status[data-status=loaded]"))


def test_broken_connection(page):
    """An answer that breaks off says so, and keeps what came."""
    page.answers({"content": ["half"], "end": False})
    page.js("window.scripted = window.fetch; window.fetch = async (...a) => { const found = await scripted(...a);"
            "return a[1]?.body ? new Response(found.body.pipeThrough(new TransformStream("
            "{ transform(chunk, sink) { sink.enqueue(chunk); sink.terminate() } }))) : found }")  # fmt: skip
    page.say("Hello!")
    assert page.answered() == "half"
    assert "ended before the answer" in page.text(".remark.wrong")
