"""`mistralrs tune`: what it prints, writes and refuses. `tests/load/test_advise.py` has the figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from mistralrs.api.config_file import read
from mistralrs.load.advise import CANDIDATES


def test_nothing_fits(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistralrs.load.advise.memory", lambda device: (1 << 30, 1 << 20))
    code, out, err = call("tune")
    assert (code, out) == (1, "")
    assert "no quantization of this model fits" in err


def test_json_and_file(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "made.toml"
    options = ("--cpu", "--isq-organization", "moqe", "--profile", "fast", "--max-seqs", "4")
    code, out, err = call("tune", *options, "--json", "--emit-config", str(file))
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert [one["isq"] for one in report["candidates"]] == list(CANDIDATES)
    assert [one["isq"] for one in report["candidates"] if one["recommended"]] == ["q4k"]
    command = report["recommended_command"]
    assert command.endswith(" --isq q4k --isq-organization moqe --max-seqs 4 --cpu")
    made = read(file)
    (model,) = made.models
    assert made.cpu
    assert model.which.organization.value == "moqe"
    assert (model.options, model.which.model_id) == (
        {"in_situ_quant": "q4k", "max_seqs": 4},
        report["model_id"],
    )


def test_table(call: Any) -> None:
    code, out, _ = call("tune", "--isq", "hqq8")
    assert code == 0
    assert out.splitlines()[-1].startswith("mistralrs serve -m ")
    assert out.rstrip().endswith("--isq hqq8")
    assert all(name.upper() in out for name in CANDIDATES[1:])


REFUSED = [
    (("-f", "x.gguf"), 2, "quantized already"),
    (("--isq", "q9"), 1, "'q9' is no quantization"),
    (("-m", "/no/such/folder"), 1, "no such directory"),
    (("--topology", "x"), 1, "topology files is not available yet"),
    (("--device-layers", "0:3"), 1, "not available yet"),
    (("--profile", "best"), 2, "'best' is not one of"),
]


@pytest.mark.parametrize(("arguments", "expected", "message"), REFUSED)
def test_refused(arguments: tuple[str, ...], expected: int, message: str, call: Any) -> None:
    code, out, err = call("tune", *arguments)
    assert (code, out) == (expected, "")
    assert message in err
