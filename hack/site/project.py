"""A hook of MkDocs: pages and files from outside docs/, and the links to them.

Links in Markdown files stay right on GitHub; here they are rewritten for the places that the files have on the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# page of the site -> file of the project
PAGES = {
    "index.md": "README.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/conduct.md": "CODE_OF_CONDUCT.md",
    "project/security.md": "SECURITY.md",
    "reference/chart.md": "charts/chaski/README.md",
}
_FILES = "files"  # folder of the site for linked files that are no pages
_LINK = re.compile(r"(?P<label>!?\[(?P<text>[^\]]*)\])\((?!https?:|mailto:|#)(?P<link>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"(?ms)^( *```.*?^ *```|`[^`\n]+`)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and each file of the project that a page links to."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for page in files.documentation_pages():
        for target in _links(page.content_string, _source(page.src_uri)):
            name = f"{_FILES}/{target}"
            if _site_path(target) == name and files.get_file_from_path(name) is None and (ROOT / target).is_file():
                files.append(File.generated(config, name, content=(ROOT / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrites the links of a page."""
    source = _source(page.file.src_uri)
    if source is None:
        return markdown
    start = posixpath.dirname(page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        target = _target(match["link"], source)
        if (ROOT / target).is_dir():  # which no site can show
            return match["text"]
        return f"{match['label']}({posixpath.relpath(_site_path(target), start or '.')}{match['anchor'] or ''})"

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(rewritten, part) for number, part in enumerate(parts))


def _source(page: str) -> str | None:
    """The file of the project that a page is made from; None: it is generated, with links for the site."""
    if page in PAGES:
        return PAGES[page]
    return f"docs/{page}" if (ROOT / "docs" / page).is_file() else None


def _links(text: str, source: str | None) -> list[str]:
    """The files of the project that a text links to."""
    if source is None:
        return []
    parts = _CODE.split(text)[::2]
    return [_target(match["link"], source) for part in parts for match in _LINK.finditer(part)]


def _target(link: str, source: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _site_path(target: str) -> str:
    """Where a file of the project is on the site."""
    for page, source in PAGES.items():
        if target == source:
            return page
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{_FILES}/{target}"
