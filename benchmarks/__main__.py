"""`python -m benchmarks [PART ...]`: measures each part, and writes out/<part>.json and out/<part>.md."""

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks import jax_peer, report, scores, torch_peer

PARTS = {
    "layers": "a training step beside TensorFlow Probability's and bayesian-torch's",
    "allreduce": "latency and bandwidth of an all-reduce against message size",
    "state": "seconds per GiB of a state that goes between two ranks, and into a checkpoint",
    "scaling": "weak scaling from one rank to two",
    "particles": "several particles on one rank, and on two ranks",
    "methods": "a training step and a prediction of every method beside a point network's",
    "hmc": "leapfrog steps beside plain JAX and TensorFlow Probability on JAX, and on two ranks",
    "training": "a training run of MNIST against its steps alone",
    "predict": "posterior draws of a test set beside a plain loop over TFP's model",
    "stored": "a step and the memory of data in files beside data in memory, and of 20 GB",
    "startup": "seconds from the command to the first step, and to the end of --help",
}

ASKED = {  # parts that are not among those of no PART
    "fidelity": "Distance from Hamiltonian Monte Carlo, not timed",
    "verdicts": "Wrong verdicts on convergence, not timed",
    "network": "steps over slow networks between hosts of namespaces beside the prediction of `scale`; needs root",
    "extrapolation": "what `scale` says of 8 to 1,024 nodes, and `scale --simulate` of 10,000",
}


def main() -> int:
    options = parse()
    if options.parts == ["torch-env"]:
        return 0 if torch_peer.environment(create=True) else 1
    if options.parts == ["jax-env"]:
        made = [jax_peer.environment(name, create=True) for name in jax_peer.INSTALL]
        return 0 if all(made) else 1
    missed = []
    for part in ["against"] if options.against else options.parts or PARTS:
        quietness, result = report.Quietness(), measure(part, options)
        path = report.write(result, quietness.text(), options.keep, options.out)
        print(path.read_text(), f"written: {path}\n", sep="\n", flush=True)
        missed += [bar for bar in result.bars if not bar.met]
    if missed:
        print("missed:", report.table_of_bars(missed), sep="\n\n")
    return 0


def measure(part: str, options: argparse.Namespace) -> report.Report:
    if part in scores.PARTS:
        return scores.run(part, options.quick)
    module = importlib.import_module(f"benchmarks.{part}")
    return module.run(options.quick, options.against) if options.against else module.run(options.quick)


def parse() -> argparse.Namespace:
    titles = {name: f"{part.title}, not timed" for name, part in scores.PARTS.items()} | ASKED
    asked = {name: f"{title}; only when asked for" for name, title in titles.items()}
    parts = "\n".join(f"  {name:22} {what}" for name, what in (PARTS | asked).items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{__doc__}\n\nparts:\n{parts}\n  torch-env              only install bayesian-torch, for `layers`"
        "\n  jax-env                only install JAX, for `hmc`",
    )  # fmt: skip
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        choices=[*PARTS, *scores.PARTS, *ASKED, "torch-env", "jax-env", []],
        help="default: all",
    )
    parser.add_argument("--against", metavar="REVISION", help="instead, a training step beside that of a revision")
    parser.add_argument("--quick", action="store_true", help="few repetitions of few cases, to see that it works")
    parser.add_argument("--keep", action="store_true", help="also write the report to results/")
    parser.add_argument("--out", type=Path, default=report.OUT, help="folder of the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
