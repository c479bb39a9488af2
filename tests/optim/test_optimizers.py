"""Optimizers of torch and timm over layer-wise groups: what they are given, and that they go on as if never stopped."""

import copy
import inspect
from functools import partial

import pytest
import timm.optim
import torch
from torch import nn

from mae_hydra.optim import MuonAdamW, adamw, describe_groups, lars, muon, named, optimizer_of
from mae_hydra.optim.muon import matrices_of_blocks

SETTINGS = {
    "lr": 0.01, "base_lr": None, "global_batch": 8, "weight_decay": 0.1, "layer_decay": 0.5, "decay_rule": "finetune",
}  # fmt: skip
MUON = {
    "momentum": 0.95, "nesterov": True, "ns_steps": 5, "adjust_lr_fn": "match_rms_adamw", "betas": [0.9, 0.95],
    "eps": 1e-8,
}  # fmt: skip
ELSEWHERE = ("bnb", "fused")  # timm's names for optimizers of other packages


class Tiny(nn.Module):
    """A network with an embedding, two blocks, and a head."""

    num_depths = 4

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(4, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def depth_of(self, name: str) -> int:
        return {"embed": 0, "head": 3}.get(name.split(".")[0]) or (
            int(name.split(".")[1]) + 1 if "blocks" in name else 0
        )

    def forward(self, values):
        values = self.embed(values)
        for block in self.blocks:
            values = values + block(values)
        return self.head(values)


def update(model, optimizer, step):
    source = torch.Generator().manual_seed(step)
    optimizer.zero_grad()
    (model(torch.randn(8, 4, generator=source)) - torch.randn(8, 3, generator=source)).square().mean().backward()
    optimizer.step()


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", ["SGD", "lion", "RAdam", "lamb"])
def test_groups_are_those_of_layer_decay(name):
    model = Tiny()
    optimizer = optimizer_of(model, partial(named, name=name, **SETTINGS))
    scales = {n: group["lr_scale"] for group in optimizer.param_groups for n in group["names"]}
    assert scales == {n: 0.5 ** (3 - model.depth_of(n)) for n, _ in model.named_parameters()}
    for group in optimizer.param_groups:
        assert group["lr"] == group["initial_lr"] == 0.01 * group["lr_scale"]
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_what_a_name_builds_is_that_class_with_its_options():
    made = named(Tiny(), name="SGD", options={"momentum": 0.9, "nesterov": True}, **SETTINGS)
    assert type(made) is torch.optim.SGD
    assert {(group["momentum"], group["nesterov"]) for group in made.param_groups} == {(0.9, True)}
    assert type(named(Tiny(), name="lion", options={"betas": [0.9, 0.98]}, **SETTINGS)) is timm.optim.Lion


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"name": "sgdd"}, "name must be of an optimizer of torch.optim or timm"),
        ({"name": "Optimizer"}, "name must be of an optimizer of torch.optim or timm"),
        ({"name": "Muon"}, "optimizer=muon gives the other parameters to AdamW"),
        ({"name": "LBFGS"}, "asks for the loss several times"),
        ({"name": "adahessian"}, "wants second derivatives"),
        ({"name": "kron"}, "draws numbers"),
        ({"name": "kronw"}, "draws numbers"),
        ({"name": "SparseAdam"}, "for sparse gradients"),
        ({"name": "fusedadam"}, r"must be of an optimizer that is installed: fusedadam is not"),
        ({"name": "Rprop"}, "weight_decay must be 0 for Rprop"),
        ({"name": "SGD", "options": {"momentun": 0.9}}, "options.momentun is not an argument of SGD"),
        (
            {"name": "lion", "options": {"weight_decay": 0.1}},
            "options.weight_decay would say again what weight_decay says",
        ),
        ({"name": "SGD", "options": {"lr": 0.1}}, "options.lr would say again what lr says"),
        ({"name": "SGD", "lr": None}, "lr and base_lr are both null"),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        named(Tiny(), **(SETTINGS | words))


