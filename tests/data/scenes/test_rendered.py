"""What scenes hold as they are rendered: scores and losses that are written down are of these."""

import numpy as np

from mae_hydra.data.scenes.dataset import render

SCENES = [  # place, pixels of each class and of what is ignored, mean color
    (2, [340, 132, 7, 20, 0, 240, 528, 0, 0, 1606, 0, 27, 172], [110.8, 140.9, 118.3]),
    (6, [231, 135, 108, 379, 0, 473, 0, 624, 366, 0, 435, 77, 244], [148.7, 140.3, 133.1]),
    (0, [964, 0, 588, 0, 848, 0, 0, 0, 0, 0, 551, 0, 121], [110.5, 115.2, 138.9]),
    (2, [447, 187, 111, 451, 0, 353, 570, 0, 0, 585, 0, 86, 282], [107.6, 137.8, 139.4]),
    (1, [347, 354, 98, 161, 761, 605, 0, 239, 0, 0, 41, 249, 217], [117.1, 68.9, 55.4]),
    (6, [621, 181, 175, 156, 0, 329, 0, 151, 193, 525, 365, 117, 259], [111.3, 123.6, 101.7]),
    (6, [542, 306, 471, 219, 0, 0, 0, 354, 143, 0, 229, 617, 191], [174.7, 167.4, 158.6]),
    (5, [513, 289, 365, 192, 0, 413, 523, 0, 254, 0, 0, 297, 226], [119.0, 119.9, 108.0]),
    (6, [815, 0, 0, 524, 0, 377, 0, 420, 435, 383, 0, 0, 118], [105.5, 81.3, 64.5]),
    (6, [519, 74, 142, 822, 0, 473, 0, 490, 134, 0, 0, 227, 191], [74.4, 97.3, 85.8]),
    (6, [404, 389, 319, 110, 0, 353, 0, 198, 191, 231, 255, 299, 323], [133.3, 140.0, 133.9]),
    (3, [569, 140, 411, 0, 354, 0, 0, 889, 0, 0, 528, 0, 181], [162.5, 131.3, 144.1]),
]  # fmt: skip


def test_scenes_are_those_that_recorded_scores_are_of() -> None:
    for number, (place, counts, color) in enumerate(SCENES):
        scene = render(3, "train" if number % 2 else "validation", number, (48, 64))
        found = np.bincount(scene.labels.ravel(), minlength=256)
        assert scene.place == place
        assert np.abs(np.array([*found[:12], found[255]]) - counts).max() <= 2, number  # on another processor
        assert np.abs(scene.image.mean((1, 2)) - color).max() < 0.5, number
