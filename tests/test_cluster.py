"""cluster.yaml, as far as it can be checked without a cloud: by Ray's schema, and EC2's own of RunInstances.

Ray has no dry run, its schema says nothing of node_config, and it does not compare a type's least and most workers.
"""

import pathlib
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator

CLUSTER = pathlib.Path(__file__).resolve().parents[1] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))
    return loaded


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


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
        assert 0 <= node_type["min_workers"] <= node_type["max_workers"] <= cluster["max_workers"]
    assert "RAY_JOB_STOP_WAIT_TIME_S=300" in " ".join(cluster["head_start_ray_commands"])
