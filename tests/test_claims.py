"""scripts/check_claims.py: what it finds in a page with planted faults. The real pages are checked by `make claims`."""

import importlib.util

import pytest
import running

spec = importlib.util.spec_from_file_location("check_claims", running.REPOSITORY / "scripts" / "check_claims.py")
check_claims = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_claims)

KEPT = """
| network | kind | median ms | efficiency |
| --- | --- | --- | --- |
| FC | point | 0.157 | 1 |
| FC | flipout | 0.42 | 0.822 |
| conv | point | 1234 | **no** |
"""
TABLE = """
<!-- claims: kept.md
point: median ms; network={row}; kind=point
-->
<!-- settings: width -->

| network | width | point |
|---|---|---|
| FC | 64 | 0.16 |
| conv | 0.5 | 1,234 |
"""
TEXT = """
<!-- claims: kept.md
0.42: median ms; network=FC; kind=flipout
82: efficiency; network=FC; kind=flipout
-->

A step of `--rate=0.9` takes 0.42 ms, with
two ranks 82 % of it (TensorFlow 2.18, 300 draws).
"""
TESTED = "<!-- tested: limit.py: 2e-3 -->\n\nIt is good to 2e-3.\n"


def faults(folder, text, page="speed.md"):
    """Return the faults of a page, beside a kept result and a test with a limit."""
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / page).write_text(f"# A page\n{text}")
    (folder / "kept.md").write_text(KEPT)
    (folder / "limit.py").write_text("assert error < 2e-3\n")
    return check_claims.check(folder)[0]


@pytest.mark.parametrize("text", [TABLE, TEXT, TESTED, "No number, but 64 units, `0.5` and [1.5 ms](a_1.5.md).\n"])
def test_numbers_that_are_the_kept_ones_rounded_pass(tmp_path, text):
    found = faults(tmp_path, text.replace("[1.5 ms]", "[it]"))
    assert found == []


@pytest.mark.parametrize(
    ("text", "right", "wrong", "said"),
    [
        (TABLE, "0.16 |", "0.15 |", "0.15 (FC) is 0.157 in kept.md"),
        (TABLE, "1,234", "1,235", "1,235 (conv) is 1234 in kept.md"),
        (TABLE, "| FC |", "| FD |", "0 rows of kept.md"),
        (TABLE, "settings: width", "settings: depth", "64 has no source, in FC, width".replace("in FC", "in 'FC'")),
        (TABLE, "kind=point", "kind=point; kind2=x", "0 rows of kept.md"),
        (TABLE, "; kind=point", "", "2 rows of kept.md"),
        (TABLE, "claims: kept.md", "claims: lost.md", "there is no lost.md"),
        (TEXT, "82 %", "83 %", "83 has no source"),
        (TEXT, "82", "83", "83 (83) is 0.822 in kept.md"),
        (TEXT, "takes 0.42", "takes 0.4", "the claim `0.42: median ms` is about nothing"),
        (TEXT, "82 %", "82 %, and 1.5 times", "1.5 has no source"),
        (TEXT, "82 %", "82 %, 7 to 8 minutes", "7 has no source"),
        (TEXT, "0.42: median", "0.42 median", "is not `NUMBER: COLUMN; name=value; ...`"),
        (TESTED, "2e-3", "3e-3", "3e-3 (3e-3) is missing in limit.py"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, text, right, wrong, said):
    assert right in text
    found = faults(tmp_path, text.replace(right, wrong))
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(("page", "allowed"), [("churn.md", True), ("results.md", False), ("speed.md", False)])
@pytest.mark.parametrize("comment", ["<!-- not kept: too long -->", "<!-- not kept on this page: too long -->"])
def test_results_that_were_not_kept_are_listed_and_some_pages_have_none(tmp_path, page, allowed, comment):
    found = faults(tmp_path, f"{comment}\n\nIt took 1.5 s.\n", page)
    assert found == ([] if allowed else [f"docs/{page}: 1.5 has no source, in 'It took 1.5 s.', 1.5"])
    assert bool(check_claims.check(tmp_path)[2]) == allowed


def test_the_comment_is_of_the_next_paragraph_alone(tmp_path):
    assert faults(tmp_path, TEXT + "\nIt takes 0.42 ms.\n") == [
        "docs/speed.md: 0.42 has no source, in 'It takes 0.42 ms.', 0.42"
    ]


@pytest.mark.parametrize(("shown", "fits"), [("0.93", True), ("0.007", True), ("0.0070", True), ("0.008", False)])
def test_of_a_mean_with_its_spread_either_may_be_quoted(tmp_path, shown, fits):
    kept = KEPT.replace("0.157", "0.9315 (0.00699)")
    text = TABLE.replace("0.16 |", f"{shown} |")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "speed.md").write_text(f"# A page\n{text}")
    (tmp_path / "kept.md").write_text(kept)
    assert (check_claims.check(tmp_path)[0] == []) == fits
