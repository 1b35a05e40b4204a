"""`mistralrs verify` on the demo model and on checkpoints it must refuse."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mistralrs.cli import verify
from tests import sentence


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Small matrices are not worth sharing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_demo_model(call: Any) -> None:
    code, out, err = call("verify", "-n", "8", "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["passed"]
    assert 0 < report["difference"] < 1e-4
    assert [one["prompt"] for one in report["prompts"]] == list(verify.PROMPTS)
    for one in report["prompts"]:
        assert one["agreed"] == one["continued"] > 0
        assert len(one["drift"]) == 5
        assert max(one["drift"]) < 1e-5


def test_table_and_exit_code(call: Any) -> None:
    code, out, _ = call("verify", "-n", "2", "-p", "one prompt", "--threshold", "1e-12")
    rows = [line.split() for line in out.splitlines()]
    assert code == 1
    assert rows[1][:2] == ["'one", "prompt'"]
    assert rows[1][3] == "2/2"
    assert [row[0] for row in rows[4:9]] == list("01234")
    assert out.rstrip().endswith("FAILED")


def test_a_difference_is_found(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with another rope base, computed here only."""
    from mistralrs.load import config

    inner = config._rope_of
    monkeypatch.setattr(
        config, "_rope_of", lambda *a: inner(*a) | {"rope_theta": 12000.0}, raising=True
    )
    code, out, _ = call("verify", "-n", "2", "--json")
    report = json.loads(out)
    assert code == 1
    assert not report["passed"]
    assert report["difference"] > 0.01
    assert all(max(one["drift"]) > 1e-3 for one in report["prompts"])


def test_embedding_model(call: Any, tmp_path: Path) -> None:
    modules = [("Pooling", sentence.MEAN), sentence.NORMALIZE]
    sentence.save(tmp_path, "Llama", dict(num_hidden_layers=1), modules)
    code, _, err = call("verify", "-m", str(tmp_path))
    assert code == 1
    assert "embedding model" in err


def test_without_transformers(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, _, err = call("verify")
    assert code == 1
    assert "pip install 'mistralrs[verify]'" in err
