"""The recipes of containers copy what there is, and the same; nothing here can build them."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.contract.test_envs import SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "containers/Dockerfile").read_text()
DEFINITION = (ROOT / "containers/bnonly.def").read_text()
HADOLINT = Path(sys.executable).parent / "hadolint"


def copied_by_docker():
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            yield (
                source,
                f"/bnonly/{target.removeprefix('./')}".rstrip("/") + f"/{Path(source).name}" * target.endswith("/"),
            )


def copied_by_apptainer():
    section = re.search(r"^%files\n(.*?)\n\n", DEFINITION, re.MULTILINE | re.DOTALL)[1]
    return [tuple(line.split()) for line in section.splitlines()]


def test_both_copy_the_same_files_and_these_are_in_git():
    assert sorted(copied_by_docker()) == sorted(copied_by_apptainer())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for source, _ in copied_by_docker():
        assert any(fnmatch(file, source) or file.startswith(f"{source}/") for file in tracked), source


def test_both_begin_from_one_image_of_a_supported_python():
    bases = re.findall(r"^(?:FROM|From:) (.+)$", DOCKERFILE + DEFINITION, re.MULTILINE)
    assert len(bases) == 2 and len(set(bases)) == 1
    assert re.search(r"python:([\d.]+)", bases[0])[1] in SUPPORTED


def test_what_the_package_needs_is_copied():
    copied = {source for source, _ in copied_by_docker()}
    assert copied >= {"Snakefile", "config.yaml", "src", "workflow", "pyproject.toml", "envs/requirements.txt"}
    for name in re.findall(
        r'^(?:readme|license-files) = \[?"([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    ):
        assert name in copied


def test_the_cpu_variant_leaves_out_torch_and_cuda_whole():
    """What is left of the lock is whole entries, each with its hashes, and no CUDA."""
    script = (ROOT / "containers/install").read_text()
    program = re.search(r"awk '(.+?)'", script)[1]
    left = subprocess.run(
        ["awk", program, ROOT / "envs/requirements.txt"], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^([a-z][\w.-]*)==", left, re.MULTILINE)
    everything = re.findall(r"^([a-z][\w.-]*)==", (ROOT / "envs/requirements.txt").read_text(), re.MULTILINE)
    out = set(everything) - set(names)
    assert {"torch", "torchvision", "triton"} < out and "numpy" in names
    assert all(name.startswith(("torch", "triton", "nvidia", "cuda")) for name in out)
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[a-z])", left, flags=re.MULTILINE)[1:])


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed")
def test_the_linter_is_content():
    done = subprocess.run([HADOLINT, ROOT / "containers/Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
