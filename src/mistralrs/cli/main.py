"""The entry point: global options, the table of commands, and how errors end."""

import logging
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import NoReturn

import click

from mistralrs import __version__
from mistralrs.api.errors import MistralRsError
from mistralrs.api.strict import did_you_mean
from mistralrs.cli.options import GlobalOptions, takes

INTERRUPTED = 130  # the exit code of shells for Ctrl-C
log = logging.getLogger("mistralrs")

# Commands are imported when they are called: `--help` shows these lines. Each is in the file of its name.
COMMANDS: Mapping[str, str] = {
    "run": "Talk to a model, or get one answer with -i.",
    "serve": "Serve a model over HTTP, for clients of the OpenAI and Anthropic APIs.",
    "from-config": "Run or serve what a TOML file describes.",
    "bench": "Measure how fast a model reads and writes.",
    "tune": "Recommend a quantization that fits this machine's memory.",
    "doctor": "Show what this machine offers and what stands in the way.",
    "verify": "Compare a model with transformers in float32.",
    "cache": "List or delete downloaded models.",
    "login": "Store an access token of the Hugging Face hub.",
    "completions": "Print the script that completes commands in a shell.",
}


class Commands(click.Group):
    """A group whose members are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            raise click.UsageError(
                f"no command '{cmd_name}'{did_you_mean(cmd_name, COMMANDS)}", ctx
            )
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(import_module(f"mistralrs.cli.{name}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", message="mistralrs %(version)s")
@takes(GlobalOptions)
@click.pass_context
def app(context: click.Context, everywhere: GlobalOptions) -> None:
    """Local AI inference on your own machine."""
    before = {name: getattr(everywhere, name) for name in ("seed", "token_source", "log")}
    context.default_map = dict.fromkeys(COMMANDS, before)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


class Stderr(logging.Handler):
    """Writes to what stderr is at the moment, so that lines go above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and the traceback that comes with it."""
        print(self.format(record), file=sys.stderr)


def main() -> None:
    """Run the command line. What goes wrong is one line on stderr: exit code 2 for usage, 1 for failures.

    -v adds the traceback.
    """
    log.addHandler(Stderr())
    try:
        sys.exit(app(None, "mistralrs", "_MISTRALRS_COMPLETE", standalone_mode=False))
    except click.ClickException as error:
        fail(error.format_message() + where(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MistralRsError as error:
        fail(str(error), 1)
    except Exception as error:
        fail(f"{type(error).__name__}: {error} (-v shows where; please report it)", 1)


def where(error: click.ClickException) -> str:
    """The command whose help explains a usage error."""
    context = getattr(error, "ctx", None)
    return f" (see `{context.command_path} --help`)" if context else ""


def fail(message: str, code: int) -> NoReturn:
    """End with a message."""
    log.info("traceback", exc_info=True)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
