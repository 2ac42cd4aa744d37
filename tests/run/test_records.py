"""What is written into the run directory can be read by every reader of JSON."""

import json

from bnn_hvd.run import records

ODD = {"nan": float("nan"), "rows": [1.5, float("inf"), (2, -float("inf"))], "inner": {"r_hat": float("nan"), "n": 3}}
PLAIN = {"nan": None, "rows": [1.5, None, [2, None]], "inner": {"r_hat": None, "n": 3}}


def strict(text: str):
    """Read JSON, and refuse NaN and Infinity, which Python's reader takes."""
    return json.loads(text, parse_constant=lambda name: 1 / 0)


def test_json_has_no_number_that_is_not_finite(tmp_path):
    records.write_json(tmp_path / "a.json", ODD)
    records.append_jsonl(tmp_path / "b.jsonl", {"step": 1} | ODD, {"step": 2} | ODD)
    records.drop_rows_after(tmp_path / "b.jsonl", 1)
    assert strict((tmp_path / "a.json").read_text()) == PLAIN
    assert [strict(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == [{"step": 1} | PLAIN]
