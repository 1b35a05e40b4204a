"""The sampling that a checkpoint suggests in its generation_config.json."""

import json
from pathlib import Path
from typing import Any

FIELDS = ("temperature", "top_p", "top_k")


def find(model: str, hf_cache: str | None = None) -> Path | None:
    """The file of a folder, or of a hub model that has been downloaded already."""
    if Path(model).is_dir():
        path = Path(model) / "generation_config.json"
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache  # not needed for a folder

    found = try_to_load_from_cache(model, "generation_config.json", cache_dir=hf_cache)
    return Path(found) if isinstance(found, str) else None


def read(path: Path | None) -> dict[str, Any]:
    """Its `temperature`, `top_p` and `top_k`; temperature 0 where it does not sample; nothing without a file.

    The format's default is not to sample, but files that name a temperature and leave `do_sample` out mean to.
    """
    config = json.loads(path.read_text(encoding="utf-8")) if path else None
    if config is None:
        return {}
    given = {name: config[name] for name in FIELDS if config.get(name) is not None}
    return given if config.get("do_sample", bool(given)) else {"temperature": 0.0}
