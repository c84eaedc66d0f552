"""Numerics on one thread: whatever libraries of linear algebra there are, for as long as anybody computes."""

import subprocess
import sys

import scipy.linalg  # noqa: F401  loads its library before the threads are counted
from threadpoolctl import threadpool_info, threadpool_limits

from tasks.threads import one_blas_thread


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_all_libraries_are_held_until_the_last_has_left():
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            with one_blas_thread():
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}
        with one_blas_thread():
            assert set(blas_threads()) == {1}, "the second time too, when they are known"


def test_scipy_is_held_also_where_nobody_has_loaded_it_yet():
    """Libraries are looked for once, so all have to be there by then."""
    script = """
import numpy
from threadpoolctl import threadpool_info
from tasks.threads import one_blas_thread
with one_blas_thread():
    pass
import scipy.linalg, torch, sklearn.decomposition
with one_blas_thread():
    print([library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"])
"""
    environment = {"OPENBLAS_NUM_THREADS": "2", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=240, env=environment
    )
    held = [int(number) for number in done.stdout.strip("[]\n").split(",")]
    assert len(held) >= 2, "numpy's and scipy's"
    assert set(held) == {1}
