"""The label factor: read off scratch's curve at equal score, never beyond its ends, with its interval over seeds."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import yaml

from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import Factor, Point, Study, label_factor, labels_needed, read_study, rows_of
from mae_hydra.report.study_page import cells, headlines

CURVE = [(10.0, 10.0), (100.0, 20.0), (1000.0, 25.0)]


@pytest.mark.parametrize(
    ("score", "images"),
    [(10, 10), (15, 10**1.5), (20, 100), (22.5, 10**2.5), (25, 1000), (9.9, 0), (25.1, math.inf)],
)
def test_between_its_points_a_curve_is_linear_in_the_logarithm_and_beyond_them_nothing_is_known(score, images):
    assert labels_needed(CURVE, score) == pytest.approx(images)


def test_where_a_curve_goes_down_again_the_first_time_counts():
    assert labels_needed([(10, 10), (100, 20), (1000, 15), (10000, 30)], 18) == pytest.approx(10**1.8)


def points(*means: float, seeds: tuple[float, ...] = (0.0,), first: int = 10) -> list[Point]:
    return [Point(1.0, first * 10**n, {s: mean + off for s, off in enumerate(seeds)}) for n, mean in enumerate(means)]


def test_the_factor_is_what_scratch_needs_over_what_the_arm_had():
    scratch = points(10, 20, 25)
    assert label_factor(scratch, Point(1.0, 10, {0: 20.0})).value == pytest.approx(10)
    assert str(label_factor(scratch, Point(1.0, 10, {0: 15.0}))) == "3.2"
    assert str(label_factor(scratch, Point(1.0, 10, {0: 30.0}))) == "more than 100"
    assert str(label_factor(scratch, Point(1.0, 100, {0: 5.0}))) == "less than 0.1"


def test_of_a_loss_the_smaller_is_the_better():
    scratch = points(3.0, 2.0, 1.0)
    assert label_factor(scratch, Point(1.0, 10, {0: 2.0}), -1).value == pytest.approx(10)
    assert label_factor(scratch, Point(1.0, 10, {0: 2.0}), 1).value == 0


def test_seeds_that_agree_leave_no_interval_and_those_that_do_not_a_wide_one():
    scratch, arm = points(10, 20, 25, seeds=(0.0, 0.0, 0.0)), Point(1.0, 10, {0: 20.0, 1: 20.0, 2: 20.0})
    same = label_factor(scratch, arm)
    assert (same.low, same.value, same.high) == pytest.approx((10, 10, 10))
    apart = label_factor(points(10, 20, 25, seeds=(-2.0, 0.0, 2.0)), Point(1.0, 10, {0: 22.0, 1: 20.0, 2: 18.0}))
    assert apart.value == pytest.approx(10)
    # The extreme draws take one seed three times: 22 against 8, 18, 23, and 18 against 12, 22, 27.
    assert apart.high == pytest.approx(10 ** (1 + 4 / 5))
    assert apart.low == pytest.approx(10**0.6)


def test_the_same_seed_is_drawn_in_both_arms():
    """What a seed's labels do to both alike is no uncertainty of the factor."""
    alike = label_factor(points(10, 20, 25, seeds=(-3.0, 0.0, 3.0)), Point(1.0, 10, {0: 17.0, 1: 20.0, 2: 23.0}))
    assert (alike.low, alike.high) == pytest.approx((10, 10))


def test_an_end_that_is_not_known_stays_so_in_the_interval():
    found = label_factor(points(10, 20, 25, seeds=(0.0, 0.0)), Point(1.0, 10, {0: 30.0, 1: 18.0}))
    assert (found.value, found.high) == (pytest.approx(10 ** (1 + 4 / 5)), math.inf)
    assert str(found) == "63 [6.3, >100]"
    assert str(Factor(0, 0.1, 10, 0, 0.5)) == "less than 0.1 [<0.1, 0.5]"


def test_the_interval_weighs_draws_by_how_often_they_come():
    """Of four seeds at 12, 16, 20, 24 the mean is 12 in one draw of 256, 13 in four, 14 in ten; so from above too."""
    curve = [Point(1.0, images, dict.fromkeys(range(4), score)) for images, score in ((10, 10.0), (1000, 30.0))]
    found = label_factor(curve, Point(1.0, 10, {0: 12.0, 1: 16.0, 2: 20.0, 3: 24.0, 9: 18.0}))  # 9: of this arm alone
    assert (found.low, found.value, found.high) == pytest.approx((10**0.4, 10**0.8, 10**1.2))


