"""Bars on stderr for what loading logs, on a terminal only."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STEPS = "mistralrs.load.steps"  # the log of load/build.py whose records are (what, done, total)


class Bar(logging.Handler):
    """Turns the records of one piece of work into the movement of one bar."""

    def __init__(self, progress: "Progress") -> None:
        super().__init__()
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar of the work that a record is about."""
        assert isinstance(record.args, tuple)
        what, done, total = str(record.args[0]), int(str(record.args[1])), int(str(record.args[2]))
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what)
        self.progress.update(self.tasks[what], completed=done, total=total)


@contextmanager
def shown() -> Iterator[None]:
    """Show the progress of loading until the block ends; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    steps = logging.getLogger(STEPS)
    before = steps.level, steps.propagate
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        handler = Bar(progress)
        steps.addHandler(handler)
        steps.setLevel(logging.DEBUG)
        steps.propagate = False
        try:
            yield
        finally:
            steps.removeHandler(handler)
            steps.setLevel(before[0])
            steps.propagate = before[1]
