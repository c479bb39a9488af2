"""What a file tells beside its tensors: each key from each of its writers, and values that are none."""

import argparse
import math
from typing import Any

import pytest

from mae_hydra.archive import Unfit
from mae_hydra.errors import UserError
from mae_hydra.weights import safe_unpickle
from mae_hydra.weights.containers import Content
from mae_hydra.weights.metadata import encoder_settings, metadata_of, norm_eps, normalization
from mae_hydra.weights.safe_unpickle import ACTIVE, Foreign, plain

HF = {"num_attention_heads": 6, "decoder_num_attention_heads": 4, "image_size": 64, "patch_size": 8}
ENCODER = {"num_heads": 6, "image_size": 64, "patch_size": 8}
PALETTE = [[0, 1, 2], [255, 4, 5]]


def told(**extras: Any) -> dict[str, Any]:
    return metadata_of(Content({}, extras))


def namespace(**values: Any) -> Foreign:
    made = Foreign()
    made.state = values
    return made


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        (
            {"config": {"seed": 3}, "step": 7, "meta": {"class_names": ["a", "b"], "palette": PALETTE}},
            {"config": {"seed": 3}, "step": 7, "class_names": ["a", "b"], "palette": PALETTE},
        ),
        (
            {"config": {}, "meta": {"class_names": ["a", "a", ""]}},
            {"config": {}, "class_names": ["a", "a (2)", "class 2"]},
        ),
        ({"config": {}, "step": 0}, {"config": {}, "step": 0}),
        ({"meta": {"class_names": ["a"]}, "step": 7}, {"step": 7}),  # without a configuration it is none of ours
        (
            {"args": namespace(norm_pix_loss=True, mask_ratio=0.6, lr=None), "epoch": 9},
            {"norm_pix": True, "mask_ratio": 0.6, "epoch": 9},
        ),
        (
            {"meta": {"CLASSES": ("a", "b"), "PALETTE": PALETTE, "iter": 5}},
            {"class_names": ["a", "b"], "palette": PALETTE, "step": 5},
        ),
        ({"meta": {"CLASSES": (), "iter": 5}}, {"step": 5}),
        (
            {"meta": {"dataset_meta": {"classes": ["c", "d"], "palette": PALETTE}, "CLASSES": ("a", "b"), "iter": 0}},
            {"class_names": ["c", "d"], "palette": PALETTE, "step": 0},
        ),
        (
            {"config.json": {"model_type": "vit_mae", "norm_pix_loss": False, "mask_ratio": 0.5, **HF}},
            {"encoder": ENCODER, "decoder": {"num_heads": 4}, "norm_pix": False, "mask_ratio": 0.5,
             "layer_norm_eps": 1e-12},
        ),
        (
            {"config.json": {"model_type": "pixio", **HF}},
            {"encoder": ENCODER, "decoder": {"num_heads": 4}, "layer_norm_eps": 1e-6},
        ),
        ({"config.json": {"model_type": "vit", "layer_norm_eps": 1e-5, **HF}},
         {"encoder": ENCODER, "decoder": {"num_heads": 4}, "layer_norm_eps": 1e-5}),
        ({"config.json": {"model_type": "beit", **HF}}, {}),
        ({"config.json": {"pretrained_cfg": {"mean": [0.5, 0], "std": [1, 0.25]}}},
         {"mean": [0.5, 0], "std": [1, 0.25]}),
        ({"config.json": {"pretrained_cfg": {"mean": [0.5, 0.5], "std": [0.5]}}}, {}),
        ({"config.json": {"pretrained_cfg": {"mean": [0.5, 0.5], "std": [0.5, 0.0]}}}, {}),
        ({"config.json": {"pretrained_cfg": {"mean": [0.5, math.inf], "std": [0.5, 0.5]}}}, {}),
        ({"mae_hydra": {"norm_pix": True, "encoder": ENCODER}}, {"norm_pix": True, "encoder": ENCODER}),
        (  # what we have written of a file counts before what lies beside it
            {"mae_hydra": {"norm_pix": True, "encoder": {"num_heads": 2}},
             "config.json": {"model_type": "vit_mae", "norm_pix_loss": False, **HF}},
            {"norm_pix": True, "encoder": {"num_heads": 2}, "decoder": {"num_heads": 4}, "layer_norm_eps": 1e-12},
        ),
        ({"epoch": True, "step": "7", "args": namespace(norm_pix_loss=1, mask_ratio="x")}, {}),
    ],
)  # fmt: skip
def test_each_writer_tells_what_it_knows_under_the_same_keys(extras: dict[str, Any], expected: dict[str, Any]) -> None:
    assert told(**extras) == expected


