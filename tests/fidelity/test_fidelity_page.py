import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists():
    page = (TESTS.parent / "docs" / "fidelity.md").read_text()
    code = {path: path.read_text() for path in TESTS.rglob("test_*.py")}
    for name in re.findall(r"`(test_\w+)`", page):
        assert any(f"def {name}(" in text for text in code.values()), name
    for name in re.findall(r"`(?:tests/[\w/]+/)?(test_\w+\.py)`", page):
        assert any(path.name == name for path in code), name
