"""The first sample that a run can read, before anything large is built."""

from types import SimpleNamespace
from typing import Any

import pytest

from mae_hydra.errors import UserError
from mae_hydra.experiment import first_look


class Spoiled:
    """Samples of their numbers; those of `bad` cannot be read."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        if index in self.bad:
            raise UserError(f"sample {index} is damaged")
        return index


@pytest.mark.parametrize(
    ("bad", "share", "found"), [((), 0.0, 0), ((0,), 0.0, None), ((0, 3, 1), 0.1, 4), (range(5), 0.1, None)]
)
def test_what_takes_the_place_of_a_damaged_first_sample_may_be_damaged_too(
    monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...], share: float, found: int | None
) -> None:
    monkeypatch.setattr(first_look, "replacements", lambda *place: iter([3, 1, 4, 2]))
    data: Any = SimpleNamespace(train=Spoiled(*bad), max_bad_share=share)
    if found is None:
        with pytest.raises(UserError, match="sample 0 is damaged"):
            first_look._first_readable(data, 7)
    else:
        assert first_look._first_readable(data, 7) == found
