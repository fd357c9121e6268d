"""The cache of finished cells, batches and what they ask for."""

import json
import os
import signal
from pathlib import Path

import pytest
from tests.mini import mini, write

from bnonly import paths
from bnonly.cluster import batches, limits
from bnonly.cluster.requests import Requests
from bnonly.errors import UserError
from bnonly.grid.resolve import load_grid, resolve
from bnonly.results import cache, failure

DIGEST = "0123456789abcdef"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def files(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / name for name in paths.TRAINED.values()]
    for path in made:
        path.write_bytes(path.name.encode() * 100)
    return made


def test_what_is_kept_survives_its_results_and_takes_no_room():
    made = files(Path("results/a/b/seed0"))
    cache.keep(DIGEST, made)
    assert made[0].stat().st_nlink == 2 and cache.holds(DIGEST) and not cache.holds(DIGEST, paths.ANALYSED.values())
    assert cache.size(DIGEST) < 1000
    before = {p.name: p.read_bytes() for p in made}
    for path in made:
        path.unlink()
    assert cache.restore(DIGEST, Path("results/a/b/seed0"))
    assert {p.name: p.read_bytes() for p in made} == before
    assert not cache.restore("f" * 16, Path("results/a/b/seed0"))


def test_without_links_it_is_a_copy(monkeypatch):
    def refuse(*arguments):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    made = files(Path("results/a/b/seed0"))
    cache.keep(DIGEST, made)
    assert made[0].stat().st_nlink == 1
    made[0].unlink()
    assert cache.restore(DIGEST, made[0].parent) and made[0].exists()


@pytest.mark.parametrize("damage", ["flipped", "absent", "sums"])
def test_what_is_damaged_is_not_taken(damage):
    made = files(Path("results/a/b/seed0"))
    cache.keep(DIGEST, made)
    kept = paths.finished(DIGEST)
    for path in made:
        path.unlink()
    if damage == "flipped":
        content = bytearray((kept / made[1].name).read_bytes())
        content[7] ^= 1
        (kept / made[1].name).write_bytes(content)
    elif damage == "absent":
        (kept / made[2].name).unlink()
    else:
        (kept / "sha256.json").write_text("{")
    assert not cache.restore(DIGEST, made[0].parent)
    assert not any(p.exists() for p in made) and not cache.holds(DIGEST)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 50, b"\xff\xff\xff\x7fPAR1"])
def test_the_digest_of_what_is_no_result(content, tmp_path):
    path = tmp_path / "metrics.parquet"
    path.write_bytes(content)
    assert cache.recorded_digest(path) is None and cache.recorded_digest(tmp_path / "absent") is None


def small(**changes):
    return resolve(mini(experiments__cifar_depth__seeds=[0, 1, 2], **changes))


def test_batches_are_named_by_what_they_train():
    cells = [small().cell("ResNet-14-c4", "bn", s) for s in (0, 2)]
    assert batches.name(cells) == "ResNet-14-c4+bn+0-2"
    assert batches.members(batches.name(cells)) == [c.key for c in cells]


def test_replicates_share_a_submission_as_far_as_they_are_short():
    def sizes(minutes, **cluster):
        found = small(cluster={"batch_minutes": minutes, "gpu": "a100", **cluster})
        cells = [found.cell("ResNet-14-c4", "bn", s) for s in (0, 1, 2)]
        groups = Requests(found).group(cells)
        assert sorted(c.seed for g in groups for c in g) == [0, 1, 2]
        return [len(g) for g in groups]

    assert sizes(60) == [3] and sizes(0) == [1, 1, 1]
    one = Requests(small(cluster={"gpu": "a100"})).seconds(small().cell("ResNet-14-c4", "bn", 0)) / 60
    assert sizes(2.5 * one) == [2, 1]


def test_a_batch_of_any_number_of_replicates_has_a_name_and_a_command_that_a_system_takes():
    found = resolve(
        mini(
            experiments__cifar_depth__seeds=list(range(2_000_000_000, 2_000_000_100)),
            cluster={"gpu": "a100", "batch_minutes": 600},
        )
    )
    cells = [c for k, c in found.cells.items() if k[:2] == ("ResNet-14-c4", "bn")]
    groups = Requests(found).group(cells)
    assert sorted(c.seed for g in groups for c in g) == [c.seed for c in cells] and len(cells) == 100
    for group in groups:
        assert len(os.fsencode(batches.name(group, [c.key for c in group]) + ".log")) <= 255
        assert len(json.dumps([c.canonical() for c in group])) < 131_072 - 1_000  # Linux: of one argument


def test_requests_grow_with_attempts_and_not_above_the_limit():
    requests = Requests(small(cluster={"gpu": "a100", "max_hours": 0.2, "memory_gb": 10}))
    cell = small().cell("ResNet-14-c4", "bn", 0)
    minutes = [requests.minutes([cell], k) for k in range(1, 9)]
    assert minutes == sorted(minutes) and minutes[0] < minutes[1] and max(minutes) == 12
    assert [requests.memory_mb(k) for k in (1, 2, 9)] == [10_000, 15_000, 40_000]
    assert requests.options(gpus=4) == "--nodes=1 --cpus-per-task=16 --gres=gpu:a100:4 --signal=USR1@180"
    assert requests.options(computes=False) == "--nodes=1"
    assert "gpu" not in Requests(small(cluster={"gpu": "none"})).options()
    assert requests.minutes([cell], analyses=1) > requests.minutes([cell])


