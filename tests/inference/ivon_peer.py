"""Run the published IVON on a quadratic, with torch: `python ivon_peer.py`; reads and writes JSON.

In: mean, curvature, centre, eps [T, P], and the optimizer's flags. The loss is 0.5 sum curvature (theta - centre)^2.
"""

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
json.dump(rows, sys.stdout)
