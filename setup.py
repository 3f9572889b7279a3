"""Builds the compiled core, `autograd_c._core`, from the parts in `src/`."""

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Extension(
    "autograd_c._core",
    ["src/_core.pyx"],
    include_dirs=[numpy.get_include(), "src"],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")],
    extra_compile_args=["-O2", "-fno-strict-aliasing"],
    depends=["src/loops.h"],
)

setup(ext_modules=cythonize([CORE], include_path=["src"], annotate=False))
