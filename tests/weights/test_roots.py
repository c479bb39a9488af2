"""Where in a larger file a model lies: which of several encoders is taken, and what of the rest belongs to it."""

import torch
from checkpoint_files import make_mae, official_names

from mae_hydra.weights.roots import Gathered, gather

WHOLE = official_names(make_mae(depth=1, out_indices=[0]))
DECODER = {name: value for name, value in WHOLE.items() if name.startswith("decoder_") or name == "mask_token"}
ENCODER = {name: value for name, value in WHOLE.items() if name not in DECODER}


def found(*roots: str, word: str = "", **more: torch.Tensor) -> Gathered:
    tensors = {f"{root}{name}": value for root in roots for name, value in ENCODER.items()}
    made = gather(tensors | more, word)
    assert made is not None
    return made


def test_weights_come_before_averages_a_teacher_before_its_student_and_the_shorter_root_before_the_longer() -> None:
    for roots, taken in (
        (("student.", "teacher."), "teacher."), (("ema.", "model.backbone."), "model.backbone."),
        (("momentum_net.", "teacher."), "teacher."), (("model.backbone.vit.", "net."), "net."),
        (("student.", "ema."), "student."), (("teacher.", "model."), "model."),
    ):  # fmt: skip
        both = [found(*order) for order in (roots, roots[::-1])]
        assert [made.root for made in both] == [taken, taken]
        assert [made.others for made in both] == [tuple(root for root in roots if root != taken)] * 2
        assert both[0].tensors.keys() == ENCODER.keys()
    three = found("model.", "other.", "ema.")
    assert (three.root, three.others) == ("model.", ("other.", "ema."))


def test_a_word_names_a_root_by_a_whole_word_of_it() -> None:
    roots = ("model.", "student_net.", "ema.")
    asked = [found(*roots, word=word) for word in ("", "student", "stud", "ema", "none")]
    assert [(made.root, made.obeyed) for made in asked] == [
        ("model.", True), ("student_net.", True), ("model.", False), ("ema.", True), ("model.", False),
    ]  # fmt: skip
    alone = [gather(WHOLE, word) for word in ("", "ema")]
    assert [made.obeyed for made in alone if made is not None] == [True, False]


def test_the_one_decoder_beside_an_encoder_is_its_own_and_of_two_none_is() -> None:
    one = {f"decoder.{name}": value for name, value in DECODER.items()}
    other = {f"more.{name}": value for name, value in DECODER.items()}
    rest = {"loss.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    whole, two = found("encoder.", **one, **rest), found("encoder.", **one, **other, **rest)
    assert (whole.tensors.keys(), whole.unused) == (WHOLE.keys(), ("loss.weight", "head.bias"))
    assert (two.tensors.keys(), two.unused) == (ENCODER.keys(), (*one, *other, *rest))
    assert all(torch.equal(whole.tensors[name], value) for name, value in WHOLE.items())
    stray = {"elsewhere.mask_token": torch.zeros(1, 1, 8)}  # of no decoder that has blocks
    assert found("encoder.", **one, **stray).unused == ("elsewhere.mask_token",)
