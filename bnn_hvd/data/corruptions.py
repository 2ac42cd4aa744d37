"""Corruptions of images, in five levels each, to measure what a shift of the data does to predictions.

They follow Hendrycks & Dietterich (2019): the constants of noise, contrast, brightness, pixelation and JPEG are those
of their ImageNet-C; blur and translation are in units of the side of an image, so that small images are corrupted
alike. The random numbers of an example follow from the name of the corruption and the place of the example: they are
the same in every run, on any number of ranks and at every level.

Legend: N examples, H, W height and width, C channels. Images are in [0, 1] here, float64 [H, W, C].
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from bnn_hvd import registry, seeds
from bnn_hvd.config import lists
from bnn_hvd.data.stored import Inputs, StoredArray
from bnn_hvd.errors import UserError

LEVELS = range(1, 6)
ALL = "all"
LEAST_SIDE = 4  # pixels

Random = np.random.Generator


def noise(image: np.ndarray, std: float, random: Random) -> np.ndarray:
    """Add Normal noise to each pixel."""
    return image + std * random.normal(size=image.shape)


def blur(image: np.ndarray, sides: float, random: Random) -> np.ndarray:
    """Convolve with a Normal whose standard deviation is this part of the side."""
    std = sides * min(image.shape[:2])
    return ndimage.gaussian_filter(image, (std, std, 0), mode="nearest")


def contrast(image: np.ndarray, factor: float, random: Random) -> np.ndarray:
    """Draw each channel towards its mean."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return mean + factor * (image - mean)


def brightness(image: np.ndarray, added: float, random: Random) -> np.ndarray:
    return image + added


def rotation(image: np.ndarray, degrees: float, random: Random) -> np.ndarray:
    """Rotate to the left or to the right; what comes in is as the edge."""
    angle = degrees * random.choice((-1, 1))
    return ndimage.rotate(image, angle, axes=(0, 1), reshape=False, order=1, mode="nearest")


def translation(image: np.ndarray, sides: float, random: Random) -> np.ndarray:
    """Move by this part of the side in a random direction; what comes in is as the edge."""
    angle = random.uniform(0, 2 * np.pi)
    down, right = sides * min(image.shape[:2]) * np.array([np.sin(angle), np.cos(angle)])
    return ndimage.shift(image, (down, right, 0), order=1, mode="nearest")


def pixelation(image: np.ndarray, factor: float, random: Random) -> np.ndarray:
    """Shrink to this part of the side, and enlarge to squares of one colour."""
    from PIL import Image

    height, width, channels = image.shape
    small = max(1, round(factor * width)), max(1, round(factor * height))
    planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(channels)]
    shrunk = [plane.resize(small, Image.Resampling.BOX) for plane in planes]
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling.NEAREST)) for one in shrunk], -1)


def jpeg(image: np.ndarray, quality: float, random: Random) -> np.ndarray:
    """Compress, with this quality of 100; three channels are a colour image, others are compressed one by one."""
    from PIL import Image

    pixels = np.rint(255 * image).astype(np.uint8)
    planes = [pixels] if pixels.shape[-1] == 3 else [pixels[..., c] for c in range(pixels.shape[-1])]
    found = []
    for plane in planes:
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as opened:
            found.append(np.asarray(opened, np.float64) / 255)
    return found[0] if pixels.shape[-1] == 3 else np.stack(found, -1)


class Corruption(NamedTuple):
    """A corruption, and its argument at each level."""

    apply: Callable[[np.ndarray, float, Random], np.ndarray]
    of_level: tuple[float, ...]


CORRUPTIONS = {
    "noise": Corruption(noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": Corruption(blur, (0.02, 0.03, 0.045, 0.06, 0.08)),
    "contrast": Corruption(contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": Corruption(brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "rotation": Corruption(rotation, (10, 20, 30, 45, 60)),
    "translation": Corruption(translation, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "pixelation": Corruption(pixelation, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Corruption(jpeg, (25, 18, 15, 10, 7)),
}


def parse(text: str) -> list[tuple[str, int]]:
    """Return the corruptions and levels in `noise:3,blur`; without a level, all five; `all`: every corruption.

    Raises:
      UserError: an unknown corruption or level.
    """
    found = []
    for word in lists.words(text):
        name, colon, level = word.partition(":")
        named = [*CORRUPTIONS] if name == ALL else [registry.known(CORRUPTIONS, name, "corruption in --corrupt")]
        if colon and level not in map(str, LEVELS):
            raise UserError(f"--corrupt={text}: the level of {name} is {level!r}: give 1, 2, 3, 4 or 5, as in {name}:3")
        found += [(one, at) for one in named for at in ([int(level)] if colon else LEVELS)]
    return list(dict.fromkeys(found))


def check_images(example_shape: tuple[int, ...]) -> None:
    """Raise UserError unless the examples are images [H, W, C]."""
    if len(example_shape) != 3 or min(example_shape[:2]) < LEAST_SIDE:
        raise UserError(
            f"--corrupt is for images [height, width, channels], and this run is on examples of "
            f"{list(example_shape)}: leave it out"
        )


class CorruptedImages:
    """Images that are corrupted when they are read: `part[i:j]` returns those examples in the units and the type of x.

    lows, highs: of each channel [C], the values that are 0 and 1.
    """

    def __init__(self, x: Inputs, name: str, level: int, lows: np.ndarray, highs: np.ndarray):
        self._x, self._name, self._corruption = x, name, CORRUPTIONS[name]
        self._argument, self._lows, self._spans = self._corruption.of_level[level - 1], lows, highs - lows
        self.shape, self.dtype, self.ndim = x.shape, x.dtype, x.ndim

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, at: slice) -> np.ndarray:
        places = range(*at.indices(len(self)))
        images = [self._corrupted(image, n) for image, n in zip(self._x[at], places, strict=True)]
        return np.array(images, self.dtype).reshape(len(places), *self.shape[1:])

    def _corrupted(self, image: np.ndarray, place: int) -> np.ndarray:
        random = seeds.generator(0, "corrupt", [*CORRUPTIONS].index(self._name), place)
        scaled = np.clip((image.astype(np.float64) - self._lows) / self._spans, 0, 1)
        values = self._lows + self._spans * np.clip(self._corruption.apply(scaled, self._argument, random), 0, 1)
        return (np.rint(values) if self.dtype.kind in "ui" else values).astype(self.dtype)


def corrupted(x: Inputs, name: str, level: int, ends: tuple[np.ndarray, np.ndarray]) -> StoredArray:
    """Return the images with a corruption, which is computed where they are read.

    ends: of `value_range`.
    """
    part: Any = CorruptedImages(x, name, level, *ends)
    return StoredArray([part])


def value_range(x: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest value of each channel [C]: 0 and 1 of an image, in whatever units it is."""
    axes = tuple(range(x.ndim - 1))
    ends = [(part.min(axes), part.max(axes)) for part in (x.blocks() if isinstance(x, StoredArray) else [x])]
    lows = np.min([low for low, _ in ends], axis=0).astype(np.float64)
    highs = np.max([high for _, high in ends], axis=0).astype(np.float64)
    return lows, np.where(highs > lows, highs, lows + 1)
