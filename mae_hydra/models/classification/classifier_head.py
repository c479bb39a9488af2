"""From one feature vector to class logits."""

from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.encoders.blocks import LayerNorm


class ClassifierHead(nn.Module):
    """LayerNorm (`norm`: of averaged tokens, MAE's fc_norm), BatchNorm (`batch_norm`), one Linear.

    The BatchNorm has no scale and shift and eps 1e-6: MAE's linear probe (paper A.1). The Linear starts from a normal
    of `init_std` cut at +-2 (absolute), its bias from zero: 2e-5 for fine-tuning, 0.01 for probes.
    """

    def __init__(self, *, in_dim: int, num_classes: int, norm: bool, batch_norm: bool, init_std: float) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"num_classes must be at least 2, got {num_classes}: a classifier needs data with classes, "
                "data=imagenet or data=scene_classes"
            )
        if not init_std > 0:
            raise ValueError(f"init_std must be positive, got {init_std}")
        self.in_dim, self.num_classes = in_dim, num_classes
        self.norm = LayerNorm(in_dim) if norm else None
        self.batch_norm = nn.BatchNorm1d(in_dim, eps=1e-6, affine=False) if batch_norm else None
        self.linear = nn.Linear(in_dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=init_std)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        for change in (self.norm, self.batch_norm):
            if change is not None:
                features = change(features)
        return self.linear(features)
