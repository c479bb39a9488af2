"""Which of several state dicts in a file is meant."""

from pathlib import Path

import torch

from mae_hydra.weights.parts import choose, is_average, remark, split_word


def test_the_sums_of_a_log_are_no_second_model_however_many_names_they_have():
    weights = {f"blocks.{number}.weight": torch.zeros(2, 2) for number in range(9)}
    sums = {f"train/{number}": torch.tensor(1.0) for number in range(20)}
    assert choose({"model": weights, "window": sums}, "").others == ()
    assert choose({"model": weights, "model_ema": weights, "window": sums}, "").others == ("model_ema",)


def state(count: int = 8) -> dict[str, torch.Tensor]:
    return {f"layer.{number}": torch.zeros(1) for number in range(count)}


def test_a_state_dict_has_eight_tensors_or_lies_under_one_more_key() -> None:
    found = choose({"model": state(), "seven": state(7), "eight": state(8), "inner": {"module": state(8)}}, "")
    assert (found.name, found.others, found.obeyed) == ("model", ("eight", "inner"), True)
    assert choose({"inner": {"state_dict": state()}}, "").state.keys() == state().keys()
    few = choose({"model": state(3), "step": 1}, "")  # a small model is one where its key says so
    assert (few.name, len(few.state)) == ("model", 3)


def test_a_word_chooses_a_part_and_says_where_there_is_none() -> None:
    whole = {"student": state(), "teacher": state(9), "ema": state(10)}
    chosen = [choose(whole, word) for word in ("", "ema", "student", "model")]
    assert [(part.name, part.obeyed) for part in chosen] == [
        ("teacher", True), ("ema", True), ("student", True), ("teacher", False),
    ]  # fmt: skip
    del whole["ema"]
    assert choose(whole, "ema").name == "teacher"  # an average whatever it is called
    own = {"average": {"model": state(9)}, "model": state()}
    assert [choose(own, word)[1:3] for word in ("", "model", "ema")] == [
        ("average", ("model",)), ("model", ("average",)), ("average", ("model",)),
    ]  # fmt: skip
    foreign = {"average": state(9), "state_dict": state(), "model": state(10)}  # an average that is not as ours
    assert choose(foreign, "")[1:3] == ("model", ("average", "state_dict"))
    assert choose({"module": state(), "state_dict": state(9)}, "").name == "state_dict"
    assert choose(state() | {"beside": state()}, "")[1:] == ("", ("beside",), True)


def test_what_else_a_file_holds_is_told_with_the_word_for_it() -> None:
    file = Path("a.pth")
    assert remark(file, "model", ()) is None
    assert remark(file, "average", ("model",)) is None
    assert remark(file, "model", ("other", "model_ema")) == (
        "the file holds 'other', 'model_ema' as well; 'model' was taken, and a.pth@ema takes the other"
    )
    assert remark(file, "", ("other", "more")) == (
        "the file holds 'other', 'more' as well; what lies beside was taken, and a.pth@other takes the other"
    )


def test_a_name_speaks_of_an_average_by_a_whole_word() -> None:
    averages = ["teacher", "momentum_backbone.", "target_net.", "model_ema", "averaged.module", "ema_state_dict"]
    others = ["student", "semantic.", "schema", "momentumless", "model", "targets."]
    assert [is_average(name) for name in [*averages, *others]] == [True] * 6 + [False] * 6


def test_an_at_sign_is_a_word_where_the_file_is_there_without_it(tmp_path: Path) -> None:
    for name in ("a.pth", "b@2.pth", "c.pth", "c.pth@ema"):
        (tmp_path / name).touch()
    found = [split_word(tmp_path / name) for name in ("a.pth@ema", "b@2.pth", "b@2.pth@x", "none.pth@ema", "c.pth@ema")]
    assert [(path.name, word) for path, word in found] == [
        ("a.pth", "ema"), ("b@2.pth", ""), ("b@2.pth", "x"), ("none.pth@ema", ""), ("c.pth@ema", ""),
    ]  # fmt: skip
