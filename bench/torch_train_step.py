#!/usr/bin/env python3
"""The training step of bench/train_step in PyTorch: the other side of bench/compare.

usage: torch_train_step.py mlp|chargpt-small|chargpt|gpt2 [--batch N] [--threads N] [--steps N] [--warmup N] [--compile]

Prints one JSON line: model, batch, threads, params, median and min seconds of a step, samples or tokens a second, peak
resident MiB, loss of the first and last step, seconds from process start to the end of the first step.
"""
import time

STARTED = time.time()
import argparse
import json
import os
import resource
import statistics


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["mlp", "chargpt-small", "chargpt", "gpt2"])
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def make_gpt(torch, vocabulary, positions, layers, heads, width):
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(y.transpose(1, 2).reshape(b, t, c))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            for table in (self.token, self.position):
                nn.init.normal_(table.weight, std=0.02)

        def forward(self, ids):
            x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.norm(x) @ self.token.weight.T

    return GPT()


def main():
    arguments = parse()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    gpts = {  # vocabulary, positions, layers, heads, width; then batch, tokens of the data, length of a sample
        "chargpt-small": ((65, 64, 4, 4, 128), 12, 65, 64),
        "chargpt": ((65, 256, 6, 6, 384), 8, 65, 256),
        "gpt2": ((50304, 1024, 12, 12, 768), 4, 50257, 64),
    }
    generator = torch.Generator().manual_seed(7)
    if arguments.model == "mlp":
        linear, relu = torch.nn.Linear, torch.nn.ReLU
        net = torch.nn.Sequential(linear(784, 512), relu(), linear(512, 512), relu(), linear(512, 10))
        batch = arguments.batch or 64
        x = torch.rand((batch, 784), generator=generator)
        y = torch.randint(10, (batch,), generator=generator)
        optimizer, samples, clip = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9), batch, 0
    else:
        shape, batch, tokens, length = gpts[arguments.model]
        batch = arguments.batch or batch
        net = make_gpt(torch, *shape)
        ids = torch.randint(tokens, (batch, length + 1), generator=generator)
        x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        optimizer, samples, clip = torch.optim.AdamW(net.parameters(), 3e-4, weight_decay=0.1), batch * length, 1.0
    run = torch.compile(net) if arguments.compile else net
    times, losses, first = [], [], None
    for step in range(arguments.warmup + arguments.steps):
        begun = time.perf_counter()
        logits = run(x)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
        first = first or time.time() - STARTED
        if step >= arguments.warmup:
            times.append(time.perf_counter() - begun)
    median = statistics.median(times)
    print(json.dumps({
        "model": arguments.model, "batch": batch, "threads": arguments.threads, "ranks": 1,
        "compile": arguments.compile, "params": sum(p.numel() for p in net.parameters()),
        "median_s": round(median, 6), "min_s": round(min(times), 6), "per_s": round(samples / median, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "loss": [round(losses[0], 5), round(losses[-1], 5)], "first_step_s": round(first, 3)}))


if __name__ == "__main__":
    main()
