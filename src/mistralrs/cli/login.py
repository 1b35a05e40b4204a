"""`mistralrs login`: an access token of the Hugging Face hub."""

import os
import sys
from pathlib import Path

import click

PAGE = "https://huggingface.co/settings/tokens"


@click.command()
@click.option(
    "--token",
    help="The token; without it you are asked, which keeps it out of the shell's history.",
)
def login(token: str | None) -> None:
    """Store an access token of the Hugging Face hub.

    The token is checked by the hub, if it can be reached, and stored where
    all programs that use the hub look for it. It is never shown.
    """
    given = (token or asked()).strip()
    if not given.startswith("hf_") or len(given.split()) != 1:
        raise click.UsageError(f"this is no token: tokens begin with hf_; make one at {PAGE}")
    click.echo(store(given), err=True)


def asked() -> str:
    """The token as it is typed, unseen, or piped."""
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    typed: str = click.prompt(f"Token from {PAGE} (not shown)", hide_input=True, err=True)
    return typed


def store(token: str) -> str:
    """Let huggingface_hub check and store a token; where the hub cannot be reached, store it unchecked."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        huggingface_hub.login(token=token, add_to_git_credential=False)
        return f"stored in {target()}"
    except (HfHubHTTPError, ValueError) as error:
        if status(error) in (401, 403) or not isinstance(error, HfHubHTTPError):
            raise click.ClickException(
                f"the hub rejects this token, nothing was stored: make another one at {PAGE}"
            ) from None
    except (OfflineModeIsEnabled, OSError):
        pass
    except Exception as error:  # the errors of the HTTP library below, which has changed
        if not type(error).__module__.startswith(("httpx", "requests", "httpcore")):
            raise
    write(target(), token)
    return f"stored in {target()}; the hub could not be reached to check it"


def status(error: Exception) -> int | None:
    """The HTTP status of an error."""
    return getattr(getattr(error, "response", None), "status_code", None)


def target() -> Path:
    """The file of the token."""
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def write(path: Path, token: str) -> None:
    """A file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    path.chmod(0o600)
