"""A part that is typed as a whole takes the place of what option files say."""

import pytest
from omegaconf import OmegaConf

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
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
