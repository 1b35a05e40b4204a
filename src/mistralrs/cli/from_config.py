"""`mistralrs from-config`: what a TOML file describes."""

import click

from mistralrs.cli.options import GlobalOptions, SamplingOptions, ServerOptions, takes


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
    from dataclasses import replace

    from mistralrs.api import config_file, mcp_file
    from mistralrs.api.errors import RequestError
    from mistralrs.cli.serve import check_packages, listen
    from mistralrs.cli.session import Talk, new_chat
    from mistralrs.cli.start import load_all, present, refuse_cache_type, usage

    with usage():
        if (file is None) == (named is None):
            raise RequestError("name one file: mistralrs from-config FILE.toml")
        config = config_file.read(file or named or "")
        given = {
            **config.runner,
            **present(seed=everywhere.seed, token_source=everywhere.token_source),
        }
        refuse_cache_type(given.pop("pa_cache_type", None))
        settings = dict(config.server)
        if servers := settings.pop("mcp_config", None):
            given["mcp_client_config"] = mcp_file.read(servers)
        server = replace(ServerOptions(), **settings)
        talk = None
        if config.command == "run":
            options = SamplingOptions(enable_thinking=config.enable_thinking)
            talk = Talk(new_chat(options), everywhere.log or config.log)
        else:
            check_packages(server)
    if check:
        click.echo(f"{file or named}: ok, {config.command} {len(config.models)} model(s)")
        return
    with load_all(config.models, config.cpu, given) as runner:
        if talk:
            talk.serve(runner, None)
        else:
            listen(runner, server, everywhere.log or config.log)
