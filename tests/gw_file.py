"""A small file in the form of gravitational waves, made without LALSuite: sines whose frequency is the first target."""

from pathlib import Path

import numpy as np

TIMES = 2048


def write_gw(path: Path, num_train: int = 96, num_test: int = 24, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    count = num_train + num_test
    y_ND = random.uniform([3.0, -1.0, -0.8], [4.1, 3.0, 0.8], [count, 3]).astype(np.float32)
    snr_N = random.uniform(8, 40, count).astype(np.float32)
    time_T = np.arange(TIMES) / TIMES - 0.9
    wave_NT = np.sin(2 * np.pi * np.exp(5 - 0.3 * y_ND[:, :1]) * time_T) * np.exp(-0.5 * (time_T / 0.05) ** 2)
    wave_NT *= snr_N[:, None] / np.linalg.norm(wave_NT, axis=1, keepdims=True)
    noise_NT = random.standard_normal([num_test, TIMES])
    test = slice(num_train, None)
    np.savez(
        path, x_train=wave_NT[:num_train].astype(np.float16), y_train=y_ND[:num_train],
        x_test=(wave_NT[test] + noise_NT).astype(np.float16), y_test=y_ND[test],
        signal_test=wave_NT[test].astype(np.float16), snr_test=snr_N[test],
        arrival_s_test=np.full(num_test, 0.9), phase_test=np.zeros(num_test),
        x_noise=random.standard_normal([16, TIMES]).astype(np.float16),
        x_glitch=(3 * random.standard_normal([16, TIMES])).astype(np.float16),
    )  # fmt: skip
    return path
