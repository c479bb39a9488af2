"""A part that is typed as a whole takes the place of what option files say."""

import pytest
from omegaconf import OmegaConf

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.whole_nodes import addable, take_whole_nodes
from mae_hydra.errors import UserError

SGD = "optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.1, momentum: 0.9}"


def test_nothing_is_left_of_the_option_file():
    config = compose_config([SGD])
    check(config)
    assert OmegaConf.to_container(config.optimizer) == {
        "_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "momentum": 0.9,
    }  # fmt: skip


def test_other_words_for_it_count():
    config = compose_config([SGD, "optimizer.lr=0.2", "+optimizer.nesterov=true"])
    assert (config.optimizer.lr, config.optimizer.nesterov) == (0.2, True)
    assert set(config.optimizer) == {"_target_", "_partial_", "lr", "momentum", "nesterov"}


def test_a_loss_is_seen_where_it_is_used():
    config = compose_config(["model=upernet_vitt", "loss={_target_: mae_hydra.models.DiceLoss, ignore_index: 7}"])
    check(config)
    assert OmegaConf.to_container(config.model.loss, resolve=True) == {
        "_target_": "mae_hydra.models.DiceLoss", "ignore_index": 7,
    }  # fmt: skip


def test_a_word_without_a_target_changes_what_it_names():
    assert compose_config(["optimizer={lr: 0.5}"]).optimizer.betas == [0.9, 0.95]


def test_an_optimizer_is_for_later():
    with pytest.raises(UserError, match="optimizer needs _partial_: true"):
        check(compose_config([SGD.replace("_partial_: true, ", "")]))


def test_each_top_node_that_a_word_gives_as_a_whole_holds_what_words_say():
    words = ["a={_target_: x, b: 1}", "a.b={_target_: x}", "+a={_target_: x}", "a={b: 1}", "a=_target_"]
    assert addable(words) == ["++a={_target_: x, b: 1}", *words[1:]]
    config = OmegaConf.create({
        "loss": {"_target_": "x", "b": 1, "old": 2, "c": 3}, "losses": {"_target_": "y", "old": 2},
        "head": {"_target_": "z", "old": 2}, "data": {"old": 2}, "name": "n",
    })  # fmt: skip
    words = ["++loss={_target_: x, b: 1}", "loss.c=3", "losses.old=2", "~head", "data={b: 1}", "name={_target_: a}",
             "++head={_target_: z}"]  # fmt: skip
    take_whole_nodes(config, words)
    assert config == {
        "loss": {"_target_": "x", "b": 1, "c": 3}, "losses": {"_target_": "y", "old": 2}, "head": {"_target_": "z"},
        "data": {"old": 2}, "name": "n",
    }  # fmt: skip
