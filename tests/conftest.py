"""Tests side by side (`pytest -n 2`) compute on one thread each: threads that wait for each other cost more than they
bring."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before torch and numpy are imported, and for the processes that tests start
