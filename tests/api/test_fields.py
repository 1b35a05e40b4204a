"""Fields of every class: names, positional order, defaults; a star begins keyword-only ones."""

import dataclasses

import pytest

import mistralrs
from mistralrs import Which

AUTO = "dtype=ModelDType.Auto"
PENALTIES = "presence_penalty=None frequency_penalty=None repetition_penalty=None"
DRY = "dry_multiplier=None dry_base=None dry_allowed_length=None dry_sequence_breakers=None"
POOL = "max_adapters=16 max_rank=256 max_bytes=8589934592"
OURS = "* adapter=None adapters=None seed=None"

FIELDS = {
    "Which.Plain": f"""model_id arch=None tokenizer_json=None topology=None organization=None
        from_uqff=None write_uqff=None {AUTO} auto_map_params=None calibration_file=None
        imatrix=None
        hf_cache_path=None matformer_config_path=None matformer_slice_name=None""",
    "Which.XLora": f"""xlora_model_id order arch=None model_id=None tokenizer_json=None
        tgt_non_granular_index=None topology=None from_uqff=None write_uqff=None {AUTO}
        auto_map_params=None hf_cache_path=None""",
    "Which.Lora": f"""adapter_model_id=None arch=None model_id=None tokenizer_json=None
        topology=None
        from_uqff=None write_uqff=None {AUTO} auto_map_params=None hf_cache_path=None
        * adapters=None {POOL}""",
    "Which.GGUF": f"""quantized_model_id quantized_filename tok_model_id=None topology=None {AUTO}
        auto_map_params=None * tokenizer_json=None mmproj_filename=None organization=None
        write_uqff=None imatrix=None calibration_file=None max_edge=None
        multimodal_auto_map_params=None adapters=None {POOL} hf_cache_path=None
        matformer_config_path=None matformer_slice_name=None""",
    "Which.XLoraGGUF": f"""quantized_model_id quantized_filename xlora_model_id order
        tok_model_id=None tgt_non_granular_index=None topology=None {AUTO} auto_map_params=None""",
    "Which.LoraGGUF": f"""quantized_model_id quantized_filename adapters_model_id order
        tok_model_id=None topology=None {AUTO} auto_map_params=None""",
    "Which.GGML": f"""quantized_model_id quantized_filename tok_model_id=None tokenizer_json=None
        gqa=None topology=None {AUTO} auto_map_params=None""",
    "Which.XLoraGGML": f"""quantized_model_id quantized_filename xlora_model_id order
        tok_model_id=None tgt_non_granular_index=None tokenizer_json=None gqa=None topology=None
        {AUTO}
        auto_map_params=None""",
    "Which.LoraGGML": f"""quantized_model_id quantized_filename adapters_model_id order
        tok_model_id=None tokenizer_json=None topology=None {AUTO} auto_map_params=None gqa=None""",
    "Which.Embedding": f"""model_id arch=None tokenizer_json=None topology=None from_uqff=None
        write_uqff=None {AUTO} hf_cache_path=None imatrix=None calibration_file=None""",
    "Which.VisionPlain": f"""model_id arch=None tokenizer_json=None topology=None from_uqff=None
        write_uqff=None {AUTO} max_edge=None auto_map_params=None calibration_file=None imatrix=None
        hf_cache_path=None matformer_config_path=None matformer_slice_name=None
        organization=None""",
    "Which.DiffusionPlain": f"model_id arch {AUTO}",
    "Which.Speech": f"model_id arch dac_model_id=None {AUTO}",
    "TextAutoMapParams": "max_seq_len=4096 max_batch_size=1",
    "VisionAutoMapParams": """max_seq_len=4096 max_batch_size=1 max_num_images=1
        max_image_length=1024""",
    "ChatCompletionRequest": f"""messages model='default' logprobs=False n_choices=1 logit_bias=None
        top_logprobs=None max_tokens=None {PENALTIES} stop_seqs=None temperature=None top_p=None
        top_k=None stream=False grammar=None grammar_type=None min_p=None tool_schemas=None
        tool_choice=None {DRY} web_search_options=None enable_thinking=None truncate_sequence=False
        reasoning_effort=None max_tool_rounds=None tool_dispatch_url=None
        enable_code_execution=False
        enable_shell=False shell_skills=None agent_permission=None agent_approval_callback=None
        code_execution_permission=None session_id=None files=None input_files=None ignore_eos=False
        {OURS} response_format=None""",
    "CompletionRequest": f"""prompt model='default' best_of=1 echo_prompt=False {PENALTIES}
        logit_bias=None max_tokens=None n_choices=1 stop_seqs=None temperature=None top_p=None
        suffix=None top_k=None grammar=None grammar_type=None min_p=None tool_schemas=None
        tool_choice=None {DRY} truncate_sequence=False ignore_eos=False {OURS}""",
    "EmbeddingRequest": "input truncate_sequence=False",
    "WebSearchOptions": """search_context_size=None user_location=None search_description=None
        extract_description=None""",
    "WebSearchUserLocation": "type='approximate' approximate=ApproximateUserLocation()",
    "ApproximateUserLocation": "city=None country=None region=None timezone=None",
    "ChatCompletionResponse": """id choices created model system_fingerprint='local'
        object='chat.completion' usage=Usage() adapter_generation=None agentic_tool_calls=None
        files=None session_id=None""",
    "Choice": "finish_reason index message logprobs=None",
    "ResponseMessage": """content=None role='assistant' tool_calls=None reasoning_content=None
        parsed=None""",
    "ChatCompletionChunkResponse": """id choices created model system_fingerprint='local'
        object='chat.completion.chunk' usage=None""",
    "ChunkChoice": "finish_reason index delta logprobs=None",
    "Delta": "content=None role='assistant' tool_calls=None reasoning_content=None",
    "CompletionResponse": """id choices created model system_fingerprint='local'
        object='text_completion' usage=Usage()""",
    "CompletionChoice": "finish_reason index text logprobs=None",
    "Logprobs": "content=None",
    "ResponseLogprob": "token logprob bytes=None top_logprobs=[]",
    "TopLogprob": "token logprob bytes=None",
    "Usage": """completion_tokens=0 prompt_tokens=0 total_tokens=0 avg_tok_per_sec=0.0
        avg_prompt_tok_per_sec=0.0 avg_compl_tok_per_sec=0.0 total_time_sec=0.0
        total_prompt_time_sec=0.0 total_completion_time_sec=0.0
        prompt_tokens_details=PromptTokensDetails()""",
    "ToolCallResponse": "id type function index=0",
    "CalledFunction": "name arguments",
    "ImageGenerationResponse": "created data",
    "ImageChoice": "url=None b64_json=None",
    "SpeechGenerationResponse": "pcm rate channels",
    "AnyMoeConfig": """hidden_size dataset_json prefix mlp model_ids expert_type layers=[] lr=0.001
        epochs=100 batch_size=4 gate_model_id=None training=True loss_csv_path=None""",
    "AnyMoeExpertType.FineTuned": "",
    "AnyMoeExpertType.LoraAdapter": "rank alpha target_modules",
    "McpServerSourcePy.Http": "url timeout_secs=None headers=None",
    "McpServerSourcePy.Process": "command args=[] work_dir=None env=None",
    "McpServerSourcePy.WebSocket": "url timeout_secs=None headers=None",
    "McpServerConfigPy": """id name source enabled=True tool_prefix=None resources=None
        bearer_token=None""",
    "McpClientConfigPy": """servers auto_register_tools=True tool_timeout_secs=None
        max_concurrent_calls=None""",
    "CalibrationStatus": "collecting layers layers_tracking total_rows min_rows max_rows",
    "LoraAdapter": "alias source revision=None",
    "LoraAdapterGeneration": "generation",
    "LoraAdapterInfo": "alias source revision generation rank bytes",
    "LoraResidentGenerationInfo": "generation aliases rank bytes retired active_leases",
    "LoraRuntimeStatus": """adapters generations resident_generations retired_generations
        resident_bytes max_adapters max_rank max_bytes""",
    "Explanation": """model device instructions threads activations matrices cache_dtype cache_tokens
        cache_bytes page_tokens token_bytes bandwidth=None speed=None""",
    "SandboxPolicy": """max_memory_mb=2048 max_cpu_secs=300 max_procs=64 max_open_fds=1024
        max_file_sz_mb=256 network=NetworkMode.Loopback extra_fs_read=[] extra_fs_write=[]
        extra_env=[] strict=False""",
    "CodeExecutionConfig": """python_path=None timeout_secs=60 working_directory=None
        sandbox_policy=None permission=None approval_callback=None""",
    "ShellConfig": """shell_path=None timeout_secs=600 working_directory=None sandbox_policy=None
        permission=None""",
    "ShellSkillMount": "name description source_path",
    "AgentToolMetadata": "source kind label",
    "AgentToolApproval": "approval_id session_id round tool arguments_json code=None",
    "AgentToolApprovalDecision": "kind remember_for_session=False message=None",
    "RequestedFile": "name format=None description=None",
    "InputFile": "name data mime_type=None",
    "FileSource": "tool round turn",
    "File": """id name format=None mime_type=None bytes=0 source=None text=None data_base64=None
        preview=None error=None""",
    "AgenticToolCallRecord": """round name arguments result_content result_images_base64=[]
        file_ids=[]""",
}


