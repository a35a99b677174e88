"""Makes tests/train/fixtures/adamw.json: weights and gradient norms that PyTorch's AdamW gives.

    python tests/train/make_fixtures.py

Needs torch 2.13.0; see tests/formats/make_fixtures.py. Two tensors, whose gradients are given, over
some steps: clipped by torch.nn.utils.clip_grad_norm_ and not, with weight decay and without.
"""

import json
import os

import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "adamw.json")
SHAPES = {"a": [3, 5], "b": [7]}
STEPS = 6
CASES = [
    {"betas": [0.9, 0.95], "epsilon": 1e-8, "weightDecay": 0.0, "clip": 1.0},
    {"betas": [0.9, 0.95], "epsilon": 1e-8, "weightDecay": 0.1, "clip": 0.0},
    {"betas": [0.8, 0.999], "epsilon": 1e-3, "weightDecay": 0.01, "clip": 2.5},
]


def numbers(tensor):
    return [float(x) for x in tensor.detach().flatten()]


def run(options):
    generator = torch.Generator().manual_seed(5)
    draw = lambda shape, scale: scale * torch.randn(shape, generator=generator)
    weights = {name: draw(shape, 1.0).requires_grad_() for name, shape in SHAPES.items()}
    initial = {name: numbers(w) for name, w in weights.items()}
    optimizer = torch.optim.AdamW(
        weights.values(),
        lr=1.0,
        betas=options["betas"],
        eps=options["epsilon"],
        weight_decay=options["weightDecay"],
        foreach=False,
    )
    steps = []
    for step in range(STEPS):
        # Some gradients are longer than every limit, some shorter.
        scale = [1.5, 0.1, 0.01, 3.0, 0.0, 0.5][step]
        for name, w in weights.items():
            w.grad = draw(SHAPES[name], scale)
        gradients = {name: numbers(w.grad) for name, w in weights.items()}
        limit = options["clip"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), limit, foreach=False)
        rate = 0.02 / (step + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        after = {name: numbers(w) for name, w in weights.items()}
        steps.append({"learningRate": rate, "gradients": gradients, "norm": float(norm), "weights": after})
    return {"options": options, "initial": initial, "steps": steps}


with open(OUT, "w") as file:
    json.dump({"shapes": SHAPES, "cases": [run(options) for options in CASES]}, file)
    file.write("\n")
