"""Options of the agent, MCP, AnyMoE, LoRA, files and search."""

import pickle

import pytest

from mistralrs import (
    AgentPermission,
    AgentToolApproval,
    AgentToolApprovalDecision,
    AgentToolApprovalDecisionKind,
    AgentToolKind,
    AgentToolMetadata,
    AgentToolSource,
    AnyMoeConfig,
    AnyMoeExpertType,
    CodeExecutionConfig,
    CodeExecutionPermission,
    File,
    InputFile,
    LoraAdapterGeneration,
    LoraAdapterInfo,
    McpClientConfigPy,
    McpServerConfigPy,
    McpServerSourcePy,
    MultimodalAutoMapParams,
    NetworkMode,
    RequestedFile,
    SandboxPolicy,
    SearchContextSize,
    ShellConfig,
    TextAutoMapParams,
    VisionAutoMapParams,
    WebSearchOptions,
    WebSearchUserLocation,
)
from mistralrs.api.errors import RequestError

HTTP = McpServerSourcePy.Http("https://x", headers={"Authorization": "secret"})
EXPERTS = AnyMoeExpertType.FineTuned()


def anymoe(**changes):
    given = {"hidden_size": 8, "dataset_json": "d", "prefix": "p", "mlp": "m", "model_ids": ["a"]}
    return AnyMoeConfig(**{**given, "expert_type": EXPERTS, **changes})


REFUSED = [
    (lambda: TextAutoMapParams(0), "max_seq_len: must be at least 1"),
    (lambda: WebSearchOptions("huge"), "search_context_size: 'huge' is not a value"),
    (lambda: WebSearchUserLocation("exact"), "type: 'exact' is unknown. Accepted: approximate"),
    (lambda: McpServerSourcePy.Http("x"), "url: 'x' must begin with http:// or https://"),
    (lambda: McpServerSourcePy.WebSocket("http://x"), "must begin with ws:// or wss://"),
    (lambda: McpServerSourcePy.Http("http://x", 0), "timeout_secs: must be greater than 0"),
    (lambda: McpServerSourcePy.Process("npx", "a b"), "args: must be a list, not 'a b'"),
    (lambda: McpServerConfigPy("a", "b", "http://x"), "source: must be McpServerSourcePy"),
    (
        lambda: McpClientConfigPy([McpServerConfigPy("a", "b", HTTP)] * 2),
        r"servers\[1\].id: 'a' is used twice",
    ),
    (lambda: anymoe(model_ids=[]), "model_ids: is empty"),
    (lambda: anymoe(expert_type="lora"), "expert_type: must be AnyMoeExpertType"),
    (lambda: anymoe(lr=0), "lr: must be greater than 0"),
    (lambda: SandboxPolicy(network="wan"), "network: 'wan' is not a value of NetworkMode"),
    (lambda: SandboxPolicy(max_procs=0), "max_procs: must be at least 1"),
    (lambda: ShellConfig(timeout_secs=-1), "timeout_secs: must be greater than 0"),
    (lambda: CodeExecutionConfig(approval_callback=3), "approval_callback: must be a function"),
    (lambda: InputFile("a", "text"), "data: must be bytes"),
    (lambda: InputFile.from_path("/nowhere/a"), "path: cannot read '/nowhere/a': No such file"),
    (lambda: RequestedFile(""), "name: is empty"),
    (lambda: LoraAdapterGeneration(7), "generation: must be a string"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_errors(make, message):
    with pytest.raises(RequestError, match=message):
        make()


def test_spellings_become_members():
    assert SandboxPolicy(network="none").network is NetworkMode.NoNetwork
    assert ShellConfig(permission="ask").permission is AgentPermission.Ask
    assert CodeExecutionConfig(permission="deny").permission is CodeExecutionPermission.Deny
    assert WebSearchOptions("high").search_context_size is SearchContextSize.High
    assert AgentToolMetadata("mcp", "web_search", "x") == AgentToolMetadata(
        AgentToolSource.Mcp, AgentToolKind.WebSearch, "x"
    )


def test_aliases():
    assert MultimodalAutoMapParams is VisionAutoMapParams


def test_variants_share_their_base():
    assert isinstance(HTTP, McpServerSourcePy)
    assert isinstance(EXPERTS, AnyMoeExpertType)
    assert pickle.loads(pickle.dumps(EXPERTS)) == EXPERTS
    with pytest.raises(TypeError, match="through its members: McpServerSourcePy.Http"):
        McpServerSourcePy("http://x")


def test_secrets_are_not_shown():
    server = McpServerConfigPy("a", "b", HTTP, bearer_token="secret")
    assert "secret" not in repr(McpClientConfigPy([server]))


def test_anymoe_takes_a_number_in_quotes():
    assert anymoe(hidden_size="4096").hidden_size == 4096
    lora = AnyMoeExpertType.LoraAdapter(16, 32, ["q_proj"])
    assert (lora.rank, lora.alpha, lora.target_modules) == (16, 32.0, ("q_proj",))


def test_approval():
    tool = AgentToolMetadata("built_in", "shell", "Shell")
    assert AgentToolApproval("a", None, 0, tool, '{"x": 1}').arguments() == {"x": 1}
    yes, no = AgentToolApprovalDecision.approve(True), AgentToolApprovalDecision.deny("unsafe")
    assert (yes.kind, yes.remember_for_session) == (AgentToolApprovalDecisionKind.Approve, True)
    assert (no.kind, no.message) == (AgentToolApprovalDecisionKind.Deny, "unsafe")


def test_lora_info_names_its_generation():
    info = LoraAdapterInfo("a", "s", None, "7", 16, 1024)
    assert info.exact() == LoraAdapterGeneration("7")


def test_input_files(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2")
    from_path = InputFile.from_path(tmp_path / "a.csv", "text/csv")
    assert from_path == InputFile.from_text("a.csv", "1,2", "text/csv")
    assert (from_path.bytes, from_path.id) == (3, InputFile("other", b"1,2").id)
    assert repr(from_path) == "InputFile(name='a.csv', mime_type='text/csv')"


@pytest.mark.parametrize(
    ("file", "true"),
    [
        (File("1", "a", text="x"), ["is_text"]),
        (File("1", "a", data_base64="eA==", mime_type="image/png"), ["is_binary", "is_image"]),
        (File("1", "a", data_base64="eA==", mime_type="video/mp4"), ["is_binary", "is_video"]),
        (File("1", "a", preview="x"), ["is_truncated"]),
        (File("1", "a", error="not written"), ["is_error"]),
    ],
)
def test_files(file, true, tmp_path):
    questions = ["is_text", "is_binary", "is_image", "is_video", "is_error", "is_truncated"]
    assert [q for q in questions if getattr(file, q)()] == true
    if file.is_error() or file.is_truncated():
        with pytest.raises(RequestError, match="cannot save 'a': "):
            file.save(tmp_path / "a")
    else:
        file.save(tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"x"
