"""The time of predicting MNIST's 10,000 test images, beside a Python loop over a model of TFP."""

from collections.abc import Iterator
from typing import Any

from benchmarks import layers, ours, tfp_peer, workload
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import Case, Worker, alternate

NUM_EXAMPLES = 10_000
OUR_DRAWS = {"fc": 300, "conv": 2}  # of a repetition; the draws of a convolution are computed one after the other
TFP_DRAWS = {"fc": 5, "conv": 1}
CHUNKS = {"fc": (1000, 10_000), "conv": (100, 500, 2000)}
LIMITS = {"fc": 5, "conv": 1.5}  # against the flipout model
NOTES = """
A step is one posterior draw for 10,000 images, as part of a mean over draws. This project computes mean probabilities
and mean entropy by `Predictor.predict`, {ours}. For TFP, Python calls a tf.function of the model's softmax for each
draw and chunk of images, and numpy sums the results, {tfp}; the bars compare with its fastest chunk size.
The times for 300 draws are scaled from these. A user of TFP may put the weights that flipout learnt into a
reparameterisation model, since a prediction needs no independent noise per example; so that model is measured, too.
"""


def run(quick: bool) -> Report:
    """Measure with one thread."""
    networks, rounds = (["fc"], 2) if quick else (["fc", "conv"], 5)
    spec = {"networks": networks, "target_s": 0}
    with (
        Worker(layers.OURS, "benchmarks.predict", {**spec, "library": layers.OURS}, 1) as one,
        Worker(layers.TFP, "benchmarks.predict", {**spec, "library": layers.TFP}, 1) as other,
    ):
        samples = alternate([one, other], rounds)
    rows = [
        Row.of(measured, network=network, kind=kind, library=worker.library, threads=1, ranks=1, batch_size=None)
        for (worker, case), measured in samples.items()
        for network, kind in [worker.cases[case]]
    ]
    for row in rows:
        row.more["examples_x_draws_per_s"] = 1e3 * NUM_EXAMPLES / row.step_ms
    bars = [speed(rows, network, "flipout", LIMITS[network]) for network in networks]
    bars += [speed(rows, network, "reparam", None) for network in networks]
    header = ("network", "library", "model", "ms per draw", "min ms", "examples x draws per s", "s for 300 draws")
    lines = [
        [layers.NAMES[r.network], r.library, r.kind, r.step_ms, r.step_ms_min, r.more["examples_x_draws_per_s"],
         0.3 * r.step_ms]
        for r in rows
    ]  # fmt: skip
    notes = NOTES.format(ours=drawn(OUR_DRAWS), tfp=drawn(TFP_DRAWS))
    return Report("predict", "Prediction", rows, bars, [table(header, lines)], notes)


def speed(rows: list[Row], network: str, kind: str, limit: float | None) -> Bar:
    """Return the bar of TFP's time divided by this project's."""
    mine = find(rows, network=network, library=layers.OURS)
    peers = [row for row in rows if row.network == network and row.kind.startswith(f"{kind},")]
    assert mine
    name = f"{layers.NAMES[network]}: speed against TFP's {kind} model"
    return ratio(name, min(peers, key=lambda row: row.step_ms), mine, at_least=limit)


def drawn(draws: dict[str, int]) -> str:
    return "timed on draws: " + ", ".join(f"{number} ({network})" for network, number in draws.items())


def cases(spec: dict[str, Any]) -> Iterator[Case]:
    """Yield the predictions of one library; a step is a draw of all examples."""
    if spec["library"] == layers.OURS:
        ours.start_tensorflow(spec["threads"])
        yield from (our_case(network) for network in spec["networks"])
        return
    tfp_peer.start_tensorflow(spec["threads"])
    for network in spec["networks"]:
        for kind in ("flipout", "reparam"):
            yield from (tfp_case(network, kind, chunk) for chunk in CHUNKS[network])


def our_case(network: str) -> Case:
    x, y = (part[:NUM_EXAMPLES] for part in workload.training_part(network))
    _, predictor = ours.loop_and_predictor(ours.flags(network, "flipout"), (x, y))
    return Case(network, "vi", lambda draws: predictor.predict(x, draws), OUR_DRAWS[network])


def tfp_case(network: str, kind: str, chunk: int) -> Case:
    import numpy as np
    import tensorflow as tf

    x = workload.training_part(network)[0][:NUM_EXAMPLES]
    model = tfp_peer.build(network, kind, x.shape[1:])
    x = tf.constant((x.astype(np.float32) - workload.MEAN) / workload.STD)
    probs = tf.function(lambda part: tf.nn.softmax(model(part)))

    def run(draws: int) -> None:
        total = np.zeros([NUM_EXAMPLES, 10], np.float32)
        for _ in range(draws):
            total += np.concatenate([probs(x[i : i + chunk]).numpy() for i in range(0, NUM_EXAMPLES, chunk)])

    return Case(network, f"{kind}, chunks of {chunk}", run, TFP_DRAWS[network])
