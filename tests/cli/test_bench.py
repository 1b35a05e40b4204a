"""`mistralrs bench` on the demo model."""

import json
from statistics import median
from typing import Any

import pytest

from mistralrs.cli import bench
from mistralrs.cli.bandwidth import bandwidth

QUICK = ("--prompt-len", "24", "--gen-len", "8", "--iterations", "3", "--warmup", "0")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> float:
    """A known bandwidth, in bytes per second."""
    monkeypatch.setattr("mistralrs.cli.bandwidth.bandwidth", lambda device: 1e12)
    return 1e12


def test_json(memory: float, call: Any) -> None:
    code, out, err = call("bench", *QUICK, "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    prefill, decode = report["tests"]
    assert 20 <= prefill["tokens"] <= 26
    assert decode["tokens"] == 7
    for test in (prefill, decode):
        assert len(test["rounds"]) == 3
        assert test["median"] == median(test["rounds"]) > 0
    assert report["bandwidth_bytes_per_second"] == memory
    assert report["roof_tokens_per_second"] == memory / report["bytes_per_token"]
    share = decode["median"] / report["roof_tokens_per_second"]
    assert report["share_of_roof"] == pytest.approx(share)


def test_table(memory: float, call: Any) -> None:
    code, out, err = call("bench", *QUICK, "--isq", "q8_0")
    assert (code, err) == (0, "")
    assert "decode 8" in out
    assert "ms per token" in out
    assert "memory gives 1e+03 GB/s" in out


def test_prompts_have_about_the_length_and_differ(demo_runner: Any) -> None:
    texts = [bench.text(demo_runner, 40) for _ in range(2)]
    counts = [len(demo_runner.tokenize_text(text, False)) for text in texts]
    assert texts[0] != texts[1]
    assert all(36 <= count <= 44 for count in counts)


def test_bandwidth_is_that_of_a_machine() -> None:
    assert 1e8 < bandwidth("cpu") < 1e13


@pytest.mark.parametrize(
    "arguments",
    [("embedding",), ("--gen-len", "1"), ("--isq-organization", "x"), ("--max-seqs", "2")],
)
def test_refused(arguments: tuple[str, ...], call: Any) -> None:
    code, out, err = call("bench", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
