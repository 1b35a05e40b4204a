"""Sampling suggestions of generation_config.json."""

from pathlib import Path
from typing import Any

import pytest

from mistralrs.cli.suggest import find, read

FILES = [
    ('{"do_sample": false, "temperature": 0.7}', {"temperature": 0.0}),
    ('{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}',
     {"temperature": 0.6, "top_k": 20, "top_p": 0.95}),
    ('{"do_sample": true}', {}),
    ('{"temperature": 0.7, "top_p": null}', {"temperature": 0.7}),
    ('{"eos_token_id": [1, 2]}', {"temperature": 0.0}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_read(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    assert read(find(str(tmp_path))) == expected


def test_no_file(tmp_path: Path) -> None:
    assert read(find(str(tmp_path))) == {}
    assert read(find("org/never-downloaded", hf_cache=str(tmp_path))) == {}
