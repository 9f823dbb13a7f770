"""cluster.yaml and the README's way from `ray up` to `ray down`, as far as they can be checked without a cloud.

Ray has no dry run. Its own schema reads the file, EC2's reads the nodes, and Ray's provider runs on answers of EC2's
that are made up here. Of the README each `ray` command is parsed by the installed Ray, each `aws` command by botocore's
shapes, and each job's flags by the job.
"""

import json
import pathlib
import re
import shlex
import tomllib
import zipfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECTION = re.compile(r"^## On AWS\n(.*?)^## ", re.DOTALL | re.MULTILINE)
S3_ACTIONS = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.docker import validate_docker_config
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    validate_docker_config(prepared)
    assert [command for command in prepared["setup_commands"] if "ray-wheels" in command] == []


def test_ec2_takes_its_nodes(cluster: dict[str, Any]) -> None:
    run_instances = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
    for node_type in cluster["available_node_types"].values():
        request = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        assert ParamValidator().validate(request, run_instances.input_shape).generate_report() == ""


def test_its_numbers_make_sense(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    workers = [node_type for name, node_type in types.items() if name != cluster["head_node_type"]]
    for node_type in workers:
        assert 0 == node_type["min_workers"] < node_type["max_workers"] <= cluster["max_workers"]
        assert node_type["resources"]["GPU"] >= 1
        assert node_type["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in types[cluster["head_node_type"]]["node_config"], "its loss ends the cluster"
    assert cluster["idle_timeout_minutes"] <= 15
    assert "RAY_JOB_STOP_WAIT_TIME_S=300" in " ".join(cluster["head_start_ray_commands"])


def test_nobody_outside_reaches_what_takes_jobs(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws import config

    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])
    assert "security_group" not in cluster["provider"]
    rules: Any = config._create_default_inbound_rules
    inside, ssh = rules({"sg-1"})
    assert inside["UserIdGroupPairs"] == [{"GroupId": "sg-1"}]
    assert "IpRanges" not in inside
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)


# ---- one Ray everywhere


