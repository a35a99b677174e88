"""Opens converted checkpoints as a user of transformers does, and saves them again.

JOBS is a JSON list of { folder, out, prompts, tokens }; the folder also holds `ids.safetensors`,
ids [batch, time]. For every job this writes `out/logits.safetensors`, saves the model in shards as
`out/float32` and `out/bfloat16`, and prints one JSON line.

    .venv/bin/python tests/transformers/open.py MODULES_FOLDER JOBS
"""

import json
import os
import sys
from pathlib import Path

# Where transformers keeps its copies of code from checkpoints.
os.environ["HF_MODULES_CACHE"] = sys.argv[1]
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)


def open_model(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **options)


def save(model, tokenizer, folder):
    # Small enough for several files.
    model.save_pretrained(folder, max_shard_size="20KB")
    tokenizer.save_pretrained(folder)
    return sorted(path.name for path in folder.iterdir())


def run(job):
    folder, out = Path(job["folder"]), Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    model, report = open_model(folder, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    ids = load_file(folder / "ids.safetensors")["ids"].long()
    with torch.no_grad():
        logits = model(ids).logits
    save_file({"logits": logits.float().contiguous()}, out / "logits.safetensors")
    prompts, alone = [], []
    for prompt in job["prompts"]:
        inputs = tokenizer(prompt, return_tensors="pt")
        sequence = model.generate(**inputs, max_new_tokens=job["tokens"], pad_token_id=0)[0]
        prompts.append(inputs["input_ids"][0].tolist())
        alone.append(sequence[len(prompts[-1]) :].tolist())
    tokenizer.padding_side, tokenizer.pad_token_id = "left", 0
    inputs = tokenizer(job["prompts"], return_tensors="pt", padding=True)
    sequences = model.generate(**inputs, max_new_tokens=job["tokens"], pad_token_id=0)
    together = sequences[:, inputs["input_ids"].shape[1] :].tolist()

    files = save(model, tokenizer, out / "float32")
    again = open_model(out / "float32")
    with torch.no_grad():
        same = torch.equal(again(ids).logits, logits)
    half = open_model(folder, dtype=torch.bfloat16)
    with torch.no_grad():
        half_error = (half(ids).logits.float() - logits).abs().max() / logits.abs().max()
    save(half, tokenizer, out / "bfloat16")
    with torch.no_grad():
        wide = open_model(out / "bfloat16", dtype=torch.float32)(ids).logits.contiguous()
    save_file({"logits": wide}, out / "logits_bfloat16.safetensors")

    model.train()
    loss = model(ids, labels=ids).loss
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    return {
        "class": type(model).__name__,
        "problems": {k: sorted(map(str, v)) for k, v in report.items() if v},
        "prompts": prompts,
        "alone": alone,
        "together": together,
        "files": files,
        "same": same,
        "halfError": half_error.item(),
        "loss": loss.item(),
        "withoutGradient": missing,
    }


for job in json.loads(sys.argv[2]):
    print(json.dumps(run(job)), flush=True)
