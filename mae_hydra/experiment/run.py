"""The composition root: the whole story of a run, read from top to bottom."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from mae_hydra.data import ImageData, TrainStream
from mae_hydra.distributed import rank, session, world_size
from mae_hydra.engine import State, cut_batch, fit, wrap
from mae_hydra.errors import UserError
from mae_hydra.experiment.construct import build
from mae_hydra.experiment.status import write_json
from mae_hydra.optim import describe_groups
from mae_hydra.seeds import seed_device
from mae_hydra.tracking import Console, LocalFiles, Trackers
from mae_hydra.weights import read_checkpoint, transfer

log = logging.getLogger("mae_hydra")

# What the labels of a data set must be for a task; pre-training takes any.
LABELS = {"segment": "map"}


def run(config: DictConfig, plain: Mapping[str, Any], run_dir: Path) -> float:
    """Train what `config` describes in `run_dir`; returns the monitored metric. `plain` is the same, resolved, as a dict."""
    settings = build(config.engine, "engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        data: ImageData = build(config.data, "data")
        _check_labels(config, data)
        cut = _user_error("engine.", cut_batch, settings.global_batch, data.batch_size, world_size())
        stream = TrainStream(
            data.train,
            build(config.augment, "augment"),
            global_batch=settings.global_batch,
            micro_batch=cut.micro_batch,
            rank=rank(),
            world_size=world_size(),
            seed=config.seed,
            num_workers=data.num_workers,
            device_is_cuda=settings.torch_device.type == "cuda",
        )
        schedule = _user_error("schedule.", build(config.schedule, "schedule"), stream.steps_per_epoch)

        seed_device(config.seed, "init")
        model: nn.Module = build(config.model, "model")
        checkpoints = build(config.checkpoint, "checkpoint")(run_dir / "checkpoints")
        if config.init_from and not checkpoints.last.is_file():
            report = transfer(model, read_checkpoint(config.init_from))
            log.info("%s", report)
            report.show()
        forward = wrap(model, settings)
        optimizer = build(config.optimizer, "optimizer")(model)  # after wrapping: it must see where the parameters are
        state = State(model, optimizer, settings.scaler())
        if config.resume != "never":
            checkpoints.restore(state)

        inference = build(config.inference, "inference")
        evaluators = {
            name: build(node, f"evaluation.{name}")(data=data, inference=inference)
            for name, node in config.evaluation.items()
        }
        trackers = Trackers([LocalFiles(), Console(), *(build(node, f"logger.{name}") for name, node in config.logger.items())])
        for row in describe_groups(optimizer):
            log.info("parameter group %s", row)
        results = fit(
            state,
            forward,
            stream,
            schedule,
            evaluators,
            checkpoints,
            trackers,
            settings,
            cut=cut,
            seed=config.seed,
            run_dir=run_dir,
            config=plain,
            meta={"class_names": list(data.class_names), "palette": data.palette.tolist()},
        )
    write_json(run_dir / "results.json", results)
    return results[config.checkpoint.monitor]


def _check_labels(config: DictConfig, data: ImageData) -> None:
    wanted = LABELS.get(config.task)
    if wanted is not None and data.target != wanted:
        raise UserError(
            f"model {config.name} needs label maps, and this data set has none; use data=scenes or data=ade20k, "
            "or pre-train on it with a MAE: model=mae_vitb"
        )


def _user_error(key: str, function: Any, *arguments: Any) -> Any:
    """Call `function`; what it refuses is the configuration's fault."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise UserError(f"{key}{error}") from error
