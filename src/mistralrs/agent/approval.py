"""Asking before a tool runs: `agent_permission` and `agent_approval_callback`."""

import uuid

from mistralrs.api.agent import AgentToolApproval, AgentToolApprovalDecision, AgentToolMetadata
from mistralrs.api.enums import AgentPermission, AgentToolApprovalDecisionKind
from mistralrs.api.errors import RequestError, ToolError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.toolbox import Tool


class Approval:
    """Decides, for one request, which calls may run."""

    def __init__(self, request: ChatCompletionRequest):
        self.permission = request.agent_permission or AgentPermission.Auto
        self.ask = request.agent_approval_callback
        self.session = request.session_id
        self.remembered: set[str] = set()
        if self.permission == AgentPermission.Ask and self.ask is None:
            raise RequestError(
                "agent_permission: 'ask' needs somebody to ask; give agent_approval_callback, or use 'auto'"
            )

    def check(self, tool: Tool, round: int, arguments: str) -> None:
        """Return if the call may run; otherwise raise ToolError with what the model is told."""
        if self.permission == AgentPermission.Deny:
            raise ToolError("tools are not permitted here; answer without them")
        if self.permission == AgentPermission.Auto or tool.name in self.remembered:
            return
        decision = self.decide(tool, round, arguments)
        if decision.kind != AgentToolApprovalDecisionKind.Approve:
            raise ToolError(
                decision.message or f"the user does not permit this call of '{tool.name}'"
            )
        if decision.remember_for_session:
            self.remembered.add(tool.name)

    def decide(self, tool: Tool, round: int, arguments: str) -> AgentToolApprovalDecision:
        """Ask the callback; True and False are short for the two decisions."""
        assert self.ask is not None
        question = AgentToolApproval(
            approval_id=f"approval-{uuid.uuid4()}",
            session_id=self.session,
            round=round,
            tool=AgentToolMetadata(tool.source, tool.kind, tool.name),
            arguments_json=arguments,
        )
        answer = self.ask(question)
        if isinstance(answer, AgentToolApprovalDecision):
            return answer
        kinds = AgentToolApprovalDecision
        return kinds.approve() if answer is True else kinds.deny()
