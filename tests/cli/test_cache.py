"""`mistralrs cache` over a cache folder in the layout of huggingface_hub."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from mistralrs.cli.cache import age

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def add(folder: Path, name: str, size: int) -> Path:
    """A downloaded model of one file."""
    repo = folder / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "blobs" / "b1").write_bytes(bytes(size))
    os.symlink("../../blobs/b1", snapshot / "model.safetensors")
    (folder / f"{name.replace('/', '-')}_repo_list.json").write_text("{}")
    return repo


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    add(tmp_path, "owner/small", 1000)
    add(tmp_path, "owner/large", 3 << 20)
    return tmp_path


def test_list(folder: Path, call: Any) -> None:
    code, out, err = call("cache", "list")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if "owner/" in line]
    assert rows == [["owner/large", "3", "MiB", "today"], ["owner/small", "1000", "B", "today"]]
    assert out.splitlines()[-1] == f"2 models, 3 MiB in {folder}"


def test_list_as_json(folder: Path, call: Any) -> None:
    report = json.loads(call("cache", "list", "--json")[1])
    assert report["size_bytes"] == 1000 + (3 << 20)
    assert [one["model_id"] for one in report["models"]] == ["owner/large", "owner/small"]


def test_no_cache(tmp_path: Path, call: Any) -> None:
    code, out, _ = call("cache", "list", "--hf-cache", str(tmp_path / "none"))
    assert (code, out) == (0, f"0 models, 0 B in {tmp_path / 'none'}\n")


def test_delete(folder: Path, call: Any) -> None:
    """The other model has the same commit, as copies of a repository do, and stays."""
    code, _, err = call("cache", "delete", "-m", "owner/large", "--yes")
    assert (code, err) == (0, "deleted owner/large, 3 MiB\n")
    assert sorted(path.name for path in folder.iterdir()) == [
        "models--owner--small",
        "owner-small_repo_list.json",
    ]


@pytest.mark.parametrize(("typed", "gone"), [("y", True), ("n", False)])
def test_delete_asks(
    typed: str, gone: bool, folder: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda p: asked.append(p) or typed)
    code, _, err = call("cache", "delete", "-m", "owner/small")
    assert code == (0 if gone else 130)
    assert "Delete owner/small (1000 B)" in err + "".join(asked)
    assert (folder / "models--owner--small").exists() != gone


def test_delete_what_is_not_there(folder: Path, call: Any) -> None:
    code, _, err = call("cache", "delete", "-m", "owner/smal", "--yes")
    assert code == 1
    assert "did you mean 'owner/small'?" in err


AGES = [
    (0, "today"), (1, "yesterday"), (3, "3 days ago"), (7, "1 week ago"), (20, "2 weeks ago"),
    (40, "1 month ago"), (800, "2 years ago"),
]  # fmt: skip


@pytest.mark.parametrize(("days", "expected"), AGES)
def test_age(days: int, expected: str) -> None:
    assert age(time.time() - days * 86400 - 60) == expected