EVERY = sorted(
    {
        name
        for name in timm.optim.list_optimizers()
        if not name.startswith(ELSEWHERE) and not name.startswith(("adahessian", "kron"))
    }
    | {name for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    - {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
)


@pytest.mark.parametrize("name", ["muon of torch", *EVERY])
def test_an_optimizer_goes_on_to_the_same_bits(name):
    settings = SETTINGS | ({"weight_decay": 0.0} if name == "Rprop" else {})
    of_torch = name == "muon of torch"
    factory = partial(muon, **SETTINGS, **MUON) if of_torch else partial(named, name=name, **settings)
    whole = Tiny()
    optimizer = optimizer_of(whole, factory)
    for step in range(3):
        update(whole, optimizer, step)
    cut = Tiny()
    cut.load_state_dict(copy.deepcopy(whole.state_dict()))
    state = copy.deepcopy(optimizer.state_dict())
    begun = bits(whole)
    for step in range(3, 6):
        update(whole, optimizer, step)
    assert not same(bits(whole), begun)
    again = optimizer_of(cut, factory)
    again.load_state_dict(state)
    for step in range(3, 6):
        update(cut, again, step)
    assert same(bits(whole), bits(cut))


def test_muon_moves_matrices_as_torchs_and_the_rest_as_adamw():
    ours, theirs = Tiny(), Tiny()
    optimizer = optimizer_of(ours, partial(muon, **(SETTINGS | {"layer_decay": 1.0}), **MUON))
    assert isinstance(optimizer, MuonAdamW)
    of_blocks = [theirs.blocks[0][1].weight, theirs.blocks[1][1].weight]
    assert list(matrices_of_blocks(theirs)) == ["blocks.0.1.weight", "blocks.1.1.weight"]
    rest = [p for p in theirs.parameters() if all(p is not matrix for matrix in of_blocks)]
    decayed = [
        {"params": [p for p in rest if p.ndim > 1]},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    both = [
        torch.optim.Muon(of_blocks, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(decayed, lr=0.01, weight_decay=0.1, betas=(0.9, 0.95)),
    ]
    for step in range(4):
        update(ours, optimizer, step)
        source = torch.Generator().manual_seed(step)
        theirs.zero_grad()
        (theirs(torch.randn(8, 4, generator=source)) - torch.randn(8, 3, generator=source)).square().mean().backward()
        for each in both:
            each.step()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-6, atol=1e-7, msg=name)


def test_every_argument_of_muon_reaches_its_part():
    told = {"momentum": 0.8, "nesterov": False, "ns_steps": 3, "adjust_lr_fn": "original", "eps": 1e-5}
    optimizer = optimizer_of(Tiny(), partial(muon, **SETTINGS, **told, betas=[0.7, 0.8]))
    kinds = {which: [group for group in optimizer.param_groups if group["muon"] == which] for which in (True, False)}
    of_muon = {key: told[key] for key in ("momentum", "nesterov", "ns_steps", "adjust_lr_fn")}
    for group in kinds[True]:
        assert {key: group[key] for key in of_muon} == of_muon
        assert group["weight_decay"] == 0.1
    for group in kinds[False]:
        assert (group["betas"], group["eps"]) == ((0.7, 0.8), 1e-5)
    assert {name for group in kinds[True] for name in group["names"]} == set(matrices_of_blocks(Tiny()))
    inner = nn.ModuleDict({"neck": nn.Sequential(nn.Linear(2, 2)), "late_blocks": nn.ModuleList([nn.Linear(2, 2)])})
    parts = nn.ModuleDict({"encoder": inner, "blocks": nn.Linear(2, 2)})  # a layer of that name is no list of them
    assert list(matrices_of_blocks(parts)) == ["encoder.late_blocks.0.weight"]
    with pytest.raises(ValueError, match=r"betas must be two numbers, got \[0.9\]"):
        muon(Tiny(), **SETTINGS, **(MUON | {"betas": [0.9]}))


@pytest.mark.parametrize(
    "factory",
    [
        partial(adamw, betas=[0.9, 0.95], eps=1e-8),
        partial(lars, momentum=0.9, trust=0.001),
        partial(muon, **MUON),
        partial(named, name="SGD"),
    ],
    ids=["adamw", "lars", "muon", "named"],
)
def test_every_factory_hands_on_rate_decay_and_rule(factory):
    """base_lr * 512 / 256, halved by the depth; fine-tuning spares a table of positions, pre-training does not."""
    model = Tiny()
    model.pos_embed = nn.Parameter(torch.zeros(1, 2, 6))
    settings = {"lr": None, "base_lr": 0.25, "global_batch": 512, "weight_decay": 0.1, "layer_decay": 0.5}
    for rule, of_table in (("finetune", 0.0), ("pretrain", 0.1)):
        found = {
            name: (group["lr"], group["weight_decay"])
            for group in factory(model, **settings, decay_rule=rule).param_groups
            for name in group["names"]
        }
        assert found == {
            name: (0.5 * 0.5 ** (3 - model.depth_of(name)), 0.1 if p.ndim == 2 else of_table if p.ndim == 3 else 0.0)
            for name, p in model.named_parameters()
        }


@pytest.mark.parametrize("factory", [partial(lars, momentum=0.0, trust=0.001), partial(muon, **MUON)])
def test_a_step_with_a_closure_has_gradients_there_and_gives_its_loss(factory):
    model = Tiny()
    optimizer = factory(model, **SETTINGS)
    before = bits(model)

    def closure():
        loss = model(torch.ones(1, 4)).square().mean()
        loss.backward()
        return loss.item()

    expected = model(torch.ones(1, 4)).square().mean().item()
    assert optimizer.step(closure) == expected
    assert not same(before, bits(model))


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", True), ("momentum", False)])
def test_timms_own_variants_of_a_class_are_kept_apart(name, nesterov):
    """One class with other defaults: timm's table has them, and its momentum."""
    group = optimizer_of(Tiny(), partial(named, name=name, **SETTINGS)).param_groups[0]
    assert (group["nesterov"], group["momentum"]) == (nesterov, 0.9)


def test_muon_has_layer_decay_and_wants_blocks():
    model = Tiny()
    optimizer = optimizer_of(model, partial(muon, **SETTINGS, **MUON))
    scales = {n: group["lr_scale"] for group in optimizer.param_groups for n in group["names"]}
    assert scales == {n: 0.5 ** (3 - model.depth_of(n)) for n, _ in model.named_parameters()}
    model.blocks.requires_grad_(False)
    with pytest.raises(ValueError, match="no linear layer of a block is trained"):
        muon(model, **SETTINGS, **MUON)


def test_a_class_of_torchs_gets_the_groups_of_the_model():
    made = optimizer_of(Tiny(), partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.3))
    assert [(group["lr"], group["initial_lr"], group["weight_decay"]) for group in made.param_groups] == [
        (0.1, 0.1, 0.3), (0.1, 0.1, 0.0),
    ]  # fmt: skip
    assert {group["weight_decay"] for group in optimizer_of(Tiny(), torch.optim.AdamW).param_groups} == {0.01, 0.0}
    assert [group["lr"] for group in optimizer_of(Tiny(), torch.optim.Rprop).param_groups] == [0.01, 0.01]


def test_a_class_of_ones_own_gets_the_groups_of_pre_training_and_must_have_a_rate():
    class Own(torch.optim.SGD):
        def __init__(self, params, lr, weight_decay=0.2):
            super().__init__(params, lr=lr, weight_decay=weight_decay)

    model = Tiny()
    model.cls_token = nn.Parameter(torch.zeros(1, 1, 6))
    decayed, spared = optimizer_of(model, partial(Own, lr=0.1)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    assert "cls_token" in decayed["names"]
    assert all(name.endswith("bias") or ".0." in name for name in spared["names"])
    with pytest.raises(ValueError, match="lr must be given: Own has none of its own"):
        optimizer_of(model, Own)


def test_somebodys_groups_need_no_keys_of_ours():
    model = Tiny()
    made = optimizer_of(model, lambda model: torch.optim.SGD(model.parameters(), lr=0.3))
    (group,) = made.param_groups
    assert (group["initial_lr"], group["names"]) == (0.3, [name for name, _ in model.named_parameters()])
    assert [(row["lr"], row["depth"]) for row in describe_groups(made)] == [(0.3, None)]
    bare = describe_groups(torch.optim.SGD(model.parameters(), lr=0.2))
    assert [(row["lr"], row["lr_scale"]) for row in bare] == [(0.2, 1.0)]
    with pytest.raises(ValueError, match=r"must give a torch.optim.Optimizer, got a dict"):
        optimizer_of(model, lambda model: {})
