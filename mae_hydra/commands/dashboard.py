"""`mae-hydra dashboard`: W&B workspaces and a report, made by code."""

import argparse
import json
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.owned import Owned

DEFAULT = Path("outputs/dashboards")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entity", required=True, help="whose project it is: you or your team")
    parser.add_argument("--project", default="mae_hydra", help="default: %(default)s")
    parser.add_argument("--group", help="the sweep, as its `group` says: adds the workspace and the report of it")
    parser.add_argument("--keys", default="model.mask_ratio", help="what was swept (default: %(default)s)")
    parser.add_argument("--metric", default="val/loss", help="what it is judged by (default: %(default)s)")
    parser.add_argument("--mode", choices=("min", "max"), help="which value is the best (default: of a loss min)")
    parser.add_argument(
        "--save", action="store_true", help="save them; needs `wandb login`. Else they are only written"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT, help="as JSON (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.tracking import dashboards

    keys = [key for key in options.keys.split(",") if key]
    where: dict[str, Any] = {"entity": options.entity, "project": options.project}
    mode = options.mode or ("min" if "loss" in options.metric else "max")
    swept = {"group": options.group, "keys": keys, "metric": options.metric, "mode": mode}
    plain = swept | {"group": None}
    try:
        made = {kind: dashboards.workspace(kind, **where, **plain) for kind in ("pretrain", "segment", "classify")}
        if options.group:
            made["sweep"] = dashboards.workspace("sweep", **where, **swept)
            made["report"] = dashboards.report(**where, **swept)
    except ImportError as error:
        raise UserError(
            f"dashboards need a package of their own ({error}): pip install 'mae-hydra[dashboards]'"
        ) from error
    owned = Owned(options.out, "dashboard", trusted=options.out == DEFAULT)
    for name, each in made.items():
        path = options.out / f"{name}.json"
        owned.claim(path).write_text(json.dumps(dashboards.described(each), indent=1) + "\n")
        if options.save:
            _save(name, each)
        else:
            print(f"{name}: {path}")
    if not options.save:
        print("nothing was sent; --save makes them in W&B")
    return 0


def _save(name: str, made: Any) -> None:
    try:
        made.save()
    except Exception as error:  # whatever the server or its client has to say
        raise UserError(
            f"W&B did not take the {name} ({str(error).splitlines()[0]}); `wandb login`, then again"
        ) from error
    print(f"{name}: {made.url}")
