"""What tests of pages share."""

import pytest
from markupsafe import Markup

from mae_hydra.report.page import Page


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are made and not drawn, which is most of what a page costs; `test_report` looks at drawn ones."""
    monkeypatch.setattr(Page, "chart", lambda *told, **more: Markup("<figure></figure>"))