def test_a_palette_has_three_bytes_for_each_class() -> None:
    def kept(palette: Any) -> bool:
        return "palette" in told(config={}, meta={"class_names": ["a", "b"], "palette": palette})

    good = [PALETTE, [[0, 0, 0], [255, 255, 255]]]
    bad = [PALETTE[:1], [*PALETTE, [1, 1, 1]], [[0, 0, 0], [256, 0, 0]], [[0, 0, 0], [0, 0, -1]], [[0, 0, 0], [0, 0]],
           [[0, 0, 0], [0, 0, 0.5]], "no"]  # fmt: skip
    assert [kept(palette) for palette in [*good, *bad]] == [True] * 2 + [False] * 7
    assert metadata_of(Content({}, {}, ("a.B", "c.D"))) == {"ignored": ["a.B", "c.D"]}
    with pytest.raises(UserError, match="hidden_act=gelu_new; the models here compute gelu"):
        told(**{"config.json": {"model_type": "vit", "hidden_act": "gelu_new"}})


def test_an_epsilon_is_positive_and_a_normalization_is_of_the_data_where_there_are_some() -> None:
    encoder = {"config": {"model": {"encoder": {"norm_eps": 1e-5}}}, "layer_norm_eps": 1e-12}
    told = [encoder, {"layer_norm_eps": 1e-12}, {"layer_norm_eps": 0.0}, {"layer_norm_eps": -1e-6}, {}]
    assert [norm_eps(meta) for meta in told] == [1e-5, 1e-12, None, None, None]
    ours = {"config": {"model": {"encoder": {"a": 1}}}, "encoder": {"b": 2}}
    settings = [ours, {"config": {"model": {}}, "encoder": {"b": 2}}, {"encoder": 3}, {"config": {"model": "text"}}]
    assert [encoder_settings(meta) for meta in settings] == [{"a": 1}, {"b": 2}, {}, {}]
    own, mine = {"mean": [0.1], "std": [0.2]}, {"mean": [0.3], "std": [0.4]}
    found = [
        normalization(meta) for meta in (own, own | {"config": {"data": mine}}, own | {"config": {}}, {"mean": [0.1]})
    ]
    assert found == [([0.1], [0.2]), ([0.3], [0.4]), ([0.1], [0.2]), None]


def test_plain_values_are_numbers_texts_lists_and_tables_eight_levels_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = "end"
    for _ in range(9):
        deep = [deep]
    eight: Any = None
    for _ in range(8):
        eight = [eight]
    assert plain(deep) == eight
    assert plain({"a": (1, 2.5), 3: namespace(b=True), "c": argparse.Namespace(d=1), "e": Foreign()}) == {
        "a": [1, 2.5], "3": {"b": True}, "c": None, "e": None,
    }  # fmt: skip
    plain("a\ud800").encode()  # can be written down
    edges = [2**63 - 1, 2**63, -(2**63) + 1, -(2**63)]
    assert plain(edges) == [2**63 - 1, None, -(2**63) + 1, None]
    monkeypatch.setattr(safe_unpickle, "MOST_TOLD", 5)
    assert plain([1, 2, 3, 4]) == [1, 2, 3, 4]
    with pytest.raises(Unfit, match="tells more than 5 values"):
        plain([1, 2, 3, 4, 5])


def test_names_that_act_are_told_from_names_that_are_only_strange() -> None:
    acting = ["builtins.eval", "builtins.delattr", "__builtin__.exec", "builtins.__import__", "os.system", "io.open",
              "posix.system", "subprocess.Popen", "importlib.import_module", "torch.hub.load", "urllib2.urlopen",
              "torch.serialization.load", "_io.FileIO", "multiprocessing.pool.Pool"]  # fmt: skip
    strange = ["builtins.getattr", "builtins.evaluate", "oslo.config", "numpy.core.multiarray.scalar", "iota.Model",
               "argparse.Namespace", "signals.Signal", "mylab.os.system", "codec.Codec",
               "pathlib.PosixPath", "pathlib._local.PosixPath"]  # fmt: skip
    assert [ACTIVE.match(name) is not None for name in [*acting, *strange]] == [True] * 14 + [False] * 11
