"""`mistralrs doctor` and the global options."""

import json
from typing import Any

import pytest

from mistralrs import __version__
from mistralrs.load import doctor


def test_json(call: Any) -> None:
    code, out, _ = call("doctor", "--json")
    report = json.loads(out)
    statuses = {check["name"]: check["status"] for check in report["checks"]}
    assert set(statuses) >= {"packages", "device", "cpu_kernels", "hf_cache_writable", "disk_space"}
    assert code == ("error" in statuses.values())
    assert report["system"]["packages"]["torch"]


def test_text_shows_every_check_with_its_advice(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_it() -> doctor.Check:
        return doctor.Check("it", "error", "is broken", "mend it")

    def check_that() -> doctor.Check:
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "CHECKS", (check_it, check_that))
    code, out, _ = call("doctor")
    assert code == 1
    assert all(word in out for word in ("is broken", "mend it", "OSError: no such thing"))


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, call: Any) -> None:
    assert call(flag) == (0, f"mistralrs {__version__}\n", "")


def test_help_lists_the_commands(call: Any) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(command in out for command in ("run", "doctor"))
