"""Which dotted names are below which, and what is judged by its name alone."""

import pytest
from omegaconf import OmegaConf
from raising import raising

from mae_hydra.configuration import trust
from mae_hydra.configuration.from_file import calls, literal
from mae_hydra.configuration.trust import is_below, judge
from mae_hydra.errors import UserError


@pytest.mark.parametrize(
    ("name", "below"),
    [("torch.nn", True), ("torch.nn.Linear", True), ("torch.nnx.Linear", False), ("torch", False), ("nn", False)],
)
def test_a_name_is_below_a_module_where_a_dot_says_so(name, below):
    assert is_below(name, ["torch.nn"]) is below


@pytest.mark.parametrize(
    ("text", "is_a_call"),
    [
        ("${oc.env:HOME}", True), ("${${a}:HOME}", True), ("${x${a}${b}:HOME}", True), ("${a${b${c}}:HOME}", True),
        ("${model.name}", False), ("${a}/${b}: c", False), ("${a${b}}: ${c}:", False), ("a: b", False),
    ],
)  # fmt: skip
def test_a_text_calls_where_a_colon_stands_within_its_braces(text, is_a_call):
    assert calls(text) is is_a_call


@pytest.mark.parametrize("text", ["${a}", "\\${a}", "\\\\${a}", "x\\\\\\${oc.env:HOME}", "a\\", "\\", "$a", "{a}"])
def test_a_recorded_text_is_what_it_was_whatever_it_looks_like(text):
    found = OmegaConf.to_container(literal({"a": {"text": text, text: [text]}}), resolve=True)
    assert found == {"a": {"text": text, text: [text]}}


@pytest.mark.parametrize("origin", ["file", "model", "person"])
@pytest.mark.parametrize("name", ["models._Hidden", "modelsx.MAE", "models.mae.mae.MAE"])
def test_of_a_room_only_its_public_names_are_looked_for(name, origin):
    with pytest.raises(UserError, match="is not built; "):  # and not: cannot be found
        judge(f"mae_hydra.{name}", "model", origin)


@pytest.mark.parametrize(
    ("target", "shown"),
    [("a.b", "a.b"), ("a.b c", "'a.b c'"), ("a.b\nc", r"'a.b\nc'"), ("ab", "'ab'"), (3, "3"), (None, "None")],
)
def test_what_is_no_dotted_name_is_shown_as_the_text_that_it_is(target, shown):
    with pytest.raises(UserError) as raised:
        judge(target, "model", "person")
    assert str(raised.value).startswith(f"model._target_ = {shown} is not built")


@pytest.mark.parametrize("key", ["data", "data.part", "augment", "augment.part", "evaluation.part", "mine"])
@pytest.mark.parametrize("name", ["write_ade20k", "read_image", "decode_image", "stack", "median_frequency_weights"])
def test_a_function_is_no_part_because_it_returns_some_class(name, key):
    with pytest.raises(UserError, match="is not built"):
        judge(f"mae_hydra.data.{name}", key, "person")


F1 = "torchmetrics.classification.MulticlassF1Score"


@pytest.mark.parametrize("origin", ["file", "model"])
@pytest.mark.parametrize(
    ("target", "key", "from_file"),
    [
        ("torch.optim.SGD", "optimizer", True),
        ("timm.optim.Lamb", "optimizer", True),
        (F1, "evaluation.validation.metrics.f1", True),
        ("torch.optim.SGD", "evaluation.validation", False),  # each in its own group
        (F1, "optimizer", False),
        ("torch.optim.swa_utils.AveragedModel", "optimizer", False),  # no optimizer
        ("torch.optim.lr_scheduler.LambdaLR", "optimizer", False),
        ("torch.optim.lr_scheduler.partial", "optimizer", False),  # imported there, defined elsewhere
        ("torch.optim.optimizer.register_optimizer_step_pre_hook", "optimizer", False),
        ("torchmetrics.classification.base.Metric", "evaluation.validation", False),
        ("torchmetrics.text.BERTScore", "evaluation.validation", False),  # fetches a model
        ("torchmetrics.wrappers.MetricTracker", "evaluation.validation", False),
        ("torch.nn.Linear", "head", False),
    ],
)
def test_of_libraries_a_run_may_name_optimizers_and_plain_metrics(target, key, from_file, origin):
    if from_file and origin == "file":
        assert judge(target, key, origin).__name__ == target.rpartition(".")[2]
    else:
        with pytest.raises(UserError, match="is not built"):
            judge(target, key, origin)


@pytest.mark.parametrize(
    ("target", "key", "built"),
    [
        ("torch.nn.Linear", "head", True),
        ("torch.optim.lr_scheduler.StepLR", "schedule", True),
        ("torchvision.transforms.v2.RandomInvert", "augment.more", True),
        ("torchvision.models.ResNet", "backbone", True),
        ("torchvision.ops.FrozenBatchNorm2d", "head", True),
        ("torchmetrics.aggregation.MeanMetric", "evaluation.a.metrics.b", True),
        ("torchmetrics.regression.MeanSquaredError", "evaluation.a.metrics.b", True),
        ("torchmetrics.segmentation.GeneralizedDiceScore", "evaluation.a.metrics.b", True),
        ("timm.layers.LayerNorm2d", "head", True),
        ("timm.loss.LabelSmoothingCrossEntropy", "loss", True),
        ("timm.models.VisionTransformer", "backbone", True),
        ("torchvision.datasets.FakeData", "data", False),
        ("torchvision.transforms.v2.functional.resize", "augment", False),
        ("timm.data.ImageDataset", "data", False),
        ("timm.models.create_model", "backbone", False),
        ("torch.nn.init.zeros_", "head", False),
        ("torch.utils.data.DataLoader", "data", False),
        ("torchvision.transforms.RandomCrop", "augment", False),
    ],
)
def test_of_libraries_a_person_may_name_what_computes(target, key, built):
    if built:
        assert judge(target, key, "person").__name__ == target.rpartition(".")[2]
    else:
        with pytest.raises(UserError, match="is not built"):
            judge(target, key, "person")


def test_what_a_package_says_when_it_is_imported_is_told_and_a_long_name_is_not_told_whole(monkeypatch):
    with pytest.raises(UserError) as raised:
        judge(f"mylab.{'x' * 1000}", "model", "person")
    assert "x" * 1000 not in str(raised.value)
    monkeypatch.setenv("MAE_HYDRA_TRUST", "mylab")
    not_found = "model._target_ = mylab.A cannot be found (OSError: no file)"
    for error, said in ((UserError("install it first"), "install it first"), (OSError("no\nfile"), not_found)):
        monkeypatch.setattr(trust, "_located", raising(error))
        with pytest.raises(UserError) as raised:
            judge("mylab.A", "model", "person")
        assert str(raised.value) == said
