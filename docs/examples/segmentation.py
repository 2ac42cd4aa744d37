"""A class for each pixel: discs and squares in noise, and a U-Net. Not in the training part: stripes.

`python segmentation.py unseen.npz` writes images with a patch of stripes, to predict.
"""

import sys

import numpy as np

CLASSES = ("background", "disc", "square")
NOISE = 0.3


def load(data_dir, count=320, size=32):
    """Return images [N, H, W] of bright discs and dark squares, with the class of each pixel [N, H, W]."""
    random = np.random.default_rng(0)
    x, y = zip(*(image(random, size) for _ in range(count)), strict=True)
    x, y, train = np.stack(x), np.stack(y), 4 * count // 5
    return {
        "x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:], "class_names": CLASSES,
    }  # fmt: skip


def image(random, size):
    """Return an image with one to three shapes, and the classes of its pixels."""
    x, y, row, column = np.zeros([size, size]), np.zeros([size, size], int), *np.mgrid[:size, :size]
    for label in random.integers(1, 3, random.integers(1, 4)):
        radius = random.integers(size // 8, size // 5 + 1)
        down, right = (np.abs(axis - random.integers(radius, size - radius)) for axis in (row, column))
        inside = down**2 + right**2 <= radius**2 if label == 1 else np.maximum(down, right) <= 0.85 * radius
        x[inside], y[inside] = (1.0 if label == 1 else -1.0), label
    return (x + NOISE * random.normal(size=x.shape)).astype(np.float32), y


def patch(size):
    """Return where the stripes are, bool [H, W]."""
    inside = np.zeros([size, size], bool)
    inside[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = True
    return inside


def unseen(count=4, size=32):
    """Return images [N, H, W] with stripes in the middle, as bright and as dark as the discs and the squares."""
    random = np.random.default_rng(1)
    x = np.stack([image(random, size)[0] for _ in range(count)])
    stripes = np.where(np.arange(size) % 4 < 2, 1.0, -1.0) + NOISE * random.normal(size=x.shape)
    return np.where(patch(size), stripes, x).astype(np.float32)


def unet(example_shape, num_outputs, width=8):
    import keras  # not above: reading the data needs no TensorFlow
    from keras import layers

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return x

    inputs = layers.Input(example_shape)
    fine = block(inputs, width)
    coarse = block(layers.MaxPooling2D()(fine), 2 * width)
    up = layers.Conv2DTranspose(width, 2, 2)(coarse)
    x = block(layers.Concatenate()([fine, up]), width)
    return keras.Model(inputs, layers.Conv2D(num_outputs, 1)(x))


if __name__ == "__main__":
    np.savez(sys.argv[1], x=unseen())
