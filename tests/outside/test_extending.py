"""docs/extending.md is the package, explained; `python tests/outside/page.py` renews the code in it."""

from page import PAGE, PROJECT, blocks, renewed

from mae_hydra.types import Callback, Encoder, Evaluator, Head, MaskedEncoder, PixelLoss, Tracker


def test_the_code_on_the_page_is_that_of_the_files():
    page = PAGE.read_text()
    assert renewed(page) == page
    parts = {str(path.relative_to(PROJECT)) for path in (PROJECT / "mylab").glob("*.py")} - {"mylab/__init__.py"}
    assert parts <= blocks(page).keys()
    assert all(len(text) > 50 for text in blocks(page).values())


def test_the_page_names_all_that_a_part_owes():
    page = PAGE.read_text()
    for contract in (Encoder, MaskedEncoder, Head, PixelLoss, Evaluator, Tracker, Callback):
        members = {name for name in [*vars(contract), *contract.__annotations__] if not name.startswith("_")}
        assert [name for name in members if f"`{name}" not in page] == [], contract.__name__
