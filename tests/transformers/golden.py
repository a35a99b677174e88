"""Holds the modelling code against golden values and against itself.

Reads folders of golden values, their manifests' cases and checkpoints, and prints one JSON line for
every comparison: what was compared, the error relative to the largest expected value, and the
tolerance.

    .venv/bin/python tests/transformers/golden.py formats/hf_modeling GOLDEN_FOLDER...
"""

import importlib
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import load_file

CODE = Path(sys.argv[1])
sys.path.insert(0, str(CODE.parent))
configuration, modeling, mixers, wkv = (
    importlib.import_module(f"{CODE.name}.{name}_rwkvqwen2")
    for name in ("configuration", "modeling", "mixers", "wkv")
)

torch.manual_seed(1)
torch.set_num_threads(1)


def tell(what, found, expected, tolerance=2e-5):
    difference = (found.detach().double() - expected.detach().double()).abs().max().item()
    scale = max(1e-6, expected.detach().abs().max().item())
    print(json.dumps({"what": what, "error": difference / scale, "tolerance": tolerance}))


def refused(what, run, *parts):
    """An error of 1 unless it is refused with a message that has the parts."""
    message = None
    try:
        run()
    except (ValueError, TypeError) as error:
        message = str(error)
    bad = message is None or any(part not in message for part in parts)
    error = {"what": f"{what} is refused: {message}", "error": float(bad), "tolerance": 0}
    print(json.dumps(error))


def block_config(sizes, tensors):
    """A case of a manifest as a config; flags that it does not name are those of its tensors."""
    rwkv6 = "param.time_decay" in tensors
    gate = 1 if "param.gate.weight" in tensors else 2 if "param.g1" in tensors else 0
    kind = configuration.RWKV6Qwen2Config if rwkv6 else configuration.RWKV7Qwen2Config
    return kind(
        hidden_size=sizes["C"],
        num_hidden_layers=2,
        num_attention_heads=sizes["H"],
        num_key_value_heads=sizes["K"],
        head_dim=sizes["N"],
        rope_theta=sizes["theta"],
        attention_bias="param.q_proj.bias" in tensors,
        attention_output_bias="param.o_proj.bias" in tensors,
        use_rope=sizes.get("use_rope", True),
        use_tokenshift=sizes.get("use_tokenshift", sizes.get("tokenshift", False)),
        balance_state=sizes.get("balance", rwkv6),
        groupnorm_att=sizes.get("groupnorm", "param.ln_x.weight" in tensors),
        gate_rank_type=gate,
        **{
            f"lora_rank_{name}": next((tensors[k].shape[1] for k in keys if k in tensors), None)
            for name, keys in {
                "tokenshift": ["param.time_maa_w2"],
                "decay": ["param.w1", "param.time_decay_w1"],
                "iclr": ["param.a1"],
                "value_residual_mix": ["param.v1"],
                "gate": ["param.g1"],
            }.items()
        },
    )


def check_block(case, sizes, path):
    tensors = load_file(path)
    config = block_config(sizes, tensors)
    layer = sizes.get("layer", 0)
    mixer = mixers.Rwkv6Mixer if config.model_type == "rwkv6qwen2" else mixers.Rwkv7Mixer
    block = mixer(config, layer)
    own = dict(block.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[f"param.{name}"])
    x = tensors["in.x"].requires_grad_()
    v_first = tensors.get("in.v_first")
    if v_first is not None:
        v_first = v_first.unflatten(-1, (sizes["H"], sizes["N"])) if v_first.ndim == 3 else v_first
        v_first = v_first.detach().requires_grad_()
    # The rotary tables are those of a model.
    model = modeling.RwkvQwen2Model(small(config))
    step = model.step(x, None, None, 0)
    y, values = block(x, v_first if layer > 0 else None, step, None)
    tell(f"{case}: y", y, tensors["out.y"])
    cotangents = [(y, tensors["cotangent.y"])]
    if "out.v_first" in tensors:
        stored = tensors["out.v_first"]
        tell(f"{case}: v_first", values.reshape(stored.shape), stored)
        if "cotangent.v_first" in tensors:
            cotangents.append((values.reshape(stored.shape), tensors["cotangent.v_first"]))
    torch.autograd.backward(*zip(*cotangents))
    for name, expected in tensors.items():
        if not name.startswith("grad.") or name.startswith("grad.param.") and name[11:] not in own:
            continue
        inputs = {"grad.in.x": x, "grad.in.v_first": v_first}
        leaf = inputs[name] if name in inputs else own[name[11:]]
        found = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        tell(f"{case}: {name}", found.reshape(expected.shape), expected, 1e-4)


