"""The documentation names every file of the package, and every link in it leads somewhere."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


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
