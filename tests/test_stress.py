"""A small run of bench/stress.py: many threads, every kind of request, cancellations."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "bench" / "stress.py"


def test_many_threads_mixed_requests_and_cancellations(demo):
    spec = spec_from_file_location("stress", SCRIPT)
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    for result in script.stress(demo, threads=16, requests=48, rounds=2):
        assert result["wrong"] == 0, result
        assert result["pages_held"] == 0, result
