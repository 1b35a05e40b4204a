"""Requests that nobody would think of, made of the server's own OpenAPI document (CONTRIBUTING.md has the long run)."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from mistralrs import ModelDType, Runner, Which
from mistralrs.demo import model_path
from tests.server.conftest import Live

load_all_checks()
NOT_TOLD = [positive_data_acceptance]  # a schema cannot tell which messages a chat template takes


@pytest.fixture(scope="module")
def api():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")  # made-up names are no questions for the hub
        yield from served()


def served():
    which = Which.Plain(model_id=str(model_path()), dtype=ModelDType.F32)
    with Runner(which=which, pa_ctxt_len=128) as runner, Live(runner) as live:
        yield schemathesis.openapi.from_url(f"{live.url}/openapi.json")


def test_every_answer_is_documented(api):
    """No status, content type or shape that the document does not have, and no mistake of ours (5xx)."""
    count = 0
    for operation in api.get_all_operations():

        @settings(
            max_examples=5,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def attempt(case):
            case.call_and_validate(excluded_checks=NOT_TOLD, timeout=60)

        attempt()
        count += 1
    assert count >= 19
