"""Flags of `train`: threads, communication between ranks, and reproducibility."""

import dataclasses

from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """Threads, communication between ranks, and reproducibility."""

    threads: int = flag(
        0, "machine", "threads per rank; 0: its share of the cores that it may run on", minimum=0, identity=False
    )
    deterministic: bool = flag(
        False, "machine", "use only kernels that give the same bits in every run (TensorFlow's op determinism)",
        identity=False,
    )  # fmt: skip
    fusion_mb: float = flag(
        -1.0, "machine", "megabytes of gradients that Horovod fuses into one all-reduce; -1: Horovod's default",
        minimum=-1, identity=False,
    )  # fmt: skip
    checksums: bool = flag(
        False, "machine", "write a checksum of the gradient and the weights after each step, to find where two runs "
        "begin to differ",
        identity=False,
    )  # fmt: skip
    flip_bit: int = flag(
        -1, "machine", "flip this bit (0: the last of the mantissa, 31: the sign) of one initial weight; -1: none",
        minimum=-1,
    )  # fmt: skip
    nudge_step: int = flag(
        0, "machine", "a deliberate fault for tests: change one entry of the gradient of this step by one ulp; 0: none",
        minimum=0, by=("method",),
    )  # fmt: skip
    steps_per_call: int = flag(
        0, "machine", "steps per call of the compiled loop; ranks react to signals between calls; 0: as many as take "
        "about a second, at most 100", minimum=0, identity=False,
    )  # fmt: skip
    gradient_blocks: int = flag(
        0, "machine", "number of gradient blocks of a global batch, added in an order that does not depend on the "
        "number of ranks: with --deterministic --threads=1, the same bits on 1, 2, 4, ... ranks; 0: no blocks",
        minimum=0, by=("method",), without="num_particles",
    )  # fmt: skip
    compression: str = flag(
        "none", "machine", "compression of the gradient that ranks average: fp16 halves its bytes and rounds it to "
        "11 bits; on one rank it changes nothing", choices=("none", "fp16"),
        by=("method",),
    )  # fmt: skip
    stall_timeout_s: float = flag(
        600.0, "machine", "end the job when ranks have waited this long, and several times as long as ever before, for "
        "another rank; 0: never",
        minimum=0, identity=False,
    )  # fmt: skip
    straggler_factor: float = flag(
        1.3, "machine", "warn of a rank whose step, without waiting, takes this many times the median",
        minimum=1, identity=False,
    )  # fmt: skip
    horovod_timeline: bool = flag(False, "machine", "write Horovod's timeline into the run directory", identity=False)
