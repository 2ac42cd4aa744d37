"""A step and the memory of a rank: data in files beside the same data in memory, and data larger than memory."""

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import jobs, ours, workload
from benchmarks.report import Bar, Report, Row, ratio, table
from benchmarks.workers import Sample

STEPS = {"fc": 4000, "conv": 400}
FORMS = ("npz", "npy", "hdf5")
LARGE_EXAMPLES, LARGE_GB, LARGE_STEPS = 27_400_000, 20, 2000  # of 784 bytes
MOST_STEP_RATIO, MOST_MB = 1.05, 1500
EVERY_S = 0.02
NOTES = """
MNIST, method point, batches of 64, one thread, on a page cache that has the files; the forms take turns. step: the
median over the calls of a run. memory: the most anonymous memory (RssAnon) of the process over the run; nearly all of
it is TensorFlow's and, for npz, that of the data. 20 GB: a file with holes, which reads as zeros.
"""


def run(quick: bool) -> Report:
    """Measure each form in turns, then data larger than memory."""
    rounds, steps = (1, {"fc": 100}) if quick else (5, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        write_forms(Path(folder))
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for network in steps:
            for _ in range(rounds):
                for form in FORMS:
                    spec = {
                        "folder": folder,
                        "form": form,
                        "network": network,
                        "steps": 100 if quick else STEPS[network],
                    }
                    found.setdefault((network, form), []).append(jobs.run("benchmarks.stored", spec))
    rows = [row(network, form, runs) for (network, form), runs in found.items()]
    of = {(one.network, one.kind): one for one in rows}
    bars = []
    for network in steps:
        name = f"{network}: a step from .npy files / in memory"
        bars.append(ratio(name, of[network, "npy"], of[network, "npz"], at_most=MOST_STEP_RATIO))
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            write_large(Path(folder), LARGE_EXAMPLES)
            spec = {"folder": folder, "form": "npy", "network": "fc", "steps": LARGE_STEPS, "standardize": "none"}
            rows.append(row("fc", f"npy of {LARGE_GB} GB", [jobs.run("benchmarks.stored", spec)]))
        bars.append(Bar(f"MB of a rank, {LARGE_GB} GB of data", *[rows[-1].more["anonymous_mb"]] * 2, at_most=MOST_MB))
    lines = ([one.network, one.kind, one.step_ms, one.more["anonymous_mb"]] for one in rows)
    tables = [table(("network", "data", "step ms", "anonymous MB"), lines)]
    return Report("stored", "Data in files", rows, bars, tables, NOTES)


def row(network: str, form: str, runs: list[dict[str, float]]) -> Row:
    return Row.of(
        [Sample(one["step_ms"]) for one in runs], network=network, kind=form, library=ours.NAME, threads=1, ranks=1,
        batch_size=workload.BATCH_SIZE, more={"anonymous_mb": max(one["anonymous_mb"] for one in runs)},
    )  # fmt: skip


def write_forms(folder: Path) -> None:
    """Write MNIST in each form, and read each once."""
    import h5py

    with np.load(workload.mnist_file(folder)) as arrays:
        parts = dict(arrays)
    np.savez(folder / "data.npz", **parts)
    (folder / "npy").mkdir()
    with h5py.File(folder / "data.h5", "w") as file:
        for name, part in parts.items():
            np.save(folder / "npy" / name, part)
            file[name] = part
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def write_large(folder: Path, num_examples: int) -> None:
    """Write a training part of so many examples, in a file with holes."""
    (folder / "npy").mkdir()
    np.lib.format.open_memmap(folder / "npy" / "x_train.npy", "w+", np.uint8, (num_examples, 784)).flush()
    np.save(folder / "npy" / "y_train.npy", (np.arange(num_examples) % 10).astype(np.uint8))
    np.save(folder / "npy" / "x_test.npy", np.zeros([1000, 784], np.uint8))
    np.save(folder / "npy" / "y_test.npy", (np.arange(1000) % 10).astype(np.uint8))


def main(spec: dict[str, Any], scratch: Path) -> dict[str, float]:
    """Train; returns the median of the steps in ms, and the most anonymous memory in MB."""
    from bnn_hvd import cli
    from bnn_hvd.run import records

    paths = {"npz": "data.npz", "npy": "npy", "hdf5": "data.h5"}
    flags = {
        "dataset": spec["form"], "data_dir": str(Path(spec["folder"], paths[spec["form"]])), "method": "point",
        "architecture": spec["network"], "steps": spec["steps"], "batch_size": workload.BATCH_SIZE, "threads": 1,
        "standardize": spec.get("standardize", "channel"), "eval_every_epochs": 0, "eval_draws": 1,
        "run": scratch / "run",
    }  # fmt: skip
    ended, most_mb = threading.Event(), [0.0]

    def watch() -> None:
        while not ended.wait(EVERY_S):
            most_mb[0] = max(most_mb[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = cli.main(["bnn_hvd", "train", *(f"--{name}={value}" for name, value in flags.items())])
    ended.set()
    watcher.join()
    assert code == 0, code
    step_ms = records.read_json(scratch / "run" / records.SUMMARY)["step_ms_median"]
    return {"step_ms": step_ms, "anonymous_mb": most_mb[0]}


def anonymous_mb() -> float:
    """Return the anonymous memory of this process: pages of files do not count, which the page cache can drop."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    given, out = jobs.given()
    jobs.finish(out, main(given, out.parent))
