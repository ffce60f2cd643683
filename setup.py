"""The compiled parts of fastcore, and nothing else: metadata lives in pyproject.toml.

`cext/` is built once as a static library (setuptools' own build_clib) and linked into each Cython module that uses it.
Each module gets its own copy of the few functions it calls; that is safe because floor 1 keeps no global state.

FASTCORE_SANITIZE=address,undefined   builds library and modules with these sanitizers (see `make asan`)
FASTCORE_COVERAGE=1                   builds with Cython line tracing and gcov (see `make cover`)
FASTCORE_ANNOTATE=1                   writes Cython's annotated HTML beside each .pyx (see `make annotate`)
FASTCORE_MODULES=cache,limiter        builds these alone, for who works on a few (make build MODULES=cache,limiter)
FASTCORE_MODULES=none                 builds none: for an editable install over modules that are in place already
"""

import os
from concurrent.futures import ThreadPoolExecutor
from distutils.ccompiler import CCompiler
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

SANITIZE = os.environ.get("FASTCORE_SANITIZE", "")
COVERAGE = os.environ.get("FASTCORE_COVERAGE") == "1"
ANNOTATE = os.environ.get("FASTCORE_ANNOTATE") == "1"
JOBS = len(os.sched_getaffinity(0))
MODULES = set(filter(None, os.environ.get("FASTCORE_MODULES", "").split(",")))

# -fno-omit-frame-pointer: profilers (perf, py-spy --native) need frames more than the loop needs one register.
CFLAGS = [
    "-std=gnu11",
    "-D_GNU_SOURCE",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-fno-omit-frame-pointer",
    "-fvisibility=hidden",
]
LDFLAGS: list[str] = []
if SANITIZE:
    CFLAGS = [flag for flag in CFLAGS if flag != "-O2"] + ["-O1", f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    # greenlet moves stacks away and back, and marks that were left on the stack would be another greenlet's. What lies
    # on stacks is watched by the C tests.
    CFLAGS.append("--param=asan-stack=0")
    LDFLAGS = [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    CFLAGS += ["--coverage", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"]
    LDFLAGS += ["--coverage"]

# What Cython generates is not ours to keep free of these two, and nobody looks at its variables in a debugger: line
# numbers and names (-g1) are all that profilers read, and compiling takes a quarter less time.
CYTHON_CFLAGS = [*CFLAGS, "-g1", "-Wno-unused-function", "-Wno-unused-parameter"]

# As arguments, because those come last: build_ext puts the static library behind `libraries`, and a linker that drops
# what nobody has asked for yet (--as-needed) would drop zlib, which only the static library calls.
SYSTEM_LIBRARIES = ["-lpthread", "-lm", "-lz", "-lssl", "-lcrypto", "-lnghttp2", "-lbrotlienc", "-lbrotlidec"]

C_SOURCES = sorted(str(path) for path in Path("cext").rglob("*.c") if path.parts[1] not in ("test", "fuzz"))
C_HEADERS = sorted(map(str, Path("cext").rglob("*.h")))

extensions = [
    Extension(
        f"fastcore.{pyx.stem}",
        [str(pyx)],
        include_dirs=["cext/include"],
        depends=C_HEADERS,
        extra_compile_args=CYTHON_CFLAGS,
        extra_link_args=[*LDFLAGS, *SYSTEM_LIBRARIES],
    )
    for pyx in sorted(Path("src/fastcore").glob("*.pyx"))
    if not MODULES or pyx.stem in MODULES
]


def is_stale(obj: Path, recipe: str) -> bool:
    """Whether an object is missing, was made by another command, or is older than a file the compiler read for it."""
    try:
        _, _, read = obj.with_suffix(".d").read_text().partition(":")
        made = obj.stat().st_mtime_ns
        newer = any(Path(file).stat().st_mtime_ns > made for file in read.replace("\\\n", " ").split())
        return newer or obj.with_suffix(".recipe").read_text() != recipe
    except OSError:
        return True


def compile_stale(compiler: CCompiler) -> CCompiler:
    """Makes a compiler compile what is stale only, and that side by side. setuptools by itself compiles all files of a
    library when one has changed, one after the other, and an extension when any header has."""
    compile_one = compiler._compile

    def compile_if_stale(obj, src, ext, cc_args, extra_postargs, pp_opts):
        target = Path(obj)
        recipe = " ".join(map(str, [*compiler.compiler_so, *cc_args, src, *extra_postargs]))
        if is_stale(target, recipe):
            postargs = [*extra_postargs, "-MMD", "-MF", str(target.with_suffix(".d"))]
            compile_one(obj, src, ext, cc_args, postargs, pp_opts)
            target.with_suffix(".recipe").write_text(recipe)

    def compile_all(sources, output_dir=None, macros=None, include_dirs=None, debug=False, extra_preargs=None,
                    extra_postargs=None, depends=None):  # fmt: skip
        _, objects, postargs, pp_opts, build = compiler._setup_compile(
            output_dir, macros, include_dirs, sources, depends, extra_postargs
        )
        cc_args = compiler._get_cc_args(pp_opts, debug, extra_preargs)
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(lambda obj: compile_if_stale(obj, *build[obj], cc_args, postargs, pp_opts), build))
        return objects

    compiler.compile = compile_all
    return compiler


class BuildClib(build_clib):
    def build_libraries(self, libraries) -> None:
        compile_stale(self.compiler)
        for name, info in libraries:
            objects = self.compiler.compile(
                info["sources"], self.build_temp, include_dirs=info["include_dirs"], extra_postargs=info["cflags"]
            )
            archive = Path(self.build_clib, self.compiler.library_filename(name))
            members = archive.with_suffix(".members")
            listed = "\n".join(objects)
            if not members.exists() or members.read_text() != listed:
                archive.unlink(missing_ok=True)  # `ar r` would keep the object of a file that no longer exists
            self.compiler.create_static_lib(objects, name, output_dir=self.build_clib)
            members.write_text(listed)


class BuildPy(build_py):
    """Puts the C headers into the package, where fastcore.get_include() finds them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_tree("cext/include", str(Path(self.build_lib, "fastcore/include")))


class BuildExt(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or JOBS

    def run(self) -> None:
        """build_ext links the static library but, called by itself (--inplace), does not build it."""
        if self.extensions:
            self.run_command("build_clib")
        super().run()

    def build_extensions(self) -> None:
        compile_stale(self.compiler)
        self.extensions.sort(key=lambda ext: -Path(ext.sources[0]).stat().st_size)  # the longest first
        super().build_extensions()

    def build_extension(self, ext) -> None:
        """setuptools links again for a newer object only; a newer library counts as well."""
        archive = Path(self.get_finalized_command("build_clib").build_clib, "libfastcore.a")
        target = Path(self.get_ext_fullpath(ext.name))
        if target.exists() and target.stat().st_mtime_ns < archive.stat().st_mtime_ns:
            target.unlink()
        super().build_extension(ext)


setup(
    cmdclass={"build_clib": BuildClib, "build_ext": BuildExt, "build_py": BuildPy},
    libraries=[("fastcore", {"sources": C_SOURCES, "include_dirs": ["cext/include"], "cflags": [*CFLAGS, "-fPIC"]})]
    if extensions
    else [],
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        nthreads=JOBS,
        annotate=ANNOTATE,
        force=ANNOTATE or None,  # an up-to-date .c would be left alone, and no page written
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "auto_pickle": False,  # nothing here is made of plain values; refusing beats half a copy
            "linetrace": COVERAGE,
        },
    ),
)
