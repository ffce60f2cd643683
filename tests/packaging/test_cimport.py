"""Compiling against the toolkit as somebody else does: from the installed wheel, with its headers, linking nothing."""

import shutil
from pathlib import Path

import pytest

import fastcore

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "cimport_project"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Build what is in this folder in place, each .pyx a module of its own.
SETUP = """
from pathlib import Path
from Cython.Build import cythonize
from setuptools import Extension, setup
import fastcore

modules = [
    Extension(path.stem, [path.name], include_dirs=[fastcore.get_include()], extra_compile_args=["-O0"])
    for path in Path().glob("*.pyx")
]
setup(name="each", py_modules=[], ext_modules=cythonize(modules, compiler_directives={"language_level": 3}))
"""


def test_the_headers_are_where_get_include_says(installed) -> None:
    folder = installed.run("-c", "import fastcore; print(fastcore.get_include())").strip()
    assert Path(folder) == installed.site / "fastcore/include"
    wanted = {header.name: header.read_text() for header in ROOT.glob("cext/include/fc/*.h")}
    assert {header.name: header.read_text() for header in Path(folder, "fc").glob("*.h")} == wanted
    here = Path(fastcore.get_include(), "fc")
    assert {header.name: header.read_text() for header in here.glob("*.h")} == wanted, "in the source tree too"


def test_every_pxd_cimports(installed, tmp_path: Path) -> None:
    """Compiles and imports: a .pxd that names a header of ours needs it there, one whose inline functions call our C would
    leave a symbol behind that nobody has."""
    modules = [pxd.stem for pxd in ROOT.glob("src/fastcore/*.pxd")]
    assert len(modules) > 8
    for module in modules:
        (tmp_path / f"uses_{module}.pyx").write_text(f"cimport fastcore.{module}\nfrom fastcore.{module} cimport *\n")
    (tmp_path / "setup.py").write_text(SETUP)
    installed.run("setup.py", "-q", "build_ext", "--inplace", "-j2", cwd=tmp_path)
    names = ", ".join(f"uses_{module}" for module in modules)
    installed.run("-c", f"import {names}", cwd=tmp_path, env={**installed.environ, "LD_BIND_NOW": "1"})


def test_the_example_project(installed, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("*.c", "*.so", "build"))
    installed.run("setup.py", "-q", "build_ext", "--inplace", cwd=project)
    for user in ("use_edge.py", "use_door.py"):
        said = installed.run(user, cwd=project, env={**installed.environ, "LD_BIND_NOW": "1"})
        assert said.split() == ["ok", str(installed.site / "fastcore/__init__.py")]
