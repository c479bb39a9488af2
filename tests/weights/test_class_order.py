"""The class of a name: the same names in another order are mapped, others refused, numbers are all that is without."""

import pytest
import torch
from checkpoint_files import make_classifier, make_mae, make_patch_segmenter, make_upernet, randomise

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, have_names, names_of, order_of, transfer
from mae_hydra.weights.class_order import rows_by_name

NAMES = ["sky", "wall", "tree", "sea", "road"]
OTHER = ["road", "sky", "sea", "wall", "tree"]


def checkpoint_of(model, path, names=NAMES):
    meta = {} if names is None else {"class_names": names}
    return Checkpoint({name: value.clone() for name, value in model.state_dict().items()}, meta, "test", path)


@pytest.mark.parametrize(
    ("theirs", "ours", "order"),
    [
        (NAMES, NAMES, None),
        (NAMES, OTHER, [4, 0, 3, 1, 2]),
        (NAMES, ["Road", " SKY", "sea", "wall", "tree"], [4, 0, 3, 1, 2]),
        (["traffic_light", "stop__sign"], ["Stop - Sign", "Traffic-Light"], [1, 0]),
        (["wall", "television receiver"], ["wall", "television"], None),
        (["road", "road line", "sky"], ["road line", "road", "sky blue"], [1, 0, 2]),
        (["wall", "brick wall"], ["brick wall", "wall brick wall"], [1, 0]),
        (["sky", "tv", "tv set", "sea"], ["sky", "tv set", "tv", "sea water"], [0, 2, 1, 3]),
        (["door", "screen door"], ["door", "screen door (screen)"], None),
        (["sky", "sky", "road"], ["sky", "sky", "wide road"], None),
        (["road", "line", "sky"], ["road line", "road", "sky"], [1, 0, 2]),
        (["class 0", "class 1"], ["sky", "wall"], None),  # a placeholder is no name
        (["sky", "wall"], ["0", "1"], None),
        (["class 1", "class 0"], ["class 0", "class 1"], None),
        ([], ["sky", "wall"], None),
        (NAMES, ["sky", "wall"], None),  # the number of classes is another question
    ],
)
def test_the_order_of_names_is_found_where_there_are_names(theirs, ours, order):
    assert order_of(theirs, ours) == order


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (["sky", "kerb"], ["sky", "curb"], "the model alone has kerb, the data alone have curb"),
        (["sky", "kerb"], ["curb", "sky"], "the model alone has kerb, the data alone have curb"),
        (["car", "truck", "big car"], ["truck", "car", "other"], "the model alone has big car, the data alone have"),
        (["car", "x car", "y car"], ["x y car", "car", "car z"], "the data alone have x y car, car z"),
        (["brick wall", "road"], ["road line", "wall"], "the model alone has brick wall, road, the data alone"),
        (["sky", "sky"], ["sky", "sky blue"], "the data alone have sky blue"),
        (["sky", "sky"], ["sky", "wall"], "the data alone have wall"),
        (["sky", "wall"], ["sky", "sky"], "the model alone has wall"),
        (["sky", "sky", "sea"], ["sky", "sea", "sea"], "a name stands for two classes"),
        (
            list("abcdef"),
            list("ghijkl"),
            "the model alone has a, b, c and 3 more, the data alone have g, h, i and 3",
        ),
    ],
)
def test_other_names_are_told_apart(theirs, ours, message):
    with pytest.raises(ValueError, match=message):
        order_of(theirs, ours)


def test_placeholders_are_no_names(tmp_path):
    told = [{}, {"class_names": "ab"}, {"class_names": ["a", 1]}]
    assert [names_of(Checkpoint({}, meta, "test", tmp_path)) for meta in told] == [[], [], ["a", "1"]]
    assert not have_names(["Class_3", " label 2 ", "7"])
    assert have_names(["label", "class"])
    assert not have_names(["class 0", "class 17"])
    assert not have_names(["0", "1"])
    assert have_names(["class 0", "sky"])


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: make_upernet(num_classes=5), ["head.classify", "auxiliary.classify"]),
        (make_classifier, ["head.linear"]),
        (make_patch_segmenter, ["head.classify"]),
    ],
)
def test_the_rows_of_last_layers_follow_the_names(tmp_path, make, layers):
    first = randomise(make())
    count = first.num_classes
    names, other = [f"{name} {k}" for k, name in enumerate(NAMES * 9)][:count], None
    other = names[1:] + names[:1]
    second = make()
    report = transfer(second, checkpoint_of(first, tmp_path, names), class_names=other)
    mapped = [
        row.name
        for row in report.rows
        if (row.status, row.note) == ("loaded", "the same classes in another order: mapped by name")
    ]
    assert sorted({name.rpartition(".")[0] for name in mapped}) == sorted(layers)
    for name, value in second.state_dict().items():
        expected = first.state_dict()[name]
        assert torch.equal(value, expected.roll(-1, 0) if name in mapped else expected)


def test_the_one_row_of_two_classes_that_have_changed_places_changes_its_sign(tmp_path):
    """It is the logit of the second one."""
    head = {"head.classify.weight": torch.randn(1, 4, 1, 1), "head.classify.bias": torch.randn(1)}
    checkpoint = Checkpoint(head, {"class_names": ["ground", "house"]}, "test", tmp_path)
    same, swapped = (rows_by_name(checkpoint, head, names, ()) for names in (["ground", "house"], ["house", "ground"]))
    for name, value in head.items():
        assert torch.equal(same.tensors[name], value)
        assert torch.equal(swapped.tensors[name], -value)
    assert set(swapped.notes) == set(head)


def test_names_that_agree_are_loaded_as_they_are(tmp_path):
    first, second = randomise(make_upernet(num_classes=5)), make_upernet(num_classes=5)
    for names, ours in ((NAMES, NAMES), (None, OTHER), (NAMES, [f"class {k}" for k in range(5)])):
        transfer(second, checkpoint_of(first, tmp_path, names), class_names=ours)
        assert all(torch.equal(value, first.state_dict()[name]) for name, value in second.state_dict().items())


def test_other_names_are_refused_or_start_anew_where_asked(tmp_path):
    first, second = randomise(make_upernet(num_classes=5)), make_upernet(num_classes=5)
    before = {name: value.clone() for name, value in second.state_dict().items()}
    given, ours = checkpoint_of(first, tmp_path), [*NAMES[:4], "lane"]
    with pytest.raises(UserError, match=r"the model alone has road, the data alone have lane.*init_adapt=\[classes\]"):
        transfer(second, given, class_names=ours)
    report = transfer(second, given, ["classes"], ours)
    last = [f"{head}.classify.{kind}" for head in ("head", "auxiliary") for kind in ("weight", "bias")]
    assert sorted(row.name for row in report.rows if (row.status, row.note) == ("new", "other classes")) == sorted(last)
    for name, value in second.state_dict().items():
        assert torch.equal(value, before[name] if name in last else first.state_dict()[name])
    report = transfer(second, given, ["classes"], OTHER)  # what can be mapped is not thrown away
    assert report.names("new") == []


def test_what_a_masked_autoencoder_calls_its_pictures_does_not_matter(tmp_path):
    transfer(make_upernet(num_classes=5), checkpoint_of(randomise(make_mae()), tmp_path), class_names=["a"] * 5)
