"""Makes tests/formats/fixtures with the Python libraries that Suture's files must agree with.

The fixtures are committed; tests never need Python. To make them anew:

    python3 -m venv .venv
    .venv/bin/pip install torch==2.13.0 transformers==5.18.0 safetensors==0.8.0 \
        tokenizers==0.23.2 numpy==2.4.6
    .venv/bin/python tests/formats/make_fixtures.py ../shared

The argument is the folder with `text/` and `models/stories260k`.
"""

import json
import pathlib
import random
import struct
import sys
import zlib

import numpy
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaConfig, Qwen2Config

SHARED = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "../shared")
OUT = pathlib.Path(__file__).parent / "fixtures"


def write_lines(path, values):
    """A JSON value a line: `deno fmt` leaves .jsonl files as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- safetensors -------------------------------------------------------------------------------

EDGE_VALUES = [
    0.0, -0.0, 1.0, -1.0, 1.00390625, 1.01171875, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-11,
    1.0 + 3 * 2**-11, 65504.0, 65519.996, 65520.0, 3.3895314e38, 3.4028235e38, -3.4028235e38,
    float("inf"), float("-inf"), float("nan"), 6.1035156e-05, 6.097555e-05, 5.9604645e-08,
    2.9802322e-08, 2.9802326e-08, 1e-45, 1.1754944e-38, 9.18355e-41, 3.1415927, -2.7182817, 1e-10,
]  # fmt: skip


def all_dtypes():
    generator = torch.Generator().manual_seed(1)
    floats = torch.randn(3, 4, generator=generator)
    floats[0, 0] = float("nan")
    floats[0, 1] = float("inf")
    return {
        "f64": floats.double(),
        "f32": floats,
        "f16": floats.half(),
        "bf16": floats.bfloat16(),
        "i64": torch.tensor([0, 1, -1, 2**31 - 1, -(2**31)]),
        "i64.large": torch.tensor([2**53 + 1, -(2**63)]),
        "i32": torch.tensor([0, 16777216, -(2**31)], dtype=torch.int32),
        "i16": torch.tensor([0, 32767, -32768], dtype=torch.int16),
        "i8": torch.tensor([0, 127, -128], dtype=torch.int8),
        "u8": torch.tensor([0, 128, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 7),
        'quoted "name" é 猫\n': torch.arange(2, dtype=torch.float32),
    }


def make_safetensors():
    folder = OUT / "safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(all_dtypes(), folder / "all_dtypes.safetensors", {"format": "pt"})
    values = torch.tensor(EDGE_VALUES, dtype=torch.float32)
    # Many more around the places where rounding decides.
    bits = torch.randint(-(2**31), 2**31 - 1, (2000,), generator=torch.Generator().manual_seed(2))
    values = torch.cat([values, bits.int().view(torch.float32)])
    rounded = {"f32": values, "f16": values.half(), "bf16": values.bfloat16(), "f64": values.double()}
    save_file(rounded, folder / "rounding.safetensors", {"format": "pt"})

    sharded = folder / "sharded"
    sharded.mkdir(exist_ok=True)
    state = {
        "model.embed_tokens.weight": torch.arange(64, dtype=torch.float32).reshape(16, 4),
        "model.layers.0.mlp.up_proj.weight": torch.arange(24, dtype=torch.bfloat16).reshape(6, 4),
        "model.layers.1.mlp.up_proj.weight": torch.ones(6, 4, dtype=torch.bfloat16),
        "model.norm.weight": torch.ones(4),
    }
    plan = split_torch_state_dict_into_shards(
        state, filename_pattern="model{suffix}.safetensors", max_shard_size=260
    )
    for name, tensors in plan.filename_to_tensors.items():
        save_file({key: state[key] for key in tensors}, sharded / name, {"format": "pt"})
    index = {
        "metadata": {"total_size": plan.metadata["total_size"]},
        "weight_map": plan.tensor_to_filename,
    }
    # As transformers writes it.
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (sharded / "model.safetensors.index.json").write_text(text)


# --- configs -----------------------------------------------------------------------------------


def make_configs():
    folder = OUT / "hf_config"
    folder.mkdir(parents=True, exist_ok=True)
    qwen2 = Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        max_position_embeddings=32768, bos_token_id=151643, eos_token_id=[151645, 151643],
        architectures=["Qwen2ForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    qwen2.to_json_file(folder / "qwen2_transformers5.json", use_diff=False)
    llama = LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
        rms_norm_eps=1e-5, max_position_embeddings=131072, bos_token_id=128000,
        eos_token_id=128001, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    llama.to_json_file(folder / "llama3_transformers5.json", use_diff=False)


# --- tokenizers --------------------------------------------------------------------------------

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level_tokenizer():
    """A byte-level BPE as Qwen2's, of 1,024 pieces, trained on The Wizard of Oz."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    byte_level = dict(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(**byte_level),
    ])
    tokenizer.post_processor = processors.ByteLevel(**byte_level)
    tokenizer.decoder = decoders.ByteLevel(**byte_level)
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (SHARED / "text/wizard-of-oz.txt").read_text(encoding="utf-8")
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def sample_lines():
    """Every tenth line of the shared texts: more than 4,000."""
    lines = []
    for name in ["wizard-of-oz.txt", "shakespeare.txt"]:
        lines += (SHARED / "text" / name).read_text(encoding="utf-8").split("\n")
    return lines[::10]


