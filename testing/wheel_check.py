"""Build the wheel, install it into a fresh environment, and use it from outside the checkout.

usage: python -m testing.wheel_check

The fresh environment sees the installed dependencies but not the checkout: every module must be imported from the
wheel. The commands that a first user types run there, and a small dataset is pushed to the Hub double, loaded and
verified. If a step fails, CalledProcessError or AssertionError is raised with its output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from testing.hub_double.client import environment
from testing.hub_double.double import Double

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src", "recipes", "hub_cards")
IMPORTS = """
import importlib, pkgutil, sys
from pathlib import Path

import diffcore_hf

def stop(name):
    raise ImportError(f"{name} of the wheel cannot be imported")

prefix = Path(sys.prefix).resolve()
names = [module.name for module in pkgutil.walk_packages(diffcore_hf.__path__, "diffcore_hf.", onerror=stop)]
for name in ["diffcore_hf", *(name for name in names if not name.endswith("__main__"))]:
    module = importlib.import_module(name)
    assert prefix in Path(module.__file__).resolve().parents, f"{name} is imported from {module.__file__}"
for name in diffcore_hf.__all__:
    getattr(diffcore_hf, name)
print(f"{len(names)} modules imported from the wheel")
"""
LOAD = """
import sys
from diffcore_hf import load_augmented

rows = load_augmented(sys.argv[1], sys.argv[2])["train"]
assert {"image", "label", "generated"} <= set(rows.column_names), rows.column_names
assert rows[0]["image"].size[0] > 0
print(f"{len(rows)} rows loaded")
"""


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of its sources, so that files of an earlier build in the checkout are not
    included."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, copy / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install only the wheel into a new environment that has the packages of this one, and return its `bin` folder."""
    home = folder / "environment"
    venv.create(home, symlinks=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
        str(wheel), cwd=folder)  # fmt: skip
    site = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # Python appends a path in a .pth file and does not read the .pth files there. So it does not find the editable
    # checkout.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command without PYTHONPATH and return its output. If it fails, print the output and raise."""
    clean = {name: value for name, value in (env or os.environ).items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=clean, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def check(programs: Path, folder: Path) -> None:
    """Use the installed wheel as a first user does."""
    python, program = str(programs / "python"), str(programs / "diffcore-hf")
    work = folder / "work"
    work.mkdir()
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    print(run(python, "-c", IMPORTS, cwd=work, env=offline).strip(), flush=True)
    small = ("--limit", "4", "--model.steps", "2")
    for arguments in (
        ("--help",),
        ("--version",),
        ("miniature", "out/birds"),
        ("plan", "miniature"),
        ("augment", "miniature", *small),
        ("verify", "out/miniature"),
    ):
        run(program, *arguments, cwd=work, env=offline)
        print(f"diffcore-hf {' '.join(arguments)}", flush=True)
    run(python, "-m", "diffcore_hf.training", "--help", cwd=work, env=offline)
    with Double() as hub:
        repo, online = hub.repo_id(), environment(hub, folder / "hub-home", xet=False)
        run(program, "push", "out/miniature", repo, "--version", "v1.0.0", cwd=work, env=online)
        print(run(python, "-c", LOAD, repo, "v1.0.0", cwd=work, env=online).strip(), flush=True)
        run(program, "verify", f"{repo}@v1.0.0", cwd=work, env=online)
        hub.verify()
    print("pushed to, loaded from and verified on the Hub double", flush=True)


def main() -> int:
    """Run the check in a temporary folder outside the checkout."""
    with tempfile.TemporaryDirectory(prefix="diffcore-hf-wheel-") as name:
        folder = Path(name).resolve()
        wheel = build_wheel(folder)
        print(wheel.name, flush=True)
        check(install(wheel, folder), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
