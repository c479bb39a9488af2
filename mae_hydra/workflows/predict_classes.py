"""What a classifier says of pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_hydra.configuration.changes import at
from mae_hydra.data import EvalCrop, Sample
from mae_hydra.lines import is_number
from mae_hydra.names import names_or_numbers
from mae_hydra.owned import Owned
from mae_hydra.precision import check_numbers
from mae_hydra.types import DEFAULT_SIZE, image_size_of
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows.predict_options import COMMAND, MOST_LIKELY, write_file


class Classes:
    """classes/<name>.json: the most likely classes and their probabilities, of the centre that evaluation looks at."""

    notes: Sequence[str] = ()

    def __init__(self, model: Any, checkpoint: Checkpoint, out: Path) -> None:
        self.model, self.out, self.owned = model, out, Owned(out, COMMAND)
        self.transform = EvalCrop(size=image_size_of(model) or DEFAULT_SIZE, crop_ratio=_crop_ratio(checkpoint))
        self.class_names = names_or_numbers(checkpoint.meta.get("class_names"), model.num_classes)

    def files(self, name: str) -> list[Path]:
        return [self.out / "classes" / f"{name}.json"]

    def write(self, images: list[Tensor], names: list[str]) -> list[Path]:
        if not images:
            return []
        cut = torch.stack([self.transform(Sample(image, None, "")).image for image in images])
        logits = self.model(cut.to(self.model.mean.device)).float()
        check_numbers(logits, "the model's logits")
        shares = logits.softmax(1).cpu()
        best = shares.topk(min(MOST_LIKELY, self.model.num_classes), dim=1)
        written = []
        for name, places, values in zip(names, best.indices.tolist(), best.values.tolist(), strict=True):
            found = [
                {"class": self.class_names[place], "id": place, "probability": round(value, 6)}
                for place, value in zip(places, values, strict=True)
            ]
            [file] = self.files(name)
            text = json.dumps(found, indent=1) + "\n"
            write_file(self.owned, file, lambda stream, text=text: stream.write(text.encode()))
            written.append(file)
        return written


def _crop_ratio(checkpoint: Checkpoint) -> float | None:
    """Read the crop ratio of the training's evaluations."""
    evaluators = at(checkpoint.meta.get("config", {}), "evaluation")
    ratios = [at(evaluators, name).get("crop_ratio") for name in evaluators]
    return next((float(ratio) for ratio in ratios if is_number(ratio)), None)
