"""Floor 3: the composition root and what surrounds a run. The only room that touches a DictConfig.

Kept empty on purpose: `python train.py --cfg job` imports this package and must not import torch.
"""
