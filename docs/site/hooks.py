"""What the site makes of files that are read in the repository as they are: README, the page of the run directory,
notebooks, links to sources."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "outputs/README.md": "run-directory.md"}  # where it lies -> what it is in the site


def on_files(files: Files, config: Any) -> Files:
    """README becomes the first page, `outputs/README.md` a page of the reference, a notebook a page with its output."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        text, figures = page_of(json.loads(notebook.read_text()), notebook.stem)
        files.append(File.generated(config, f"{notebook.stem}.md", content=text))
        for name, content in figures.items():
            files.append(File.generated(config, name, content=content))
    return files


def page_of(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its figures by the names under which the page shows them."""
    figures: dict[str, bytes] = {}
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for kind, content in _outputs(cell):
            if kind == "image/png":
                name = f"images/{stem}_{len(figures)}.png"
                figures[name] = base64.b64decode(content)
                parts.append(f"![What this code shows]({name})")
            else:
                parts.append(f"```text\n{content.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", figures


def _outputs(cell: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            yield "text/plain", "".join(output["text"])
            continue
        told = output.get("data", {})
        kind = "image/png" if "image/png" in told else "text/plain"
        yield kind, "".join(told.get(kind, []))


LONGEST = 100  # characters of a command and its comment that stand side by side on a page
SHELL = re.compile(r"^```(?:bash|sh)?\n.*?^```$", re.DOTALL | re.MULTILINE)


def _comments_above(block: str) -> str:
    """Where the comment of a command would be wrapped, all comments of the block stand above their commands."""
    if max(map(len, block.splitlines())) <= LONGEST:
        return block
    lines = []
    for line in block.splitlines():
        command, _, comment = line.partition("  # ")
        lines += [f"# {comment}", command.rstrip()] if comment and not command.startswith("#") else [line]
    return "\n".join(lines)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links are those of the repository: to a page of the site where it is one, else the bare name of the source."""
    markdown = SHELL.sub(lambda block: _comments_above(block[0]), markdown).replace("](docs/", "](")
    markdown = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", markdown)
    for source, name in PAGES.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(source)}\)", f"]({name})", markdown)
    return re.sub(r"\[([^\]]*)\]\((?:\.\./[^)]*|[A-Z]+(?:\.md)?)\)", r"\1", markdown)
