"""FSDP2: each process keeps a share of every parameter, of its moments and of its average.

Checkpoints hold whole tensors all the same, so that any number of processes goes on from them, and anything that reads
weights reads them too.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from mae_hydra.distributed import broadcast, world_size


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The elements of every list named `…blocks`: what is compiled, and sharded, one by one."""
    for name, module in model.named_modules():
        if name.endswith("blocks") and isinstance(module, nn.ModuleList | nn.Sequential):
            yield from module


def shard(*modules: nn.Module, device: torch.device) -> None:
    """Shard in place what the main process holds: every block by itself, then what is left of each module."""
    mesh = init_device_mesh(device.type, (world_size(),))
    for module in modules:
        broadcast([*module.parameters(), *module.buffers()])
        for part in [*blocks_of(module), module]:
            fully_shard(part, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Tell whether any parameter is sharded over processes."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_tensor(tensor: Tensor) -> Tensor:
    """Put the shards of all processes together; each of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """Give the shard of this process, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_full(content: Any) -> Any:
    """Make every sharded tensor in `content` full, one at a time, on the CPU; all processes call it alike."""
    return tree_map_only(DTensor, lambda tensor: tensor.full_tensor().cpu(), content)


def shard_tensors(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Shard full `values` as the tensors of the same name in `like` are. No process asks another."""
    return {name: _share(value, like[name]) if name in like else value for name, value in values.items()}


def shard_optimizer_state(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Shard the moments of a full `optimizer.state_dict()` as the parameters of `optimizer` are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        position: {
            name: _share(value, parameters[position])
            if isinstance(value, Tensor) and value.shape == parameters[position].shape
            else value
            for name, value in values.items()
        }
        for position, values in saved["state"].items()
    }
    return {**saved, "state": state}


def _share(value: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return value
    on_device = value.to(like.device, like.dtype)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


class Twin:
    """A plain form of a model that is going to be sharded, for evaluation, which calls it in other ways than training.

    Evaluation may also call it a different number of times in each process, where sharded blocks would wait for ever.
    Its parameters take no memory until they are filled in.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model)
        self._empty()

    def filled(self, model: nn.Module) -> nn.Module:
        """The twin with the parameters and buffers of the sharded `model`; `close` gives them back."""
        # On the device: gathering to the CPU and going back would be slow.
        self._model.load_state_dict({n: full_tensor(t).clone() for n, t in model.state_dict().items()}, assign=True)
        return self._model

    def _empty(self) -> None:
        for module in self._model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad))

    close = _empty