def test_a_deeper_network_asks_for_more():
    paper = load_grid(Path(__file__).parents[2] / "config.yaml", {"cluster": {"gpu": "h100"}})
    requests = Requests(paper)
    asked = [requests.minutes([paper.cell(a, "bn", 0)]) for a in ("ResNet-14", "ResNet-56", "ResNet-218")]
    assert asked == sorted(asked) and asked[0] < asked[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partitoin": "gpu"}, "unknown key cluster.partitoin; did you mean 'partition'?"),
        ({"partition": "a b"}, "cluster.partition must be SLURM's name, without spaces or quotes"),
        ({"cpus": 0}, "cluster.cpus must be at least 1 (got 0)"),
        ({"max_hours": 0.05}, "cluster.max_hours must be at least 0.058: a job needs"),
        ({"gpu": "a1000"}, "cluster.gpu is 'a1000', whose speed is unknown"),
        ({"gpu": "blue", "gpu_kind": "a1000"}, "cluster.gpu_kind is 'a1000', whose speed is unknown"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError) as caught:
        Requests(small(cluster=settings))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_gpu_without_the_precision_is_refused_before_anything_is_submitted():
    low = {"engine": "fast", "precision": "bf16"}
    with pytest.raises(
        UserError, match="cluster.gpu is 'v100', which has no bf16; set precision: fp32, or use an Ampere or later GPU"
    ):
        Requests(small(cluster={"gpu": "v100"}, **low))
    Requests(small(cluster={"gpu": "v100"}))  # in fp32
    Requests(small(cluster={"gpu": "a100"}, **low))
    Requests(small(cluster={"gpu": "any"}, **low))  # the cluster chooses; docs/slurm.md says what to exclude


def test_numbers_that_a_command_line_made_text():
    assert small(cluster={"max_hours": "12", "cpus": "8", "account": 12}).cluster.cpus == 8


@pytest.mark.parametrize(
    ("text", "expected"), [("1-00:00:00", 86_400), ("30:00", 1800), ("2:00:00", 7200), ("infinite", float("inf"))]
)
def test_time_limits_as_slurm_writes_them(text, expected):
    assert limits.seconds(text) == expected


def test_preflight_without_slurm_and_on_a_full_disk(tmp_path, bnonly):
    config = write(tmp_path, mini(cluster={"gpu": "a100"}))
    bare = {**os.environ, "PATH": "/nonexistent"}
    done = bnonly("--config", config, "-C", tmp_path, "--set", "outputs=[fig05]", "preflight", env=bare)
    assert (
        done.returncode == 2
        and "sbatch, squeue, sinfo, scancel: not found; run this on the cluster's login node" in done.stderr
    )
    import resource

    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))}
    done = bnonly("--config", config, "-C", tmp_path, "--set", "outputs=[fig05]", "preflight", env=bare, **limit)
    assert done.returncode == 2 and "results: cannot be written: File too large; free some space" in done.stderr
    assert "Traceback" not in done.stderr


def trained(code: dict[str, int]):
    """A training that ends as told: 0, a status, or minus a signal."""

    def train(cell):
        end = code.get(str(cell), 0)
        if end < 0:
            os.kill(os.getpid(), -end)
        if end == 0:
            cache.keep(cell.digest(), files(cell.key.folder))
        elif end == 2:
            failure.record(cell, cell.key.folder, "a reason")
        return end

    return train


def test_a_batch_tries_all_and_says_when_it_is_over(capsys):
    cells = [small().cell("ResNet-8-c4", "bn", s) for s in (0, 1, 2)]
    first, second, third = map(str, cells)
    marker = paths.batch(batches.name(cells))
    bad = {first: 2, second: -signal.SIGKILL}
    for attempt, status in ((1, batches.AGAIN), (2, batches.AGAIN), (3, 0)):
        assert batches.run(cells, trained(bad), marker, attempt, 12) == status
        assert marker.exists() == (status == 0)
        assert cache.holds(cells[2].digest()), "the neighbour"
    assert json.loads(marker.read_text()) == {first: "failed", second: "failed", third: "finished"}
    batches.collect(cells[2], marker)
    assert marker.exists()
    with pytest.raises(UserError, match="training failed 3 times in a row: a reason"):
        batches.collect(cells[0], marker)
    assert not marker.exists(), "so that asking again trains it"
    with pytest.raises(UserError, match="ended by signal 9"):
        batches.collect(cells[1], None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def test_failures_are_counted_as_long_as_nothing_gets_better():
    cell = small().cell("ResNet-8-c4", "bn", 0)
    folder = cell.key.folder
    folder.mkdir(parents=True)
    for times in (1, 2):
        failure.record(cell, folder, "x")
        assert failure.read(folder)["times"] == times
    paths.checkpoint(folder, cell.digest()).touch()
    failure.record(cell, folder, "x")
    assert failure.read(folder)["times"] == 1
    failure.forget(folder)
    assert failure.read(folder) is None
