"""Makes tests/optimizer_fixture.json: five updates by PyTorch's optimisers, for tests/optimizer.rs.

Run from the repository root: .venv/bin/python crates/training/tests/optimizer_fixture.py
"""
import json
import pathlib

import torch

STEPS, RATES = 5, [0.1, 0.05, 0.02, 0.1, 0.07]


def run(make):
    w = torch.tensor([[0.5, -1.25, 2.0], [0.0, 0.75, -0.5]], requires_grad=True)
    b = torch.tensor([0.1, -0.2], requires_grad=True)
    x = torch.tensor([[1.0, 2.0, -1.0], [0.5, -0.25, 3.0], [-2.0, 1.0, 0.0]])
    optimizer = make([{"params": [w]}, {"params": [b], "lr_factor": 0.5}])
    trace = []
    for rate in RATES[:STEPS]:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        optimizer.zero_grad()
        loss = torch.tanh(x @ w.T + b).square().sum() + (w * w * w).sum() * 0.01
        loss.backward()
        optimizer.step()
        trace.append({"w": w.flatten().tolist(), "b": b.tolist()})
    return trace


out = {
    "rates": RATES[:STEPS],
    "adamw": run(lambda p: torch.optim.AdamW(p, lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)),
    "sgd": run(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.05)),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out, indent=1) + "\n")
