"""schedule/, as far as it can be checked without a scheduler: each command is run, on programs that note it.

A cluster is not needed either. What KubeRay and Kubernetes take is checked by the names of their fields, whose sources
stand beside them.
"""

import inspect
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from mrc import answering
from mrc.answering.config import AnswerConfig
from mrc.evaluation import CONFIGS
from mrc.evaluation.config import EvaluateConfig
from mrc.launch import parse_configs

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCHEDULE = ROOT / "schedule"
SCRIPT = SCHEDULE / "nightly.sh"
RAY_JOBS = ["rayjob.yaml", "rayjob_answers.yaml"]
ADDRESS = "http://head:8265"
FLAGS = ["--model", "s3://b/model", "--input", "s3://b/dev/*.parquet", "--baseline", "last", "--fail_if_drop", "0.5"]

# KubeRay's Go types in ray-operator/apis/ray/v1 of github.com/ray-project/kuberay; raycronjob_types.go as of 1.6, which
# has all that RayCronJob took when it came, rayjob_types.go and raycluster_types.go as of 1.3, without what came later.
RAY_CRON_JOB_SPEC = {"schedule", "jobTemplate", "suspend"}
RAY_JOB_SPEC = set(
    "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector submitterConfig "
    "managedBy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources entrypointNumCpus entrypointNumGpus "
    "ttlSecondsAfterFinished shutdownAfterJobFinishes suspend".split()
)
RAY_CLUSTER_SPEC = set(
    "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling gcsFaultToleranceOptions "
    "headGroupSpec rayVersion workerGroupSpecs".split()
)
AUTOSCALER_OPTIONS = set(
    "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode env envFrom volumeMounts".split()
)
HEAD_GROUP_SPEC = {"template", "headService", "enableIngress", "rayStartParams", "serviceType"}
WORKER_GROUP_SPEC = set(
    "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams template scaleStrategy "
    "numOfHosts".split()
)
SUBMISSION_MODES = {"K8sJobMode", "HTTPMode", "InteractiveMode"}
# Kubernetes' batch/v1 and core/v1; of a pod and a container those in use and their like.
CRON_JOB_SPEC = set(
    "schedule timeZone startingDeadlineSeconds concurrencyPolicy suspend jobTemplate successfulJobsHistoryLimit "
    "failedJobsHistoryLimit".split()
)
JOB_SPEC = {"activeDeadlineSeconds", "backoffLimit", "template", "ttlSecondsAfterFinished"}
POD_SPEC = {"containers", "restartPolicy", "serviceAccountName", "nodeSelector", "tolerations", "volumes"}
CONTAINER = {"name", "image", "command", "args", "env", "envFrom", "resources", "ports", "volumeMounts"}


@dataclass
class Ran:
    code: int
    stdout: str
    calls: list[list[str]]
    """The arguments of each call of the programs that are played here, with their names."""


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Return what runs a command on a `ray`, `python` and `sleep` that note their arguments; `ray` says what is given.

    Of `statuses`, the n-th `ray job status` prints the n-th, and fails where there is none.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    note = 'printf "%s\\0" "${0##*/}" "$@" >>"$PLAY/calls"; printf "\\n\\0" >>"$PLAY/calls"\n'
    ray = (
        'case "$2" in\n'
        '  submit) echo "submitting"; exit "$SUBMIT_CODE" ;;\n'
        '  logs) echo "the last line of the log" ;;\n'
        '  status) cat "$PLAY/status-$(grep -cxz status "$PLAY/calls")" 2>/dev/null ;;\n'
        "esac\n"
    )
    for name, body in (("ray", note + ray), ("python", note), ("sleep", note)):
        (programs / name).write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
        (programs / name).chmod(0o755)

    def run(*command: str, statuses: tuple[str, ...] = (), submit_code: int = 0, **env: str) -> Ran:
        for stale in (tmp_path / "calls", *tmp_path.glob("status-*")):
            stale.unlink(missing_ok=True)
        for number, status in enumerate(statuses, start=1):
            (tmp_path / f"status-{number}").write_text(status, encoding="utf-8")
        inherited = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        played = {"PATH": f"{programs}:/usr/bin:/bin", "PLAY": str(tmp_path), "SUBMIT_CODE": str(submit_code)}
        ended = subprocess.run(
            command, cwd=ROOT, env=inherited | played | env, capture_output=True, text=True, timeout=60, check=False
        )
        noted = (tmp_path / "calls").read_text(encoding="utf-8") if (tmp_path / "calls").exists() else ""
        calls = [call.removesuffix("\0").split("\0") for call in noted.split("\n\0") if call]
        return Ran(ended.returncode, ended.stdout + ended.stderr, calls)

    return run


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def night(run: Run, *flags: str, **options: Any) -> Ran:
    return run(str(SCRIPT), *(flags or FLAGS), **{"RAY_API_SERVER_ADDRESS": ADDRESS, "NIGHT": "2026-07-01"} | options)


