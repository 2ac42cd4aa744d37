"""scripts/same_bits.py: when it calls two revisions equal, and how it spells flags for each. Nothing is trained."""

import importlib.util
import subprocess
import sys

import pytest
import running

spec = importlib.util.spec_from_file_location("same_bits", running.REPOSITORY / "scripts" / "same_bits.py")
same_bits = importlib.util.module_from_spec(spec)
spec.loader.exec_module(same_bits)

SHA, OTHER, REFUSED = "0123456789abcdef", "0123456789abcdee", "error: 2: bnn_hvd: error: unknown flag"


def results(**changes):
    """Return results of one revision, the same for every case; `changes` are other weights of cases on two ranks."""
    found = {
        ranks: {name: {"weights": SHA, "predictions": SHA} for name in same_bits.names(ranks, quick=True)}
        for ranks in same_bits.RANKS
    }
    for name, weights in changes.items():
        found[2][name]["weights"] = weights
    return found


def unequal(a, b):
    return {row[:3]: row[3:] for row in same_bits.compare(a, b, quick=True) if row[-1] != "yes"}


def test_equal_results():
    rows = same_bits.compare(results(), results(), quick=True)
    assert len(rows) == 2 * sum(len(same_bits.names(ranks, quick=True)) for ranks in same_bits.RANKS)
    assert {row[3:] for row in rows} == {(SHA[:12], SHA[:12], "yes")}


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [(SHA, OTHER, "NO"), (SHA, REFUSED, "error"), (REFUSED, SHA, "error"), (REFUSED, REFUSED, "error")],
)
def test_a_difference_and_an_error_are_not_equal(a, b, equal):
    """The checksums differ only after the digits that are shown; two equal errors do not count as equal."""
    found = unequal(results(swag=a), results(swag=b))
    assert list(found) == [("swag", "2", "weights")]
    assert found["swag", "2", "weights"][-1] == equal


def test_a_case_without_a_result_is_an_error():
    a, b = results(), results()
    del a[2], b[2], b[1]["hmc_linear"]
    found = unequal(a, b)
    assert {row[-1] for row in found.values()} == {"error"}
    assert {name for name, ranks, _ in found if ranks == "1"} == {"hmc_linear"}
    assert {name for name, ranks, _ in found if ranks == "2"} == set(same_bits.names(2, quick=True))


def test_flags_are_spelt_as_the_revision_knows_them():
    words = ["--network=fc", "--bayesian_biases", "--seed=7"]
    known = same_bits.flags_in("network:\n  --architecture\n      instead of --network\n  --seed=0\n")
    assert known == {"architecture", "seed"}
    assert same_bits.spelled(words, known) == ["--architecture=fc", "--bayesian_biases", "--seed=7"]
    assert same_bits.spelled(words, {"network", "seed"}) == words


def test_table():
    assert same_bits.table([("swag", "2", "weights", "0123", "error: a|b", "error")]).splitlines() == [
        "| case | ranks | of | A | B | equal |",
        "| --- | --- | --- | --- | --- | --- |",
        "| swag | 2 | weights | 0123 | error: a\\|b | error |",
    ]


def refuses(argv):
    print(f"remark\nbnn_hvd: error: {argv[1:]}", file=sys.stderr)
    return 2


def fails(argv):
    raise ValueError(argv[1])


@pytest.mark.parametrize(
    ("cli", "result"),
    [
        (lambda argv: 0, ""),
        (refuses, "error: 2: bnn_hvd: error: ['train', '--seed=7']"),
        (fails, "error: 1: ValueError: train"),
    ],
)
def test_a_command_that_fails_says_why(cli, result):
    assert same_bits.attempt(cli, ["train", "--seed=7"]) == result


def test_a_python_without_horovodrun_beside_it_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "python").symlink_to("/bin/false")
    script = running.REPOSITORY / "scripts" / "same_bits.sh"
    done = subprocess.run(
        [str(script), "HEAD", "."],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "activate the environment first" in done.stderr
