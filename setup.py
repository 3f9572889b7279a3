"""Builds the compiled core, `autograd_c._core`, from the parts in `src/`.

The normal build needs no settings. Developers choose another one by environment variables:

AUTOGRAD_C_DEBUG=1
    No optimisation, debug symbols, C and Cython assertions on, and attribute access on `None` raises.
AUTOGRAD_C_SANITIZE=address | undefined
    Compiles the core with gcc's or clang's sanitizer of that name. The address sanitizer must be loaded
    before Python, and sees Python's own blocks only when they come straight from malloc:
    `LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 pytest`.
AUTOGRAD_C_COVERAGE=1
    Counts how often each line of the core runs, with gcc's gcov. After `pytest`,
    `gcov build/temp.*/build/cython-coverage/src/_core.gcda` writes the counts beside the Cython lines of
    every source file: `_core.pyx.gcov` and so on.

They combine, for instance
`AUTOGRAD_C_DEBUG=1 AUTOGRAD_C_SANITIZE=undefined python setup.py build_ext --inplace`. Each combination keeps
its generated C in a folder of its own under `build/`, and changing the combination compiles again.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("AUTOGRAD_C_DEBUG") == "1"
COVERAGE = os.environ.get("AUTOGRAD_C_COVERAGE") == "1"
SANITIZE = os.environ.get("AUTOGRAD_C_SANITIZE", "")
if SANITIZE not in ("", "address", "undefined"):
    raise SystemExit(f"AUTOGRAD_C_SANITIZE is {SANITIZE!r}: it must be 'address' or 'undefined'")

VARIANT = "-".join(filter(None, [DEBUG * "debug", COVERAGE * "coverage", SANITIZE])) or "normal"

CORE = Extension(
    "autograd_c._core",
    ["src/_core.pyx"],
    include_dirs=[numpy.get_include(), "src"],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
    ],
    extra_compile_args=["-O2", "-fno-strict-aliasing", "-ffp-contract=off"],
    depends=sorted(str(path) for path in Path("src").glob("*.h")),
)
DIRECTIVES = {}

if DEBUG:
    CORE.extra_compile_args += ["-O0", "-g", "-UNDEBUG"]
    DIRECTIVES |= {"nonecheck": True, "boundscheck": True}
if SANITIZE:
    flags = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
    CORE.extra_compile_args += flags
    CORE.extra_link_args += flags
if COVERAGE:
    CORE.extra_compile_args += ["-O0", "--coverage"]
    CORE.extra_link_args += ["--coverage"]


class BuildVariant(build_ext):
    """Compiles again when the last build in this folder was of another variant: time stamps do not tell."""

    def run(self):
        stamp = Path("build/variant")
        if not stamp.exists() or stamp.read_text() != VARIANT:
            self.force = True
        super().run()
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(VARIANT)


setup(
    ext_modules=cythonize(
        [CORE],
        include_path=["src"],
        build_dir=f"build/cython-{VARIANT}",
        compiler_directives=DIRECTIVES,
        emit_linenums=COVERAGE,
    ),
    cmdclass={"build_ext": BuildVariant},
)
