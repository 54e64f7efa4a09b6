"""The forward pass of several ranks: every rank with all weights (DDP), or each with its part (FSDP).

Sharded (torch's `fully_shard`; S. Rajbhandari et al., "ZeRO", SC 2020, stage 3), a rank holds 1/n of each
parameter, of its gradient and of what the optimizer knows of it; the whole of a unit (one block of a
transformer, say) is put together while it computes, and given up again. Outside `GatheredModule` a sharded
parameter is a part: what needs the whole asks here for it, on every rank at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, TypeVar

import torch
from torch import nn

from trainers.errors import InputError
from trainers.family import Family
from trainers.types import Batch, Outputs, Tensors

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from trainers.types import Json

Made = TypeVar("Made")
OptimizerState: TypeAlias = "dict[str, torch.Tensor | Json]"  # of one parameter, by the optimizer's names


class ForwardModule(nn.Module):
    """The family's forward pass as one module, so that DDP sees it whatever the family calls inside."""

    def __init__(self, family: Family, module: nn.Module) -> None:
        super().__init__()
        self.family, self.module = family, module

    def forward(self, batch: Batch) -> Outputs:
        return self.family.outputs(self.module, batch)


def wrap_parallel(family: Family, module: nn.Module) -> nn.parallel.DistributedDataParallel:
    """The family's outputs of a batch; backward then averages gradients over ranks."""
    return nn.parallel.DistributedDataParallel(ForwardModule(family, module))


class GatheredModule(nn.Module):
    """What is called through it finds the module's own parameters whole; every rank must make the same calls
    in the same order."""

    def __init__(self, module: nn.Module) -> None:
        """Calls as they are; `sharded` makes more of it."""
        super().__init__()
        self.module = module

    def forward(self, call: Callable[[], Made]) -> Made:
        """What the call returns."""
        return call()


def shard_module(family: Family, module: nn.Module, device: torch.device) -> GatheredModule:
    """Leaves on this rank its part of each parameter of the family's module, on the device.

    Raises:
        InputError: the family makes its own steps, which would have to know of it.
        ValueError: torch cannot shard a parameter (one without dimensions).
    """
    if type(family).train_step is not Family.train_step:
        raise InputError(
            "weights can be sharded where the loop makes the steps",
            f"{family.name or type(family).__name__}, which makes its own",
            "write resources.sharding: none",
            key=("resources", "sharding"),
        )
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for parameter in module.parameters():  # torch shards no kernel that lies channels last in memory
        parameter.data = parameter.data.contiguous()
    through = GatheredModule(module)
    for unit in _shard_units(through):
        fully_shard(unit, mesh=mesh)
    # the root's are given up too: between forward passes there are parts alone
    fully_shard(through, mesh=mesh, reshard_after_forward=True)
    return through


def _shard_units(module: nn.Module) -> list[nn.Module]:
    """What is gathered one by one: members of lists and sequences that share no parameter with others."""
    everywhere = _count_uses(module)
    found = list(_unit_candidates(module, inside=False))
    return [unit for unit in found if all(everywhere[key] == n for key, n in _count_uses(unit).items())]


def _unit_candidates(module: nn.Module, *, inside: bool) -> Iterator[nn.Module]:
    if inside and not isinstance(module, nn.ModuleList | nn.ModuleDict):
        if next(module.parameters(), None) is not None:
            yield module
        return
    for child in module.children():
        yield from _unit_candidates(
            child, inside=isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential)
        )


def _count_uses(module: nn.Module) -> Counter[int]:
    return Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))


# -- parts and wholes ----------------------------------------------------------------------------------------


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a sharded tensor, on the same memory; any other tensor as it is."""
    if not _is_sharded(tensor):
        return tensor
    found: torch.Tensor = tensor.to_local()
    return found.detach()


def local_parts(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """This rank's part of each, without those of which it has nothing."""
    return [own for own in map(local_part, tensors) if own.numel()]


def shard_like(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The part that this rank has of a tensor laid out as `like`; the whole where that is not sharded."""
    return local_part(_lay_out(whole, like))


def _lay_out(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not _is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # every rank has the whole at hand: nothing need be sent
    given = whole.to(like.device)
    return distribute_tensor(given, like.device_mesh, like.placements, src_data_rank=None)


def gather_whole(own: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The inverse of `shard_like`: called by every rank with its part."""
    if not _is_sharded(like):
        return own
    from torch.distributed.tensor import DTensor

    laid_out: DTensor = DTensor.from_local(
        local_part(own).to(like.device), like.device_mesh, like.placements,
        run_check=False, shape=like.shape, stride=like.stride(),
    )  # fmt: skip
    found: torch.Tensor = laid_out.full_tensor()
    return found


def gather_wholes(named: Tensors, like: Tensors, *, keep: bool) -> dict[str, torch.Tensor]:
    """Tensors of which each rank has its part, put together one after another.

    Args:
        like: tensors of the same names, laid out as these are.
        keep: whether this rank wants them; it must take part all the same.
    """
    made = ((name, gather_whole(own, like[name])) for name, own in named.items())
    return {name: tensor.cpu() if _is_sharded(like[name]) else tensor for name, tensor in made if keep}


def copy_weights(module: nn.Module, former: Tensors) -> dict[str, torch.Tensor]:
    """A copy of this rank's part of the weights, on the CPU; into the memory of a former copy, if any."""
    made = {}
    for name, tensor in module.state_dict().items():
        own = local_part(tensor.detach())
        alike = name in former and former[name].shape == own.shape  # what grows has another the next time
        made[name] = former[name].copy_(own) if alike else own.to("cpu", copy=True)
    return made


def restore_weights(module: nn.Module, kept: Tensors) -> None:
    """The inverse of `copy_weights`."""
    here = module.state_dict()
    if not any(map(_is_sharded, here.values())):
        module.load_state_dict(dict(kept))
        return
    with torch.no_grad():
        for name, own in here.items():
            local_part(own).copy_(kept[name])


def load_whole(module: nn.Module, named: Tensors) -> None:
    """As `load_state_dict`, where this rank takes its part of each tensor."""
    restore_weights(module, {name: shard_like(named[name], own) for name, own in module.state_dict().items()})


def lay_out_state(
    optimizer: torch.optim.Optimizer, state: Mapping[int, OptimizerState]
) -> dict[int, OptimizerState]:
    """An optimizer's state from whole tensors, laid out as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        index: {
            key: _lay_out(value, parameters[index])
            if isinstance(value, torch.Tensor) and value.shape == parameters[index].shape
            else value
            for key, value in entries.items()
        }
        for index, entries in state.items()
    }


def _is_sharded(tensor: torch.Tensor) -> TypeGuard[DTensor]:
    return hasattr(tensor, "to_local")  # DTensor, whose import takes a while where nothing is sharded
