"""Whole-image inference: one forward pass per picture, all pictures of a call in one batch."""

from collections.abc import Sequence

from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.inference.frame import Frame, Readable, readable
from mae_hydra.inference.passes import Pass
from mae_hydra.inference.resize import checked_long_ratio, resized_size, short_side
from mae_hydra.inference.segmentation_model import SHORTCUTS, SegmentationModel
from mae_hydra.inference.segmenter import SegmentationInference
from mae_hydra.inference.strips import Picture
from mae_hydra.inference.windows import Size
from mae_hydra.types import image_size_of


class Whole(SegmentationInference):
    """Look at whole pictures: smaller ones are padded bottom and right with the mean colour, larger ones refused.

    `short`: resize to this short side first (ratio kept, the long side at most `long_ratio` times as long; null: no
    cap); null: no resizing. The scores are logits.
    """

    def __init__(
        self, *, short: int | Sequence[int] | None, long_ratio: float | None, shortcuts: Sequence[str] = SHORTCUTS
    ) -> None:
        super().__init__(shortcuts)
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        """Raise a UserError where a picture of `size` (height, width), resized, is larger than what the model takes."""
        height, width = self._size(size)
        limit = image_size_of(model)
        if limit is not None and (height > limit[0] or width > limit[1]):
            raise UserError(
                f"a picture of {height}x{width} pixels does not fit the model, which takes {limit[0]}x{limit[1]}: "
                "use inference=slide, which cuts it into windows"
            )

    def picture(self, model: SegmentationModel, image: Tensor | Readable) -> Picture:
        shown = readable(image).size
        self.check(model, shown)
        size = self._size(shown)
        limit = image_size_of(model) or size
        only = Pass(Frame(model, image, size), limit, limit)
        return Picture(shown, [only], probabilities=self.gives_probabilities)

    def window_batch(self, num_images: int) -> int:
        return num_images

    def _size(self, size: Size) -> Size:
        return size if self.short is None else resized_size(size, self.short, self.long_ratio)
