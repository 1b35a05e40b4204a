"""The package's public names: all of them there, cheap to import, the same for type checkers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mistralrs

DOCUMENTED = """
    Which Architecture VisionArchitecture DiffusionArchitecture EmbeddingArchitecture
    SpeechLoaderType IsqOrganization ModelDType TextAutoMapParams VisionAutoMapParams
    PagedCacheType ChatCompletionRequest CompletionRequest EmbeddingRequest ToolChoice
    WebSearchOptions WebSearchUserLocation ApproximateUserLocation SearchContextSize
    ImageGenerationResponseFormat ChatCompletionResponse ChatCompletionChunkResponse
    CompletionResponse ImageGenerationResponse ImageChoice SpeechGenerationResponse Choice
    ChunkChoice CompletionChoice ResponseMessage Delta Logprobs ResponseLogprob TopLogprob Usage
    ToolCallResponse ToolCallType CalledFunction AnyMoeConfig AnyMoeExpertType McpServerSourcePy
    McpServerConfigPy McpClientConfigPy MultimodalArchitecture MultimodalAutoMapParams
    LoraAdapter LoraAdapterGeneration LoraAdapterError LoraAdapterInfo
    LoraResidentGenerationInfo LoraRuntimeStatus CalibrationStatus AgentPermission
    CodeExecutionPermission NetworkMode AgentToolSource AgentToolKind AgentToolMetadata
    AgentToolApproval AgentToolApprovalDecision AgentToolApprovalDecisionKind SandboxPolicy
    CodeExecutionConfig ShellConfig ShellSkillMount RequestedFile InputFile File FileSource
    AgenticToolCallRecord
"""
HEAVY = {"Runner", "AsyncRunner", "register_architecture"}


@pytest.mark.parametrize("name", DOCUMENTED.split())
def test_a_documented_name_is_public(name):
    assert name in mistralrs.__all__
    assert name in dir(mistralrs)
    assert isinstance(getattr(mistralrs, name), type)


def test_the_stub_declares_the_same_names():
    stub = Path(mistralrs.__file__).with_suffix(".pyi").read_text()
    assert sorted(re.findall(r"(\w+) as \1\b", stub)) == list(mistralrs.__all__)


def printed_by(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_light_names_load_no_torch():
    names = [name for name in mistralrs.__all__ if name not in HEAVY]
    load = f"import sys, mistralrs\nfor name in {names}: getattr(mistralrs, name)\n"
    assert printed_by(load + "print('torch' in sys.modules)") == "False"


def test_import_alone_loads_none_of_our_modules():
    code = "import sys, mistralrs; print([m for m in sys.modules if m.startswith('mistralrs.')])"
    assert printed_by(code) == "[]"


def test_an_unknown_name_is_explained():
    with pytest.raises(AttributeError, match="no attribute 'Wich'; did you mean 'Which'?"):
        _ = mistralrs.Wich