FRAGMENTS = [
    "Hello", " world", "I'll", "DON'T", "we've", "'ſ", "'S", "it's", " ", "  ", "   \n", "\n\n", "\r\n",
    "\t", "\u00a0", "\u0085", "\u2028", "\u3000", "\ufeff", "\u200b", "\u200d", "\x00", "\x1b[0m", "123",
    "4567890", "3.14", "²", "Ⅷ", "٣٤", "०१", "é", "e\u0301", "n\u0303", "Å", "\u212b", "ﬁ", "ß", "İ",
    "猫", "日本語", "한국어", "각", "漢字かな", "Привет", "Ελληνικά", "עברית", "العربية", "हिन्दी", "ไทย",
    "😀", "👩‍👩‍👧‍👦", "🇫🇷", "👍🏽", "∑∫√", "€£¥", "“quoted”", "—", "…", "!!!", "(a)", "[b]", "{c}", "</s>",
    "<s>", "<unk>", "<0x41>", "▁", "▁▁x", "<|endoftext|>", "<|im_start|>user\n", "<|endof", "$&", "$1",
    "\\n", "_", "__init__", "camelCase", "x=y+1;", "https://a.b/c?d=e", "ĠĊ", "Ā",
]  # fmt: skip


def unicode_lines(count):
    rng = random.Random(3)
    lines = ["", " ", "\n", *FRAGMENTS]
    while len(lines) < count:
        lines.append("".join(rng.choice(FRAGMENTS) for _ in range(rng.randint(2, 12))))
    return lines


def checksum(ids):
    return zlib.crc32(numpy.array(ids, dtype="<i4").tobytes())


def checksums(tokenizer, lines, special=True):
    return [checksum(tokenizer.encode(line, add_special_tokens=special).ids) for line in lines]


def decode_cases(tokenizer, count):
    """Ids at random: broken UTF-8, special tokens and ids of no token among them."""
    rng = random.Random(4)
    size = tokenizer.get_vocab_size()
    cases = []
    for _ in range(count):
        # The low ids are bytes and special tokens.
        ids = [rng.randrange(rng.choice([262, size + 3])) for _ in range(rng.randint(1, 12))]
        cases.append({
            "ids": ids,
            "text": tokenizer.decode(ids, skip_special_tokens=True),
            "special": tokenizer.decode(ids, skip_special_tokens=False),
        })
    return cases


def variants():
    """Other forms in which checkpoints come, as changes to one of the two tokenizers."""
    split = lambda pattern, behavior="Isolated": {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False,
    }  # fmt: skip
    byte_level = lambda regex, prefix=False: {
        "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex,
    }  # fmt: skip
    sequence = lambda *steps: {"type": "Sequence", "pretokenizers": list(steps)}
    metaspace = lambda scheme, split: {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split,
    }  # fmt: skip
    token = lambda id, content, **flags: {
        "id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True, **flags,
    }  # fmt: skip
    template = {
        "type": "Sequence",
        "processors": [
            byte_level(True),
            {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {
                    "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]},
                    "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]},
                },
            },
        ],
    }
    spm = {"normalizer": None, "pre_tokenizer": metaspace("first", False)}
    metaspace_decoder = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    fuse = {"type": "Fuse"}
    return [
        ("gpt2", "byte_level", {"normalizer": None, "pre_tokenizer": byte_level(True)}),
        ("prefix space", "byte_level", {"pre_tokenizer": byte_level(True, True)}),
        ("smollm", "byte_level", {
            "normalizer": None,
            "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level(True)),
        }),
        ("digit groups", "byte_level", {
            "pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, byte_level(True)),
        }),
        ("llama3", "byte_level", {
            "normalizer": None,
            "pre_tokenizer": sequence(split(LLAMA3_PATTERN), byte_level(False)),
            "post_processor": template,
            "model.ignore_merges": True,
        }),
        ("gaps", "byte_level", {"pre_tokenizer": sequence(split(r"\p{L}+"), byte_level(False))}),
        ("removed", "byte_level", {"pre_tokenizer": sequence(split(r"\s+", "Removed"), byte_level(False))}),
        ("nfkc", "byte_level", {"normalizer": {"type": "NFKC"}}),
        ("stripping tokens", "byte_level", {
            "added_tokens": [
                token(0, "<|endoftext|>", lstrip=True),
                token(1, "<|im_start|>", rstrip=True),
                token(1024, "quoted", normalized=True, special=False),
                token(1025, "<|endof", special=False),
            ],
        }),
        ("mistral", "stories260k", spm),
        ("metaspace", "stories260k", {"normalizer": None, "pre_tokenizer": metaspace("always", True)}),
        ("metaspace never", "stories260k", {
            "normalizer": None, "pre_tokenizer": metaspace("never", True), "decoder": metaspace_decoder,
        }),
        ("normalized tokens", "stories260k", {
            "added_tokens": [
                token(0, "<unk>", normalized=True), token(1, "<s>", normalized=True),
                token(2, "</s>", normalized=True),
            ],
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, fuse,
            ]},
        }),
        ("no fallback", "stories260k", {"model.byte_fallback": False}),
        ("no fallback, not fused", "stories260k", {"model.byte_fallback": False, "model.fuse_unk": False}),
    ]  # fmt: skip