def test_only_seeds_that_every_point_has_are_drawn():
    scratch = [Point(1.0, 10, {0: 10.0, 1: 10.0, 2: 12.0}), Point(1.0, 100, {0: 20.0, 2: 22.0, 3: 21.0})]
    found = label_factor(scratch, Point(1.0, 10, {0: 15.0, 1: 16.0, 2: 17.0}))
    assert (found.low, found.high) == pytest.approx((10**0.5, 10**0.5))  # of seeds 0 and 2
    assert label_factor(scratch[:1] + scratch, Point(1.0, 10, {1: 15.0, 3: 16.0})).low is None


def test_the_same_study_has_the_same_interval_whenever_it_is_read():
    scores = {seed: 10.0 + seed**1.5 / 3 for seed in range(9)}
    curve = [Point(1.0, images, {seed: base - score / 9 for seed, score in scores.items()})
             for images, base in ((10, 10.0), (1000, 30.0))]  # fmt: skip
    first, second = (label_factor(curve, Point(1.0, 10, scores)) for _ in range(2))
    assert first == second


def run(
    folder: Path,
    share: float | None,
    seed: int,
    value: float | None,
    *,
    images: int,
    monitor: str = "val/mIoU",
    mode: str = "max",
    state: str = "",
) -> None:
    directory = folder / f"label_fraction-{share}_seed-{seed}"
    directory.mkdir(parents=True)
    state = state or ("completed" if value is not None else "interrupted")
    status = {"state": state, "value": value, "start": 1.0, "end": 2.0, "error": None, "overrides": []}
    (directory / "status.json").write_text(json.dumps(status))
    config = {"seed": seed, "data": {"label_fraction": share}, "checkpoint": {"monitor": monitor, "mode": mode}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "data.json").write_text(json.dumps({"train": {"images": images}}))


def study(folder: Path, *arms: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps({"arms": {arm: [] for arm in arms}, "words": [], "pretrain": []}))
    return folder


def test_a_study_under_way_tells_of_what_is_complete(tmp_path):
    study(tmp_path, "scratch", "mae")
    for seed, extra in ((0, 0), (1, 2)):  # to have every class, the share of one seed took two images more
        run(tmp_path / "scratch", 0.01, seed, 10.0 + seed, images=10 + extra)
        run(tmp_path / "scratch", 1.0, seed, 20.0, images=1000)
    run(tmp_path / "mae", 0.01, 0, 15.0, images=10)
    run(tmp_path / "mae", 0.01, 1, None, images=12)
    found = read_study(tmp_path)
    assert [(p.fraction, p.images, p.mean) for p in found.arms["scratch"]] == [(0.01, 11.0, 10.5), (1.0, 1000.0, 20.0)]
    assert found.unfinished == ["mae/label_fraction-0.01_seed-1: interrupted"]
    assert found.factors("scratch") == [None, None]
    (factor,) = found.factors("mae")
    assert (factor.value, factor.low) == (pytest.approx(11 * (1000 / 11) ** (4.5 / 9.5) / 10), None)
    rows = rows_of(found)
    assert [row["label_factor"] for row in rows] == [None, None, "9.3"]
    assert rows[2]["seed_0"] == 15.0
    assert rows[0] | dict.fromkeys(("seed_0", "seed_1")) == {
        "start": "scratch", "label_fraction": 0.01, "labeled_images": 11.0, "metric": "val/mIoU", "mean": 10.5,
        "deviation": pytest.approx(0.5**0.5), "seed_0": None, "seed_1": None, "label_factor": None,
        **dict.fromkeys(("factor_value", "factor_least", "factor_most", "factor_low", "factor_high")),
    }  # fmt: skip
    assert found.arms["mae"][0].deviation is None


def test_of_a_loss_the_factor_goes_down_and_a_pruned_run_is_not_complete(tmp_path):
    study(tmp_path, "scratch", "mae")
    for share, images, losses in ((0.1, 10, (3.0, 2.0)), (None, 100, (1.0, 1.0))):  # null is all
        for seed, loss in zip((4, 7), losses, strict=True):
            run(tmp_path / "scratch", share, seed, loss, images=images, monitor="val/loss", mode="min")
    run(tmp_path / "mae", 0.1, 4, 1.75, images=10, monitor="val/loss", mode="min")
    run(tmp_path / "mae", 0.1, 7, 9.0, images=10, monitor="val/loss", mode="min", state="pruned")
    found = read_study(tmp_path)
    assert (found.doubt, found.higher_is_better, found.unfinished) == (
        "",
        False,
        ["mae/label_fraction-0.1_seed-7: pruned"],
    )
    assert [(point.fraction, point.mean) for point in found.arms["scratch"]] == [(0.1, 2.5), (1.0, 1.0)]
    few, _, mae = rows_of(found)
    assert mae["factor_value"] == pytest.approx(10**0.5)  # half the way from 2.5 to 1
    assert {key: value for key, value in few.items() if key.startswith("seed_")} == {"seed_4": 3.0, "seed_7": 2.0}
    assert few["deviation"] == pytest.approx(0.5**0.5)


