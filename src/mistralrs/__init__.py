"""Local AI inference in Python.

Every public name is imported from its module when it is first asked for, so that `import mistralrs`
is quick and free of torch. `__init__.pyi` says the same to type checkers.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "mistralrs.api.agent": """
        AgentToolApproval AgentToolApprovalDecision AgentToolMetadata
        CodeExecutionConfig SandboxPolicy ShellConfig ShellSkillMount
    """,
    "mistralrs.api.audio": "audio_part",
    "mistralrs.api.anymoe": "AnyMoeConfig AnyMoeExpertType",
    "mistralrs.api.enums": """
        AgentPermission AgentToolApprovalDecisionKind AgentToolKind AgentToolSource
        Architecture CodeExecutionPermission DiffusionArchitecture EmbeddingArchitecture
        ImageGenerationResponseFormat IsqOrganization ModelDType MultimodalArchitecture
        NetworkMode PagedCacheType SearchContextSize SpeechLoaderType ToolCallType
        ToolChoice VisionArchitecture
    """,
    "mistralrs.api.errors": """
        AccessError CanceledError CheckpointError ConfigError ContextLengthError
        EngineError GrammarError LoraAdapterError MediaError MistralRsError
        ModelNotFoundError ModelStateError NotSupportedError OutOfMemoryError
        RequestError RequestTimeoutError RequestTypeError TemplateError ToolError
    """,
    "mistralrs.api.files": "File FileSource InputFile RequestedFile",
    "mistralrs.api.lora": """
        CalibrationStatus LoraAdapter LoraAdapterGeneration LoraAdapterInfo
        LoraResidentGenerationInfo LoraRuntimeStatus
    """,
    "mistralrs.api.mcp": "McpClientConfigPy McpServerConfigPy McpServerSourcePy",
    "mistralrs.api.options": """
        ApproximateUserLocation MultimodalAutoMapParams TextAutoMapParams
        VisionAutoMapParams WebSearchOptions WebSearchUserLocation
    """,
    "mistralrs.api.requests": "ChatCompletionRequest CompletionRequest EmbeddingRequest",
    "mistralrs.api.explain": "Explanation",
    "mistralrs.api.responses": """
        AgenticToolCallRecord CalledFunction ChatCompletionChunkResponse
        ChatCompletionResponse Choice ChunkChoice CompletionChoice CompletionResponse
        Delta ImageChoice ImageGenerationResponse Logprobs PromptTokensDetails
        ResponseLogprob ResponseMessage SpeechGenerationResponse ToolCallResponse
        TopLogprob Usage
    """,
    "mistralrs.api.which": "Which",
    "mistralrs.models": "register_architecture",
    "mistralrs.aio": "AsyncRunner",
    "mistralrs.runner": "Runner",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        globals()[name] = found = getattr(importlib.import_module(_HOME[name]), name)
        return found
    from mistralrs.api.strict import did_you_mean

    hint = did_you_mean(name, __all__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
