"""The time of a training step and of a prediction of each method, beside `point`, by the flagfiles of MNIST."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import jobs, ours, workload
from benchmarks.report import Bar, Report, Row, find, ratio, table
from benchmarks.workers import REPOSITORY, Case, Sample, choose_steps, time_steps

METHODS = ("point", "vi", "ivon", "mc_dropout", "swag", "laplace", "ensemble", "multiswag", "svgd")
CASES = (*(("lenet5", method) for method in METHODS), ("conv", "point"), ("conv", "ivon"))
TRAIN, PREDICT = "training step", "prediction"
NUM_DRAWS, NUM_EXAMPLES = 30, 1000  # of a prediction
TARGET_S = 0.15
IVON_LIMIT = 1.25
NOTES = f"""
The flags are those of `configs/mnist_METHOD.cfg` (and `--architecture=conv` in the rows of conv), with batches of 64
and one rank of one thread. The loop of `train` and the predictor of `predict` are timed in one process, in turns. A
prediction is {NUM_DRAWS} draws for {NUM_EXAMPLES} images, or fewer if the method has fewer different draws. The
training of laplace is one pass over the data, after the training of a point estimate.
"""


def run(quick: bool) -> Report:
    """Measure the methods in turns."""
    rounds, cases = (2, CASES[:2]) if quick else (15, CASES)
    with tempfile.TemporaryDirectory() as folder:
        found = jobs.run("benchmarks.methods", {"cases": cases, "rounds": rounds, "folder": folder})
    samples: dict[tuple[str, ...], list[Sample]] = {}
    for *case, wall_ms, cpu_ms in found:
        samples.setdefault(tuple(case), []).append(Sample(wall_ms, cpu_ms))
    rows = [
        Row.of(
            measured, network=network, kind=f"{method}, {what}", library=ours.NAME, threads=1, ranks=1,
            batch_size=workload.BATCH_SIZE,
        )
        for (network, method, what), measured in samples.items()
    ]  # fmt: skip
    header = ("network", "method", "training step, ms", "step / point", "prediction, ms", "prediction / point")
    lines = [[network, method, *costs(rows, network, method)] for network, method in cases]
    return Report("methods", "The cost of each method", rows, bars(rows), [table(header, lines)], NOTES)


def costs(rows: list[Row], network: str, method: str) -> list[float]:
    """Return the medians of a step and of a prediction, each followed by its ratio to that of `point`."""
    numbers = []
    for what in (TRAIN, PREDICT):
        mine, point = (find(rows, network=network, kind=f"{name}, {what}") for name in (method, "point"))
        assert mine
        assert point
        numbers += [mine.step_ms, mine.step_ms / point.step_ms]
    return numbers


def bars(rows: list[Row]) -> list[Bar]:
    ivon, point = (find(rows, network="conv", kind=f"{method}, {TRAIN}") for method in ("ivon", "point"))
    return [ratio("CNN_conv: a step of ivon / of point", ivon, point, at_most=IVON_LIMIT)] if ivon and point else []


def step_and_prediction(network: str, method: str, point_run: Path) -> tuple[Case, Case]:
    """Return the loop of `train` and the predictor of `predict`, as the method's flagfile sets them up."""
    from bnn_hvd.config import from_flagfile

    path = REPOSITORY / "configs" / f"mnist_{method}.cfg"
    flags = from_flagfile(path.read_text(), path)
    flags |= {"architecture": network, "init_from": str(point_run) if method == "laplace" else ""}
    x, y = workload.training_part("conv")
    loop, predictor = ours.loop_and_predictor(flags, (x, y))
    return Case(network, method, loop), Case(network, method, lambda _: predictor.predict(x[:NUM_EXAMPLES], NUM_DRAWS))


def main(spec: dict[str, Any]) -> list[tuple[str, str, str, float, float]]:
    """Time all cases in turns; returns rows (network, method, what, wall ms, cpu ms)."""
    ours.start_tensorflow(1)
    from bnn_hvd import cli

    point_run, data = Path(spec["folder"], "point"), workload.mnist_file(Path(spec["folder"]))
    flags = ["--architecture=lenet5", "--method=point", "--dataset=mnist", "--steps=1", "--threads=1"]
    assert cli.main(["bnn_hvd", "train", *flags, f"--data_dir={data}", f"--run={point_run}"]) == 0
    cases = [(case, step_and_prediction(*case, point_run)) for case in map(tuple, spec["cases"])]
    steps = {case: choose_steps(loop, TARGET_S) for case, (loop, _) in cases}
    for _, (_, prediction) in cases:
        prediction.run(1)
    rows = []
    for _ in range(spec["rounds"]):
        for case, (loop, prediction) in cases:
            rows.append((*case, TRAIN, *time_steps(loop, steps[case])))
            rows.append((*case, PREDICT, *time_steps(prediction, 1)))
    return rows


if __name__ == "__main__":
    given, out = jobs.given()
    jobs.finish(out, main(given))
