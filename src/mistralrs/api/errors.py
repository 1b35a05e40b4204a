"""Everything that can go wrong. Each error is also a ValueError, and its message names the fix."""


class MistralRsError(ValueError):
    """Base of every error that this package raises on purpose."""


class NotSupportedError(MistralRsError):
    """The model, format, device or option is known but not implemented here."""


class ModelNotFoundError(MistralRsError):
    """No model under this hub id, local path or runner id."""


class AccessError(MistralRsError):
    """The hub refused: the model is gated or private, or the token is missing or wrong."""


class CheckpointError(MistralRsError):
    """The weights on disk are incomplete or damaged: a missing shard, a tensor of a wrong shape."""


class ConfigError(MistralRsError):
    """The model's description (config.json, GGUF metadata, topology) is invalid or unknown."""


class RequestError(MistralRsError):
    """A request or an option object cannot be honored as it is written."""


class RequestTypeError(RequestError, TypeError):
    """An argument has a wrong type."""


class TemplateError(RequestError):
    """The chat template is missing, does not parse, or rejected the messages."""


class ContextLengthError(RequestError):
    """The prompt is longer than the model's context."""


class GrammarError(RequestError):
    """A regular expression, Lark grammar or JSON schema does not compile."""


class MediaError(RequestError):
    """An image or audio source cannot be read, or the model does not take this kind of media."""


class ToolError(RequestError):
    """A tool schema is invalid, or a required tool was not called."""


class OutOfMemoryError(MistralRsError, MemoryError):
    """The weights, the cache or a step do not fit in the memory of the device."""


class EngineError(MistralRsError):
    """A step of the engine failed, or the engine is no longer running."""


class CanceledError(MistralRsError):
    """The request was canceled before it finished."""


class RequestTimeoutError(MistralRsError, TimeoutError):
    """The request did not finish within its timeout."""


class ModelStateError(MistralRsError):
    """The model is unloaded, reloading or otherwise in a state that forbids the operation."""


class LoraAdapterError(MistralRsError):
    """Loading, unloading or choosing a LoRA adapter failed; `code` is a word for programs."""

    def __init__(self, message: str, code: str = "lora_adapter") -> None:
        super().__init__(message)
        self.code = code
