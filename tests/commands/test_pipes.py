"""A FIFO in a file's place makes no command wait, and no command ends in a traceback."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.archives import TRAINED

from bnonly import paths

FOLDER = Path(TRAINED)
FILES = [
    *(FOLDER / name for name in (*paths.TRAINED.values(), *paths.ANALYSED.values())),
    paths.counts(),
    paths.CLAIMS,
    paths.REPORT,
    paths.MANIFEST,
    paths.figure("fig05", "png"),
    paths.table("table1", "md"),
    paths.throughputs(),
    Path("logs/train") / "/".join(FOLDER.parts[1:3]) / "seed0.log",
]
COMMANDS = {
    "status": ["status"],
    "export": ["export", "out.zip"],
    "import": ["import", "{all}"],
    "report": ["report"],
    "claims": ["claims"],
    "compare": ["compare", ".", "{made}"],
    "show": ["show", "ResNet-8-c4", "bn"],
    "verify": ["verify", "ResNet-8-c4", "bn"],
    "train": ["train", "ResNet-8-c4", "bn", "--quiet"],
    "analyse": ["analyse", "ResNet-8-c4", "bn"],
    "cost": ["cost", "--missing"],
    "manifest": ["manifest"],
    "prune": ["prune"],
    "counts": ["counts"],
}


class Waits(BaseException):
    """No error that a command handles."""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_waits_for_a_pipe(made, call, command):
    def hangs(*about):
        raise Waits

    before = signal.signal(signal.SIGALRM, hangs)
    waits = []
    try:
        for file in FILES:
            for part in ("results", "figures"):
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(made / part, part)
            Path("out.zip").unlink(missing_ok=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            os.mkfifo(file)
            arguments = [a.format(all=made / "all.zip", made=made) for a in COMMANDS[command]]
            signal.alarm(120)
            try:
                status, _, err = call(*arguments)
                assert status in (0, 1, 2) and err.count("bnonly: error") <= 1, (file, err)
            except Waits:
                waits.append(str(file))
            finally:
                signal.alarm(0)
                file.unlink(missing_ok=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not waits
