"""What the site makes of files that are read in the repository as they are: README, the run directory's page, links to
sources."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "outputs/README.md": "run-directory.md"}  # where it lies -> what it is in the site


def on_files(files: Files, config: Any) -> Files:
    """README becomes the first page, `outputs/README.md` a page of the reference."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links are those of the repository: to a page of the site where it is one, else the bare name of the source."""
    markdown = markdown.replace("](docs/", "](")
    for source, name in PAGES.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(source)}\)", f"]({name})", markdown)
    return re.sub(r"\[([^\]]*)\]\((?:\.\./[^)]*|[A-Z]+(?:\.md)?)\)", r"\1", markdown)
