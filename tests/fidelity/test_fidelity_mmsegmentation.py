"""mmsegmentation itself, where it can be imported, with the same weights: its own modules are the judge.

Its maintained fork installs beside a current torch, without its compiled operators (`make check` does it):

    MMCV_WITH_OPS=0 pip install --no-deps --requirement tests/peers.txt
    python -m pytest tests/fidelity/test_fidelity_mmsegmentation.py
"""

import types
import warnings

import numpy as np
import pytest
import torch
from agreement import FLOAT64
from foreign_files import mmseg_upernet
from torch import nn

import mae_hydra
from mae_hydra.benchmark.mmsegmentation import (
    import_mmsegmentation,
    mmsegmentation_classes,
    samples_of,
    segmentor,
)
from mae_hydra.benchmark.workloads import noise_batch, plain_loop
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.evaluation.metrics import count_confusions, segmentation_scores
from mae_hydra.inference import Slide
from mae_hydra.inference.resize import resize_image
from mae_hydra.optim import poly
from mae_hydra.optim.groups import parameter_groups
from mae_hydra.types import Batch
from mae_hydra.weights.layouts.mmseg import UPERNET
from mae_hydra.weights.layouts.names import from_native

SIZES = {"width": 48, "depth": 4, "heads": 4, "patch": 16, "grid": 8, "mlp": 192, "channels": 32, "auxiliary": 16}
CLASSES, SIDE = 21, 128


@pytest.fixture(scope="module")
def mmseg():
    module = import_mmsegmentation()
    if module is None:
        pytest.skip("mmsegmentation is not installed; the head of this file says how")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code
        yield module


