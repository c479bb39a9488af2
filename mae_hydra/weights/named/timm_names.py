"""Where timm's weights of a name lie, which timm itself is asked; nothing is guessed."""

import difflib
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.weights.named.address import HUB, Address, parse


def looked_up(address: Address) -> Address:
    """The repository or the file that timm's description of the model `address.where` names."""
    from timm.models import get_pretrained_cfg, list_pretrained

    try:
        described: Any = get_pretrained_cfg(address.where, allow_unregistered=False)
    except RuntimeError:
        described = None
    if described is None:
        near = difflib.get_close_matches(address.where, list_pretrained(), 3, 0.5)
        like = f"; there are {', '.join(near)}" if near else ""
        raise UserError(f"timm knows no weights {address.where}{like} (timm.list_pretrained() lists all)")
    if described.hf_hub_id:
        target = parse(f"{HUB}{described.hf_hub_id}")._replace(file=address.file or described.hf_hub_filename or "")
    elif described.url:
        target = parse(described.url)
    else:
        raise UserError(f"timm describes {address.where} and publishes no weights of it")
    return target._replace(sha256=address.sha256, part=address.part)
