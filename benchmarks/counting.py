"""Adding a picture to a confusion matrix: ours, torchmetrics', and the three histograms of the usual code."""

from collections.abc import Callable

import torch
from torch import Tensor

from mae_hydra.benchmark.rates import memory_rate
from mae_hydra.benchmark.results import Floor, Measured, timing_numbers, timing_table
from mae_hydra.benchmark.timing import alternate
from mae_hydra.evaluation.metrics import count_confusions

IGNORE = 255


def counting(size: tuple[int, int], num_classes: int, rounds: int, device: torch.device) -> Measured:
    """Label and prediction (H, W) of `size` with so many classes, on the device."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    dice = torch.Generator().manual_seed(0)
    labels, prediction = (torch.randint(0, num_classes, size, dtype=torch.uint8, generator=dice) for _ in range(2))
    labels[: size[0] // 10] = IGNORE
    labels, prediction = labels.to(device), prediction.to(device)

    def theirs() -> Tensor:
        wide = prediction.long(), labels.long()
        return multiclass_confusion_matrix(*wide, num_classes, ignore_index=IGNORE, validate_args=False)

    candidates: dict[str, Callable[[], object]] = {
        "mae_hydra": lambda: count_confusions(prediction, labels, num_classes, IGNORE),
        "torchmetrics": theirs,
        "three histograms": lambda: _histograms(prediction, labels, num_classes),
    }
    assert torch.equal(count_confusions(prediction, labels, num_classes, IGNORE), theirs())
    found = alternate(candidates, rounds=rounds, warmup=2, device=device)
    rate = memory_rate(device)
    floor = Floor(f"both maps read at {rate / 1e9:.0f} GB/s", 2 * labels.numel() / rate)
    title = f"metrics: a picture of {size[0]}x{size[1]}, {num_classes} classes, {device.type}"
    table = timing_table(title, found, 1, "img/s", floor)
    return Measured(table, timing_numbers("metrics", found, floor) | {"size": list(size), "classes": num_classes})


def _histograms(prediction: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of intersection, prediction and label by class, and the host waits for them."""
    counted = labels != IGNORE
    predicted, labelled = prediction[counted].float(), labels[counted].float()
    found = (predicted[predicted == labelled], predicted, labelled)
    intersection, of_prediction, of_label = (
        torch.histc(values, bins=num_classes, min=0, max=num_classes - 1).cpu() for values in found
    )
    return intersection, of_prediction, of_label
