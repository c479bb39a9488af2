"""What was probably meant by a key that does not exist: every key of that name, the words of other programs, a slip."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

# What the same thing is called elsewhere. The first word of each is a key, or a group with its option.
ELSEWHERE = {
    "data.batch_size": "bs batch train_batch_size batch_size_per_gpu samples_per_gpu per_device_train_batch_size",
    "data.image_size": "size img_size input_size resolution crop_size",
    "data.num_classes": "classes nb_classes n_classes",
    "data.num_workers": "workers n_workers num_worker workers_per_gpu dataloader_num_workers",
    "data.root": "root data_path data_dir data_root dataset_path",
    "data": "dataset",
    "model": "arch architecture",
    "backbone": "encoder",
    "backbone.drop_path_rate": "drop_path stochastic_depth",
    "head": "decoder",
    "head.depth": "decoder_depth",
    "head.embed_dim": "decoder_embed_dim decoder_dim",
    "head.num_heads": "decoder_num_heads",
    "model.norm_pix": "norm_pix_loss",
    "optimizer": "optim opt",
    "optimizer.lr": "learning_rate",
    "optimizer.base_lr": "blr base_learning_rate",
    "optimizer.weight_decay": "wd",
    "schedule": "scheduler lr_scheduler",
    "schedule.total with schedule.unit=epoch": "epochs max_epochs num_epochs n_epochs num_train_epochs total_epochs",
    "schedule.total with schedule.unit=step": "steps max_steps num_steps total_steps iterations "
    "iters max_iters max_iter",
    "schedule.warmup": "warmup_epochs warmup_steps warmup_iters num_warmup_steps",
    "engine.devices": "gpus num_gpus n_gpus ngpus nproc_per_node world_size num_devices",
    "engine.global_batch (a step's images; accumulation follows)": "accum_iter accumulate accumulation "
    "grad_accum accumulate_grad_batches gradient_accumulation_steps effective_batch_size total_batch_size",
    "engine.precision": "amp fp16 bf16 mixed_precision use_amp",
    "engine.clip_grad": "grad_clip clip_grad_norm max_grad_norm gradient_clip_val max_norm",
    "engine.ema_decay": "ema model_ema model_ema_decay",
    "engine.recompute": "gradient_checkpointing grad_checkpointing activation_checkpointing use_checkpoint with_cp",
    "engine.batch_norm": "sync_bn sync_batchnorm syncbn",
    "engine.log_every": "log_interval log_every_n_steps logging_steps print_freq",
    "checkpoint.every": "save_every save_interval save_freq save_steps",
    "evaluation.validation.every": "eval_every eval_interval eval_freq val_interval eval_steps",
    "init_from": "pretrained checkpoint_path ckpt ckpt_path weights load_from pretrain finetune init_weights",
    "resume": "resume_from resume_from_checkpoint",
    "paths.output_root": "output output_dir out_dir work_dir save_dir log_dir",
    "logger=wandb": "wandb use_wandb",
    "logger=tensorboard": "tensorboard",
}
SYNONYMS = {word: meant for meant, words in ELSEWHERE.items() for word in words.split()}
FIRST = ("model", "data")  # of several candidates these are meant
JUDGING = ("inference", "evaluation")  # groups that change nothing of the training
ADDED = ("experiment", "sweep", "debug")  # groups of no node of their own, which are added with a plus
CLOSE = 0.8


def meant_by(key: str, known: Mapping[str, str | None]) -> str | None:
    """`did you mean …?` for `key`, or None where nothing is like it; `known` is what `known_keys` gives.

    Keys of the same name are all named, those of the model and the data first. One that only follows another of them is
    named behind it: to set it alone would part the two.
    """
    added = closest(key, ADDED, CLOSE)
    if added is not None:
        return f"did you mean '+{added}=…'?"
    last = key.rpartition(".")[2]
    other = SYNONYMS.get(last)
    candidates = [name for name in known if name.rpartition(".")[2] == last]
    if other is not None and _exists(other, known):
        candidates = [other, *(name for name in candidates if name != other)]
    candidates = candidates or _slips(key, known)
    if not candidates:
        return None
    followers = {name: known[name] for name in candidates if known.get(name) in candidates}
    heads = sorted((name for name in candidates if name not in followers), key=_rank)
    judged = [name for name in heads if name.partition(".")[0] in JUDGING]
    notes = {name: " (evaluation alone)" for name in judged if len(judged) < len(heads)}
    notes |= {name: f" (it follows {known[name]})" for name in heads if known.get(name)}
    question = f"did you mean {' or '.join(_quoted(name) + notes.get(name, '') for name in heads)}?"
    if followers:
        question += f" ({' and '.join(followers)} {'follow' if len(followers) > 1 else 'follows'} it)"
    return question


def known_keys(config: Any) -> dict[str, str | None]:
    """Every key of a composition, and which other key its value is (`${data.image_size}`), if it is one's."""
    keys: dict[str, str | None] = {}

    def walk(node: DictConfig, prefix: str) -> None:
        for key in node:  # a number where a person maps numbers: data.values={0: 0, 255: 1}
            name = str(key)
            if name.startswith("_"):
                continue
            below: Any = node._get_node(key)
            keys[f"{prefix}{name}"] = _followed(below)
            if isinstance(below, DictConfig) and not below._is_none() and not below._is_interpolation():
                walk(below, f"{prefix}{name}.")

    walk(config, "")
    return keys


def typed(known: Mapping[str, str | None], key: str) -> str:
    """Find where a person gives the value of `key`: at another key, where it, or what it lies in, follows that."""
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        followed = known.get(".".join(parts[:end]))
        if followed is not None:
            return typed(known, ".".join([followed, *parts[end:]]))
    return key


def _followed(node: Any) -> str | None:
    """The key that a value is, where it is nothing but an interpolation of one."""
    match = re.fullmatch(r"\$\{([\w.]+)\}", str(node._value())) if node._is_interpolation() else None
    return match[1] if match else None


def closest(word: str, words: Sequence[str], cutoff: float = 0.5) -> str | None:
    """The one of `words` that is most like `word`, where one is."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    return close[0] if close else None


def _quoted(meant: str) -> str:
    key, space, more = meant.partition(" ")
    return f"'{key}'{space}{more}"


def _exists(meant: str, known: Mapping[str, str | None]) -> bool:
    return re.split(r"[ =]", meant)[0] in known


def _slips(key: str, known: Mapping[str, str | None]) -> list[str]:
    """Keys that differ from `key` by a slip: as a whole, else by their last name."""
    whole = closest(key, list(known), CLOSE)
    if whole is not None:
        return [whole]
    last = closest(key.rpartition(".")[2], sorted({name.rpartition(".")[2] for name in known}), CLOSE)
    return [name for name in known if name.rpartition(".")[2] == last]


def _rank(name: str) -> int:
    group = re.split(r"[.= ]", name)[0]
    return FIRST.index(group) if group in FIRST else len(FIRST) + (group in JUDGING)
