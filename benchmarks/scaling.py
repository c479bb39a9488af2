"""What happens to a pre-training run on many devices: arithmetic on measured and stated figures, and a simulation.

Nothing here has been run on many devices. Every input is in `Inputs`, with where it comes from.
"""

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np


def _measured(what: str) -> float:
    return field(metadata={"source": "measured here", "what": what})


def _stated(value: float, what: str, source: str) -> float:
    return field(default=value, metadata={"source": source, "what": what})


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Bytes, seconds, FLOPs; `source` of each field says whether it was measured or is assumed."""

    parameters: float = _measured("trained parameters")
    step_flops: float = _measured("FLOPs of an image, forward and backward")
    checkpoint_bytes: float = _measured("bytes of a checkpoint")
    image_bytes: float = _measured("bytes of a JPEG of 500x375")
    decode_rate: float = _measured("such images decoded and cropped a second, by one core")
    write_rate: float = _measured("bytes a second to the disk, flushed")
    start_seconds: float = _measured("from the command line to the first step")
    global_batch: float = _stated(4096, "images a step", "the recipe")
    peak_flops: float = _stated(989e12, "FLOP/s of a device", "assumed: H100 SXM, bf16, dense")
    mfu: float = _stated(0.4, "share of it that is reached", "assumed")
    devices_of_a_node: float = _stated(8, "devices of a node", "assumed")
    within_node: float = _stated(300e9, "bytes a second between devices of a node", "assumed: NVLink 4, two thirds")
    between_nodes: float = _stated(40e9, "bytes a second a device between nodes", "assumed: 400 Gbit/s, four fifths")
    to_host: float = _stated(25e9, "bytes a second from a device to its host", "assumed: PCIe 5, half")
    device_mtbf_hours: float = _stated(50_000, "device hours between failures", "419 in 54 days of 16,384 (Llama 3)")
    shard_bytes: float = _stated(256e6, "bytes of a shard", "assumed")


class Row(NamedTuple):
    """On `devices` devices: seconds, shares of 1, bytes a second, hours."""

    devices: int
    batch_of_a_device: float
    compute: float
    reduce: float
    exposed: float
    efficiency: float
    images_a_second: float
    read_rate: float
    decode_cores: float
    mtbf_hours: float
    interval: float
    lost: float


def sources(inputs: Inputs) -> list[tuple[str, float, str]]:
    """(what, value, where it comes from) of every input."""
    return [(f.metadata["what"], getattr(inputs, f.name), f.metadata["source"]) for f in fields(inputs)]


def row(inputs: Inputs, devices: int) -> Row:
    """The global batch stays, so each device has less to do in a step and as much to exchange."""
    compute = inputs.step_flops * inputs.global_batch / (devices * inputs.peak_flops * inputs.mfu)
    # A ring sends every gradient (fp32) nearly twice through its slowest link; there are as many rings as a node has
    # ways out, each with its share of the gradients. Latency, which grows with the devices, is not in it.
    out_of_a_node = inputs.between_nodes * inputs.devices_of_a_node
    link = inputs.within_node if devices <= inputs.devices_of_a_node else min(inputs.within_node, out_of_a_node)
    reduce = 2 * (devices - 1) / devices * 4 * inputs.parameters / link
    exposed = max(0.0, reduce - 2 / 3 * compute)  # it goes on beside the backward pass, two thirds of a step
    step = compute + exposed
    rate = inputs.global_batch / step
    mtbf = inputs.device_mtbf_hours * 3600 / devices
    stall = inputs.checkpoint_bytes / inputs.to_host  # the file is written beside training
    # No sooner than the file before is on the disk.
    interval = max(young(stall, mtbf), inputs.checkpoint_bytes / inputs.write_rate)
    return Row(
        devices,
        inputs.global_batch / devices,
        compute,
        reduce,
        exposed,
        compute / step,
        rate,
        rate * inputs.image_bytes,
        rate / inputs.decode_rate,
        mtbf / 3600,
        interval,
        lost_share(interval, stall, inputs.start_seconds, mtbf),
    )


def young(stall: float, mtbf: float) -> float:
    """The interval between checkpoints that loses least (Young 1974): sqrt(2 * stall * mtbf), in seconds."""
    return math.sqrt(2 * stall * mtbf)


def lost_share(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Share of the time lost to saving, to starting again, and to work done twice: half an interval a failure."""
    return stall / interval + (interval / 2 + restart) / mtbf


def simulate(work: float, interval: float, stall: float, restart: float, mtbf: float, seed: int) -> float:
    """Seconds that `work` seconds of training take where failures come at random, with checkpoints at `interval`."""
    dice = np.random.default_rng(seed)
    clock = done = saved = 0.0
    failure = dice.exponential(mtbf)
    while done < work:
        stretch = min(interval, work - done) + stall
        if clock + stretch < failure:
            clock += stretch
            done = saved = done + stretch - stall
        else:
            clock = failure + restart
            failure = clock + dice.exponential(mtbf)
            done = saved
    return clock
