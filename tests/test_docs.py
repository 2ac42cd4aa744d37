"""Pages name every file of the package; links lead somewhere, flags and commands are accepted, images are shown."""

import re
import shlex
from pathlib import Path

import pytest

from bnn_hvd import cli, config

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
OTHER_PROGRAMS = {"flagfile", "help", "gloo", "mca", "array"}  # flags of absl, horovodrun, mpirun, sbatch
FLAG_PAGES = [page for page in PAGES if page.parent in (REPOSITORY, REPOSITORY / "docs")]
HISTORY = ("CHANGELOG.md", "log.md", "legacy_flags.md")  # pages with flags of other times and programs


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get: lower case, hyphens for blanks, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_tree_names_every_file():
    tree = (REPOSITORY / "docs" / "tree.md").read_text()
    rooms = re.split(r"^ {6}(\w+)/ ", tree, flags=re.MULTILINE)
    text_of = dict(zip(rooms[1::2], rooms[2::2], strict=True)) | {"": rooms[0]}
    for path in (REPOSITORY / "bnn_hvd").rglob("*.py"):
        room = path.relative_to(REPOSITORY / "bnn_hvd").parts[0] if path.parent.name != "bnn_hvd" else ""
        if path.name != "__init__.py":
            assert re.search(rf"\b{path.name}\b", text_of[room]), path


def test_the_readme_can_be_read_at_once():
    assert len((REPOSITORY / "README.md").read_text().split()) <= 1400


@pytest.mark.parametrize("page", [page for page in FLAG_PAGES if page.name not in HISTORY], ids=lambda page: page.name)
def test_every_flag_that_a_page_names_exists(page):
    known = {name for verb in cli.VERBS.values() for name in config.flags_of(verb.config_type)} | OTHER_PROGRAMS
    assert not set(re.findall(r"(?<![\w-])--([a-z]\w+)", page.read_text())) - known


def commands(page: Path) -> list[list[str]]:
    """Return the commands of a page's code, as verb and flags; not those with `...` or shell variables in them."""
    lines = page.read_text().replace("\\\n", " ").splitlines()
    code = [line.partition("python -m bnn_hvd ")[2] for line in lines if line.startswith("    ")]
    return [
        shlex.split(re.split(r" [>|#] ", line)[0]) for line in code if line and not re.search(r"\.\.\.|[$<\"]", line)
    ]


@pytest.mark.parametrize("page", [page for page in FLAG_PAGES if page.name not in HISTORY], ids=lambda page: page.name)
def test_every_command_of_a_page_is_accepted(page, monkeypatch):
    monkeypatch.chdir(REPOSITORY)  # of configs/
    for verb, *args in commands(page):
        if args and not args[0].startswith("-"):
            args[0] = f"--{cli.VERBS[verb].word}={args[0]}"
        if "--flagfile=runs/" not in " ".join(args):
            cli.parse(cli.VERBS[verb].config_type, args)


def test_commands_are_found():
    assert sum(len(commands(page)) for page in FLAG_PAGES) > 40


def test_every_image_is_shown_on_a_page():
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    assert {path.name for path in (REPOSITORY / "docs" / "images").iterdir()} <= shown


def test_every_paper_that_the_equations_cite_is_among_the_references():
    text, references = (REPOSITORY / "docs" / "maths.md").read_text().split("## References")
    papers = re.split(r"\n- ", references)
    cited = set(re.findall(r"([A-Z][a-zé]+)(?:(?:,| &) [A-Z][\w-]+)*(?: et al\.)?,? \(?((?:19|20)\d\d)\b", text))
    assert len(cited) > 30
    assert not [(name, year) for name, year in cited if not any(name in one and f"({year})" in one for one in papers)]
