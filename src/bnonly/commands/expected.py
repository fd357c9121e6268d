"""The expected time of a training where this run trains: for the workflow's progress and for `bnonly status`."""

from __future__ import annotations

from bnonly.cluster.requests import kind
from bnonly.commands.gpus import Devices
from bnonly.cost import estimate, find_gpu, measured
from bnonly.cost.gpus import of_configuration
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.grid.resolve import Grid


class Expected:
    """Expected times of a grid's trainings, by the cost model and the runs that are finished.

    Parameters
    ----------
    grid : Grid
        The grid.
    devices : Devices or None
        What trains on this machine; None if a cluster trains.

    Attributes
    ----------
    device : str
        The training device, as the cost model names it.
    """

    def __init__(self, grid: Grid, devices: Devices | None) -> None:
        own = of_configuration(grid.gpus)
        self.device = _device(grid, devices)
        self._gpu, self._measured, self._warm = find_gpu(self.device, own), measured.load(own), grid.warm
        self._found: dict[tuple[str, str], float] = {}  # replicates cost the same

    def seconds(self, cell: Cell) -> float:
        """Return the time of a training on one device."""
        name = cell.key[:2]
        if name not in self._found:
            self._found[name] = estimate(cell, self._gpu, self._measured, warm=self._warm).seconds
        return self._found[name]


def _device(grid: Grid, devices: Devices | None) -> str:
    if grid.cluster:
        return kind(grid.cluster, grid).name
    if devices and devices.gpus:
        try:
            return find_gpu(devices.gpus[0].name, of_configuration(grid.gpus)).name
        except UserError:
            pass  # the model does not know this GPU
    return f"cpu:{devices.threads if devices else grid.threads}"
