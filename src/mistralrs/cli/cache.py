"""`mistralrs cache`: the models that were downloaded."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api.errors import ModelNotFoundError
from mistralrs.api.strict import did_you_mean
from mistralrs.cli.shape import gigabytes, table

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo

CACHE = click.option("--hf-cache", help="Folder of downloaded models.")
AGES = ((365, "year"), (30, "month"), (7, "week"), (1, "day"))


@click.group()
def cache() -> None:
    """List or delete downloaded models."""


@cache.command("list")
@CACHE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(hf_cache: str | None, as_json: bool) -> None:
    """List the downloaded models, the largest first."""
    from mistralrs.load.download import cache_directory

    folder = Path(hf_cache).expanduser() if hf_cache else cache_directory()
    found = sorted(scan(folder), key=lambda repo: -repo.size_on_disk)
    if as_json:
        models = [entry(repo) for repo in found]
        size = sum(repo.size_on_disk for repo in found)
        print(json.dumps({"folder": str(folder), "size_bytes": size, "models": models}, indent=2))
        return
    if found:
        rows = [(one.repo_id, gigabytes(one.size_on_disk), age(one.last_accessed)) for one in found]
        table(("Model", "Size", "Last used"), rows, numbers=(1,))
    total = gigabytes(sum(one.size_on_disk for one in found))
    print(f"{len(found)} models, {total} in {folder}")


@cache.command("delete")
@click.option("-m", "--model-id", required=True, help="Hugging Face id of the model.")
@CACHE
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(model_id: str, hf_cache: str | None, yes: bool) -> None:
    """Delete a downloaded model."""
    from mistralrs.load.download import cache_directory

    folder = Path(hf_cache).expanduser() if hf_cache else cache_directory()
    known = {repo.repo_id: repo for repo in scan(folder)}
    if model_id not in known:
        hint = did_you_mean(model_id, known) or "; `mistralrs cache list` shows those that are"
        raise ModelNotFoundError(f"'{model_id}' is not in {folder}{hint}")
    size = gigabytes(known[model_id].size_on_disk)
    if not yes:
        click.confirm(f"Delete {model_id} ({size}) from {folder}?", abort=True, err=True)
    remove(known[model_id], folder)
    click.echo(f"deleted {model_id}, {size}", err=True)


def scan(folder: Path) -> "list[CachedRepoInfo]":
    """The models of a cache folder."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return [repo for repo in scan_cache_dir(folder).repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []


def remove(repo: "CachedRepoInfo", folder: Path) -> None:
    """Delete every revision, what downloads that broke off have left, and our list of its files."""
    from huggingface_hub import scan_cache_dir

    alone = replace(scan_cache_dir(folder), repos=frozenset([repo]))  # copies share commits
    alone.delete_revisions(*(one.commit_hash for one in repo.revisions)).execute()
    if repo.repo_path.exists():
        shutil.rmtree(repo.repo_path)
    (folder / f"{repo.repo_id.replace('/', '-')}_repo_list.json").unlink(missing_ok=True)


def entry(repo: "CachedRepoInfo") -> dict[str, Any]:
    """A model as JSON."""
    return dict(
        model_id=repo.repo_id,
        size_bytes=repo.size_on_disk,
        files=repo.nb_files,
        last_used=repo.last_accessed,
        path=str(repo.repo_path),
    )


def age(then: float) -> str:
    """How long ago a time is, in words."""
    days = int((time.time() - then) // 86400)
    if days < 1:
        return "today"
    if days == 1:
        return "yesterday"
    length, unit = next((length, unit) for length, unit in AGES if days >= length)
    count = days // length
    return f"{count} {unit}{'s' if count > 1 else ''} ago"
