"""The figures: drawn from files alone, readable images with labelled axes, clear errors."""

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from bnn_hvd import plots, records, uncertainty
from bnn_hvd.config import PlotConfig
from bnn_hvd.errors import UserError

FROM_TRAIN = {"learning_curves", "weight_posteriors"}
EPOCHS, STEPS_PER_EPOCH, NUM_TRAIN = 10, 90, 1437


def synthetic_run(
    run: Path, *, num_classes=10, shape=(8, 8, 1), bayesian=True, ood=False, num_draws=60, layers=("conv1",),
    num_examples=600, class_names=None, images=None, predicted=True,
):  # fmt: skip
    """Write a run directory with the files, the keys and about the numbers of a real one."""
    rng = np.random.default_rng(0)
    records.make_run_directory(run)
    records.write_text(run / records.CONFIG, "--dataset=digits\n")
    records.append_jsonl(run / records.METRICS, *_metrics(rng, bayesian, num_classes))
    for epoch in range(1, EPOCHS + 1):
        path = run / records.POSTERIOR / f"step_{epoch * STEPS_PER_EPOCH:08d}.npz"
        records.write_npz(path, _posterior(rng, epoch, [*layers, "logits"], layers if bayesian else ()))
    if predicted:
        names = class_names or [str(c) for c in range(num_classes)]
        draws_SNC, labels_N = _draws(rng, num_draws if bayesian else 1, num_examples, num_classes, signal=1.0)
        inputs = _inputs(rng, labels_N, shape) if images is None else images(labels_N)
        arrays = _predictive(draws_SNC, labels_N, inputs, names)
        if ood:
            ood_draws, _ = _draws(rng, num_draws, num_examples // 2, num_classes, signal=0.15)
            arrays |= {f"ood_{key[:-1]}M": value for key, value in _entropies(ood_draws).items()}
        records.write_npz(run / records.PREDICTIVE, arrays)
    return run


def _metrics(rng, bayesian, num_classes):
    for step in range(10, EPOCHS * STEPS_PER_EPOCH + 1, 10):
        epoch = step / STEPS_PER_EPOCH
        nll = 0.05 + (np.log(num_classes) - 0.1) * np.exp(-epoch) * rng.lognormal(0, 0.3)
        accuracy = float(np.clip(1 - 0.3 * nll - 0.02 * rng.random(), 0, 1))
        row = {"kind": "train", "step": step, "epoch": epoch, "examples_seen": 16 * step, "loss": nll,
               "nll": nll, "accuracy": accuracy, "learning_rate": 1e-3, "kl_weight": min(1.0, epoch / 2)}  # fmt: skip
        if bayesian:
            kl = 4500 - 250 * epoch + 5 * rng.normal()
            row |= {"kl": kl, "elbo": -nll - kl / NUM_TRAIN, "loss": nll + kl / NUM_TRAIN}
        yield row
        if step % STEPS_PER_EPOCH == 0:
            test = {"nll": 0.07 + 0.8 * np.exp(-epoch), "accuracy": 0.975 - 0.25 * np.exp(-epoch)}
            draws = {"brier": 0.04, "ece": 0.01, "num_draws": 10 if bayesian else 1}
            yield {"kind": "eval", "step": step, "epoch": epoch} | test | draws


def _posterior(rng, epoch, layers, bayesian):
    arrays = {}
    for layer in layers:
        values = {f"{layer}/kernel/loc": rng.normal(0, 0.05 + 0.02 * epoch, 1600), f"{layer}/bias/loc": rng.normal(0, 0.02, 64)}
        if layer in bayesian:
            values[f"{layer}/kernel/scale"] = 0.03 * np.exp(0.12 * epoch * rng.normal(0.5, 0.5, 1600))
        for name, value in values.items():
            arrays[f"{name}_counts"], arrays[f"{name}_edges"] = np.histogram(value, 50)
    return arrays


def _draws(rng, num_draws, num_examples, num_classes, signal):
    """Softmax of a signal per example, confused with one other class, and of noise per draw."""
    labels_N = rng.integers(num_classes, size=num_examples)
    logits_NC = rng.normal(0, 0.7, (num_examples, num_classes))
    rows = np.arange(num_examples)
    logits_NC[rows, labels_N] += signal * rng.gamma(4, 2, num_examples)
    logits_NC[rows, (labels_N + rng.integers(1, num_classes, num_examples)) % num_classes] += 2.2
    logits_SNC = logits_NC + rng.normal(0, 0.8, (num_draws, num_examples, num_classes))
    probs_SNC = np.exp(logits_SNC - logits_SNC.max(-1, keepdims=True))
    return (probs_SNC / probs_SNC.sum(-1, keepdims=True)).astype(np.float32), labels_N


def _inputs(rng, labels_N, shape):
    if len(shape) == 1:
        axis = np.linspace(0, 6, shape[0])
        return (np.sin(axis + labels_N[:, None]) + 0.2 * rng.normal(size=(len(labels_N), *shape))).astype(np.float32)
    pixels = np.zeros((len(labels_N), *shape), np.uint8)
    for pixel, label in zip(pixels, labels_N, strict=True):
        pixel[label % shape[0], :] = 200
    return pixels + rng.integers(0, 55, pixels.shape, np.uint8)


def _entropies(draws_SNC):
    total, aleatoric = uncertainty.entropy(draws_SNC.mean(0)), uncertainty.entropy(draws_SNC).mean(0)
    return {"predictive_entropy_N": total, "expected_entropy_N": aleatoric, "mutual_information_N": total - aleatoric}


def _predictive(draws_SNC, labels_N, inputs, names):
    entropies = _entropies(draws_SNC)
    chosen_K = uncertainty.choose_examples(labels_N, entropies["predictive_entropy_N"])
    return entropies | {
        "probs_NC": draws_SNC.mean(0), "labels_N": labels_N, "draws_SKC": draws_SNC[:, chosen_K],
        "example_index_K": chosen_K, "examples_K": inputs[chosen_K], "class_names": np.array(names),
    }  # fmt: skip
