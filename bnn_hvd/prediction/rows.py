"""The prediction of each example as a row of predictions.csv, with its place in the file that it is from."""

import csv
import io
from typing import Any

import numpy as np

from bnn_hvd.data.arrays import Arrays
from bnn_hvd.metrics.classification import mean_over_labels
from bnn_hvd.prediction.predictor import Found

UNCERTAINTIES = {
    "predictive_entropy_N": "total", "expected_entropy_N": "aleatoric", "mutual_information_N": "epistemic",
    "total_std_N": "total_std", "aleatoric_std_N": "aleatoric_std", "epistemic_std_N": "epistemic_std",
}  # fmt: skip
STD_PARTS = ("total", "aleatoric", "epistemic")


def places(arrays: Arrays) -> Found:
    """Return the arrays of predictive.npz that say which example is which."""
    rows_N = np.arange(len(arrays.x_test)) if arrays.rows_test is None else arrays.rows_test
    return {"row_N": rows_N} | ({"names_N": np.array(arrays.names_test)} if arrays.names_test else {})


def to_csv(found: Found) -> str:
    """Return the rows of a prediction: for each example where it is from, the prediction, its uncertainty, its label.

    Of examples with several labels: the means over them, and the accuracy or the RMSE. Uncertainty is in nats for
    classes, and in the units of the target for real values. "" for ratings, which have no prediction of an example.
    """
    columns: dict[str, Any] = {"row": found["row_N"]} | ({"name": found["names_N"]} if "names_N" in found else {})
    if "probs_NC" in found:
        columns |= _of_classes(found) if found["probs_NC"].ndim == 2 else _fractions(found)
    elif "mean_N" in found:
        columns |= _of_reals(found)
    elif "mean_ND" in found:
        columns |= _of_vectors(found)
    else:
        return ""
    columns |= {name: mean_over_labels(found[key]) for key, name in UNCERTAINTIES.items() if key in found}
    columns |= _label(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*map(_cells, columns.values()), strict=True))
    return text.getvalue()


def _label(found: Found) -> dict[str, Any]:
    """Return the label of each example; of examples with several, a score of the prediction."""
    if "labels_N" in found and found["labels_N"].ndim > 1:
        known_N, right_N = found["labels_N"] >= 0, found["labels_N"] == found["probs_NC"].argmax(-1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, an empty cell
            return {"accuracy": mean_over_labels(known_N & right_N) / mean_over_labels(known_N)}
    if "labels_N" in found:
        names = [*found["class_names"], ""]  # a row without a label has -1
        return {"label": np.array([names[label] for label in found["labels_N"]])}
    if "y_N" in found and found["y_N"].ndim > 1:
        return {"rmse": np.sqrt(mean_over_labels((found["mean_N"] - found["y_N"]) ** 2))}
    return {"label": found["y_N"]} if "y_N" in found else {}


def _fractions(found: Found) -> dict[str, Any]:
    """Return the mean probability of each class, that is, the part of the labels that is expected to have it."""
    names, probs_CN = found["class_names"], np.moveaxis(found["probs_NC"], -1, 0)
    return {f"fraction_{name}": mean_over_labels(probs_N) for name, probs_N in zip(names, probs_CN, strict=True)}


def _of_classes(found: Found) -> dict[str, Any]:
    probs_NC, names = found["probs_NC"], found["class_names"]
    of_each = {f"p_{name}": probs_N for name, probs_N in zip(names, probs_NC.T, strict=True)}
    sets = {
        f"set_{array.split('_')[1]}": ["|".join(names[of_one_C]) for of_one_C in found[array]]
        for array in found if array.startswith("conformal") and array.endswith("_NC")
    }  # fmt: skip
    return {"prediction": names[probs_NC.argmax(1)], "confidence": probs_NC.max(1)} | of_each | sets


def _of_reals(found: Found) -> dict[str, Any]:
    if found["mean_N"].ndim > 1:
        return {"mean": mean_over_labels(found["mean_N"])}
    quantiles = zip(found.get("quantiles_Q", ()), found.get("quantiles_QN", ()), strict=True)
    levels = {f"quantile_{level:g}": values_N for level, values_N in quantiles}
    return {"prediction": found["mean_N"]} | levels | _intervals(found)


def _of_vectors(found: Found) -> dict[str, Any]:
    """Return the columns of each target: its prediction, standard deviations and label."""
    parts = {"prediction": "mean_ND", **{f"{part}_std": f"{part}_std_ND" for part in STD_PARTS}, "label": "y_ND"}
    each = {
        f"{part}_{name}": found[key][:, d]
        for d, name in enumerate(found["target_names"]) for part, key in parts.items() if key in found
    }  # fmt: skip
    return each | _intervals(found)


def _intervals(found: Found) -> dict[str, Any]:
    """Return the ends of the conformal intervals."""
    return {
        f"{side}_{array.removeprefix('conformal_').removesuffix('_NB')}": found[array][:, b]
        for array in found if array.endswith("_NB") for b, side in enumerate(("low", "high"))
    }  # fmt: skip


def _cells(values: np.ndarray | list[str]) -> list[Any]:
    """Return a column as cells: floats with seven digits, and nothing for NaN."""
    if isinstance(values, list):
        return values
    if values.dtype.kind != "f":
        return values.tolist()
    return ["" if value != value else f"{value:.7g}" for value in values.tolist()]
