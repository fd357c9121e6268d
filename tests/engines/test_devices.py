"""A GPU that does not work is never silent: stand-ins for torch.cuda, and the line that each of them gets."""

import pytest
import torch

from bnonly.engines import devices
from bnonly.engines.devices import check_device, choose_device
from bnonly.errors import UserError

SM = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
TOO_OLD = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver.\nMore."


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has such a GPU, or that CUDA fails with such a text."""
    for variable in (*devices.GRANTED, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)

    def pretend(capability=(8, 0), name="NVIDIA A100", architectures=SM, problem=None, cuda="13.0"):
        def init():
            if problem:
                raise RuntimeError(problem)

        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)

    return pretend


PROBLEMS = [
    ({"problem": TOO_OLD}, r"driver for CUDA 12\.2 is too old for torch .* \(CUDA 13\.0\); update the driver, or"),
    (
        {"problem": "CUDA initialization: unknown error.\nx"},
        r"CUDA cannot be used \(CUDA initialization: unknown error; torch",
    ),
    (
        {"capability": (7, 0), "name": "Tesla V100"},
        r"no code for Tesla V100 \(sm_70\), only sm_75, .*; install a torch wheel",
    ),
    ({"capability": (13, 0), "name": "Future"}, r"no code for Future \(sm_130\)"),
    ({"cuda": None}, "is built without CUDA; install the versions of envs/requirements.txt"),
]


@pytest.mark.parametrize(("gpu", "message"), PROBLEMS)
def test_asked_for_it_is_an_error(gpu, message, machine, monkeypatch):
    machine(**gpu)
    with pytest.raises(UserError, match=f"--device cuda: .*{message}") as found:
        choose_device("cuda")
    assert "\n" not in str(found.value)
    monkeypatch.setenv("SLURM_JOB_GPUS", "2")
    with pytest.raises(UserError, match=f"this job has a GPU, but .*{message}"):
        choose_device("auto")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(("gpu", "message"), PROBLEMS)
def test_not_asked_for_a_line_says_why_the_cpu_computes(gpu, message, machine, capfd):
    machine(**gpu)
    assert choose_device("auto").type == "cpu"
    said = capfd.readouterr().err
    assert said.startswith("bnonly: warning: using the CPU: ") and said.count("\n") == 1


def test_a_machine_without_a_gpu_is_no_news(machine, monkeypatch, capfd):
    machine(problem="Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    assert choose_device("auto").type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine()
    assert choose_device("auto").type == "cpu"
    assert capfd.readouterr().err == ""
    with pytest.raises(UserError, match="--device cuda: CUDA_VISIBLE_DEVICES hides every GPU; unset it"):
        choose_device("cuda")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine(problem="Found no NVIDIA driver on your system.")
    with pytest.raises(UserError, match="--device cuda: Found no NVIDIA driver; torch"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("capability", "architectures"), [((8, 9), SM), ((9, 0), SM), ((12, 1), SM), ((13, 0), [*SM, "compute_120"])]
)
def test_code_of_an_earlier_minor_version_and_ptx_run(capability, architectures, machine):
    machine(capability, architectures=architectures)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (
            RuntimeError("CUDA error: no kernel image is available\nCompile with"),
            "CUDA error: no kernel image is avail",
        ),
        (torch.zeros(2), "multiplies two matrices wrongly"),
    ],
)
def test_a_small_product_is_tried(product, message, machine, monkeypatch):
    machine()

    class Ones:
        def __matmul__(self, other):
            if isinstance(product, RuntimeError):
                raise product
            return product

    monkeypatch.setattr(torch, "ones", lambda *size, device: Ones())
    with pytest.raises(UserError, match=message) as found:
        check_device(torch.device("cuda"))
    assert "\n" not in str(found.value)


def test_memory_that_is_used_up_is_told_elsewhere(machine, monkeypatch):
    machine()

    def full(*size, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "ones", full)
    with pytest.raises(torch.OutOfMemoryError):
        check_device(torch.device("cuda"))