def small(config, **changes):
    """The config of a block as that of a small model."""
    values = {k: v for k, v in config.to_dict().items() if k not in ("model_type", "layer_types")}
    values |= {"vocab_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, **changes}
    return type(config)(**values)


def load(folder):
    """A golden checkpoint, which has no `auto_map`."""
    config = json.loads((folder / "config.json").read_text())
    return getattr(modeling, config["architectures"][0]).from_pretrained(folder)


def check_checkpoint(folder):
    model = load(folder)
    expected = load_file(folder / "expected.safetensors")
    ids, targets = expected["ids"].long(), expected["targets"].long()
    logits = model(ids).logits
    name = folder.name
    tell(f"{name}: logits", logits, expected["logits"])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    tell(f"{name}: cross-entropy", loss, expected["cross_entropy"].squeeze())
    loss.backward()
    own = dict(model.named_parameters())
    for key, gradient in expected.items():
        if key.startswith("grad.") and own[key[5:]].grad is not None:
            tell(f"{name}: {key}", own[key[5:]].grad, gradient, 1e-4)
    check_gradient_checkpointing(name, model, ids, targets)
    model.eval()
    with torch.no_grad():
        check_states(name, model, ids)


def check_gradient_checkpointing(name, model, ids, targets):
    before = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model.train()
    logits = model(ids).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    model.gradient_checkpointing_disable()
    for key in ("model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight"):
        found = dict(model.named_parameters())[key].grad
        tell(f"{name}: {key} with gradient checkpointing", found, before[key], 1e-6)


def check_states(name, model, ids):
    """Prompts in parts, padding, beams, with carried states, against whole texts."""
    whole = model(ids, use_cache=False).logits
    for parts in ([5, 1, 1, 14], [1] * 21):
        cache, logits = None, []
        for part in ids.split(parts, dim=1):
            output = model(part, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logits.append(output.logits)
        tell(f"{name}: in parts of {parts}", torch.cat(logits, 1), whole)

    # A long text, so that there are several chunks, and two shorter ones in its batch.
    text = torch.randint(2, 128, (1, 100))
    short = {"left": 37, "right": 64}
    alone = {n: model(text[:, :n]).logits for n in (100, *short.values())}
    for side, count in short.items():
        pad = 100 - count
        padding = (pad, 0) if side == "left" else (0, pad)
        row = torch.nn.functional.pad(text[:, :count], padding, value=0)
        mask = torch.nn.functional.pad(torch.ones(1, count, dtype=torch.long), padding)
        batch = torch.cat((text, row))
        masks = torch.cat((torch.ones(1, 100, dtype=torch.long), mask))
        output = model(batch, attention_mask=masks, use_cache=True)
        tell(f"{name}: beside padding on the {side}", output.logits[:1], alone[100])
        tell(f"{name}: padding on the {side}", output.logits[1:][mask.bool()], alone[count][0])
        # One more token of each, by the states that they left.
        after = torch.cat((masks, torch.ones(2, 1, dtype=torch.long)), 1)
        more = torch.tensor([[7], [9]])
        found = model(more, attention_mask=after, past_key_values=output.past_key_values).logits
        for row, (n, id) in enumerate(((100, 7), (count, 9))):
            expected = model(torch.cat((text[:, :n], torch.tensor([[id]])), 1)).logits[:, -1]
            tell(f"{name}: after padding on the {side}, row {row}", found[row], expected)

    prompt = text[:, :11]
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    for beams in (1, 3):
        with_state = model.generate(prompt, num_beams=beams, **options)
        without = model.generate(prompt, num_beams=beams, use_cache=False, **options)
        tell(f"{name}: {beams} beams", with_state.float(), without.float(), 0)
    batch = torch.cat((prompt, torch.nn.functional.pad(text[:, :4], (7, 0))))
    mask = (torch.arange(11) >= torch.tensor([[0], [7]])).long()
    together = model.generate(batch, attention_mask=mask, **options)
    apart = [model.generate(p, **options)[0, -12:] for p in (prompt, text[:, :4])]
    tell(f"{name}: a batch of two prompts", together[:, 11:].float(), torch.stack(apart).float(), 0)
    first = model.generate(prompt, max_new_tokens=5, return_dict_in_generate=True, **{
        k: v for k, v in options.items() if k != "max_new_tokens"
    })
    more = {**options, "max_new_tokens": 7}
    later = model.generate(first.sequences, past_key_values=first.past_key_values, **more)
    tell(f"{name}: a text continued", later.float(), model.generate(prompt, **options).float(), 0)

    packed = torch.cat((torch.arange(10), torch.arange(11)))[None]
    refused(f"{name}: packing", lambda: model(ids[:1], position_ids=packed), "position_ids")
    refused(f"{name}: a mask of new tokens only", lambda: model(
        ids[:, :1], attention_mask=torch.ones(2, 1), past_key_values=model(ids).past_key_values
    ), "attention_mask", "(2, 22)")
    dynamic = transformers.DynamicCache()
    refused(f"{name}: another cache", lambda: model(ids, past_key_values=dynamic), "RwkvCache")
    refused(f"{name}: a static cache", lambda: model.generate(
        prompt, cache_implementation="static", **options
    ), "cache_implementation")
    refused(f"{name}: speculation", lambda: model.generate(
        prompt, assistant_model=model, **options
    ), "stateful")
    refused(f"{name}: attention weights", lambda: model(ids, output_attentions=True), "attention")


def in_f64(step, inputs, state):
    ys = []
    for t in range(inputs[0].shape[2]):
        y, state = step(*(x[:, :, t : t + 1].double() for x in inputs), state)
        ys.append(y)
    return torch.cat(ys, 2), state


def check_recurrences():
    """Chunks in f32 against steps in f64, also where every token decays as strongly as it can."""
    shape = (2, 3, 150, 8)
    for strength, name in ((0.05, "weak"), (1.0, "strongest")):
        r, k, v, kappa = (torch.randn(shape) for _ in range(4))
        a = torch.rand(shape)
        kappa = torch.nn.functional.normalize(kappa, dim=-1)
        zero = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
        decay = strength if strength == 1 else strength * torch.rand(shape)
        rwkv6 = (r, -5 * decay * torch.ones(shape), k, v)
        rwkv7 = (r, -(torch.exp(torch.tensor(-0.5)) * decay) * torch.ones(shape), k, v, kappa, a)
        cases = (
            ("wkv6", wkv.wkv6_step, wkv.wkv6_chunk, wkv.CHUNK_RWKV6, rwkv6),
            ("wkv7", wkv.wkv7_step, wkv.wkv7_chunk, wkv.CHUNK_RWKV7, rwkv7),
        )
        for what, step, chunk, size, inputs in cases:
            leaves = [x.clone().requires_grad_() for x in inputs]
            y, state = wkv.recurrence(
                step, chunk, size, [x.transpose(1, 2) for x in leaves], zero.float()
            )
            exact = [x.clone().double().requires_grad_() for x in inputs]
            expected, after = in_f64(step, exact, zero)
            tell(f"{what}, {name} decay: y", y, expected.transpose(1, 2))
            tell(f"{what}, {name} decay: state", state, after)
            cotangent = torch.randn_like(y)
            y.backward(cotangent)
            expected.transpose(1, 2).backward(cotangent.double())
            for i, (leaf, double) in enumerate(zip(leaves, exact)):
                tell(f"{what}, {name} decay: gradient {i}", leaf.grad, double.grad, 1e-4)


def check_new_models(folder):
    """A model without weights starts as the paper says."""
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(modeling, config["architectures"][0])
    model = kind(kind.config_class.from_pretrained(folder))
    depth = {0: 0.0, 2: 1.0}
    for layer, rho in depth.items():
        mixer = model.model.layers[layer].self_attn
        n = torch.arange(32) / 31
        if config["model_type"] == "rwkv6qwen2":
            base, expected = mixer.time_decay, -6 + 5 * n ** (0.7 + 1.3 * rho)
        else:
            base, expected = mixer.w0, -7 + 5 * n ** (0.85 + rho**0.5) + 0.5
        tell(f"{folder.name}: initial decay of layer {layer}", base.flatten(), expected, 1e-6)
    second = mixer.time_decay_w2 if config["model_type"] == "rwkv6qwen2" else mixer.w2
    finite = all(p.isfinite().all() for p in model.parameters())
    bad = not finite or not 1e-4 < second.abs().max().item() < 0.2
    print(json.dumps({"what": f"{folder.name}: new values", "error": float(bad), "tolerance": 0}))


def check_attention(name, kind, **changes):
    """Where all layers keep their attention, a model is its teacher, which transformers has."""
    sizes = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.3,
    }
    teacher = getattr(transformers, f"{kind}ForCausalLM")
    theirs = teacher(teacher.config_class(**sizes, **changes)).eval()
    own = {
        **sizes,
        **changes,
        "attention_bias": kind == "Qwen2",
        "attention_qk_norm": kind == "Qwen3",
        "num_attention_layers": 3,
    }
    ours = modeling.RWKV7Qwen2ForCausalLM(configuration.RWKV7Qwen2Config(**own)).eval()
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, 50, (2, 30))
    mask = torch.ones(2, 30, dtype=torch.long)
    mask[1, :9] = 0
    options = {"max_new_tokens": 10, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with torch.no_grad():
        tell(f"{name}: logits", ours(ids).logits, theirs(ids).logits)
        found, expected = (m(ids, attention_mask=mask).logits[mask.bool()] for m in (ours, theirs))
        tell(f"{name}: logits beside padding", found, expected)
        texts = [m.generate(ids, attention_mask=mask, **options).float() for m in (ours, theirs)]
        tell(f"{name}: text", *texts, 0)


check_recurrences()
check_attention("qwen2", "Qwen2")
windows = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
check_attention("qwen2 with windows", "Qwen2", **windows)
check_attention("qwen3", "Qwen3")
llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
llama3 |= {"rope_theta": 10000.0, "original_max_position_embeddings": 16}
check_attention("llama", "Llama", rope_parameters=llama3)
for folder in map(Path, sys.argv[2:]):
    cases = json.loads((folder / "manifest.json").read_text())["cases"]
    for case, about in cases.items():
        if case.startswith("rad_rwkv"):
            check_block(case, about["config"], folder / f"{case}.safetensors")
    for checkpoint in sorted(folder.glob("tiny-rwkv*")):
        check_checkpoint(checkpoint)
        check_new_models(checkpoint)
