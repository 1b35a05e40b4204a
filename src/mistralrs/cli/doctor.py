"""`mistralrs doctor`: what this machine offers, and what stands in the way."""

import json
import sys
from typing import Any

import click

from mistralrs import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """Show what this machine offers and what stands in the way.

    Exit code 1 when something does.
    """
    from mistralrs.load.doctor import diagnose  # here, so that --help is quick

    found = diagnose(__version__)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(found["system"], found["checks"])
    if any(check["status"] == "error" for check in found["checks"]):
        sys.exit(1)


def show(facts: dict[str, Any], checks: list[dict[str, Any]]) -> None:
    """Print the findings as aligned lines."""
    print(f"mistralrs {facts['mistralrs']}, Python {facts['python']}, {facts['platform']}")
    print(
        f"{facts['processor']} ({facts['architecture']}): {facts['physical_cores']} cores, "
        f"{facts['logical_cores']} threads"
    )
    print(", ".join(f"{name} {number}" for name, number in facts["packages"].items()))
    for check in checks:
        print(f"{check['status']:<6}{check['name']:<18} {check['message']}")
        if check["suggestion"]:
            print(f"{'':<25}{check['suggestion']}")
