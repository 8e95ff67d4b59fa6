#!/usr/bin/env python3
"""Makes tests/optim_golden.h: what torch.optim (in double) does to 40 values in 12 steps.

usage: make_optim_golden.py > tests/optim_golden.h        (needs torch)

Initial values and gradients are exact fractions given by formulas that tests/test_optim.c repeats. The first 24 values
decay, the others do not (two parameter groups); gradients are sums over TOTAL samples, which PyTorch gets divided.
"""
import torch

COUNT, DECAYED, STEPS, TOTAL = 40, 24, 12, 4.0
CASES = [  # name, class, options, clip
    ("adamw", "AdamW", dict(lr=1e-2, weight_decay=0.1), 0.0),
    ("adamw_clipped", "AdamW", dict(lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.5), 1.0),
    ("adam", "AdamW", dict(lr=1e-2, weight_decay=0.0), 0.0),
    ("sgd", "SGD", dict(lr=5e-2, weight_decay=0.01), 0.0),
    ("sgd_momentum", "SGD", dict(lr=1e-2, momentum=0.9, weight_decay=0.05), 1.5),
    ("sgd_nesterov", "SGD", dict(lr=1e-2, momentum=0.8, nesterov=True, weight_decay=0.1), 0.0),
]


def value(i):
    return ((i * 29 + 5) % 64 - 32) / 64


def gradient(step, i):
    return ((i * 37 + step * 101 + i * step * 7 + 17) % 256 - 128) / 64


def run(kind, options, clip):
    values = torch.tensor([value(i) for i in range(COUNT)], dtype=torch.float64)
    parts = [torch.nn.Parameter(values[:DECAYED].clone()), torch.nn.Parameter(values[DECAYED:].clone())]
    groups = [dict(params=[parts[0]]), dict(params=[parts[1]], weight_decay=0.0)]
    optimizer = getattr(torch.optim, kind)(groups, **options)
    for step in range(STEPS):
        g = torch.tensor([gradient(step, i) for i in range(COUNT)], dtype=torch.float64) / TOTAL
        parts[0].grad, parts[1].grad = g[:DECAYED].clone(), g[DECAYED:].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_(parts, clip)
        optimizer.step()
    return torch.cat([p.detach() for p in parts]).tolist()


def main():
    print("/* optim_golden.h - made by tests/python/make_optim_golden.py with torch %s: do not edit. */"
          % torch.__version__.split("+")[0])
    print("#ifndef TARN_TESTS_OPTIM_GOLDEN_H\n#define TARN_TESTS_OPTIM_GOLDEN_H\n\n#include <tarn/optim.h>\n")
    print("enum { GOLDEN_COUNT = %d, GOLDEN_DECAYED = %d, GOLDEN_STEPS = %d, GOLDEN_TOTAL = %d };\n"
          % (COUNT, DECAYED, STEPS, TOTAL))
    print("static const struct golden {\n    const char *name;\n    tarn_optim_options options;\n"
          "    double values[GOLDEN_COUNT];\n} goldens[] = {")
    for name, kind, options, clip in CASES:
        fields = dict(kind="TARN_" + kind.upper(), clip=clip)
        for key, v in options.items():
            if key == "betas":
                fields.update(beta1=v[0], beta2=v[1])
            else:
                fields[{"eps": "epsilon"}.get(key, key)] = "true" if v is True else v
        text = ", ".join(".%s = %s" % item for item in fields.items())
        rows = ["%.12g" % v for v in run(kind, options, clip)]
        print("    {\"%s\",\n     {%s},\n     {" % (name, text), end="")
        print((",\n      ").join(", ".join(rows[i:i + 6]) for i in range(0, COUNT, 6)) + "}},")
    print("};\n\n#endif")


if __name__ == "__main__":
    main()
