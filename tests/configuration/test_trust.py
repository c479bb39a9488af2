"""Which dotted names are below which, and what is judged by its name alone."""

import pytest

from mae_hydra.configuration.trust import is_below, judge
from mae_hydra.errors import UserError


@pytest.mark.parametrize(
    ("name", "below"),
    [("torch.nn", True), ("torch.nn.Linear", True), ("torch.nnx.Linear", False), ("torch", False), ("nn", False)],
)
def test_a_name_is_below_a_module_where_a_dot_says_so(name, below):
    assert is_below(name, ["torch.nn"]) is below


@pytest.mark.parametrize("origin", ["file", "model", "person"])
@pytest.mark.parametrize("name", ["models._Hidden", "modelsx.MAE", "models.mae.mae.MAE"])
def test_of_a_room_only_its_public_names_are_looked_for(name, origin):
    with pytest.raises(UserError, match="is not built; "):  # and not: cannot be found
        judge(f"mae_hydra.{name}", "model", origin)
