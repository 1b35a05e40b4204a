"""`mistralrs completions`: the script that a shell reads."""

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completions(shell: str) -> None:
    """Print the script that completes commands in a shell.

    \b
    bash: eval "$(mistralrs completions bash)" in ~/.bashrc
    zsh:  eval "$(mistralrs completions zsh)" in ~/.zshrc
    fish: mistralrs completions fish > ~/.config/fish/completions/mistralrs.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    group = click.get_current_context().find_root().command
    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    made = kind(group, {}, "mistralrs", "_MISTRALRS_COMPLETE")
    click.echo(made.source_template % made.source_vars())  # `source` would ask for bash's version
