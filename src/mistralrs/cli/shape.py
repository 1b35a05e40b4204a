"""Tables and sizes for people."""

from collections.abc import Sequence

GB = 1 << 30


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> None:
    """Print a table to stdout; columns in `numbers` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(heads):
        made.add_column(head, justify="right" if i in numbers else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.print(made, width=None if console.is_terminal else 200)


def gigabytes(count: float) -> str:
    """Bytes in the unit that suits them, in powers of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
