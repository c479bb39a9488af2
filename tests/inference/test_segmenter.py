import pytest
import torch

from mae_hydra.inference.resize import resize_scores
from mae_hydra.inference.segmenter import label_map, resized_label_map


@pytest.mark.parametrize("size", [(31, 47), (8, 9), (5, 60)])
@pytest.mark.parametrize("classes", [1, 7, 150])
def test_a_few_classes_at_a_time_give_the_class_map_of_all_at_once(size, classes):
    scores = torch.randn(classes, 8, 9)
    scores[classes // 2] = scores[0]  # a tie everywhere
    expected = label_map(resize_scores(scores, size))
    for at_once in (1, 2, 5, 1000):
        limit = at_once * 4 * size[0] * size[1]
        assert torch.equal(resized_label_map(scores, size, limit), expected)
    assert torch.equal(resized_label_map(scores, size, 1), expected)  # less than one class: one it is


def test_more_classes_than_a_byte_holds_are_refused():
    with pytest.raises(ValueError, match="which holds 256 classes; the model has 257"):
        resized_label_map(torch.zeros(257, 1, 1), (1, 1))