def test_the_seeds_of_either_end_may_differ_by_more_than_the_curve_rises():
    for scores in (({0: 10.0, 1: 10.0}, {0: 10.0, 1: 12.0}), ({0: 9.0, 1: 11.0}, {0: 11.0, 1: 11.0})):
        scratch = [Point(share, share * 100, each) for share, each in zip((0.1, 1.0), scores, strict=True)]
        assert "within what seeds differ by (1.4)" in Study({}, "val/mIoU", True, {"scratch": scratch}, []).doubt


def test_runs_that_differ_in_which_labels_they_draw_are_of_one_study_and_one_without_its_images_is_not_complete(
    tmp_path,
):
    study(tmp_path, "scratch")
    for seed, share in ((0, 1.0), (1, 0.5), (2, 0.1)):
        run(tmp_path / "scratch", share, seed, 10.0, images=round(100 * share))
        file = tmp_path / "scratch" / f"label_fraction-{share}_seed-{seed}" / "config.yaml"
        content = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(content | {"data": content["data"] | {"label_seed": seed}}))
    (tmp_path / "scratch/label_fraction-0.1_seed-2").rename(tmp_path / "scratch/named otherwise")
    run(tmp_path / "scratch", 0.2, 0, 10.0, images=20)
    (tmp_path / "scratch/label_fraction-0.2_seed-0/data.json").unlink()
    run(tmp_path / "scratch", 0.3, 0, None, images=30, state="completed")  # whose score was no number
    run(tmp_path / "scratch", 0.4, 0, 10.0, images=40)
    (tmp_path / "scratch/label_fraction-0.4_seed-0/config.yaml").unlink()
    found = read_study(tmp_path)
    assert [(point.fraction, point.images) for point in found.arms["scratch"]] == [(0.1, 10), (0.5, 50), (1.0, 100)]
    assert found.unfinished == [f"scratch/label_fraction-{share}_seed-0: completed" for share in (0.2, 0.3, 0.4)]


def test_a_score_that_scratch_has_with_its_fewest_labels_is_known_to_need_as_many():
    assert str(label_factor(points(10, 20), Point(1.0, 5, {0: 10.0}))) == "2"
    assert str(label_factor(points(10, 20), Point(1.0, 5, {0: 9.0}))) == "less than 2"
    assert [str(Factor(value, 1, 1)) for value in (110.0, 1234.0, 0.0456)] == ["110", "1200", "0.046"]


def test_of_one_point_of_scratch_no_factor_is_made(tmp_path):
    study(tmp_path, "scratch", "mae")
    run(tmp_path / "scratch", 0.01, 0, 10.0, images=10)
    study(tmp_path, "scratch", "mae", "weights")
    run(tmp_path / "mae", 0.01, 0, 15.0, images=10)
    run(tmp_path / "mae/label_fraction-0.01_seed-0", 0.5, 3, None, images=5, state="failed")  # which followed it
    [followed] = (tmp_path / "mae/label_fraction-0.01_seed-0").glob("label*")
    found = read_study(tmp_path)
    assert found.unfinished == [f"mae/label_fraction-0.01_seed-0: {followed.name} failed", "weights: not begun"]
    shutil.rmtree(followed)
    found = read_study(tmp_path)
    assert (found.factors("mae"), found.doubt, found.unfinished) == ([None], "", ["weights: not begun"])
    (tmp_path / "scratch").rename(tmp_path / "elsewhere")
    found = read_study(tmp_path)
    assert (found.factors("mae"), found.doubt) == ([None], "")
    assert found.unfinished == ["scratch: not begun", "weights: not begun"]
    nothing = read_study(study(tmp_path / "new", "scratch"))
    assert (nothing.arms, nothing.caution, nothing.metric, nothing.higher_is_better) == ({}, "", "score", True)


