"""What MkDocs does not do itself (mkdocs.yml): pages of other files than docs/*.md, links to them, and formulas."""

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml import converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import bnn_hvd
from bnn_hvd.config import PredictConfig
from scripts.site import flags, notebooks, pages

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = ("site.css", "iframe-worker.js")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
INLINE_CODE = re.compile(r"<code>[^<\n]*</code>")
API = f"""# The Python API

[From Python](python.md) is the introduction. Legend of the shapes: N examples, C classes, S posterior draws. Entropies
are in nats. `NUM_DRAWS` is {PredictConfig.num_draws}, as for `predict` of the command line.

"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the page of each verb into the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    reference[0] = {"Flags": list(flags.pages())}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files, or of the code."""
    made: dict[str, str | bytes] = {**flags.pages(), "api.md": api()}
    for name, place in PLACES.items():
        path = REPOSITORY / name
        if path.suffix == ".ipynb":
            made[place], figures = notebooks.page(path.read_text(), path.stem)
            made |= {f"tutorials/{figure}": content for figure, content in figures.items()}
        elif path.suffix != ".md":
            made[place] = pages.source(path, REPOSITORY, PLACES)
        elif not name.startswith("docs/"):
            made[place] = path.read_text()
    made |= {f"assets/{name}": (Path(__file__).parent / name).read_text() for name in ASSETS}
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def api() -> str:
    """Return the page of the API: what `bnn_hvd` has, in its own order."""
    return API + "\n\n".join(f"::: {module}.{name}" for name, module in bnn_hvd.PLACES.items()) + "\n"


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Return the Markdown of a page with links to the places of the site."""
    name = FILES.get(page.file.src_uri)
    return pages.in_site(name, markdown, PLACES) if name and name.endswith((".md", ".ipynb")) else markdown


def on_page_content(content: str, **kwargs: Any) -> str:
    """Return a page with its formulas as MathML, which browsers show without a script, and with flags in one piece."""
    return INLINE_CODE.sub(_unbroken, FORMULA.sub(_formula, content))


def _formula(found: re.Match[str]) -> str:
    formula = converter.convert(html.unescape(found[2]), display="inline" if found[1] == "span" else "block")
    return formula if found[1] == "span" else f'<div class="formula">{formula}</div>'


def _unbroken(code: re.Match[str]) -> str:
    return re.sub(r"(?<![\w-])--\w+", r'<span class="flag">\g<0></span>', code[0])


PLACES = pages.places(REPOSITORY)
FILES = {place: name for name, place in PLACES.items()}
