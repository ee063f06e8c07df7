"""Drift-triggered retraining: the modules are named after the steps of the loop."""

import os

# Threads that libraries start when they are imported. Here, nobody multiplies matrices, and a block of captures is so
# small that handing it from thread to thread takes a sixth more of the processors, and no less time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
