r"""How byte-level BPE vocabularies cut text into words, by `tokenizer.ggml.pre`.

A list of expressions is applied one after another to what the earlier ones left; matches and the text between
them are kept apart. The expressions are those of the models' own tokenizers (`\s+(?!\S)` leaves the last space of
a run to the next word).
"""

WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT4 = rf"{SHORT}|{WORD}|\p{{N}}{{1,3}}|{REST}"
QWEN = rf"{SHORT}|{WORD}|\p{{N}}|{REST}"
MARKED = (
    rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{{0}}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{{0}}"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUT = CASED.replace("{0}", "")
TEKKEN = rf"{CUT}|\p{{N}}|{TAIL}"
O200K = rf"{CASED.replace('{0}', SHORT + '?')}|\p{{N}}{{1,3}}|{TAIL}"
HAN = "[一-龥\u0800-一\uac00-\ud7ff]+"
# Cased letters as DeepSeek's first vocabulary lists them, code points without a common range included.
LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d"
    "\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿ"
    "\ufb00-\ufb06\ufb13-\ufb17Ａ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
MARKS = "!-/:-~！-／：-～\u2018-\u201f\u3000-\u3002"
ASCII_MARKS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

PLAIN = (GPT2,)
DIGITS = (r"\p{N}", GPT2)
THREES = (GPT4,)
ONES = (QWEN,)
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")
NORDIC = " ?[^(\\s|.,!?…。，、।۔،)]+"

SPLITS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT,
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "lfm2"), THREES),
    **dict.fromkeys(("pixtral", "midm-2.0", "dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), THREES),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "exaone4"), PLAIN),
    **dict.fromkeys(("jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de"), PLAIN),
    **dict.fromkeys(("jina-v2-code", "trillion", "granite-docling", "gigachat"), PLAIN),
    **dict.fromkeys(("a.x-4.0", "mellum", "modern-bert"), PLAIN),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell"), DIGITS),
    **dict.fromkeys(("exaone", "minerva-7b"), DIGITS),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"), ONES),
    "qwen35": (MARKED,),
    "deepseek-llm": ("[\r\n]", rf"\s?[{LETTERS}]+", rf"\s?[{MARKS}]+", r"\s+$", HAN, r"\p{N}+"),
    "deepseek-coder": ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"),
    **dict.fromkeys(
        ("deepseek-v3", "hunyuan-dense", "joyai-llm"),
        (
            r"\p{N}{1,3}",
            "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
            rf"{ASCII_MARKS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"),
    **dict.fromkeys(("poro-chat", "bloom", "gpt3-finnish"), (NORDIC,)),
    "viking": (NORDIC, r"\p{N}"),
    "tekken": (TEKKEN,),
    **dict.fromkeys(("gpt-4o", "o200k", "llama4", "kanana2"), (O200K,)),
}
# Vocabularies whose words stay whole when they are tokens, whatever the merges say.
WHOLE = frozenset(
    [
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "tekken",
    ]
)
# Vocabularies that begin a text with BOS where the file does not say.
BEGUN = WHOLE | {"chameleon"}
# Vocabularies that compose marks and letters first (NFC), which GGUF files do not say.
COMPOSED = frozenset(("qwen2", "qwen35", "command-r"))
