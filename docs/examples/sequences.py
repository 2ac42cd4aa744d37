"""A class for each time step: a noisy signal that is off or on, and an LSTM. Not in the training part: half on.

`python sequences.py unseen.npz` writes sequences whose middle is half on, to predict.
"""

import sys

import numpy as np

CLASSES = ("off", "on")
NOISE = 0.15
RATE = 0.08  # of switching, per time step


def load(data_dir, count=320, steps=48):
    """Return signals [N, T, 1] that switch at random, with the class of each time step [N, T]."""
    random = np.random.default_rng(0)
    on, train = switching(random, count, steps), 4 * count // 5
    x = noisy(random, on)
    return {
        "x_train": x[:train], "y_train": on[:train], "x_test": x[train:], "y_test": on[train:], "class_names": CLASSES,
    }  # fmt: skip


def switching(random, count, steps):
    return (random.integers(0, 2, [count, 1]) + (random.uniform(size=[count, steps]) < RATE).cumsum(axis=1)) % 2


def noisy(random, level):
    return (level + NOISE * random.normal(size=level.shape))[..., None].astype(np.float32)


def middle(steps):
    """Return where the signals are half on, bool [T]."""
    return (np.arange(steps) >= steps // 3) & (np.arange(steps) < 2 * steps // 3)


def unseen(count=4, steps=48):
    """Return signals [N, T, 1] that are half on in their middle third."""
    random = np.random.default_rng(1)
    return noisy(random, np.where(middle(steps), 0.5, switching(random, count, steps)))


def lstm(example_shape, num_outputs, width=8):
    import keras  # not above: reading the data needs no TensorFlow
    from keras import layers

    return keras.Sequential([
        layers.Input(example_shape), layers.LSTM(width, return_sequences=True), layers.Dense(num_outputs),
    ])  # fmt: skip


if __name__ == "__main__":
    np.savez(sys.argv[1], x=unseen())
