"""Weights by name: an address that a person types, downloaded once into a cache, checked, and from then on a file.

Nothing here opens a connection on its own account: `fetch` is called with `download=True` by the doors through which a
person's words come in, and by nobody who has an address from a file.
"""

from mae_hydra.weights.named.address import Address, is_address, parse
from mae_hydra.weights.named.fetch import Fetched, fetch
from mae_hydra.weights.named.known import KNOWN, Known

__all__ = ["KNOWN", "Address", "Fetched", "Known", "fetch", "is_address", "parse"]
