"""Run the published IVON on a quadratic, with torch, and record its steps: reads and writes JSON.

    python tests/inference/test_ivon.py | TORCH_PYTHON tests/inference/ivon_peer.py > tests/inference/ivon_peer.json

where PYTHONPATH has the repository and tests/, and TORCH_PYTHON is a Python with torch and ivon-opt.
In: mean, curvature, centre, eps [T, P], and the optimizer's flags. The loss is 0.5 sum curvature (theta - centre)^2.
Out: what was given, the versions, and mean, momentum and hess after each step [T, 3, P], in float64.
"""

import importlib.metadata
import json
import sys

import ivon
import torch

given = json.load(sys.stdin)
theta = torch.nn.Parameter(torch.tensor(given["mean"], dtype=torch.float64))
curvature, centre = (torch.tensor(given[name], dtype=torch.float64) for name in ("curvature", "centre"))
optimizer = ivon.IVON([theta], **given["flags"])
rows = []
for eps in given["eps"]:
    torch.randn = lambda *size, eps=eps, **others: torch.tensor(eps, dtype=torch.float64)
    with optimizer.sampled_params(train=True):
        optimizer.zero_grad()
        (0.5 * (curvature * (theta - centre) ** 2).sum()).backward()
    optimizer.step()
    group = optimizer.param_groups[0]
    rows.append([theta.tolist(), group["momentum"].tolist(), group["hess"].tolist()])
versions = {name: importlib.metadata.version(name) for name in ("ivon-opt", "torch")}
json.dump({"made_by": "tests/inference/ivon_peer.py", "versions": versions, "given": given, "steps": rows}, sys.stdout)
