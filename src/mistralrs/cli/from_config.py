"""`mistralrs from-config`: what a TOML file describes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mistralrs.cli.options import GlobalOptions, SamplingOptions, ServerOptions, takes

if TYPE_CHECKING:
    from mistralrs.api.config_file import ConfigFile
    from mistralrs.cli.session import Talk


@dataclass(frozen=True)
class Plan:
    """What is to be done, checked as far as it can be before a model is loaded."""

    file: "ConfigFile"
    options: dict[str, Any]  # of the Runner, beside those of the file
    server: ServerOptions
    log: str | None
    talk: "Talk | None"  # None: serve


@click.command(context_settings={"show_default": True})
@click.argument("file", required=False, type=click.Path())
@click.option("-f", "--file", "named", type=click.Path(), help="The file, as an option.")
@click.option("--check", is_flag=True, help="Only check the file; nothing is loaded.")
@takes(GlobalOptions)
def from_config(
    everywhere: GlobalOptions, file: str | None, named: str | None, check: bool
) -> None:
    """Run or serve what a TOML file describes.

    FILE has the options of the command line by their long names: see
    docs/cli.md. A .json file of several models, as older servers take, is
    served.
    """
    from mistralrs.cli.serve import bind, listen  # here, so that --help is quick
    from mistralrs.cli.start import load_all, usage

    with usage():
        plan = prepare(name_of(file, named), everywhere)
    if check:
        command = "run" if plan.talk else "serve"
        click.echo(f"ok: {command} {', '.join(model.id for model in plan.file.models)}")
        return
    if plan.talk:
        with load_all(plan.file, **plan.options) as runner:
            plan.talk.serve(runner, None)
    else:
        with bind(plan.server) as bound, load_all(plan.file, **plan.options) as runner:
            listen(runner, plan.server, bound, plan.log)


def name_of(file: str | None, named: str | None) -> str:
    """The one name that was given."""
    if (file is None) == (named is None):
        raise click.UsageError("name one file: mistralrs from-config FILE.toml")
    return file or named or ""


def prepare(path: str, everywhere: GlobalOptions) -> Plan:
    """Read a file; options of the command line beat those in it."""
    from mistralrs.api import config_file, mcp_file
    from mistralrs.cli.serve import check_packages
    from mistralrs.cli.session import Talk, new_chat
    from mistralrs.cli.start import present

    file = config_file.read(path)
    options = present(seed=everywhere.seed, token_source=everywhere.token_source)
    settings, log = dict(file.server), everywhere.log or file.log
    if servers := settings.pop("mcp_config", None):
        options["mcp_client_config"] = mcp_file.read(servers)
    server, talk = ServerOptions(**settings), None
    if file.command == "run":
        talk = Talk(new_chat(SamplingOptions(enable_thinking=file.enable_thinking)), log)
    else:
        check_packages(server)
    return Plan(file, options, server, log, talk)