def said_of(capsys: pytest.CaptureFixture[str], status: str, message: str | None = None) -> str:
    """Return what the installed Ray's `ray job status` prints of a job."""
    from ray.dashboard.modules.job import cli
    from ray.job_submission import JobStatus

    info = types.SimpleNamespace(status=JobStatus(status), message=message)
    client: Any = types.SimpleNamespace(get_job_info=lambda _: info)
    cli._log_job_status(client, "eval-2026-07-01")
    captured = capsys.readouterr()
    return captured.out + captured.err


def message_of(exit_code: int, log: str = "error: f1 is lower by 0.9\n") -> str:
    words = (
        f"Job entrypoint command failed with exit code {exit_code}, last available logs (truncated to 20,000 chars):"
    )
    return f"{words}\n{log}"


def load(manifest: pathlib.Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    return loaded


def evaluation(command: list[str]) -> EvaluateConfig:
    """Parse a command as jobs/evaluate.py does, and check it as far as it goes without reading anything."""
    assert command[:2] == ["python", "jobs/evaluate.py"]
    config: EvaluateConfig = parse_configs(CONFIGS, "", command[2:])[0]
    config.check_sides()
    return config


def assert_is_the_evaluation(config: EvaluateConfig, run_id: str) -> None:
    assert config == EvaluateConfig(
        model="s3://bucket/korquad/model",
        input="s3://bucket/dev/*.parquet",
        output="s3://bucket/evaluations",
        run_id=run_id,
        baseline="last",
        fail_if_drop=0.5,
    )


def submitted(ran: Ran) -> tuple[dict[str, Any], list[str]]:
    """Return the options and the entrypoint of the one `ray job submit`, as the installed Ray reads them."""
    from ray.dashboard.modules.job.cli import submit

    [call] = [call for call in ran.calls if call[:3] == ["ray", "job", "submit"]]
    context = submit.make_context("submit", call[3:])
    return context.params, list(context.params["entrypoint"])


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    assert set(pod["spec"]) <= POD_SPEC
    found: list[dict[str, Any]] = pod["spec"]["containers"]
    for container in found:
        assert set(container) <= CONTAINER
        resources = container["resources"]
        assert set(resources) == {"requests", "limits"}
        assert {"cpu", "memory"} <= set(resources["requests"]) == set(resources["limits"])
    return found


def assert_is_ray_job(spec: dict[str, Any]) -> None:
    assert set(spec) <= RAY_JOB_SPEC
    assert spec["submissionMode"] in SUBMISSION_MODES
    cluster = spec["rayClusterSpec"]
    assert set(cluster) <= RAY_CLUSTER_SPEC
    assert cluster["rayVersion"]
    assert set(cluster.get("autoscalerOptions", {})) <= AUTOSCALER_OPTIONS
    assert set(cluster["headGroupSpec"]) <= HEAD_GROUP_SPEC
    [head] = containers(cluster["headGroupSpec"]["template"])
    assert cluster["workerGroupSpecs"]
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_GROUP_SPEC
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        [worker] = containers(group["template"])
        assert worker["envFrom"] == head["envFrom"]
    params = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(isinstance(value, str) for group in params for value in group["rayStartParams"].values())


# ---- nightly.sh


def test_the_script_is_bash() -> None:
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert "\nset -euo pipefail\n" in SCRIPT.read_text(encoding="utf-8")


def test_a_night_is_submitted_under_its_name(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ran = night(run, statuses=(said_of(capsys, "SUCCEEDED"),))
    assert (ran.code, ran.stdout) == (0, ""), "cron mails whatever is printed"
    options, entrypoint = submitted(ran)
    assert options["submission_id"] == "eval-2026-07-01"
    assert (options["address"], options["working_dir"], options["no_wait"]) == (ADDRESS, ".", True)
    assert entrypoint == ["python", "jobs/evaluate.py", "--run_id", "2026-07-01", *FLAGS]
    assert evaluation(entrypoint).run_id == "2026-07-01"
    asked = [call[2:] for call in ran.calls if call[:2] == ["ray", "job"]][1:]
    assert asked == [
        ["logs", "--address", ADDRESS, "--log-color", "false", "--follow", "eval-2026-07-01"],
        ["status", "--address", ADDRESS, "--log-color", "false", "eval-2026-07-01"],
    ]


def test_a_night_is_today_in_utc(run: Run) -> None:
    before = today()
    options, entrypoint = submitted(run(str(SCRIPT), *FLAGS, RAY_API_SERVER_ADDRESS=ADDRESS))
    run_id = evaluation(entrypoint).run_id
    assert run_id in {before, today()}
    assert options["submission_id"] == f"eval-{run_id}"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ("SUCCEEDED", None, 0),
        ("FAILED", message_of(3), 3),
        ("FAILED", message_of(2), 2),
        ("FAILED", message_of(1), 1),
        ("FAILED", message_of(137), 1),
        ("FAILED", message_of(-9), 1),
        ("FAILED", message_of(1, "Status message: Job entrypoint command failed with exit code 3, ...\n"), 1),
        ("FAILED", message_of(3, "Job 'eval-2026-07-01' succeeded\n"), 3),
        ("FAILED", "Job supervisor actor could not be scheduled", 1),
        ("STOPPED", None, 1),
    ],
)
def test_its_exit_code_is_the_evaluations(
    run: Run, capsys: pytest.CaptureFixture[str], status: str, message: str | None, code: int
) -> None:
    ran = night(run, statuses=(said_of(capsys, status, message),))
    assert ran.code == code, ran.stdout
    if code:
        assert f"exit code {code};" in ran.stdout
        assert ran.stdout.endswith("the last line of the log\n")


