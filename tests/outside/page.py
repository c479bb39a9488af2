"""The code blocks of docs/extending.md, which are files of the package: `python tests/outside/page.py` renews them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "tests" / "outside" / "mylab"
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"(\[(\S+)\]\(\.\./tests/outside/mylab/\2\)\n\n```\w+\n)(.*?)(```\n)", re.DOTALL)


def blocks(page: str) -> dict[str, str]:
    """What stands in the page, by file."""
    return {match[2]: match[3] for match in BLOCK.finditer(page)}


def renewed(page: str) -> str:
    """The page with the files as they are."""
    return BLOCK.sub(lambda match: match[1] + (PROJECT / match[2]).read_text() + match[4], page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
