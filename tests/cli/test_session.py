"""`mistralrs run` in a pseudo-terminal, as a person uses it: a process of its own with the demo model."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on Windows")
WAIT = 120.0  # seconds for what takes one; machines may be busy


class Person:
    """Types into the program and reads what it shows."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        env = {**os.environ, "XDG_CACHE_HOME": str(home), "TERM": "xterm", "PYTHONUNBUFFERED": "1"}
        env.pop("NO_COLOR", None)
        self.program = subprocess.Popen(
            [sys.executable, "-m", "mistralrs.cli", "run", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
            preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def read(self, pattern: str) -> str:
        """What is shown until the pattern is, from where the last call ended."""
        deadline = time.monotonic() + WAIT
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.shown!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        text, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return text

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> int:
        """The exit code."""
        try:
            return self.program.wait(timeout=WAIT)
        finally:
            self.program.kill()
            os.close(self.master)


def take_terminal() -> None:
    """Make the pseudo-terminal the controlling one, so that Ctrl-C comes as a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a shell starts in the background


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    one = Person(tmp_path, "--temperature", "0", "--max-tokens", "2000")
    one.read("> ")
    yield one
    if one.program.returncode is None:
        one.program.send_signal(signal.SIGKILL)
        one.program.wait()


def test_a_conversation(person: Person, tmp_path: Path) -> None:
    person.type("What is 12 plus 7?\n")
    answer = person.read(r"T/s.*> ")
    assert "19" in answer.split("\n", 1)[1]
    assert re.search(r"first token .* prompt \d+ tokens.* answer \d+ tokens", answer)
    person.type("/system Answer with numbers.\n")
    assert "system message: Answer with numbers." in person.read("message: .*> ")
    person.type('"""\nWhat is\n')
    person.read(r"\. .*\. ")
    person.type('3 plus 4?"""\n')
    person.read(r"T/s.*> ")
    person.type("/temprature 1\n")
    assert "did you mean /temperature?" in person.read("> ")
    person.type("/exit\n")
    assert person.close() == 0
    history = (tmp_path / "mistralrs" / "history").read_text()
    assert "What is 12 plus 7?" in history


def test_interrupt_stops_the_answer_alone(person: Person) -> None:
    person.type("/topp 0.9\n")
    person.read("> ")
    person.type("/temperature 2\n")  # an answer that does not end soon
    person.read("> ")
    person.type("Tell a very long story.\n")
    person.read(r"story\.\r\n.")
    person.type("\x03")
    person.read("> ")
    assert person.program.poll() is None
    person.type("/temperature 0\n")
    person.read("temperature is 0.*> ")
    person.type("/clear\n")
    person.read("the conversation is empty.*> ")
    person.type("What is 12 plus 7?\n")
    assert "19" in person.read(r"T/s.*> ")
    person.type("\x04")
    assert person.close() == 0


def test_interrupt_at_the_prompt_ends(person: Person) -> None:
    for _ in range(5):  # Python's readline misses a signal between showing the prompt and waiting
        person.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            person.program.wait(WAIT / 8)
            break
    assert person.close() == 0
