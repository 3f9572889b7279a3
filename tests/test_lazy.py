"""`import autograd_c` alone does not load what few programs need."""

import subprocess
import sys

import pytest

import autograd_c


def printed(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_optim_and_sparse_wait_until_they_are_asked_for():
    loaded = "[name in sys.modules for name in ('autograd_c.optim', 'autograd_c.sparse', 'scipy.sparse')]"
    said = printed(
        f"import sys, autograd_c; print({loaded}); autograd_c.optim.Adam; print({loaded}); "
        f"autograd_c.sparse_hessian; print({loaded})"
    )
    assert said.splitlines() == ["[False, False, False]", "[True, False, False]", "[True, True, True]"]


def test_all_names_are_there():
    assert set(autograd_c.__all__) <= set(dir(autograd_c))
    for name in autograd_c.__all__:
        assert getattr(autograd_c, name) is not None
    assert autograd_c.sparse_jacobian is autograd_c.sparse.sparse_jacobian
    with pytest.raises(AttributeError, match="'autograd_c' has no attribute 'sparse_gradient'"):
        _ = autograd_c.sparse_gradient