def patched(base, patch):
    base = json.loads(json.dumps(base))
    for key, value in patch.items():
        if key.startswith("model."):
            base["model"][key[6:]] = value
        else:
            base[key] = value
    return base


def make_tokenizers():
    folder = OUT / "tokenizer"
    trained = byte_level_tokenizer()
    stories = json.loads((SHARED / "models/stories260k/tokenizer.json").read_text(encoding="utf-8"))
    bases = {"byte_level": json.loads(trained.to_str()), "stories260k": stories}
    # tokenizer.json and tokenizer_config.json
    write_lines(folder / "byte_level.jsonl", [bases["byte_level"], {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": {"content": "<|endoftext|>", "__type": "AddedToken"},
        "pad_token": "<|endoftext|>",
        "bos_token": None,
    }])
    tokenizers = {name: Tokenizer.from_str(json.dumps(base)) for name, base in bases.items()}

    lines = sample_lines()
    sums = {
        name: torch.tensor(checksums(tokenizer, lines)) for name, tokenizer in tokenizers.items()
    }
    sums = {name: values.to(torch.uint32).view(torch.int32) for name, values in sums.items()}
    save_file(sums, folder / "line_checksums.safetensors", {"format": "pt"})

    texts = unicode_lines(300)
    ids = {
        name: [tokenizer.encode(line, add_special_tokens=False).ids for line in texts]
        for name, tokenizer in tokenizers.items()
    }
    write_lines(folder / "unicode.jsonl", [
        {"text": text, **{name: ids[name][i] for name in tokenizers}}
        for i, text in enumerate(texts)
    ])
    write_lines(folder / "decode.jsonl", [
        {"tokenizer": name, **case}
        for name, tokenizer in tokenizers.items()
        for case in decode_cases(tokenizer, 150)
    ])
    listed = []
    for name, base, patch in variants():
        tokenizer = Tokenizer.from_str(json.dumps(patched(bases[base], patch)))
        listed.append({
            "name": name,
            "base": base,
            "patch": patch,
            "checksums": checksums(tokenizer, texts),
            "decode": decode_cases(tokenizer, 10),
        })
    write_lines(folder / "variants.jsonl", listed)


# --- binidx ------------------------------------------------------------------------------------

MEGATRON_CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint16": 8}


def make_binidx():
    """Two documents, the second of two sequences, in each type, as Megatron's builder writes them."""
    folder = OUT / "binidx"
    folder.mkdir(parents=True, exist_ok=True)
    sequences = [[1, 2, 3, 100], [7], [5, 6, 120]]
    sizes = numpy.array([len(sequence) for sequence in sequences], dtype=numpy.int32)
    for name, code in MEGATRON_CODES.items():
        dtype = numpy.dtype(name)
        pointers = numpy.concatenate([[0], numpy.cumsum(sizes[:-1])]).astype(numpy.int64) * dtype.itemsize
        documents = numpy.array([0, 1, 3], dtype=numpy.int64)
        tokens = numpy.concatenate([numpy.array(sequence, dtype=dtype) for sequence in sequences])
        with open(folder / f"{name}.idx", "wb") as index:
            index.write(b"MMIDIDX\x00\x00")
            index.write(struct.pack("<Q", 1))
            index.write(struct.pack("<B", code))
            index.write(struct.pack("<QQ", len(sizes), len(documents)))
            index.write(sizes.tobytes() + pointers.tobytes() + documents.tobytes())
        (folder / f"{name}.bin").write_bytes(tokens.tobytes())


make_safetensors()
make_configs()
make_tokenizers()
make_binidx()
