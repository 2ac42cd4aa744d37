"""scripts/site/: what the site of the documentation is made of. `make docs` builds it, and finds dead links."""

import json
import posixpath
import re
from pathlib import Path

import pytest

from bnn_hvd import cli, config
from scripts.site import docstrings, flags, notebooks, pages

REPOSITORY = Path(__file__).resolve().parents[1]
PLACES = pages.places(REPOSITORY)
FLAG_PAGES = flags.pages()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_page_of_a_verb_has_every_flag_of_its_help(verb):
    page = FLAG_PAGES[f"flags/{verb}.md"]
    names = re.findall(r"^  --(\w+)", cli.help_text(verb), re.MULTILINE)
    assert names
    for name in names:
        assert f"### `--{name}` {{ #{name} }}\n" in page or f"- [`--{name}`](" in page, name
    for linked, name in re.findall(r"\((\w+\.md)#(\w+)\)", page):
        assert f"{{ #{name} }}" in FLAG_PAGES[f"flags/{linked}"], name


def test_a_flag_has_its_default_its_choices_and_what_does_not_use_it():
    fields = config.flags_of(config.TrainConfig)
    prior, schedule = flags.entry("prior", fields["prior"]), flags.entry("lr_schedule", fields["lr_schedule"])
    assert "Default: `normal`." in prior
    assert "One of `normal`, `scale_mixture`." in prior
    assert "`--prior_scale`" not in prior
    assert "Default with `vi`: `tail`" in schedule
    assert "`hmc`" in schedule.partition("Not with ")[2]
    assert "| `lenet5` | conv 6 and 16" in flags.entry("architecture", fields["architecture"])


def test_a_study_says_which_of_its_defaults_for_the_runs_are_its_own():
    page = FLAG_PAGES["flags/churn.md"]
    assert "- [`--optimizer`](train.md#optimizer), here by default `sgd`\n" in page
    assert "- [`--learning_rate`](train.md#learning_rate)\n" in page
    assert "- [`--num_draws`](predict.md#num_draws), here by default `64`\n" in FLAG_PAGES["flags/compare.md"]


def test_a_help_text_is_shown_as_it_is():
    assert flags.as_markdown("of `a|b`, |loc| < 2* --x=3, see docs/data.md") == (
        "of `a|b`, &#124;loc&#124; &#60; 2&#42; `--x=3`, see [data](../data.md)"
    )


@pytest.mark.parametrize("name", [name for name in PLACES if name.endswith(".md")])
def test_a_link_of_a_page_leads_to_a_page_of_the_site(name):
    text = pages.in_site(name, (REPOSITORY / name).read_text(), PLACES)
    assert "<!--" not in text
    for link in pages.LINK.finditer(text):
        if "://" not in link[0]:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(PLACES[name]), link["target"]))
            assert target in PLACES.values() or (REPOSITORY / "docs" / target).is_file(), link[0]


def test_no_two_files_have_one_page():
    assert len(set(PLACES.values())) == len(PLACES)


def test_links_are_moved_and_all_else_is_kept():
    known = {"README.md": "index.md", "docs/a.md": "a.md", "code.py": "source/code.py.md"}
    text = "[a](docs/a.md#part) [b](code.py) [c](https://x.y) `x[0](1)` ![d](docs/images/d.png) [e](gone.md)"
    assert pages.in_site("README.md", text, known) == (
        "[a](a.md#part) [b](source/code.py.md) [c](https://x.y) `x[0](1)` ![d](images/d.png) [e](gone.md)"
    )
    assert pages.in_site("docs/a.md", "[b](../code.py) [r](../README.md)", known) == (
        "[b](source/code.py.md) [r](index.md)"
    )


def test_a_folder_lists_its_files_and_a_file_is_shown():
    listed = pages.source(REPOSITORY / "configs", REPOSITORY, PLACES)
    assert "- [quickstart.cfg](quickstart.cfg.md)\n" in listed
    shown = pages.source(REPOSITORY / "configs" / "quickstart.cfg", REPOSITORY, PLACES)
    assert (REPOSITORY / "configs" / "quickstart.cfg").read_text() in shown


def test_a_notebook_is_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [
            {"output_type": "stream", "text": ["1\n"]},
            {"output_type": "display_data", "data": {"image/png": "aGVsbG8="}},
        ]},
    ]  # fmt: skip
    text, figures = notebooks.page(json.dumps({"cells": cells}), "sine")
    assert text == ("# Title\ntext\n\n````python\nprint(1)\n````\n\n````text\n1\n````\n\n![Figure 1](sine_1.png)\n")
    assert figures == {"sine_1.png": b"hello"}


def test_arguments_in_a_docstring_have_a_heading():
    docstring = "Do it.\n\nx: [N], raw:\n  all of it.\nseed: of the draws.\n\nNote: no argument.\n\nRaises:\n  E: why."
    heading, x, more, *rest = docstrings.with_heading(docstring, ["x", "seed"]).split("\n")[2:]
    assert [heading, x, more] == ["Args:", "    x: [N], raw:", "        all of it."]
    assert rest == ["    seed: of the draws.", "", "Note: no argument.", "", "Raises:", "  E: why."]
    assert docstrings.with_heading("x: text", []) == "x: text"


def test_each_of_several_attributes_has_a_line():
    docstring = "A run.\n\nAttributes:\n  x: [N].\n  a, b, c: of\n    each.\n  n: S, T: U."
    assert docstrings.with_each_attribute(docstring) == (
        "A run.\n\nAttributes:\n  x: [N].\n  a: of\n    each.\n  b: see `a`.\n  c: see `a`.\n  n: S, T: U."
    )
