#!/usr/bin/env python3
"""Makes tests/golden.h5: initial weights, one batch, losses of 50 steps and gradients of step 1, as PyTorch computes them.

usage: make_golden.py OUT.h5        needs torch, h5py, numpy (scripts/install-torch)

Groups mlp and gpt hold: weights/<name>, gradients/<name> (of the mean loss, before clipping), inputs, targets, losses.
Names are Tarn's. tests/test_golden.c trains the same models from the same weights on the same batch.
"""
import sys

import h5py
import numpy
import torch
from torch.nn import functional

STEPS = 50


def gpt_forward(p, ids, layers, heads):
    b, t = ids.shape
    x = p["token_embedding.weight"][ids] + p["position_embedding.weight"][:t]
    c = x.shape[-1]
    for i in range(layers):
        n = f"blocks.{i}."
        h = functional.layer_norm(x, (c,), p[n + "norm1.weight"], p[n + "norm1.bias"])
        q, k, v = functional.linear(h, p[n + "attention.qkv.weight"], p[n + "attention.qkv.bias"]).split(c, -1)
        q, k, v = (z.view(b, t, heads, c // heads).transpose(1, 2) for z in (q, k, v))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + functional.linear(y, p[n + "attention.output.weight"], p[n + "attention.output.bias"])
        h = functional.layer_norm(x, (c,), p[n + "norm2.weight"], p[n + "norm2.bias"])
        u = functional.gelu(functional.linear(h, p[n + "mlp.up.weight"], p[n + "mlp.up.bias"]), approximate="tanh")
        x = x + functional.linear(u, p[n + "mlp.down.weight"], p[n + "mlp.down.bias"])
    x = functional.layer_norm(x, (c,), p["norm.weight"], p["norm.bias"])
    return x @ p["token_embedding.weight"].T


def mlp_forward(p, x):
    for i in range(3):
        x = functional.linear(x, p[f"layers.{i}.weight"], p[f"layers.{i}.bias"])
        x = torch.relu(x) if i < 2 else x
    return x


def record(group, parameters, forward, inputs, targets, optimizer, clip):
    for name, value in parameters.items():
        group.create_dataset("weights/" + name, data=value.detach().numpy())
    group.create_dataset("inputs", data=inputs.numpy().astype(numpy.float32 if inputs.is_floating_point() else numpy.int32))
    group.create_dataset("targets", data=targets.numpy().astype(numpy.int32))
    losses = []
    for step in range(STEPS):
        logits = forward(parameters, inputs)
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, value in parameters.items():
                group.create_dataset("gradients/" + name, data=value.grad.numpy())
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
        optimizer.step()
        losses.append(loss.item())
    group.create_dataset("losses", data=numpy.array(losses, dtype=numpy.float64))
    print(group.name, losses[0], losses[-1])


def main(path):
    torch.manual_seed(5)
    torch.set_num_threads(1)
    with h5py.File(path, "w", track_order=True) as file:
        sizes = [20, 40, 24, 5]
        p = {}
        for i in range(3):
            p[f"layers.{i}.weight"] = (torch.randn(sizes[i + 1], sizes[i]) / sizes[i] ** 0.5).requires_grad_()
            p[f"layers.{i}.bias"] = (torch.randn(sizes[i + 1]) * 0.1).requires_grad_()
        record(file.create_group("mlp"), p, mlp_forward, torch.rand(16, 20), torch.randint(5, (16,)),
               torch.optim.SGD(p.values(), 0.05, momentum=0.9), 0)

        layers, heads, c, t, v = 2, 3, 24, 12, 23
        p = {"token_embedding.weight": torch.randn(v, c) * 0.1, "position_embedding.weight": torch.randn(t, c) * 0.1}
        for i in range(layers):
            n = f"blocks.{i}."
            for name, (o, k) in {"attention.qkv": (3 * c, c), "attention.output": (c, c), "mlp.up": (4 * c, c),
                                 "mlp.down": (c, 4 * c)}.items():
                p[n + name + ".weight"], p[n + name + ".bias"] = torch.randn(o, k) * 0.1, torch.randn(o) * 0.1
            for name in ("norm1", "norm2"):
                p[n + name + ".weight"], p[n + name + ".bias"] = 1 + torch.randn(c) * 0.1, torch.randn(c) * 0.1
        p["norm.weight"], p["norm.bias"] = 1 + torch.randn(c) * 0.1, torch.randn(c) * 0.1
        p = {name: value.requires_grad_() for name, value in p.items()}
        ids = torch.randint(v, (8, t + 1))
        decay = [value for value in p.values() if value.ndim > 1]
        rest = [value for value in p.values() if value.ndim == 1]
        optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], 1e-3)
        record(file.create_group("gpt"), p, lambda q, x: gpt_forward(q, x, layers, heads), ids[:, :-1].contiguous(),
               ids[:, 1:].contiguous(), optimizer, 1.0)


main(sys.argv[1])
