from typing import Final

from mistralrs.aio import AsyncRunner as AsyncRunner
from mistralrs.api.agent import (
    AgentToolApproval as AgentToolApproval,
)
from mistralrs.api.agent import (
    AgentToolApprovalDecision as AgentToolApprovalDecision,
)
from mistralrs.api.agent import (
    AgentToolMetadata as AgentToolMetadata,
)
from mistralrs.api.agent import (
    CodeExecutionConfig as CodeExecutionConfig,
)
from mistralrs.api.agent import (
    SandboxPolicy as SandboxPolicy,
)
from mistralrs.api.agent import (
    ShellConfig as ShellConfig,
)
from mistralrs.api.agent import (
    ShellSkillMount as ShellSkillMount,
)
from mistralrs.api.anymoe import (
    AnyMoeConfig as AnyMoeConfig,
)
from mistralrs.api.anymoe import (
    AnyMoeExpertType as AnyMoeExpertType,
)
from mistralrs.api.audio import (
    audio_part as audio_part,
)
from mistralrs.api.enums import (
    AgentPermission as AgentPermission,
)
from mistralrs.api.enums import (
    AgentToolApprovalDecisionKind as AgentToolApprovalDecisionKind,
)
from mistralrs.api.enums import (
    AgentToolKind as AgentToolKind,
)
from mistralrs.api.enums import (
    AgentToolSource as AgentToolSource,
)
from mistralrs.api.enums import (
    Architecture as Architecture,
)
from mistralrs.api.enums import (
    CodeExecutionPermission as CodeExecutionPermission,
)
from mistralrs.api.enums import (
    DiffusionArchitecture as DiffusionArchitecture,
)
from mistralrs.api.enums import (
    EmbeddingArchitecture as EmbeddingArchitecture,
)
from mistralrs.api.enums import (
    ImageGenerationResponseFormat as ImageGenerationResponseFormat,
)
from mistralrs.api.enums import (
    IsqOrganization as IsqOrganization,
)
from mistralrs.api.enums import (
    ModelDType as ModelDType,
)
from mistralrs.api.enums import (
    MultimodalArchitecture as MultimodalArchitecture,
)
from mistralrs.api.enums import (
    NetworkMode as NetworkMode,
)
from mistralrs.api.enums import (
    PagedCacheType as PagedCacheType,
)
from mistralrs.api.enums import (
    SearchContextSize as SearchContextSize,
)
from mistralrs.api.enums import (
    SpeechLoaderType as SpeechLoaderType,
)
from mistralrs.api.enums import (
    ToolCallType as ToolCallType,
)
from mistralrs.api.enums import (
    ToolChoice as ToolChoice,
)
from mistralrs.api.enums import (
    VisionArchitecture as VisionArchitecture,
)
from mistralrs.api.errors import (
    AccessError as AccessError,
)
from mistralrs.api.errors import (
    CanceledError as CanceledError,
)
from mistralrs.api.errors import (
    CheckpointError as CheckpointError,
)
from mistralrs.api.errors import (
    ConfigError as ConfigError,
)
from mistralrs.api.errors import (
    ContextLengthError as ContextLengthError,
)
from mistralrs.api.errors import (
    EngineError as EngineError,
)
from mistralrs.api.errors import (
    GrammarError as GrammarError,
)
from mistralrs.api.errors import (
    LoraAdapterError as LoraAdapterError,
)
from mistralrs.api.errors import (
    MediaError as MediaError,
)
from mistralrs.api.errors import (
    MistralRsError as MistralRsError,
)
from mistralrs.api.errors import (
    ModelNotFoundError as ModelNotFoundError,
)
from mistralrs.api.errors import (
    ModelStateError as ModelStateError,
)
from mistralrs.api.errors import (
    NotSupportedError as NotSupportedError,
)
from mistralrs.api.errors import (
    OutOfMemoryError as OutOfMemoryError,
)
from mistralrs.api.errors import (
    RequestError as RequestError,
)
from mistralrs.api.errors import (
    RequestTimeoutError as RequestTimeoutError,
)
from mistralrs.api.errors import (
    RequestTypeError as RequestTypeError,
)
from mistralrs.api.errors import (
    TemplateError as TemplateError,
)
from mistralrs.api.errors import (
    ToolError as ToolError,
)
from mistralrs.api.explain import (
    Explanation as Explanation,
)
from mistralrs.api.files import (
    File as File,
)
from mistralrs.api.files import (
    FileSource as FileSource,
)
from mistralrs.api.files import (
    InputFile as InputFile,
)
from mistralrs.api.files import (
    RequestedFile as RequestedFile,
)
from mistralrs.api.lora import (
    CalibrationStatus as CalibrationStatus,
)
from mistralrs.api.lora import (
    LoraAdapter as LoraAdapter,
)
from mistralrs.api.lora import (
    LoraAdapterGeneration as LoraAdapterGeneration,
)
from mistralrs.api.lora import (
    LoraAdapterInfo as LoraAdapterInfo,
)
from mistralrs.api.lora import (
    LoraResidentGenerationInfo as LoraResidentGenerationInfo,
)
from mistralrs.api.lora import (
    LoraRuntimeStatus as LoraRuntimeStatus,
)
from mistralrs.api.mcp import (
    McpClientConfigPy as McpClientConfigPy,
)
from mistralrs.api.mcp import (
    McpServerConfigPy as McpServerConfigPy,
)
from mistralrs.api.mcp import (
    McpServerSourcePy as McpServerSourcePy,
)
from mistralrs.api.options import (
    ApproximateUserLocation as ApproximateUserLocation,
)
from mistralrs.api.options import (
    MultimodalAutoMapParams as MultimodalAutoMapParams,
)
from mistralrs.api.options import (
    TextAutoMapParams as TextAutoMapParams,
)
from mistralrs.api.options import (
    VisionAutoMapParams as VisionAutoMapParams,
)
from mistralrs.api.options import (
    WebSearchOptions as WebSearchOptions,
)
from mistralrs.api.options import (
    WebSearchUserLocation as WebSearchUserLocation,
)
from mistralrs.api.requests import (
    ChatCompletionRequest as ChatCompletionRequest,
)
from mistralrs.api.requests import (
    CompletionRequest as CompletionRequest,
)
from mistralrs.api.requests import (
    EmbeddingRequest as EmbeddingRequest,
)
from mistralrs.api.responses import (
    AgenticToolCallRecord as AgenticToolCallRecord,
)
from mistralrs.api.responses import (
    CalledFunction as CalledFunction,
)
from mistralrs.api.responses import (
    ChatCompletionChunkResponse as ChatCompletionChunkResponse,
)
from mistralrs.api.responses import (
    ChatCompletionResponse as ChatCompletionResponse,
)
from mistralrs.api.responses import (
    Choice as Choice,
)
from mistralrs.api.responses import (
    ChunkChoice as ChunkChoice,
)
from mistralrs.api.responses import (
    CompletionChoice as CompletionChoice,
)
from mistralrs.api.responses import (
    CompletionResponse as CompletionResponse,
)
from mistralrs.api.responses import (
    Delta as Delta,
)
from mistralrs.api.responses import (
    ImageChoice as ImageChoice,
)
from mistralrs.api.responses import (
    ImageGenerationResponse as ImageGenerationResponse,
)
from mistralrs.api.responses import (
    Logprobs as Logprobs,
)
from mistralrs.api.responses import (
    PromptTokensDetails as PromptTokensDetails,
)
from mistralrs.api.responses import (
    ResponseLogprob as ResponseLogprob,
)
from mistralrs.api.responses import (
    ResponseMessage as ResponseMessage,
)
from mistralrs.api.responses import (
    SpeechGenerationResponse as SpeechGenerationResponse,
)
from mistralrs.api.responses import (
    ToolCallResponse as ToolCallResponse,
)
from mistralrs.api.responses import (
    TopLogprob as TopLogprob,
)
from mistralrs.api.responses import (
    Usage as Usage,
)
from mistralrs.api.which import (
    Which as Which,
)
from mistralrs.models import register_architecture as register_architecture
from mistralrs.runner import Runner as Runner

__version__: Final[str]
__all__: Final[list[str]]
