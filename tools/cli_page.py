"""Write the help of every command into docs/cli.md, below its last fixed line.

python tools/cli_page.py            write the page
python tools/cli_page.py --check    exit with 1 when it is out of date
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from mistralrs.cli.main import app  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"
MARK = "<!-- Written by tools/cli_page.py from here on. -->\n"
WIDTH = 96


def page(text: str) -> str:
    """The page with its second half as it should be."""
    fixed, _, _ = text.partition(MARK)
    helps = "".join(f"\n## {name}\n```\n{text}\n```\n" for name, text in commands(app, "mistralrs"))
    return fixed + MARK + helps


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Name and help of a command and of those inside it."""
    settings: dict[str, Any] = command.context_settings
    context = click.Context(command, parent, name.split()[-1], terminal_width=WIDTH, **settings)
    yield name, command.get_help(context).strip()
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None, inner
            yield from commands(found, f"{name} {inner}", context)


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md.")
    parser.add_argument("--check", action="store_true", help="only compare, exit code 1 if stale")
    before = PAGE.read_text(encoding="utf-8")
    if parser.parse_args().check:
        sys.exit(before != page(before))
    PAGE.write_text(page(before), encoding="utf-8")


if __name__ == "__main__":
    main()
