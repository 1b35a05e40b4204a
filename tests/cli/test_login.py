"""`mistralrs login`: what is stored, and that the token is never shown."""

import io
import stat
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

TOKEN = "hf_secret"


class Hub:
    """In the place of huggingface_hub.login."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.tokens: list[str] = []

    def __call__(self, token: str, **options: Any) -> None:
        assert options == {"add_to_git_credential": False}
        if self.error:
            raise self.error
        self.tokens.append(token)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    found = Hub()
    monkeypatch.setattr(huggingface_hub, "login", found)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    return found


def test_option(hub: Hub, call: Any) -> None:
    code, out, err = call("login", "--token", f" {TOKEN} ")
    assert (code, out, hub.tokens) == (0, "", [TOKEN])
    assert "stored in" in err
    assert TOKEN not in err


def test_pipe(hub: Hub, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    code, out, err = call("login")
    assert (code, hub.tokens) == (0, [TOKEN])
    assert TOKEN not in out + err


@pytest.mark.parametrize("error", [OSError("no network"), ConnectionError("refused")])
def test_without_the_hub(error: Exception, hub: Hub, call: Any) -> None:
    """Stored unchecked, in a file that only its owner reads."""
    hub.error = error
    code, out, err = call("login", "--token", TOKEN)
    file = Path(constants.HF_TOKEN_PATH)
    assert (code, file.read_text()) == (0, TOKEN)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "could not be reached" in err
    assert TOKEN not in out + err


def test_rejected(hub: Hub, call: Any) -> None:
    hub.error = ValueError(f"Invalid token passed: {TOKEN}")
    code, out, err = call("login", "--token", TOKEN)
    assert (code, out) == (1, "")
    assert "rejects this token" in err
    assert TOKEN not in err
    assert not Path(constants.HF_TOKEN_PATH).exists()


@pytest.mark.parametrize("token", ["secret", "hf_a b", " "])
def test_no_token(token: str, hub: Hub, call: Any) -> None:
    code, out, err = call("login", "--token", token)
    assert (code, out, hub.tokens) == (2, "", [])
    assert "tokens begin with hf_" in err
    assert "secret" not in err
