"""Inputs of a network: their type and their shape."""

import numpy as np

from bnn_hvd.errors import UserError


def of_type(x: np.ndarray) -> np.ndarray:
    """Return numbers as uint8, if they are that or true and false, else as float32."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is reported later
        return np.ascontiguousarray(x, np.uint8 if x.dtype in (np.uint8, np.bool_) else np.float32)


def like(x: np.ndarray, example_shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return examples for a network that was trained on examples of this shape; a last axis of 1 may be left out.

    Raises:
      UserError: no numbers, not finite, or examples of another shape.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "buif":
        raise UserError(f"{name} holds {x.dtype}, which are no numbers: give uint8 or float32")
    if example_shape[-1:] == (1,) and x.shape[1:] == example_shape[:-1]:
        x = x[..., np.newaxis]
    if x.ndim < 1 or x.shape[1:] != example_shape:
        wanted = ", ".join(["N", *map(str, example_shape)])
        raise UserError(
            f"{name} has the shape {list(x.shape)}, and the run was trained on examples of {list(example_shape)}: give "
            f"[{wanted}]"
        )
    if not len(x):
        raise UserError(f"{name} is empty: give at least one example")
    x = of_type(x)
    if not np.isfinite(x).all():
        raise UserError(f"{name} has values that are NaN or infinite: remove or replace them")
    return x
