"""A real Chromium for tests of the page: found on this machine, and driven by what a user would do."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    # a mouse, which headless machines lack
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
)  # fmt: skip
SECONDS = 60
ENTER, ESCAPE, UP, TAB, SHIFT = "\ue007", "\ue00c", "\ue013", "\ue004", "\ue008"

# Answers the next chats from a list: reasoning, pieces of content, and whether the stream then ends.
SCRIPTED = """
const [answers, real] = [arguments[0], (window.realFetch ??= window.fetch)];
window.bodies = [];
window.fetch = async (url, options) => {
  if (!options?.body || !answers.length) return real(url, options);
  window.bodies.push(JSON.parse(options.body));
  const { reasoning = [], content = [], end = true } = answers.shift();
  const bytes = new TextEncoder();
  const event = (value) => bytes.encode(`data: ${JSON.stringify(value)}\\n\\n`);
  const chunk = (delta, reason = null) => event({ choices: [{ index: 0, delta, finish_reason: reason }] });
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  const body = new ReadableStream({ async start(sink) {
    options.signal.addEventListener("abort", () => sink.error(options.signal.reason));
    for (const text of reasoning) { sink.enqueue(chunk({ reasoning_content: text })); await turn(); }
    for (const text of content) { sink.enqueue(chunk({ content: text })); await turn(); }
    if (!end) return;
    sink.enqueue(chunk({}, "stop"));
    sink.enqueue(bytes.encode("data: [DONE]\\n\\n"));
    sink.close();
  } });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
};
"""


def programs() -> tuple[str, str]:
    """The browser and its driver, or skip the test."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs a browser: install Chromium and chromedriver (Debian: chromium-driver)")
    return browser, driver


@contextmanager
def started():
    """A browser with a profile of its own."""
    browser, driver = programs()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(executable_path=driver)
        running = webdriver.Chrome(options=options, service=service)
        try:
            yield running
        finally:
            running.quit()


class Window:
    """The page in a browser window."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url: str, width: int = 1280, height: int = 860, dark: bool = False) -> "Window":
        """Open the page of a server for the first time."""
        self.size(width, height)
        self.colors(dark)
        self.driver.get("about:blank")  # so that nothing of the old page runs on
        self.cdp("Storage.clearDataForOrigin", origin=url, storageTypes="all")
        self.driver.get(f"{url}/ui/")
        return self

    def cdp(self, command: str, **values):
        """Tell the browser something that a page could not."""
        return self.driver.execute_cdp_cmd(command, values)

    def size(self, width: int, height: int) -> None:
        """Be a screen of that size."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **screen)

    def colors(self, dark: bool) -> None:
        """Be a system that is dark, or light."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[feature])

    def js(self, script: str, *arguments):
        """Run a script, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def answers(self, *answers: dict) -> None:
        """Script the next answers of the server."""
        self.js(SCRIPTED, list(answers))

    def all(self, selector: str) -> list:
        """The elements that a selector finds."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str):
        """The first element that a selector finds, when there is one."""
        self.until(lambda: self.all(selector), selector)
        return self.all(selector)[0]

    def text(self, selector: str) -> str:
        """What is visible of the first such element."""
        return self.one(selector).text

    def click(self, selector: str) -> None:
        """Click on the last such element."""
        self.one(selector)
        self.all(selector)[-1].click()

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is; a modifier holds for its own argument."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def say(self, text: str) -> None:
        """Write a message and send it."""
        self.one("#text").send_keys(text + "\n")

    def set(self, **values: str) -> None:
        """Set fields of the settings."""
        self.click("#tune")
        for name, value in values.items():
            self.one(f"#settings [name={name}]").send_keys(value)
        self.press(ESCAPE)

    def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until a condition is true."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, SECONDS, 0.05, [StaleElementReferenceException])
        wait.until(lambda _: condition(), what)

    def answered(self, count: int = 1) -> str:
        """Wait for the answer to the last of `count` questions, and return its text."""
        done = ".answer:not(.live)"
        self.until(
            lambda: len(self.all(done)) == count and not self.all(".live"), f"{count} answers"
        )
        return "\n".join(part.text for part in self.all(f"{done}:last-child > .prose"))

    def focus(self) -> str:
        """The label of what has the focus, or else its text, or its id."""
        return self.js(
            "const e = document.activeElement; return e.ariaLabel ?? (e.innerText?.trim() || e.id)"
        )

    def tab_to(self, name: str, most: int = 40) -> None:
        """Press Tab until something of that name has the focus."""
        for _ in range(most):
            if self.focus() == name:
                return
            self.press(TAB)
        raise AssertionError(f"{name} cannot be reached with Tab")

    def complaints(self) -> list[str]:
        """What the browser's console says is wrong; a refused request is not the page's mistake."""
        entries = self.driver.get_log("browser")
        severe = [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]
        return [message for message in severe if "Failed to load resource" not in message]
