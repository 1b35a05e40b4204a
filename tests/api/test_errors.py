"""The error classes."""

import inspect

import pytest

from mistralrs.api import errors

ALL = [e for _, e in inspect.getmembers(errors, inspect.isclass)]
PARENTS = {
    "TemplateError": errors.RequestError,
    "ContextLengthError": errors.RequestError,
    "GrammarError": errors.RequestError,
    "MediaError": errors.RequestError,
    "ToolError": errors.RequestError,
    "RequestTypeError": TypeError,
    "OutOfMemoryError": MemoryError,
    "RequestTimeoutError": TimeoutError,
}


@pytest.mark.parametrize("error", ALL)
def test_each_is_a_documented_value_error_with_its_message(error):
    assert issubclass(error, errors.MistralRsError)
    assert issubclass(error, ValueError)
    assert error.__doc__
    assert str(error("what and how to fix it")) == "what and how to fix it"


@pytest.mark.parametrize("name", PARENTS)
def test_second_parents(name):
    assert issubclass(getattr(errors, name), PARENTS[name])


def test_adapter_errors_have_a_code():
    assert errors.LoraAdapterError("gone", "not_found").code == "not_found"