def test_one_ray_everywhere() -> None:
    """What names an image or a version of Ray names the tested one, in comments too; images are of one Python."""
    import ray

    [pin] = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert ray.__version__ == pin
    images: dict[str, set[str]] = {}
    told: dict[str, set[str]] = {}
    for path in (*ROOT.glob("*.*"), *(ROOT / "schedule").iterdir(), *(ROOT / "mrc").rglob("*.py")):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            images[path.name] = set(re.findall(r"rayproject/ray:(\S+)-(?:cpu|gpu)", text))
            told[path.name] = set(re.findall(r'rayVersion: "(.*)"', text)) | set(
                re.findall(r"\bRay (\d+\.\d+)\b", text)
            )
    assert {name for name, found in images.items() if found} == {
        "README.md", "cluster.yaml", "cronjob.yaml", "raycronjob.yaml", "rayjob.yaml", "rayjob_answers.yaml"
    }  # fmt: skip
    assert set().union(*images.values()) == {f"{pin}-py311"}
    assert set().union(*told.values()) == {pin, pin.rpartition(".")[0]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert Version("3.11") in SpecifierSet(project["requires-python"])


# ---- what a job takes along


def test_a_job_takes_the_checkout_along_and_nothing_else(tmp_path: pathlib.Path) -> None:
    from ray._private.runtime_env.packaging import create_package
    from ray._private.runtime_env.working_dir import upload_working_dir_if_needed

    archive = tmp_path / "job.zip"

    def keep(folder: str, excludes: list[str] | None, is_file: bool = False) -> None:
        create_package(folder, archive, include_gitignore=True, excludes=excludes)

    env = upload_working_dir_if_needed({"working_dir": str(ROOT)}, True, str(tmp_path), upload_fn=keep)
    assert env["working_dir"].startswith("gcs://_ray_pkg_")
    names = set(zipfile.ZipFile(archive).namelist())
    assert {"jobs/answer.py", "jobs/train.yaml", "mrc/__init__.py", "mrc/report/style.css", "constraints.txt"} <= names
    assert not {name.split("/")[0] for name in names} & {".git", ".venv", "demo", "out", ".mypy_cache"}
    assert archive.stat().st_size < 8 * 2**20


# ---- README, "On AWS"


@pytest.fixture(scope="module")
def section() -> str:
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found, "README.md has no section ## On AWS"
    return found[1]


@pytest.fixture(scope="module")
def commands(section: str) -> list[list[str]]:
    """The words of each command, continued lines joined, a loop's once for each node, without what goes into files."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    text = re.sub(r"<<'END'\n.*?\nEND\n", "\n", text, flags=re.DOTALL).replace("\\\n", " ")
    return [
        words
        for line in text.splitlines()
        for node in (("head", "worker") if "$node" in line else ("",))
        if (words := shlex.split(line.replace("$node", node), comments=True))
    ]


@pytest.fixture(scope="module")
def policies(section: str) -> dict[str, list[dict[str, Any]]]:
    """The statements of each policy that the section writes."""
    files = re.findall(r"cat > (\w+)\.json <<'END'\n(.*?)\nEND\n", section, re.DOTALL)
    return {name: json.loads(text)["Statement"] for name, text in files}


def actions(statements: list[dict[str, Any]]) -> set[str]:
    listed = [statement["Action"] for statement in statements if statement["Effect"] == "Allow"]
    return {action for each in listed for action in ([each] if isinstance(each, str) else each)}


def test_rays_commands_are_rays(commands: list[list[str]]) -> None:
    from ray.scripts.scripts import cli

    seen = []
    for words in commands:
        if not words[0].endswith("ray"):
            continue
        command: Any = cli
        rest = words[1:]
        while hasattr(command, "commands"):
            command = command.commands[rest[0]]
            rest = rest[1:]
        context = command.make_context(command.name, rest)
        seen.append(command.name)
        if "cluster_config_file" in context.params:
            assert context.params["cluster_config_file"] == "cluster.yaml"
    assert seen[0] == "up"
    assert seen[-1] == "down"
    assert {"dashboard", "submit", "exec"} <= set(seen)


def test_the_jobs_flags_are_the_jobs(commands: list[list[str]], cluster: dict[str, Any]) -> None:
    from mrc.answering import CONFIGS
    from mrc.answering.config import AnswerConfig, check_input
    from mrc.launch import parse_configs

    jobs = [words[words.index("jobs/answer.py") + 1 :] for words in commands if "jobs/answer.py" in words]
    assert jobs
    for flags in jobs:
        config: AnswerConfig = parse_configs(CONFIGS, "", flags)[0]
        check_input(config)
        assert config.wait_for_nodes
        assert config.use_gpu, "there is none to see yet"
        assert config.num_actors == cluster["max_workers"], "one is the default where nothing is there yet"


def test_awss_commands_are_awss(commands: list[list[str]], policies: dict[str, list[dict[str, Any]]]) -> None:
    session = botocore.session.get_session()
    for words in commands:
        if words[0] != "aws" or words[1] == "s3":
            continue
        service = session.get_service_model(words[1])
        operations = {botocore.xform_name(name, "-"): name for name in service.operation_names}
        members = service.operation_model(operations[words[2]]).input_shape.members
        options = {"--" + botocore.xform_name(member, "-") for member in members} | {"--output", "--query", "--region"}
        assert {word for word in words if word.startswith("--")} <= options
        files = [word.removeprefix("file://").removesuffix(".json") for word in words if word.startswith("file://")]
        assert set(files) <= policies.keys()


def test_the_roles_of_the_nodes_are_made(commands: list[list[str]], cluster: dict[str, Any]) -> None:
    made = {
        words[words.index("--instance-profile-name") + 1]
        for words in commands
        if words[:3] == ["aws", "iam", "create-instance-profile"]
    }
    types = cluster["available_node_types"].values()
    assert made == {node_type["node_config"]["IamInstanceProfile"]["Name"] for node_type in types}


def test_the_policies_name_actions_of_aws(policies: dict[str, list[dict[str, Any]]]) -> None:
    assert policies.keys() == {"trust", "s3", "nodes"}
    assert actions(policies["s3"]) == S3_ACTIONS
    session = botocore.session.get_session()
    for action in actions(policies["nodes"]):
        service, operation = action.split(":")
        if action != "iam:PassRole":  # a right that RunInstances asks for, and no operation
            assert operation in session.get_service_model(service).operation_names


@pytest.fixture
def ec2_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Answer EC2's requests here, with a node, and note what was asked."""
    from ray.autoscaler._private.aws import utils

    calls: set[str] = set()
    instance = {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": []}
    answers: dict[str, Any] = {
        "DescribeInstances": {"Reservations": [{"Instances": [instance]}]},
        "RunInstances": {"Instances": [instance]},
    }

    def answer(model: Any, **_: Any) -> tuple[Any, Any]:
        calls.add(f"ec2:{model.name}")
        return SimpleNamespace(status_code=200), answers.get(model.name, {})

    for name, value in (("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "nothing")):
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    session.events.register("before-call.ec2", answer)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    utils.resource_cache.cache_clear()
    yield calls
    utils.resource_cache.cache_clear()


def test_the_heads_role_may_do_what_the_autoscaler_does(
    ec2_calls: set[str], cluster: dict[str, Any], policies: dict[str, list[dict[str, Any]]]
) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    make: Any = AWSNodeProvider
    provider = make(cluster["provider"], cluster["cluster_name"])
    node_config = cluster["available_node_types"]["gpu"]["node_config"]
    provider.create_node({**node_config, "SubnetIds": ["subnet-1"]}, {"ray-node-name": "mrc"}, 1)
    assert provider.non_terminated_nodes({}) == ["i-1"]
    provider.set_node_tags("i-1", {"ray-node-status": "up-to-date"})
    provider.terminate_nodes(["i-1"])
    assert ec2_calls == {
        f"ec2:{name}" for name in ("DescribeInstances", "RunInstances", "CreateTags", "TerminateInstances")
    }
    allowed = actions(policies["nodes"])
    assert ec2_calls <= allowed
    assert allowed - ec2_calls == {"iam:PassRole", "ssm:GetParameters"}
    # What ends nodes ends those of this cluster alone, by the tag that Ray gives them.
    [ending] = [each for each in policies["nodes"] if "ec2:TerminateInstances" in each["Action"]]
    assert ending["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": cluster["cluster_name"]}}