@pytest.fixture(scope="module")
def both(mmseg, tmp_path_factory):
    """(theirs, ours) in float64, filled from one state dict under their names, which theirs takes strictly."""
    from mmseg.models.backbones.mae import MAE
    from mmseg.models.decode_heads import FCNHead, UPerHead
    from mmseg.models.necks import Feature2Pyramid

    norm = {"type": "BN", "requires_grad": True}
    head = {"dropout_ratio": 0, "num_classes": CLASSES, "norm_cfg": norm, "align_corners": False}
    theirs = nn.ModuleDict(
        {
            "backbone": MAE(
                img_size=SIDE,
                patch_size=16,
                embed_dims=48,
                num_layers=4,
                num_heads=4,
                mlp_ratio=4,
                out_indices=[0, 1, 2, 3],
                init_values=1.0,
                norm_eval=False,
                drop_path_rate=0.0,
                norm_cfg={"type": "LN", "eps": 1e-6},  # of the published configuration; the class alone has 1e-5
            ),
            "neck": Feature2Pyramid(embed_dim=48, rescales=[4, 2, 1, 0.5], norm_cfg=norm),
            "decode_head": UPerHead(
                in_channels=[48] * 4,
                in_index=[0, 1, 2, 3],
                pool_scales=(1, 2, 3, 6),
                channels=32,
                loss_decode={"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
                **head,
            ),
            "auxiliary_head": FCNHead(
                in_channels=48,
                in_index=2,
                channels=16,
                num_convs=1,
                concat_input=False,
                loss_decode={"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 0.4},
                **head,
            ),
        }
    ).double()
    state = mmseg_upernet(**SIZES, classes=CLASSES)
    theirs.load_state_dict(state)
    file = tmp_path_factory.mktemp("mmseg") / "upernet.pth"
    torch.save({"meta": {}, "state_dict": state}, file)
    plain = ["head.dropout=0", "model.auxiliary.dropout=0", "backbone.drop_path_rate=0.0", "loss.normalizer=all"]
    return theirs, mae_hydra.load(file, "backbone.out_indices=[0,1,2,3]", *plain).double()


@pytest.mark.parametrize("training", [False, True])
def test_maps_and_logits_are_mmsegmentations(both, training, agree):
    theirs, ours = (model.train(training) for model in both)
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    mode = "training" if training else "evaluation"
    with torch.no_grad():
        maps, own_maps = theirs["backbone"](images), ours.encoder.feature_maps(images)
        levels, own_levels = theirs["neck"](maps), ours.pyramid(own_maps)
        for kind, found, expected in (("backbone", own_maps, maps), ("neck", own_levels, levels)):
            for one, other in zip(found, expected, strict=True):
                agree(f"mmsegmentation's {kind}, {mode}, float64", one, other, FLOAT64)
        for kind, found in (("decode_head", ours.head(own_levels)), ("auxiliary_head", ours.auxiliary(own_levels[2]))):
            agree(f"mmsegmentation's {kind}, {mode}, float64", found, theirs[kind].forward(levels), FLOAT64)


def test_the_training_loss_and_every_gradient_are_mmsegmentations(both, agree):
    theirs, ours = (model.train() for model in both)
    images, labels = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64), torch.randint(0, CLASSES, (2, SIDE, SIDE))
    labels[0, :50] = 255
    samples = samples_of(labels)
    levels = theirs["neck"](theirs["backbone"](images))
    expected = sum(
        theirs[head].loss_by_feat(theirs[head].forward(levels), samples)["loss_ce"]
        for head in ("decode_head", "auxiliary_head")
    )
    loss = ours.loss(Batch(images, labels.to(torch.uint8)))
    agree("mmsegmentation's loss with ignored pixels, float64", loss.total / loss.count, expected, FLOAT64)
    expected.backward()
    (loss.total / loss.count).backward()
    found = UPERNET.from_native({name: parameter.grad for name, parameter in ours.named_parameters()})
    largest = max(parameter.grad.abs().max() for parameter in theirs.parameters())
    for name, parameter in theirs.named_parameters():
        if parameter.grad.abs().max() > 1e-6 * largest:  # below: what a batch norm cancels, rounding only
            agree("mmsegmentation's gradients, float64", found[name], parameter.grad, FLOAT64)


@pytest.mark.parametrize("size", [(128, 171), (128, 228), (160, 214), (200, 300)])
def test_sliding_windows_are_mmsegmentations(both, size, agree):
    from mmengine.config import ConfigDict
    from mmseg.models.segmentors import EncoderDecoder

    theirs, ours = (model.eval() for model in both)
    loop = types.SimpleNamespace(
        test_cfg=ConfigDict(stride=(85, 85), crop_size=(SIDE, SIDE)),
        out_channels=CLASSES,
        encode_decode=lambda crop, metas: nn.functional.interpolate(
            theirs["decode_head"].forward(theirs["neck"](theirs["backbone"](crop))),
            size=crop.shape[2:],
            mode="bilinear",
            align_corners=False,
        ),
    )
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    slide = Slide(crop=SIDE, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=3)
    with torch.no_grad():
        expected = EncoderDecoder.slide_inference(loop, ours.prepare(image[None]), [{}])[0]
    scores = slide.scores(ours, image)
    agree("mmsegmentation's sliding windows", scores, expected, 1e-10)
    assert torch.equal(scores.argmax(0), expected.argmax(0))


def test_parameter_groups_are_mmsegmentations(both):
    from mmseg.engine.optimizers.layer_decay_optimizer_constructor import LearningRateDecayOptimizerConstructor

    theirs, ours = both
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        constructor = LearningRateDecayOptimizerConstructor(
            {"optimizer": {"type": "AdamW", "lr": 1e-4, "betas": (0.9, 0.999), "weight_decay": 0.05}},
            {"num_layers": 4, "decay_rate": 0.65, "decay_type": "layer_wise"},
        )
        groups = constructor(theirs).optimizer.param_groups
    names = {id(parameter): name for name, parameter in theirs.named_parameters()}
    expected = {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    made = parameter_groups(ours, lr=1e-4, weight_decay=0.05, layer_decay=0.65, decay_rule="mmseg")
    pairs = {name: (g["lr_scale"], g["weight_decay"]) for g in made for name in g["names"]}
    found = from_native({name: torch.tensor(pair, dtype=torch.float64) for name, pair in pairs.items()}, UPERNET.pairs)
    assert found.keys() == expected.keys()
    assert len(groups) == len(made)
    for name, pair in expected.items():
        assert found[name].tolist() == pytest.approx(pair, rel=1e-12)


def test_every_learning_rate_of_a_run_is_mmengines(mmseg, agree):
    """Warm-up and decay as the 1.x configuration of 160k iterations chains them, a hundredth as long."""
    from mmengine.optim import LinearLR, PolyLR

    total, warmup = 1600, 15
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedulers = [
        LinearLR(optimizer, start_factor=1e-6, by_epoch=False, begin=0, end=warmup),
        PolyLR(optimizer, power=1.0, eta_min=0.0, by_epoch=False, begin=warmup, end=total),
    ]
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    schedule = poly(1.0, unit="step", total=total, warmup=warmup, power=1.0, min_factor=0.0, variant="mmseg1")
    found = torch.tensor([1e-4 * schedule.factor(step) for step in range(total)], dtype=torch.float64)
    agree("mmengine's learning rate at every step (1.x)", found, torch.tensor(rates, dtype=torch.float64), FLOAT64)


def test_the_benchmarks_peer_is_that_model(mmseg, agree):
    """Its classes, and its loss in training."""
    config = compose_config(["model=upernet_vitt", "data.image_size=64", "backbone.drop_path_rate=0.0",
                             "head.dropout=0", "model.auxiliary.dropout=0", "loss.normalizer=all"])  # fmt: skip
    model = build(config.model, "model").double().eval()
    peer = segmentor(model).double().eval()
    image = torch.randint(0, 256, (3, 64, 90), dtype=torch.uint8)
    with torch.no_grad():
        found = mmsegmentation_classes(peer, model, image, short=64)
        expected = plain_loop(model, image, crop=64, stride=42, short=64)
    assert torch.equal(found, expected)
    batch = noise_batch((64, 64), 3, 2, model.num_classes)
    model.train(), peer.train()
    expected_loss, _ = peer.parse_losses(peer.loss(model.prepare(batch.images), samples_of(batch.labels)))
    loss = model.loss(batch)
    agree("mmsegmentation's whole model: training loss, float64", loss.total / loss.count, expected_loss, FLOAT64)


def test_scores_are_mmsegmentations(mmseg, agree):
    """Absent classes, classes that are only predicted, ignored pixels, several images."""
    from mmseg.evaluation.metrics import IoUMetric

    dice = torch.Generator().manual_seed(0)
    areas, matrix = [], torch.zeros(12, 12, dtype=torch.int64)
    for _ in range(5):
        labels = torch.randint(0, 8, (40, 50), generator=dice)
        prediction = torch.randint(0, 10, (40, 50), generator=dice)
        labels[torch.rand(40, 50, generator=dice) < 0.2] = 255
        areas.append(IoUMetric.intersect_and_union(prediction, labels, 12, 255))
        matrix += count_confusions(prediction, labels, 12, 255)
    totals = [sum(each) for each in zip(*areas, strict=True)]
    expected = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])
    scores = segmentation_scores(matrix)
    for found, theirs in ((scores.iou, expected["IoU"]), (scores.accuracy, expected["Acc"])):
        assert (np.isnan(found) == np.isnan(theirs)).all()
        agree("mmsegmentation's scores of every class", np.nan_to_num(found) / 100, np.nan_to_num(theirs), 1e-6)
    assert scores.mean_iou == pytest.approx(100 * np.nanmean(expected["IoU"]), rel=1e-6)
    assert scores.pixel_accuracy == pytest.approx(100 * expected["aAcc"], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_pictures_are_resized_to_opencvs_bytes(seed):
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed; the head of this file says how")
    dice = np.random.default_rng(seed)
    for _ in range(20):
        height, width, *size = (int(side) for side in dice.integers(1, 700, 4))
        size = [height // 2, width // 2] if seed == 0 and height % 2 == width % 2 == 0 else size
        image = dice.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        found = resize_image(torch.from_numpy(image).permute(2, 0, 1), (size[0], size[1]))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)
