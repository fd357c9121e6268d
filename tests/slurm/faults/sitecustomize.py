"""Faults for the tests on a real SLURM, in every Python that has this folder on its path: `FAULTS` names a folder with ``plan.json``.

The plan is {cell: fault}; a fault is {"error": N}, the first N trainings raise; {"seconds": S, "times": N}, every iteration of the
first N takes so long; or {"hold": FILE}, the first iteration lasts until the file is there.  Nothing of it is in the package.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

TARGET = "bnonly.train.loop"


def patch(module):
    folder = Path(os.environ["FAULTS"])
    plan = json.loads((folder / "plan.json").read_text())
    make_engine = module.make_engine

    def faulty(cell, *arguments):
        fault = plan.get(str(cell), {})
        began = folder / f"{str(cell).replace('/', '+')}.began"
        with began.open("a") as stream:
            stream.write(f"{os.environ.get('SLURM_JOB_ID')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        number = len(began.read_text().splitlines())
        if number <= fault.get("error", 0):
            raise RuntimeError("a fault of the test's")
        engine = make_engine(cell, *arguments)
        train = engine.train

        def slow(epoch, first, last, pause):
            def waits():
                while "hold" in fault and not (folder / fault["hold"]).exists():
                    time.sleep(0.1)
                    if pause():
                        return True
                time.sleep(fault.get("seconds", 0) if number <= fault.get("times", 1) else 0)
                return pause()

            return train(epoch, first, last, waits)

        engine.train = slow
        return engine

    module.make_engine = faulty


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if "FAULTS" in os.environ:
    for variable in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE"):
        os.environ.pop(variable, None)  # this cluster's GPUs are files: its trainings compute on CPUs
    sys.meta_path.insert(0, Finder())
