"""Enums of the SDK. Each accepts its value, its member name, and spellings close to them."""

from enum import Enum
from typing import Any

from mistralrs.api.errors import RequestError
from mistralrs.api.strict import did_you_mean

# Names that other files of a model use (model_type of config.json) -> our member.
_OTHER_NAMES = {"phimoe": "Phi3_5MoE", "mllama": "VLlama"}


class Spelled(Enum):
    """An enum whose lookup ignores case and punctuation: `Architecture("gpt-oss")`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        by_letters = {_letters(member.value): member for member in cls}
        by_letters |= {_letters(name): member for name, member in cls.__members__.items()}
        wanted = _letters(value)
        found = by_letters.get(wanted) or cls.__members__.get(_OTHER_NAMES.get(wanted, ""))
        if found is None:
            accepted = [str(member.value) for member in cls]
            hint = did_you_mean(str(value), accepted)
            problem = f"{value!r} is not a value of {cls.__name__}{hint or '.'}"
            raise RequestError(f"{problem} Accepted: {', '.join(accepted)}")
        return found


def _letters(value: object) -> str:
    return "".join(c for c in str(value).casefold() if c.isalnum())


class Architecture(Spelled):
    """Text model families."""

    Mistral = "mistral"
    Gemma = "gemma"
    Mixtral = "mixtral"
    Llama = "llama"
    Phi2 = "phi2"
    Phi3 = "phi3"
    Qwen2 = "qwen2"
    Gemma2 = "gemma2"
    GLM4 = "glm4"
    Starcoder2 = "starcoder2"
    Phi3_5MoE = "phi3.5moe"
    DeepseekV2 = "deepseekv2"
    DeepseekV3 = "deepseekv3"
    Qwen3 = "qwen3"
    Qwen3Moe = "qwen3moe"
    SmolLm3 = "smollm3"
    GraniteMoeHybrid = "granitemoehybrid"
    GptOss = "gptoss"
    GLM4Moe = "glm4moe"
    GLM4MoeLite = "glm4moelite"
    Qwen3Next = "qwen3next"
    Lfm2 = "lfm2"
    Lfm2Moe = "lfm2_moe"
    Gemma3n = "gemma3n"
    Gemma4 = "gemma4"
    Qwen3_5 = "qwen3_5"


class VisionArchitecture(Spelled):
    """Families of models that read images or audio beside text."""

    Phi3V = "phi3v"
    Idefics2 = "idefics2"
    LLaVaNext = "llava-next"
    LLaVANext = LLaVaNext
    LLaVa = "llava"
    LLaVA = LLaVa
    VLlama = "vllama"
    Qwen2VL = "qwen2vl"
    Idefics3 = "idefics3"
    MiniCpmO = "minicpmo"
    Phi4MM = "phi4mm"
    Qwen2_5VL = "qwen2_5vl"
    Gemma3 = "gemma3"
    Mistral3 = "mistral3"
    Llama4 = "llama4"
    Gemma3n = "Gemma3n"
    Qwen3VL = "Qwen3VL"
    Lfm2Vl = "lfm2vl"
    Qwen3VLMoE = "Qwen3VLMoE"
    Qwen3_5 = "Qwen3_5"
    Qwen3_5Moe = "Qwen3_5Moe"
    Voxtral = "Voxtral"
    Gemma4 = "Gemma4"
    MuseGlimmer = "MuseGlimmer"
    DiffusionGemma = "DiffusionGemma"


MultimodalArchitecture = VisionArchitecture


class DiffusionArchitecture(Spelled):
    """Image generation families."""

    Flux = "flux"
    FluxOffloaded = "flux-offloaded"


class SpeechLoaderType(Spelled):
    """Speech generation families."""

    Dia = "dia"


class EmbeddingArchitecture(Spelled):
    """Text embedding families."""

    EmbeddingGemma = "embeddinggemma"
    Qwen3Embedding = "qwen3embedding"


class IsqOrganization(Spelled):
    """Which weights are quantized on load: all, or only the experts of a mixture (MoQE)."""

    Default = "default"
    MoQE = "moqe"


class ModelDType(Spelled):
    """Data type of unquantized weights; Auto takes the best that the device computes in."""

    Auto = "auto"
    BF16 = "bf16"
    F16 = "f16"
    F32 = "f32"


class PagedCacheType(Spelled):
    """Data type of the key-value cache."""

    Auto = 0
    F8E4M3 = 1


class ImageGenerationResponseFormat(Spelled):
    """How a generated image is delivered: as a file name or inside the response."""

    Url = "url"
    B64Json = "b64json"


class SearchContextSize(Spelled):
    """How much of the web search results reaches the model."""

    Low = "low"
    Medium = "medium"
    High = "high"


class ToolChoice(Spelled):
    """Whether the model may call tools."""

    NoTools = "None"
    Auto = "Auto"


class ToolCallType(Spelled):
    """Kind of a tool call."""

    Function = "function"


class AgentPermission(Spelled):
    """Whether tools that act on the machine run at once, after a question, or never."""

    Auto = "auto"
    Ask = "ask"
    Deny = "deny"


class CodeExecutionPermission(Spelled):
    """The same question for code execution alone."""

    Auto = "auto"
    Ask = "ask"
    Deny = "deny"


class NetworkMode(Spelled):
    """What a sandboxed process can reach."""

    NoNetwork = "none"
    Loopback = "loopback"
    Full = "full"


class AgentToolSource(Spelled):
    """Where a tool comes from."""

    BuiltIn = "built_in"
    User = "user"
    Mcp = "mcp"
    External = "external"


class AgentToolKind(Spelled):
    """What a tool does."""

    CodeExecution = "code_execution"
    WebSearch = "web_search"
    Shell = "shell"
    File = "file"
    Custom = "custom"
    External = "external"


class AgentToolApprovalDecisionKind(Spelled):
    """The answer to an approval question."""

    Approve = "approve"
    Deny = "deny"
