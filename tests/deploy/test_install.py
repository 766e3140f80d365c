"""deploy/install.sh on machines that lack something, and after being cut short."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

TOOLS = ("bash", "chmod", "dirname", "env", "mkdir", "rm", "touch")

# Stands in for Python: answers as one does, and makes an environment whose pip notes what it was asked.
PYTHON = """#!/bin/bash
{quirk}
if [ "$1 $2" = "-m venv" ]; then
    rm -rf "$4"
    mkdir -p "$4/bin"
    printf '#!/bin/bash\necho "$*" >>"$0.calls"\n{pip}\n' >"$4/bin/python"
    chmod +x "$4/bin/python"
fi
exit 0
"""
WITHOUT_ENSUREPIP = '[[ "$*" == *ensurepip* ]] && exit 1'
TOO_OLD = '[[ "$*" == *version_info* ]] && exit 1'
FAILING_PIP = '[[ "$3" != install ]]'


@pytest.fixture
def machine(tmp_path):
    """A machine with a shell, a few tools and no Python."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool))
    return tmp_path


def add_python(machine: Path, name: str, quirk: str = "", pip: str = "") -> None:
    program = machine / "bin" / name
    program.write_text(PYTHON.replace("{quirk}", quirk).replace("{pip}", pip))
    program.chmod(0o755)


def install(machine: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "deploy" / "install.sh", "venv", "requirements.txt"],
        cwd=machine,
        env={"PATH": str(machine / "bin"), "HOME": str(machine)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def asked_of_pip(machine: Path) -> list[str]:
    return (machine / "venv" / "bin" / "python.calls").read_text().splitlines()


def test_names_the_debian_package_when_python_cannot_make_environments(machine):
    add_python(machine, "python3", WITHOUT_ENSUREPIP)
    result = install(machine)
    assert result.returncode == 1
    assert "apt-get install python3-venv" in result.stderr


def test_names_the_debian_packages_when_there_is_no_python(machine):
    result = install(machine)
    assert result.returncode == 1
    assert "apt-get install python3 python3-venv" in result.stderr


def test_refuses_a_python_that_is_too_old(machine):
    add_python(machine, "python3", TOO_OLD)
    result = install(machine)
    assert result.returncode == 1
    assert "3.11 or newer" in result.stderr


def test_passes_over_a_python_that_cannot_make_environments(machine):
    add_python(machine, "python3.11", WITHOUT_ENSUREPIP)
    add_python(machine, "python3.12")
    add_python(machine, "python3")
    result = install(machine)
    assert result.returncode == 0, result.stderr
    assert str(machine / "bin" / "python3.12") in result.stdout


def test_installs_only_what_is_pinned_by_hash(machine):
    add_python(machine, "python3")
    install(machine)
    (line,) = [line for line in asked_of_pip(machine) if "install" in line]
    assert "--require-hashes --requirement requirements.txt" in line


def test_keeps_a_sound_environment(machine):
    add_python(machine, "python3")
    install(machine)
    (machine / "venv" / "kept").touch()
    assert install(machine).returncode == 0
    assert (machine / "venv" / "kept").exists()


def test_builds_again_what_was_cut_short(machine):
    add_python(machine, "python3")
    install(machine)
    (machine / "venv" / ".installing").touch()
    (machine / "venv" / "half-a-package").touch()
    assert install(machine).returncode == 0
    assert not (machine / "venv" / "half-a-package").exists()
    assert not (machine / "venv" / ".installing").exists()


def test_builds_again_when_its_python_is_gone(machine):
    add_python(machine, "python3")
    install(machine)
    (machine / "venv" / "bin" / "python").unlink()
    assert install(machine).returncode == 0
    assert (machine / "venv" / "bin" / "python").exists()


def test_leaves_its_mark_when_a_package_cannot_be_installed(machine):
    add_python(machine, "python3", pip=FAILING_PIP)
    assert install(machine).returncode != 0
    assert (machine / "venv" / ".installing").exists()
