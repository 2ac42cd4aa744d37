"""Flags of `train`: the processors, the ranks and how they communicate."""

import dataclasses

from bnn_hvd.config.flags import flag


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """Threads, all-reduces, and what tells reproducible runs from others."""

    threads: int = flag(0, "machine", "threads per rank; 0: cores of the host / ranks on it", minimum=0, identity=False)
    deterministic: bool = flag(
        False, "machine", "only kernels that give the same bits every time (TensorFlow's op determinism)",
        identity=False,
    )  # fmt: skip
    fusion_mb: float = flag(
        -1.0, "machine", "megabytes of gradients that Horovod joins in one all-reduce; -1: its default", minimum=-1,
        identity=False,
    )  # fmt: skip
    checksums: bool = flag(
        False, "machine", "write a checksum of gradient and weights after each step, to find where two runs part",
        identity=False,
    )  # fmt: skip
    flip_bit: int = flag(
        -1, "machine", "flip this bit (0: the last of the mantissa, 31: the sign) of one initial weight; -1: none",
        minimum=-1,
    )  # fmt: skip
    nudge_step: int = flag(
        0, "machine", "a planted fault for tests: change one entry of this step's gradient by one ulp; 0: none",
        minimum=0,
    )  # fmt: skip
    steps_per_call: int = flag(
        0, "machine", "steps per call of the compiled loop, between which ranks see signals; 0: what takes about a "
        "second, at most 100", minimum=0, identity=False,
    )  # fmt: skip
    gradient_blocks: int = flag(
        0, "machine", "compute the gradient of a global batch in so many blocks, and add them in an order that the "
        "number of ranks does not change: with --deterministic --threads=1, the same bits on 1, 2, 4, ... ranks; 0: no",
        minimum=0,
    )  # fmt: skip
    compression: str = flag(
        "none", "machine", "of the gradient that ranks average: fp16 halves its bytes and rounds it to 11 bits; on one "
        "rank it changes nothing", choices=("none", "fp16"),
    )  # fmt: skip
    stall_timeout_s: float = flag(
        600.0, "machine", "end the job when a rank makes the others wait so long; 0: never", minimum=0, identity=False
    )
    straggler_factor: float = flag(
        1.3, "machine", "warn of a rank whose step, waiting left out, takes so many times the median",
        minimum=1, identity=False,
    )  # fmt: skip
    horovod_timeline: bool = flag(False, "machine", "write Horovod's timeline into the run directory", identity=False)
