"""`mae-hydra dashboard`: W&B workspaces and a report, made by code."""

import argparse
import json
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.owned import Owned

DEFAULT = Path("outputs/dashboards")
PROJECT, KEYS, METRIC = "mae_hydra", "model.mask_ratio", "val/loss"


def arguments(parser: argparse.ArgumentParser) -> None:
    help_text = "a sweep's directory, outputs/sweeps/…: its keys, metric and group are found there"
    parser.add_argument("sweep", type=Path, nargs="?", help=help_text)
    parser.add_argument("--entity", help="whose project it is: you or your team (default: as the sweep recorded it)")
    parser.add_argument("--project", help=f"default: as the sweep recorded it, or {PROJECT}")
    parser.add_argument("--group", help="the sweep, as its `group` says: adds the workspace and the report of it")
    parser.add_argument("--keys", help=f"what was swept (default: as the sweep tells, or {KEYS})")
    parser.add_argument("--metric", help=f"what it is judged by (default: as the sweep tells, or {METRIC})")
    parser.add_argument("--mode", choices=("min", "max"), help="which value is the best (default: of a loss min)")
    parser.add_argument(
        "--save", action="store_true", help="save them; needs `wandb login`. Else they are only written"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT, help="as JSON (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.tracking import dashboards

    recorded = _told_by(options.sweep) if options.sweep is not None else {}
    entity, group = options.entity or recorded.get("entity"), options.group or recorded.get("group")
    if entity is None:
        raise UserError("whose project is it? give --entity <you or your team>")
    where: dict[str, Any] = {"entity": entity, "project": options.project or recorded.get("project") or PROJECT}
    keys = [key for key in options.keys.split(",") if key] if options.keys else recorded.get("keys") or [KEYS]
    metric = options.metric or recorded.get("metric") or METRIC
    known = recorded.get("mode") if metric == recorded.get("metric") else None
    mode = options.mode or known or ("min" if "loss" in metric else "max")
    swept: dict[str, Any] = {"group": group, "keys": keys, "metric": metric, "mode": mode}
    plain = swept | {"group": None}
    if recorded:
        print(f"{options.sweep}: {', '.join(keys)}, judged by {metric} ({mode}), group {group}")
    try:
        made = {kind: dashboards.workspace(kind, **where, **plain) for kind in ("pretrain", "segment", "classify")}
        if group:
            made["sweep"] = dashboards.workspace("sweep", **where, **swept)
            made["report"] = dashboards.report(**where, **swept, over_seeds=recorded.get("over_seeds"))
    except ImportError as error:
        raise UserError(
            f"dashboards need a package of their own ({error}): pip install 'mae-hydra[dashboards]'"
        ) from error
    owned = Owned(options.out, "dashboard", trusted=options.out == DEFAULT)
    for name, board in made.items():
        path = options.out / f"{name}.json"
        owned.claim(path).write_text(json.dumps(dashboards.described(board), indent=1) + "\n")
        if options.save:
            _save(name, board)
        else:
            print(f"{name}: {path}")
    if not options.save:
        print("nothing was sent; --save makes them in W&B")
    return 0


def _told_by(sweep: Path) -> dict[str, Any]:
    """What the jobs of a sweep have recorded of it."""
    from mae_hydra.experiment.read_runs import over_seeds, read_sweep, varying

    runs = [run for run in read_sweep(sweep) if run.config]
    if not runs:
        raise UserError(f"{sweep} is no sweep: no job with a config.yaml lies in it")
    loggers = [run.config.get("logger") for run in runs]
    wandb: dict[str, Any] = next(
        (logger["wandb"] for logger in loggers if isinstance(logger, dict) and "wandb" in logger), {}
    )
    first = runs[0]
    return {
        "entity": wandb.get("entity"),
        "project": wandb.get("project"),
        "group": next((run.config["group"] for run in runs if run.config.get("group")), sweep.resolve().name),
        "keys": varying(runs),
        "metric": first.monitor,
        "mode": "max" if first.higher_is_better else "min",
        "over_seeds": over_seeds(runs),
    }


def _save(name: str, made: Any) -> None:
    try:
        made.save()
    except Exception as error:  # whatever the server or its client has to say
        raise UserError(
            f"W&B did not take the {name} ({str(error).splitlines()[0]}); `wandb login`, then again"
        ) from error
    print(f"{name}: {made.url}")
