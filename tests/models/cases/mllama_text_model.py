"""Llama 3.2 Vision's text model alone: layers that would see images leave the text as it is."""

from tests.models.case import LLAMA3, Case, rope

SETTINGS = dict(cross_attention_layers=[1, 3], **rope("llama3", **LLAMA3))

CASES = {"": Case("Mllama", SETTINGS, config="MllamaText")}
