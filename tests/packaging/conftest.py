"""What a user installs: an sdist, a wheel built from that sdist, a clean environment.

Needs no network: the build runs without isolation, and the clean environment sees this one's site-packages (for the
dependencies only) through a .pth file. A .pth does not run the .pth files of the folder it adds, so the editable install
of this tree stays invisible, and whatever is imported as fastcore or apps came out of the wheel.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_checked(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """An environment with nothing of this tree but the wheel."""

    home: Path
    site: Path

    @property
    def python(self) -> Path:
        return self.home / "bin/python"

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.home / 'bin'}:/usr/bin:/bin", "HOME": str(self.home)}

    def run(self, *command: str | Path, **options: object) -> str:
        return run_checked(self.python, *command, **{"env": self.environ, "cwd": self.home, **options})


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    return run_checked


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FASTCORE_")}
    run_checked(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, env=environ)
    return folder


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    (wheel,) = built.glob("*.whl")
    home = tmp_path_factory.mktemp("installed") / "venv"
    run_checked(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin/python"
    run_checked(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel)
    site = Path(run_checked(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(home, site)
