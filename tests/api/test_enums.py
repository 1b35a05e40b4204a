"""Enum members, values and accepted spellings."""

import pickle

import pytest

import mistralrs as m
from mistralrs import Architecture, VisionArchitecture
from mistralrs.api.errors import RequestError

MEMBERS = {
    "Architecture": """Mistral=mistral Gemma=gemma Mixtral=mixtral Llama=llama Phi2=phi2 Phi3=phi3
        Qwen2=qwen2 Gemma2=gemma2 GLM4=glm4 Starcoder2=starcoder2 Phi3_5MoE=phi3.5moe
        DeepseekV2=deepseekv2 DeepseekV3=deepseekv3 Qwen3=qwen3 Qwen3Moe=qwen3moe SmolLm3=smollm3
        GraniteMoeHybrid=granitemoehybrid GptOss=gptoss GLM4Moe=glm4moe GLM4MoeLite=glm4moelite
        Qwen3Next=qwen3next Lfm2=lfm2 Lfm2Moe=lfm2_moe
        Gemma3n=gemma3n Gemma4=gemma4 Qwen3_5=qwen3_5""",
    "VisionArchitecture": """Phi3V=phi3v Idefics2=idefics2 LLaVaNext=llava-next LLaVANext=llava-next
        LLaVa=llava LLaVA=llava VLlama=vllama Qwen2VL=qwen2vl Idefics3=idefics3 MiniCpmO=minicpmo
        Phi4MM=phi4mm Qwen2_5VL=qwen2_5vl Gemma3=gemma3 Mistral3=mistral3 Llama4=llama4
        Gemma3n=Gemma3n Qwen3VL=Qwen3VL Lfm2Vl=lfm2vl Qwen3VLMoE=Qwen3VLMoE Qwen3_5=Qwen3_5
        Qwen3_5Moe=Qwen3_5Moe
        Voxtral=Voxtral Gemma4=Gemma4 MuseGlimmer=MuseGlimmer DiffusionGemma=DiffusionGemma""",
    "DiffusionArchitecture": "Flux=flux FluxOffloaded=flux-offloaded",
    "SpeechLoaderType": "Dia=dia",
    "EmbeddingArchitecture": "EmbeddingGemma=embeddinggemma Qwen3Embedding=qwen3embedding",
    "IsqOrganization": "Default=default MoQE=moqe",
    "ModelDType": "Auto=auto BF16=bf16 F16=f16 F32=f32",
    "PagedCacheType": "Auto=0 F8E4M3=1",
    "ImageGenerationResponseFormat": "Url=url B64Json=b64json",
    "SearchContextSize": "Low=low Medium=medium High=high",
    "ToolChoice": "NoTools=None Auto=Auto",
    "ToolCallType": "Function=function",
    "AgentPermission": "Auto=auto Ask=ask Deny=deny",
    "CodeExecutionPermission": "Auto=auto Ask=ask Deny=deny",
    "NetworkMode": "NoNetwork=none Loopback=loopback Full=full",
    "AgentToolSource": "BuiltIn=built_in User=user Mcp=mcp External=external",
    "AgentToolKind": """CodeExecution=code_execution WebSearch=web_search Shell=shell File=file
        Custom=custom External=external""",
    "AgentToolApprovalDecisionKind": "Approve=approve Deny=deny",
}
SPELLINGS = [
    ("Architecture", "gpt_oss", "GptOss"),
    ("Architecture", "GPT-OSS", "GptOss"),
    ("Architecture", "Phi3_5MoE", "Phi3_5MoE"),
    ("Architecture", "phimoe", "Phi3_5MoE"),
    ("Architecture", "deepseek_v3", "DeepseekV3"),
    ("VisionArchitecture", "gemma3n", "Gemma3n"),
    ("VisionArchitecture", "qwen3vl", "Qwen3VL"),
    ("VisionArchitecture", "llava_next", "LLaVaNext"),
    ("VisionArchitecture", "qwen2_5_vl", "Qwen2_5VL"),
    ("VisionArchitecture", "mllama", "VLlama"),
    ("DiffusionArchitecture", "flux_offloaded", "FluxOffloaded"),
    ("IsqOrganization", "MoQE", "MoQE"),
    ("ModelDType", "BF16", "BF16"),
    ("PagedCacheType", "f8e4m3", "F8E4M3"),
    ("ImageGenerationResponseFormat", "b64_json", "B64Json"),
    ("ImageGenerationResponseFormat", "B64Json", "B64Json"),
    ("ToolChoice", "none", "NoTools"),
    ("ToolChoice", "auto", "Auto"),
    ("NetworkMode", "NoNetwork", "NoNetwork"),
]


@pytest.mark.parametrize("name", MEMBERS)
def test_members_and_values(name):
    members = getattr(m, name).__members__.items()
    assert " ".join(f"{n}={v.value}" for n, v in members) == " ".join(MEMBERS[name].split())


@pytest.mark.parametrize("name", MEMBERS)
def test_every_value_and_name_finds_its_member(name):
    enum = getattr(m, name)
    for written, member in enum.__members__.items():
        assert enum(member.value) is enum(str(member.value)) is enum(written.upper()) is member
        assert hash(member) == hash(pickle.loads(pickle.dumps(member)))


@pytest.mark.parametrize(("enum", "spelling", "member"), SPELLINGS)
def test_spellings(enum, spelling, member):
    assert getattr(m, enum)(spelling) is getattr(m, enum)[member]


def test_aliases_are_the_same_objects():
    assert m.MultimodalArchitecture is VisionArchitecture
    assert VisionArchitecture.LLaVANext is VisionArchitecture.LLaVaNext
    assert VisionArchitecture.LLaVA is VisionArchitecture.LLaVa


def test_an_unknown_spelling_names_the_accepted_ones():
    message = r"'lama' is not a value of Architecture; did you mean 'llama'\? Accepted: mistral,"
    with pytest.raises(RequestError, match=message):
        Architecture("lama")


def test_repr_is_what_one_writes():
    assert repr(Architecture.GptOss) == "Architecture.GptOss"
