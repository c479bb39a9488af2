"""OpenCV's INTER_LINEAR on bytes, one pixel at a time in whole numbers."""

import math

import numpy as np
import torch
from torch import Tensor


def weights(share: float) -> tuple[int, int]:
    share32 = np.float32(share)
    return int(np.rint((np.float32(1) - share32) * np.float32(2048))), int(np.rint(share32 * np.float32(2048)))


def as_opencv(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (C, H, W) -> uint8 (C, *size)."""
    channels, height, width = image.shape
    pixels = image.tolist()
    result = torch.empty((channels, *size), dtype=torch.uint8)
    for row in range(size[0]):
        y = np.float32((row + 0.5) * (height / size[0]) - 0.5)
        top = math.floor(y)
        over, under = weights(y - np.float32(top))
        rows = [min(max(each, 0), height - 1) for each in (top, top + 1)]
        for column in range(size[1]):
            x = np.float32((column + 0.5) * (width / size[1]) - 0.5)
            left = math.floor(x)
            near, far = weights(x - np.float32(left)) if 0 <= left < width - 1 else (2048, 0)
            columns = [min(max(each, 0), width - 1) for each in (left, left + 1)]
            for channel in range(channels):
                first, second = (
                    pixels[channel][r][columns[0]] * near + pixels[channel][r][columns[1]] * far for r in rows
                )
                value = (over * (first >> 4) >> 16) + (under * (second >> 4) >> 16)
                result[channel, row, column] = (value + 2) >> 2
    return result
