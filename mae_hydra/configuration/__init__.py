"""From words and option files to a configuration that has been checked, and from it to objects.

Kept empty on purpose: `python train.py --cfg job` imports this package without torch."""
