"""Fixtures that several folders share."""

import os

import pytest
from hypothesis import HealthCheck, settings

# The models here are tiny: more threads of torch, the reference, would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test is judged by its time: machines are busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def demo():
    """A Runner on the bundled model, in float32."""
    from mistralrs import ModelDType, Runner, Which
    from mistralrs.demo import model_path

    which = Which.Plain(model_id=str(model_path()), dtype=ModelDType.F32)
    with Runner(which=which, pa_ctxt_len=8192) as runner:
        yield runner