def test_the_message_is_still_worded_so() -> None:
    from ray.dashboard.modules.job import job_supervisor

    source = re.sub(r'"\s+f?"', "", inspect.getsource(job_supervisor))
    assert "Job entrypoint command failed with exit code {return_code}, " in source


def test_a_second_start_waits_for_the_job_of_the_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    statuses = said_of(capsys, "RUNNING", "Job is currently running."), said_of(capsys, "FAILED", message_of(3))
    ran = night(run, statuses=statuses, submit_code=1)
    assert ran.code == 3
    assert [call for call in ran.calls if call[0] == "sleep"] == [["sleep", "60"]]
    submitted(ran)  # once


def test_a_failed_night_is_run_again_on_request(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    status = said_of(capsys, "SUCCEEDED").replace("eval-2026-07-01", "eval-2026-07-01-2")
    ran = night(run, statuses=(status,), ATTEMPT="2")
    assert ran.code == 0
    options, entrypoint = submitted(ran)
    assert options["submission_id"] == "eval-2026-07-01-2"
    assert evaluation(entrypoint).run_id == "2026-07-01"


def test_a_cluster_out_of_reach_is_a_failure(run: Run) -> None:
    ran = night(run, submit_code=1)
    assert ran.code == 1
    assert f"the job server at {ADDRESS}" in ran.stdout
    assert "submitting" in ran.stdout, "what Ray said"


def test_an_address_is_needed(run: Run) -> None:
    ran = night(run, RAY_API_SERVER_ADDRESS="")
    assert (ran.code, ran.calls) == (2, [])


def test_the_crontab_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = re.findall(r"^#   (\d.*nightly\.sh.*)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    *when, command = line.split(maxsplit=5)
    assert when == ["30", "2", "*", "*", "*"]
    assert "%" not in command, "a crontab's command ends there"
    here = command.replace("mrc/schedule/nightly.sh", shlex.quote(str(SCRIPT)))
    ran = run("sh", "-c", here, RAY_API_SERVER_ADDRESS=ADDRESS, NIGHT="2026-07-01")
    assert_is_the_evaluation(evaluation(submitted(ran)[1]), "2026-07-01")


# ---- KubeRay and Kubernetes


def test_all_manifests_are_tested() -> None:
    assert {path.name for path in SCHEDULE.glob("*.yaml")} == {*RAY_JOBS, "raycronjob.yaml", "cronjob.yaml"}


@pytest.mark.parametrize("name", RAY_JOBS)
def test_ray_job(name: str) -> None:
    job = load(SCHEDULE / name)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert_is_ray_job(job["spec"])


def test_gpus_come_from_none_and_go() -> None:
    cluster = load(SCHEDULE / "rayjob_answers.yaml")["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True, "else nobody brings pods"
    [group] = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    [container] = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")


def test_the_ray_jobs_differ_in_what_they_do_alone() -> None:
    one, other = (load(SCHEDULE / name)["spec"] for name in RAY_JOBS)
    shared = "submissionMode runtimeEnvYAML shutdownAfterJobFinishes ttlSecondsAfterFinished".split()
    assert {name: one[name] for name in shared} == {name: other[name] for name in shared}
    assert one["rayClusterSpec"]["headGroupSpec"] == other["rayClusterSpec"]["headGroupSpec"]


def test_ray_cron_job_repeats_the_ray_job() -> None:
    cron = load(SCHEDULE / "raycronjob.yaml")
    assert (cron["apiVersion"], cron["kind"]) == ("ray.io/v1", "RayCronJob")
    assert set(cron["spec"]) <= RAY_CRON_JOB_SPEC
    assert cron["spec"]["jobTemplate"] == load(SCHEDULE / "rayjob.yaml")["spec"]
    assert cron["spec"]["jobTemplate"]["activeDeadlineSeconds"] < 24 * 3600


def entrypoint_of(name: str, run: Run) -> list[str]:
    """Return the words of a RayJob's entrypoint, which Ray gives to the shell of subprocess."""
    [command] = run("/bin/sh", "-c", load(SCHEDULE / name)["spec"]["entrypoint"]).calls
    return command


def test_the_ray_jobs_entrypoint(run: Run) -> None:
    before = today()
    config = evaluation(entrypoint_of("rayjob.yaml", run))
    assert config.run_id in {before, today()}
    assert_is_the_evaluation(config, str(config.run_id))


def test_the_answering_ray_jobs_entrypoint(run: Run) -> None:
    program, script, *flags = entrypoint_of("rayjob_answers.yaml", run)
    assert (program, script) == ("python", "jobs/answer.py")
    [group] = load(SCHEDULE / "rayjob_answers.yaml")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert parse_configs(answering.CONFIGS, "", flags)[0] == AnswerConfig(
        model="s3://bucket/korquad/model",
        input="s3://bucket/questions/*.parquet",
        output="s3://bucket/answers",
        use_gpu=True,
        num_actors=group["maxReplicas"],
        wait_for_nodes=True,
    )


def test_ray_takes_the_ray_jobs_runtime_env() -> None:
    from ray.runtime_env import RuntimeEnv

    written = yaml.safe_load(load(SCHEDULE / "rayjob.yaml")["spec"]["runtimeEnvYAML"])
    env = RuntimeEnv(**written)
    assert env.working_dir() == written["working_dir"]
    assert env.env_vars() == written["env_vars"]
    constraints, project = env.pip_config()["packages"]
    assert constraints == "-c ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/constraints.txt"
    assert project == "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"


def test_cron_job(run: Run) -> None:
    cron = load(SCHEDULE / "cronjob.yaml")
    assert (cron["apiVersion"], cron["kind"]) == ("batch/v1", "CronJob")
    assert set(cron["spec"]) <= CRON_JOB_SPEC
    job = cron["spec"]["jobTemplate"]["spec"]
    assert set(job) <= JOB_SPEC
    assert job["template"]["spec"]["restartPolicy"] in {"Never", "OnFailure"}, "Kubernetes takes no other in a Job"
    [container] = containers(job["template"])
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    before = today()
    for code in (0, 1):
        ran = run(*container["command"], *container["args"], submit_code=code, **env)
        assert ran.code == code
        options, entrypoint = submitted(ran)
        config = evaluation(entrypoint)
        assert config.run_id in {before, today()}
        assert options["submission_id"] == f"eval-{config.run_id}"
        assert options["working_dir"] == load_working_dir()
        assert_is_the_evaluation(config, str(config.run_id))


def load_working_dir() -> str:
    written: dict[str, str] = yaml.safe_load(load(SCHEDULE / "rayjob.yaml")["spec"]["runtimeEnvYAML"])
    return written["working_dir"]


# ---- Airflow


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand in for the two modules that the DAG imports; return what its DAG and its operators are made with."""
    made: list[dict[str, Any]] = []

    class Noted:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            return None

    parts = "airflow airflow.providers airflow.providers.standard airflow.providers.standard.operators".split()
    for name in (*parts, "airflow.providers.standard.operators.bash", "airflow.sdk"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["airflow.sdk"], "DAG", Noted, raising=False)
    operators = sys.modules["airflow.providers.standard.operators.bash"]
    monkeypatch.setattr(operators, "BashOperator", Noted, raising=False)
    return made


def test_the_dag(airflow: list[dict[str, Any]], run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCHEDULE / "airflow_dag.py"))
    dag, task = airflow
    assert set(dag) == {"dag_id", "schedule", "start_date", "catchup", "max_active_runs"}
    assert set(task) == {"task_id", "bash_command", "cwd", "env", "append_env", "retries", "retry_delay"}
    assert not task["bash_command"].endswith(".sh"), "Airflow would take it for the name of a template"
    env = {name: value.replace("{{ ds }}", "2026-07-01") for name, value in task["env"].items()}
    ran = run("bash", "-c", task["bash_command"], statuses=(said_of(capsys, "FAILED", message_of(3)),), **env)
    assert ran.code == 3
    options, entrypoint = submitted(ran)
    assert options["submission_id"] == "eval-2026-07-01"
    assert_is_the_evaluation(evaluation(entrypoint), "2026-07-01")


# ---- all of it


@pytest.mark.parametrize("path", sorted(SCHEDULE.iterdir()), ids=lambda path: path.name)
def test_there_are_no_credentials(path: pathlib.Path) -> None:
    if path.is_dir():
        assert path.name == "__pycache__"
        return
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|PRIVATE KEY|://[^/\s:]+:[^/\s@]+@", text)
    values = re.findall(r"(?i)(?:access_key_id|secret_access_key|password|token)\w*['\"]?\s*[:=]\s*(\S+)", text)
    assert set(values) <= {"...,"}


def test_no_other_command_calls_a_job() -> None:
    """Each file with a call of a job has a test of it above."""
    for path in SCHEDULE.glob("*.*"):
        calls = re.findall(r"python (jobs/\w+\.py)", path.read_text(encoding="utf-8"))
        script = "jobs/answer.py" if path.name == "rayjob_answers.yaml" else "jobs/evaluate.py"
        assert calls == ([] if path.name == "airflow_dag.py" else [script]), path
