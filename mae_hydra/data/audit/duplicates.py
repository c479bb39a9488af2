"""Pictures that occur more than once: byte for byte by their digest, nearly by a small perceptual hash.

The hash has one bit for each pair of neighbours in a row of the 8 x 9 thumbnail: "darker than the next". Pictures of
which one of its four quarters is equal are compared, and count as alike where their thumbnails correlate. Brightness,
contrast, size and compression do not matter then; a mirrored or strongly cropped copy is not found.

Shape letters: S pictures, D pixels of a thumbnail.
"""

from collections.abc import Iterator

import numpy as np

LEAST_CORRELATION = 0.98
LEAST_CONTRAST = 6.0  # deviation of a thumbnail, in grey levels: fog, night and paper resemble each other
MOST_STRETCH = 1.05  # ratio of the aspect ratios
BLOCK = 512  # thumbnails compared with their whole bucket at a time, which bounds the memory


def equal_groups(content: np.ndarray) -> list[np.ndarray]:
    """Groups of two or more positions with equal digests; `content` is (S,) of bytes. In order of first occurrence."""
    _, number, counts = np.unique(content.view("u8").reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(counts)
    groups = [order[end - count : end] for end, count in zip(ends, counts, strict=True) if count > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def near_pairs(thumbs: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """int64 (pairs, 2): positions, ascending, of pictures that look alike.

    `thumbs`: uint8 (S, 8, 9); `sizes`: (S, 2), H and W. Pictures without contrast are left out.
    """
    able = np.flatnonzero(thumbs.reshape(len(thumbs), -1).std(1) >= LEAST_CONTRAST)
    if len(able) < 2:
        return np.empty((0, 2), dtype=np.int64)
    thumbs, aspects = thumbs[able], np.log(sizes[able, 1] / sizes[able, 0])
    quarters = np.packbits(thumbs[..., 1:] > thumbs[..., :-1], axis=2)[..., 0].view(np.uint16)
    vectors = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    vectors -= vectors.mean(1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found: set[tuple[int, int]] = set()
    for quarter in quarters.T:
        for bucket in _buckets(quarter):
            for one, other in _alike(vectors, bucket):
                alike = np.abs(aspects[one] - aspects[other]) <= np.log(MOST_STRETCH)
                found |= set(zip(able[one[alike]].tolist(), able[other[alike]].tolist(), strict=True))
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _buckets(values: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of equal values, for every value that occurs more than once."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order])) + 1
    yield from (bucket for bucket in np.split(order, starts) if len(bucket) > 1)


def _alike(vectors: np.ndarray, bucket: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within `bucket`, ascending positions, whose vectors (S, D) of length 1 correlate."""
    for start in range(0, len(bucket), BLOCK):
        block = bucket[start : start + BLOCK]
        close = vectors[block] @ vectors[bucket].T >= LEAST_CORRELATION
        one, other = np.nonzero(close & (block[:, None] < bucket))
        yield block[one], bucket[other]
