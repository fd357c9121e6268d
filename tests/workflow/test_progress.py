"""What a person reads while the workflow runs, without Snakemake."""

import re
import sys
from logging import ERROR, INFO, LogRecord
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_bnonly as plugin

TRAIN = {"arch": "ResNet-14", "regime": "bn", "seed": "0"}


class Plan:
    """A training takes 100 s, of which there are 2 at a time."""

    at_a_time, note, targets = 2, "left out of figures/all: fig17", ["fig02", "cifar-depth", "figures/all"]
    expected = SimpleNamespace(device="cpu:2")

    def seconds(self, rule, wildcards):
        return 100.0 if rule == "train" else 1.0

    def result(self, rule, wildcards):
        return ": test accuracy 93.21%" if rule == "train" else ""


@pytest.fixture
def handler(tmp_path, monkeypatch):
    """Make a handler that was called from the folder above the run's."""

    def make(terminal=False, dryrun=False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        monkeypatch.chdir(tmp_path)
        found = plugin.LogHandler(SimpleNamespace(dryrun=dryrun), None)
        (tmp_path / "run").mkdir()
        monkeypatch.chdir(tmp_path / "run")
        found.follow(Plan())
        return found

    return make


def say(handler, event, level=INFO, msg="", **extra):
    record = LogRecord("snakemake", level, "", 0, msg, (), None)
    record.__dict__.update(event=event, **extra)
    handler.emit(record)


def start(handler, number, rule="train", title="Train ResNet-14 bn seed 0", wildcards=TRAIN, **extra):
    log = [f"logs/{rule}/x.log"]
    say(handler, LogEvent.JOB_INFO, jobid=number, rule_name=rule, rule_msg=title, wildcards=wildcards, log=log, reason="Missing output files: a; Code has changed since last execution", **extra)  # fmt: skip


def test_a_finished_cell_is_a_line_with_its_accuracy_and_the_end_says_where_to_look(handler, capsys):
    made = handler()
    made.follow(Plan(), [("train", TRAIN), ("report", {})])
    say(made, LogEvent.RUN_INFO, msg="Job stats:\njob count", stats={"train": 1, "report": 1, "total": 2})
    start(made, 1)
    assert "Train" not in capsys.readouterr().err  # one line a job, when it has finished
    say(made, LogEvent.JOB_FINISHED, job_id=1)
    assert "1/2  Train ResNet-14 bn seed 0: test accuracy 93.21% (0 s)" in capsys.readouterr().err
    start(made, 2, "report", "Write report.html", {})
    say(made, LogEvent.JOB_FINISHED, job_id=2)
    made.close()
    err = capsys.readouterr().err
    assert "made in 0 s: 1 training\n" in err and "see: run/report.html" in err and "\x1b" not in err


def test_a_figure_asked_for_alone_is_named_at_the_end(handler, capsys):
    made = handler()
    for number, (rule, name) in enumerate([("figure", "fig02"), ("table", "table1")]):
        start(made, number, rule, f"Draw {name}", {"name": name})
        say(made, LogEvent.JOB_FINISHED, job_id=number)
    made.close()
    assert "see: run/figures/fig02.png and run/tables/table1.md\n" in capsys.readouterr().err


def test_only_some_of_many_figures_are_named_at_the_end(handler, capsys):
    made = handler()
    for number in range(1, 9):
        start(made, number, "figure", "Draw", {"name": f"fig0{number}"})
        say(made, LogEvent.JOB_FINISHED, job_id=number)
    made.close()
    assert "run/figures/fig05.png and 3 more\n" in capsys.readouterr().err


def test_without_a_terminal_lines_say_the_time_left(handler, capsys, monkeypatch):
    made = handler()
    made.follow(Plan(), [("train", TRAIN), *(("figure", {"name": f"fig0{k}"}) for k in (1, 2, 3))])
    assert re.fullmatch(r"0 of 4 done, about \d+ s left\n", capsys.readouterr().err)
    for k, every in ((1, 1e9), (2, 0.0)):
        monkeypatch.setattr(plugin, "EVERY", every)
        start(made, k, "figure", "Draw", {"name": f"fig0{k}"})
        say(made, LogEvent.JOB_FINISHED, job_id=k)
    assert re.findall(r"^\d of 4 done, about .* left$", capsys.readouterr().err, re.MULTILINE)[0].startswith("2 of 4")


def test_a_failure_has_its_reason_its_log_and_its_remedy(handler, capsys):
    made = handler()
    start(made, 1)
    Path("logs/train").mkdir(parents=True)
    Path("logs/train/x.log").write_text("epoch 1\nbnonly: error: the disk is full\n")
    say(made, LogEvent.JOB_ERROR, ERROR, jobid=1, rule_name="train", log=["logs/train/x.log (check log file(s))"])
    err = capsys.readouterr().err
    assert "FAILED  Train ResNet-14 bn seed 0" in err and "the disk is full" in err
    assert "log: run/logs/train/x.log" in err
    made.close()
    err = capsys.readouterr().err
    assert "failed: Train ResNet-14 bn seed 0: the disk is full" in err and "the same command retries" in err


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("returned non-zero exit status 2.", ""),
        ("returned non-zero exit status 137.", "a command was ended by SIGKILL (out of memory?)\n"),
        ("died with <Signals.SIGSEGV: 11>.", "a command was ended by SIGSEGV\n"),
    ],
)
def test_of_a_command_that_failed_only_a_signal_is_said(handler, capsys, status, shown):
    """The end of the job's log follows."""
    said = f"RuleException:\nCalledProcessError in file 'x.smk', line 4:\nCommand 'set -eu; bnonly train' {status}"
    say(handler(), LogEvent.ERROR, ERROR, said)
    assert capsys.readouterr().err == shown


