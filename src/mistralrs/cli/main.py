"""The entry point: global options, the commands, and how errors end."""

import logging
import sys
from typing import Annotated

import typer

from .. import __version__
from ..api.errors import MistralRsError
from .doctor import doctor
from .options import Seed, TokenSource, Verbose
from .run import run
from .start import present

log = logging.getLogger("mistralrs")


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        print(f"mistralrs {__version__}")
        raise typer.Exit


def root(
    context: typer.Context,
    seed: Seed = None,
    token_source: TokenSource = None,
    verbose: Verbose = 0,
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Local AI inference on your own machine."""
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
    context.default_map = {"run": present(seed=seed, token_source=token_source)}


app = typer.Typer(
    name="mistralrs",
    rich_markup_mode=None,  # plain help: importing rich would double the start-up time
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(root)
app.command()(run)
app.command()(doctor)


def main() -> None:
    """Run the command line; an error of the package is one line on stderr and exit code 1, with -v a traceback too."""
    try:
        app()
    except MistralRsError as error:
        log.info("traceback", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