def test_where_more_labels_are_worth_nothing_there_is_no_factor_and_that_is_said(tmp_path):
    """As of runs that are too short: few images are learned by heart sooner."""
    study(tmp_path, "scratch", "mae")
    for arm, scores in (("scratch", (14.4, 8.8, 10.2)), ("mae", (11.2, 8.1, 9.4))):
        for share, score in zip((0.01, 0.1, 1.0), scores, strict=True):
            run(tmp_path / arm, share, 0, score, images=round(4800 * share))
    found = read_study(tmp_path)
    assert found.factors("mae") == [None] * 3
    assert "4800 labeled images give 10.2, no better than the 14.4 of 48" in found.doubt


@pytest.mark.parametrize(
    "record",
    [
        '{"arms": {}}',
        '{"arms": {"..": []}}',
        '{"arms": {"../../elsewhere": []}}',
        '{"arms": 3}',
        '{"arms": {"scratch": 3}}',
        "[]",
        "{",
    ],
)
def test_a_record_that_is_none_is_one_sentence(tmp_path, record):
    (tmp_path / "study.json").write_text(record)
    with pytest.raises(UserError, match=r"study\.json"):
        read_study(tmp_path)


def test_scores_of_two_kinds_are_not_compared(tmp_path):
    study(tmp_path, "scratch", "mae")
    run(tmp_path / "scratch", 0.01, 0, 10.0, images=10)
    run(tmp_path / "mae", 0.01, 0, 15.0, images=10, monitor="val/top1")
    with pytest.raises(UserError, match="judged by val/mIoU and val/top1, which do not compare"):
        read_study(tmp_path)


@pytest.mark.parametrize("key", ["optimizer", "inference"])
def test_runs_of_other_settings_in_one_folder_are_not_mixed(tmp_path, key):
    """As option files that were edited between two starts leave them."""
    study(tmp_path, "scratch")
    for seed, rate in ((0, 1e-3), (1, 1e-3), (2, 1e-4)):
        run(tmp_path / "scratch", 0.1, seed, 10.0, images=10)
        file = tmp_path / "scratch" / f"label_fraction-0.1_seed-{seed}" / "config.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {key: {"lr": rate}}))
    with pytest.raises(UserError, match=rf"are not of one study \({key}\.lr: 0\.001 -> 0\.0001\)"):
        read_study(tmp_path)


def test_scores_of_a_loss_keep_their_digits():
    low = Study({}, "val/loss", False, {"scratch": points(0.4321)}, [])
    assert [cells(each)[0][3] for each in (low, Study({}, "val/mIoU", True, {"scratch": points(43.21)}, []))] == [
        "0.432", "43.2"
    ]  # fmt: skip


def test_the_page_begins_with_the_factor_at_the_fewest_labels_and_with_the_greatest():
    arms = {"scratch": points(10, 20, 25), "mae": points(15, 30, 35), "weights": points(30, 30, 30)}
    assert headlines(Study({}, "val/mIoU", True, arms, [])) == {
        "label factor of own MAE at 10 images": "3.2",
        "label factor of own MAE at 100 images": "more than 10",
        "label factor of weights at 10 images": "more than 100",
    }


@pytest.mark.parametrize(
    ("means", "seeds", "said"),
    [
        ((10.0, 11.0, 10.5), (-0.5, 0.0, 0.5), r"within what seeds differ by \(0\.5\)"),  # no more than that
        ((10.0, 11.0, 10.6), (-0.5, 0.0, 0.5), ""),
        (
            (10.5, 10.6),
            (-0.5, 0.0, 0.5),
            r"there is no label factor: .* within what seeds differ by \(0\.5\) of the 10\.5",
        ),
        ((10.6, 10.5), (0.0,), "no better than the 10.6"),
        ((10.5, 11.6), (-0.5, 0.0, 0.5), ""),
    ],
)
def test_a_curve_that_rises_by_less_than_seeds_differ_has_no_factor(means, seeds, said):
    study = Study(
        {}, "val/mIoU", True, {"scratch": points(*means, seeds=seeds), "mae": points(11, 11, seeds=seeds)}, []
    )
    assert re.search(said, study.doubt)
    assert bool(said) == bool(study.doubt)
    assert (study.factors("mae")[0] is None) == bool(said)


def test_one_seed_is_said():
    assert "of one seed" in Study({}, "val/mIoU", True, {"scratch": points(10, 20)}, []).caution
    assert Study({}, "val/mIoU", True, {"scratch": points(10, 20, seeds=(0.0, 1.0))}, []).caution == ""
    under_way = {"scratch": points(10, 20, seeds=(0.0, 1.0)), "mae": points(11)}  # whose second seed is to come
    assert Study({}, "val/mIoU", True, under_way, []).caution == ""
