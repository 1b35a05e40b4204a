"""The entry point: global options, the commands, and how errors end."""

import logging
import os
import sys

import click

from mistralrs import __version__
from mistralrs.api.errors import MistralRsError
from mistralrs.cli.doctor import doctor
from mistralrs.cli.options import GlobalOptions, takes
from mistralrs.cli.run import run
from mistralrs.cli.serve import serve
from mistralrs.cli.verify import verify

INTERRUPTED = 130  # the exit code of shells for Ctrl-C
log = logging.getLogger("mistralrs")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="mistralrs %(version)s")
@takes(GlobalOptions)
@click.pass_context
def app(context: click.Context, everywhere: GlobalOptions) -> None:
    """Local AI inference on your own machine."""
    before = {"seed": everywhere.seed, "token_source": everywhere.token_source}
    context.default_map = {"run": before, "serve": before}


app.add_command(run)
app.add_command(serve)
app.add_command(doctor)
app.add_command(verify)


def main() -> None:
    """Run the command line. An error of the package is one line on stderr and exit code 1; -v adds its traceback."""
    log.addHandler(logging.StreamHandler())
    try:
        sys.exit(app(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MistralRsError as error:
        log.info("traceback", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
