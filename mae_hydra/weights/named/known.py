"""Published weights that the layouts here read: the addresses, for `mae-hydra convert --known` and for their digests.

`digest` is how it begins, as far as it is published: of MAE's files the MD5 in the table of their documentation, of
OpenMMLab's the SHA-256 that ends the name. Of the others nothing is known but what the server says. Whether an address
still answers is not known here either.
"""

from pathlib import Path
from typing import NamedTuple

from mae_hydra.errors import UserError
from mae_hydra.weights.named.cache import digest_of

MAE = "https://dl.fbaipublicfiles.com/mae"
OPENMMLAB = "https://download.openmmlab.com/mmsegmentation/v0.5"
ENCODER = "MAE, encoder alone, ImageNet, 1600 epochs, targets normalized"
FULL = "MAE with its decoder, ImageNet, 1600 epochs, targets normalized"
VISUAL = "MAE with its decoder, targets as they are, for pictures"
TUNED = "classifier, fine-tuned on ImageNet"


class Known(NamedTuple):
    """`digest`: `md5` or `sha256` and how it begins; "" where none is published."""

    address: str
    model: str
    what: str
    digest: str = ""


def _mae(folder: str, what: str, name: str, *digests: str) -> list[Known]:
    sizes = {"base": "ViT-B/16", "large": "ViT-L/16", "huge": "ViT-H/14"}
    digests = digests or ("",) * len(sizes)
    return [
        Known(f"{MAE}/{folder}/{name.format(size)}", model, what, digest and f"md5 {digest}")
        for (size, model), digest in zip(sizes.items(), digests, strict=True)
    ]


KNOWN: tuple[Known, ...] = (
    *_mae("pretrain", ENCODER, "mae_pretrain_vit_{}.pth", "8cad7c", "b8b06e", "9bdbb0"),
    *_mae("pretrain", FULL, "mae_pretrain_vit_{}_full.pth"),
    *_mae("visualize", VISUAL, "mae_visualize_vit_{}.pth"),
    Known(f"{MAE}/visualize/mae_visualize_vit_large_ganloss.pth", "ViT-L/16", f"{VISUAL}; GAN loss"),
    *_mae("finetune", TUNED, "mae_finetuned_vit_{}.pth", "1b25e9", "51f550", "2541f2"),
    Known("timm/vit_base_patch16_224.mae", "ViT-B/16", f"{ENCODER}, in timm's layout"),
    Known("timm/vit_large_patch16_224.mae", "ViT-L/16", f"{ENCODER}, in timm's layout"),
    Known("timm/vit_huge_patch14_224.mae", "ViT-H/14", f"{ENCODER}, in timm's layout"),
    Known("hf-hub:facebook/vit-mae-base", "ViT-B/16", f"{VISUAL}; Hugging Face's layout"),
    Known("hf-hub:facebook/vit-mae-large", "ViT-L/16", f"{VISUAL}; Hugging Face's layout"),
    Known("hf-hub:facebook/vit-mae-huge", "ViT-H/14", f"{VISUAL}; Hugging Face's layout"),
    Known(
        f"{OPENMMLAB}/mae/upernet_mae-base_fp16_8x2_512x512_160k_ade20k/"
        "upernet_mae-base_fp16_8x2_512x512_160k_ade20k_20220426_174752-f92a2975.pth",
        "ViT-B/16",
        "UPerNet on MAE, ADE20K",
        "sha256 f92a2975",
    ),
)


def check_published(url: str, file: Path, sha256: str) -> None:
    """UserError where `url` is in the table with another digest than `file` has, whose SHA-256 is known."""
    for known in KNOWN:
        if known.address == url and known.digest:
            algorithm, begins = known.digest.split()
            digest = sha256 if algorithm == "sha256" else digest_of(file, algorithm)
            if not digest.startswith(begins):
                raise UserError(
                    f"{url} is not the file that was published: its {algorithm} is {digest}, and should "
                    f"begin with {begins}; nothing of it is kept. Where it is right, add #sha256={sha256}"
                )