def test_a_failure_on_a_cluster_has_slurms_reason_and_log(handler, capsys):
    made = handler()
    start(made, 1, "batch", "Train ResNet-14+bn+0", {"batch": "ResNet-14+bn+0"})
    log = Path("my logs/7.log").absolute()
    log.parent.mkdir()
    log.write_text("epoch 3\n")
    logs = ["logs/batch/x.log (check log file(s) for error details)", str(log)]
    said = "SLURM job 7: timeout on n1: epoch 3. "
    say(made, LogEvent.JOB_ERROR, ERROR, jobid=1, rule_name="batch", rule_msg=said, log=logs)
    assert "    epoch 3\n    SLURM job 7: timeout on n1" in capsys.readouterr().err
    made.close()
    assert "failed: Train ResNet-14+bn+0: SLURM job 7: timeout on n1: epoch 3.\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (INFO, "Will exit after finishing currently running jobs (scheduler)."),
        (INFO, "Terminating processes on user request, this might take some time."),
        (ERROR, "CalledProcessError:\nCommand 'bnonly train' died with <Signals.SIGTERM: 15>."),
        (ERROR, "CalledProcessError:\nCommand 'bnonly train' returned non-zero exit status 130."),
    ],
)
def test_a_run_that_its_user_stops_has_not_failed(handler, capsys, level, said):
    made = handler()
    start(made, 1)
    say(made, None, level, said)
    say(made, LogEvent.JOB_ERROR, ERROR, jobid=1, rule_name="train", log=[])
    say(made, None, ERROR, "WorkflowError:\nAt least one job did not complete successfully.")
    made.close()
    err = capsys.readouterr().err
    assert err.endswith("stopped; the same command resumes the run\n") and "stopped  Train ResNet-14" in err
    assert not {"Error", "FAILED", "failed"} & set(re.findall(r"\w+", err)) and "not complete" not in err


def test_a_failure_that_a_retry_mends_is_no_failure(handler, capsys):
    made = handler()
    start(made, 1)
    say(made, LogEvent.JOB_ERROR, ERROR, jobid=1, rule_name="train", log=[])
    start(made, 1)
    say(made, LogEvent.JOB_FINISHED, job_id=1)
    capsys.readouterr()
    made.close()
    assert "failed" not in capsys.readouterr().err


def test_the_bar_counts_time_not_jobs(handler, capsys):
    made = handler(terminal=True)
    made.follow(Plan(), [("train", TRAIN), *(("figure", {"name": f"fig{k:02}"}) for k in range(4))])
    say(made, LogEvent.RUN_INFO, stats={"total": 5})
    for k in range(4):
        start(made, k, "figure", f"Draw fig{k:02}", {"name": f"fig{k:02}"})
        say(made, LogEvent.JOB_FINISHED, job_id=k)
    start(made, 9)
    bar = capsys.readouterr().err.split("\r\x1b[K")[-1]
    assert bar.startswith("[#-------------------] 4/5, ") and bar.endswith(" left Train ResNet-14 bn seed 0")
    say(made, LogEvent.JOB_FINISHED, job_id=9)
    assert capsys.readouterr().err.split("\r\x1b[K")[-1].startswith("[####################] 5/5")


def test_a_dry_run_says_what_how_long_and_why(handler, capsys):
    made = handler(dryrun=True)
    say(made, LogEvent.RUN_INFO, msg="Job stats:\njob count\ntrain 36", stats={"total": 36})
    for k in range(36):
        start(made, k)
    say(made, LogEvent.RUN_INFO, msg="Job stats:\njob count\ntrain 36", stats={"total": 36})
    say(made, None, msg="This was a dry-run (flag -n).")
    made.close()
    err = capsys.readouterr().err
    assert err.count("Job stats") == 1 and "training: about 60 min one after another on cpu:2; 2 run at a time\n" in err
    assert "36 train: missing output files, code has changed since last execution" in err
    assert "left out of figures/all: fig17\n" in err
    assert len(err.splitlines()) < 10


@pytest.mark.parametrize(("target", "meant"), [("fig2", "fig02"), ("figure2", "fig02"), ("cifar-dept", "cifar-depth"), ("figure/all", "figures/all")])  # fmt: skip
def test_a_misspelt_target_is_answered(handler, capsys, target, meant):
    made = handler()
    say(made, None, ERROR, f"MissingRuleException:\nNo rule to produce {target} (if you use input functions ...)")
    assert f"no target '{target}'; did you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrapped",
    [
        "MissingInputException in rule figure, line 24:\nMissing input files:\n    affected files:\n        ({0})\n        ({0})",
        'WorkflowError in file "Snakefile", line 51:\n{0}\n  File "Snakefile", line 51, in <module>',
    ],
)
def test_an_error_that_snakemake_wraps_is_said_alone(handler, capsys, wrapped):
    error = "bnonly: error: config.yaml: fig02 needs regime 'out' (got none)"
    say(handler(), None, ERROR, wrapped.format(error))
    assert capsys.readouterr().err == error + "\n"


def test_messages_that_matter_are_shown(handler, capsys):
    made = handler()
    for level, text, shown in (
        (INFO, "Select jobs to execute...", False),
        (INFO, "Nothing to be done (all requested files are present and up to date).", True),
        (ERROR, "WorkflowError: no", True),
    ):
        say(made, None, level, text)
        assert (text in capsys.readouterr().err) == shown
