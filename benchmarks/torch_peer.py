"""The peer in PyTorch: networks of bayesian-torch's layers, an eager training step with Adam.

It has its own environment: see environments.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import environments, workload
from benchmarks.workers import Case

INSTALL = (("numpy==2.0.2", "torch==2.13.0"), ("--no-deps", "bayesian-torch==0.5.0"))
KINDS = ("point", "reparam", "flipout")


def environment(create: bool) -> Path | None:
    """Return the Python that has bayesian-torch; None if it does not exist, and `create` is false or fails."""
    return environments.python_of("torch", INSTALL, create)


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the training steps of the networks that are asked for."""
    import torch

    torch.set_num_threads(spec["threads"])
    for network in spec["networks"]:
        for kind in KINDS:
            yield training(network, kind)


def training(network: str, kind: str) -> Case:
    """Return a loop over one network: loss = mean NLL + KL / num_train, gathered and scaled as the peers do."""
    import torch

    x_all, y_all = workload.training_part(network)
    index = torch.from_numpy(workload.batches(len(x_all))).long()
    x_all, y_all = torch.from_numpy(x_all.transpose(0, 3, 1, 2).copy()), torch.from_numpy(y_all).long()
    model = build(network, kind, x_all.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def run(steps: int) -> None:
        for i in range(steps):
            x = (x_all[index[i]].float() - workload.MEAN) * (1 / workload.STD)
            logits, kl = forward(model, x)
            loss = torch.nn.functional.cross_entropy(logits, y_all[index[i]]) + kl / len(x_all)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Case(network, kind, run)


def forward(model: Any, x: Any) -> tuple[Any, Any]:
    """Return the logits, and the sum of the KL divergences, which Bayesian layers return beside their output."""
    kl = 0.0
    for layer in model:
        x = layer(x)
        if isinstance(x, tuple):
            x, kl = x[0], kl + x[1]
    return x, kl


def build(network: str, kind: str, channels: int) -> Any:
    """Return the modules of the network, in order."""
    from torch import nn

    dense, conv = layers(kind)
    page = {
        "fc": lambda: [nn.Flatten(), dense(784, 64), nn.ReLU(), nn.Linear(64, 10)],
        "conv": lambda: [conv(channels, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(14 * 14 * 64, 10)],
        "vgg3": lambda: [
            *(module for before, filters in ((channels, 32), (32, 64), (64, 128)) for module in (
                conv(before, filters, 3), nn.ReLU(), conv(filters, filters, 3), nn.ReLU(), nn.MaxPool2d(2))),
            nn.Flatten(), dense(4 * 4 * 128, 128), nn.ReLU(), dense(128, 10),
        ],
    }  # fmt: skip
    return nn.ModuleList(page[network]())


def layers(kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the constructors of the dense and the convolutional (SAME) layers of a kind."""
    import bayesian_torch.layers as bayesian
    from torch import nn

    dense, conv = {
        "point": (nn.Linear, nn.Conv2d),
        "reparam": (bayesian.LinearReparameterization, bayesian.Conv2dReparameterization),
        "flipout": (bayesian.LinearFlipout, bayesian.Conv2dFlipout),
    }[kind]
    return dense, lambda before, filters, width: conv(before, filters, width, padding=width // 2)
