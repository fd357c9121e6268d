"""Choose the device and check that it works."""

from __future__ import annotations

import os
import re
import sys

import torch
import torch.utils.deterministic

from bnonly.errors import UserError

#: torch's message for a machine without a GPU, which needs no warning.
NO_DRIVER = "Found no NVIDIA driver"
#: Environment variables that SLURM sets in a job with GPUs.
GRANTED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" is the GPU if this machine has one.

    An unusable GPU is always reported: as an error with "cuda" or in a job with a GPU, otherwise as a warning that
    explains why the CPU computes.

    Raises
    ------
    UserError
        If a GPU is required and none is usable.
    """
    if name == "cpu":
        return torch.device("cpu")
    problem = why_not_cuda()
    if problem is None:
        # cuBLAS is deterministic only with a fixed workspace, and reads this before its first call.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        return torch.device("cuda")
    if name == "cuda":
        raise UserError(f"--device cuda: {problem}; or use --device cpu")
    if any(os.environ.get(variable, "0") not in ("", "0") for variable in GRANTED):
        raise UserError(f"this job has a GPU, but {problem}; or use --device cpu, in a job without a GPU")
    if NO_DRIVER not in problem and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        print(f"bnonly: warning: using the CPU: {problem}", file=sys.stderr, flush=True)
    return torch.device("cpu")


def why_not_cuda() -> str | None:
    """Return why no GPU is usable, with versions and remedy; None if one is."""
    built = f"torch {torch.__version__}"
    if torch.version.cuda is None:
        return f"{built} is built without CUDA; install the versions of envs/requirements.txt"
    built += f" (CUDA {torch.version.cuda})"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU; unset it"
    try:
        torch.cuda.init()
        capability = torch.cuda.get_device_capability()
        name = torch.cuda.get_device_name()
    except Exception as problem:  # torch raises several types here
        return _explain(str(problem), built)
    available = torch.cuda.get_arch_list()
    if not any(_runs_on(architecture, capability) for architecture in available):
        return (
            f"{built} has no code for {name} (sm_{capability[0]}{capability[1]}), only {', '.join(available)}; "
            "install a torch wheel for this GPU"
        )
    return None


def check_device(device: torch.device) -> None:
    """Compute a small product on a device.

    Raises
    ------
    UserError
        If the GPU fails or gives a wrong result.
    """
    if device.type != "cuda":
        return
    try:
        ones = torch.ones(16, 16, device=device)
        right = float((ones @ ones).sum()) == 16**3
    except RuntimeError as problem:
        if isinstance(problem, torch.OutOfMemoryError):
            raise
        raise UserError(_explain(str(problem), f"torch {torch.__version__} (CUDA {torch.version.cuda})")) from None
    if not right:
        raise UserError(f"{torch.cuda.get_device_name(device)} multiplies two matrices wrongly; use another GPU")


def _explain(problem: str, built: str) -> str:
    """Return one line for a CUDA error."""
    if "driver" in problem and "too old" in problem:
        found = re.search(r"found version (\d+)", problem)
        has = f" for CUDA {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else ""
        return (
            f"the NVIDIA driver{has} is too old for {built}; update the driver, or install a torch wheel for its CUDA"
        )
    if NO_DRIVER in problem:
        return f"{NO_DRIVER}; {built} needs one. Install it, or use a machine with a GPU"
    first = (problem.strip().splitlines() or ["unknown error"])[0].rstrip(".")
    return f"CUDA cannot be used ({first}; {built}); check nvidia-smi"


def _runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether a wheel's code runs on a GPU: binary code within its major version, PTX on any later one."""
    found = re.match(r"(sm|compute)_(\d+)(\d)", architecture)
    if found is None:
        return False
    built = int(found[2]), int(found[3])
    return built <= capability and (found[1] == "compute" or built[0] == capability[0])


def be_reproducible(precision: str) -> None:
    """Make this process compute the same bits every time, and fp32 exactly.

    Parameters
    ----------
    precision : str
        Precision of the cell; only "tf32" lets a GPU round the factors of float32 products.
    """
    torch.set_deterministic_debug_mode("error")
    # Otherwise deterministic torch fills every new tensor with NaN, an extra pass over each activation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
