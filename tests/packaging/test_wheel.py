"""What is in the sdist and in the wheel, and that it runs where there is no compiler."""

import re
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first of them waits for a whole build


def test_the_sdist_has_what_building_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = [*ROOT.glob("cext/**/*.[ch]"), *ROOT.glob("src/**/*.p[yx][xdi]"), ROOT / "LICENSE"]
    missing = {str(path.relative_to(ROOT)) for path in sources} - names
    assert not missing
    assert not [name for name in names if name.endswith((".so", ".o"))]


def test_the_wheel_has_types_headers_and_pages_but_no_sources(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {re.sub(r"^[^/]+\.data/(pure|plat)lib/", "", name) for name in zipfile.ZipFile(wheel).namelist()}
    assert {
        "fastcore/py.typed",
        "apps/gateway/control_page.html",
        "apps/gateway/gunicorn.conf.py",
        "apps/cli.py",
    } <= names
    assert {f"fastcore/include/fc/{header.name}" for header in ROOT.glob("cext/include/fc/*.h")} <= names
    assert {f"fastcore/{pxd.name}" for pxd in ROOT.glob("src/fastcore/*.pxd")} <= names
    assert any(name.endswith("/LICENSE") for name in names)
    for pyx in ROOT.glob("src/fastcore/*.pyx"):
        module = pyx.stem
        assert f"fastcore/{module}{sysconfig.get_config_var('EXT_SUFFIX')}" in names
        assert f"fastcore/{module}.pyi" in names
        assert f"fastcore/{module}.c" not in names


def test_it_installs_and_runs_without_a_compiler(installed, run, tmp_path: Path) -> None:
    bare = {"PATH": str(installed.home / "bin"), "HOME": str(tmp_path), "CC": "/nonexistent"}
    modules = ["fastcore", "apps.cli", *(f"fastcore.{pyx.stem}" for pyx in ROOT.glob("src/fastcore/*.pyx"))]
    imported = installed.run(
        "-c",
        "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)",
        *modules,
        env=bare,
        cwd=tmp_path,
    )
    assert all(line.startswith(str(installed.home)) for line in imported.splitlines()), imported
    command = installed.home / "bin/fastcore"
    assert run(command, "--version", env=bare, cwd=tmp_path).startswith("fastcore ")
    settings = tmp_path / "gateway.yaml"
    settings.write_text("upstreams: {u: {targets: [a:1]}}\nroutes: [{path: /, upstream: u}]\n")
    assert "ok (1 routes, 1 upstreams)" in run(command, "check", "-c", settings, env=bare, cwd=tmp_path)
