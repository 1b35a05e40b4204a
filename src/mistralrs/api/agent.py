"""The agent's tools: what needs approval, how it is given, and the sandbox that code runs in."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mistralrs.api import check
from mistralrs.api.enums import (
    AgentPermission,
    AgentToolApprovalDecisionKind,
    AgentToolKind,
    AgentToolSource,
    CodeExecutionPermission,
    NetworkMode,
)
from mistralrs.api.strict import strict


@strict
@dataclass(frozen=True)
class AgentToolMetadata:
    """What kind of tool asks for approval."""

    source: AgentToolSource
    kind: AgentToolKind
    label: str

    def __post_init__(self) -> None:
        source, kind = check.choice(AgentToolSource), check.choice(AgentToolKind)
        check.apply(self, {"source": source, "kind": kind, "label": check.text})


@strict
@dataclass(frozen=True)
class AgentToolApproval:
    """The question put to the approval callback before a tool runs."""

    approval_id: str
    session_id: str | None
    round: int
    tool: AgentToolMetadata
    arguments_json: str
    code: str | None = None  # what would be executed, for code and shell tools

    def arguments(self) -> Any:
        """Return the arguments of the call, decoded from JSON."""
        return json.loads(self.arguments_json)


@strict
@dataclass(frozen=True)
class AgentToolApprovalDecision:
    """The answer of the approval callback; made with `approve()` or `deny()`."""

    kind: AgentToolApprovalDecisionKind
    remember_for_session: bool = False
    message: str | None = None  # told to the model when denied

    def __post_init__(self) -> None:
        kind = check.choice(AgentToolApprovalDecisionKind)
        remember = {"remember_for_session": check.flag}
        check.apply(self, {"kind": kind, "message": check.text, **remember})

    @classmethod
    def approve(cls, remember_for_session: bool = False) -> "AgentToolApprovalDecision":
        """Let the call run; `remember_for_session` also approves later calls of this tool."""
        return cls(AgentToolApprovalDecisionKind.Approve, remember_for_session)

    @classmethod
    def deny(cls, message: str | None = None) -> "AgentToolApprovalDecision":
        """Do not run the call, and tell the model why."""
        return cls(AgentToolApprovalDecisionKind.Deny, message=message)


ApprovalCallback = Callable[[AgentToolApproval], bool | AgentToolApprovalDecision]


@strict
@dataclass(frozen=True)
class SandboxPolicy:
    """Limits of a process that runs the model's code; lists hold paths and variable names."""

    max_memory_mb: int = 2048
    max_cpu_secs: int = 300
    max_procs: int = 64
    max_open_fds: int = 1024
    max_file_sz_mb: int = 256
    network: NetworkMode = NetworkMode.Loopback
    extra_fs_read: Sequence[str] = field(default_factory=list)
    extra_fs_write: Sequence[str] = field(default_factory=list)
    extra_env: Sequence[str] = field(default_factory=list)
    strict: bool = False  # fail instead of running with fewer limits than the system can enforce

    def __post_init__(self) -> None:
        check.apply(self, _SANDBOX)


_LIMITS = ("max_memory_mb", "max_cpu_secs", "max_procs", "max_open_fds", "max_file_sz_mb")
_SANDBOX: dict[str, check.Check] = {
    **dict.fromkeys(_LIMITS, check.count(1)),
    "network": check.choice(NetworkMode),
    "extra_fs_read": check.items(check.path),
    "extra_fs_write": check.items(check.path),
    "extra_env": check.names,
    "strict": check.flag,
}


@strict
@dataclass(frozen=True)
class CodeExecutionConfig:
    """Lets a model run Python code; None leaves a choice to the runner."""

    python_path: str | None = None
    timeout_secs: float = 60
    working_directory: str | None = None
    sandbox_policy: SandboxPolicy | None = None
    permission: CodeExecutionPermission | None = None
    approval_callback: ApprovalCallback | None = None

    def __post_init__(self) -> None:
        check.apply(self, _EXECUTION | {"permission": check.choice(CodeExecutionPermission)})


@strict
@dataclass(frozen=True)
class ShellConfig:
    """Lets a model run shell commands; None leaves a choice to the runner."""

    shell_path: str | None = None
    timeout_secs: float = 600
    working_directory: str | None = None
    sandbox_policy: SandboxPolicy | None = None
    permission: AgentPermission | None = None

    def __post_init__(self) -> None:
        check.apply(self, _EXECUTION | {"permission": check.choice(AgentPermission)})


_EXECUTION: dict[str, check.Check] = {
    "python_path": check.path,
    "shell_path": check.path,
    "timeout_secs": check.number(above=0),
    "working_directory": check.path,
    "sandbox_policy": check.instance(SandboxPolicy),
    "approval_callback": check.function,
}


@strict
@dataclass(frozen=True)
class ShellSkillMount:
    """A folder of instructions and scripts that the shell tool offers to the model."""

    name: str
    description: str
    source_path: str

    def __post_init__(self) -> None:
        check.apply(
            self, {"name": check.name, "description": check.text, "source_path": check.path}
        )