def find(path):
    owner = mistralrs
    for part in path.split("."):
        owner = getattr(owner, part)
    return owner


def written(cls):
    """The fields of a class in the notation of the table."""
    fields = dataclasses.fields(cls)
    first = next((i for i, f in enumerate(fields) if f.kw_only), len(fields))
    words = [field_text(f) for f in fields]
    return " ".join(words[:first] + ["*"] * (first < len(words)) + words[first:])


def field_text(field):
    if field.default_factory is not dataclasses.MISSING:
        return f"{field.name}={field.default_factory()!r}"
    return field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default!r}"


@pytest.mark.parametrize("path", FIELDS)
def test_fields_are_the_documented_ones(path):
    assert written(find(path)) == " ".join(FIELDS[path].split())


@pytest.mark.parametrize("path", FIELDS)
def test_an_unknown_argument_is_explained(path):
    with pytest.raises(TypeError, match=f"^{path} has no argument 'zzqq'"):
        find(path)(zzqq=1)


@pytest.mark.parametrize("path", FIELDS)
def test_values_do_not_change(path):
    assert find(path).__dataclass_params__.frozen
    assert find(path).__dataclass_params__.eq


def test_the_table_covers_every_public_dataclass():
    light = (
        n for n in mistralrs.__all__ if n not in ("Runner", "AsyncRunner", "register_architecture")
    )
    classes = {n for n in light if dataclasses.is_dataclass(getattr(mistralrs, n))}
    same = {"MultimodalAutoMapParams", "PromptTokensDetails"}
    assert classes - same == {path for path in FIELDS if "." not in path}


def test_which_has_no_other_members():
    members = {member.__qualname__ for member in Which.__subclasses__()}
    assert members == {path for path in FIELDS if path.startswith("Which.")}
