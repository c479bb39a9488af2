"""One thread each: pytest runs two processes on two cores, and more threads than cores wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
