"""The JSON file of MCP servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from mistralrs.api.errors import ConfigError
from mistralrs.api.mcp import McpClientConfigPy, McpServerConfigPy, McpServerSourcePy
from mistralrs.api.mcp_file import read

PROCESS = {"type": "Process", "command": "npx", "args": ["-y", "x"], "work_dir": None, "env": {}}


def written(folder: Path, value: Any) -> Path:
    file = folder / "mcp.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_all_fields(tmp_path: Path) -> None:
    servers = [
        {"id": "fs", "name": "Files", "source": PROCESS, "tool_prefix": "fs", "resources": None},
        {"name": "Web", "enabled": False, "source": {"type": "Http", "url": "https://h/mcp"}},
    ]
    limits = {"auto_register_tools": False, "tool_timeout_secs": 5, "max_concurrent_calls": 2}
    expected = McpClientConfigPy(
        [
            McpServerConfigPy(
                "fs",
                "Files",
                McpServerSourcePy.Process("npx", ["-y", "x"], env={}),
                tool_prefix="fs",
            ),
            McpServerConfigPy("1", "Web", McpServerSourcePy.Http("https://h/mcp"), enabled=False),
        ],
        **limits,  # type: ignore[arg-type]
    )
    assert read(written(tmp_path, {"servers": servers, **limits})) == expected


WRONG = [
    ("{", "is not valid JSON"),
    ([], "the file: must be an object"),
    (
        {"servers": [{"source": {"type": "Pigeon"}}]},
        r"servers\[0\].source.type: 'Pigeon' is unknown",
    ),
    ({"servers": [{"source": {"type": "Http", "url": "ftp://x"}}]}, "must begin with http"),
    ({"servers": [{"source": PROCESS, "prefix": "x"}]}, r"servers\[0\].*'prefix'"),
    ({"servers": [{}]}, r"servers\[0\].source: must be an object"),
    ({"servers": [], "timeout": 1}, "'timeout'"),
]


@pytest.mark.parametrize(("value", "message"), WRONG)
def test_wrong_file(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(written(tmp_path, value))
    assert "mcp.json" in str(caught.value)
