"""cluster.yaml and cluster-aws-account.yaml against a local AWS API: moto's server, reached as Amazon's own is.

What moto does not do is listed where it shows: it boots nothing, checks no permissions, and resolves no image names.
"""

from __future__ import annotations

import ast
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.grids.yaml_file import read_yaml
from tests.galaxies import s3_server

boto3 = pytest.importorskip("boto3")

from ray.autoscaler._private.aws.config import bootstrap_aws  # noqa: E402
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider  # noqa: E402
from ray.autoscaler._private.aws.utils import client_cache, resource_cache  # noqa: E402
from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: E402
from ray.autoscaler.tags import (  # noqa: E402
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig  # noqa: E402
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest  # noqa: E402
from ray.autoscaler.v2.utils import ResourceRequestUtil  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
ACCOUNT = (ROOT / "cluster-aws-account.yaml").read_text()
MINE = "203.0.113.7/32"


@pytest.fixture(scope="module")
def aws() -> Iterator[pytest.MonkeyPatch]:
    """An empty account in us-east-1, for boto3 and so for Ray."""
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
        for name in ("AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_EC2", "https_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        for cache in (resource_cache, client_cache):
            cache.cache_clear()
        yield patch
        for cache in (resource_cache, client_cache):
            cache.cache_clear()


@pytest.fixture(scope="module")
def account(aws: pytest.MonkeyPatch) -> None:
    """Step 1 of cluster.yaml."""
    given = {"Bucket": "galaxies-of-mine", "SshFrom": MINE}
    boto3.client("cloudformation").create_stack(
        StackName="galaxytl",
        TemplateBody=ACCOUNT,
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )


def as_it_is() -> dict[str, Any]:
    text = json.dumps(read_yaml(ROOT / "cluster.yaml", "a cluster file"))
    assert "CHANGE-ME" not in text  # nothing is to be filled in
    return dict(json.loads(text))


def prepared() -> dict[str, Any]:
    config = prepare_config(as_it_is())
    validate_config(config)
    return dict(config)


@pytest.fixture(scope="module")
def bootstrapped(account: None) -> dict[str, Any]:
    """What `ray up` makes of the file before it starts the head."""
    return dict(bootstrap_aws(prepared()))


def test_ray_accepts_the_file_and_refuses_it_with_a_typo() -> None:
    config = prepared()
    assert config["idle_timeout_minutes"] <= 10
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}
    assert {kind["min_workers"] for kind in workers.values()} == {0}
    wrong = as_it_is()
    wrong["idle_timeout_minuts"] = wrong.pop("idle_timeout_minutes")
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config(wrong))


def galaxytl_group() -> dict[str, Any]:
    own = {"Name": "group-name", "Values": ["galaxytl"]}
    (group,) = boto3.client("ec2").describe_security_groups(Filters=[own])["SecurityGroups"]
    return dict(group)


def test_account_has_a_private_bucket_and_nobody_reaches_the_nodes_but_me(account: None) -> None:
    group = galaxytl_group()
    assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["galaxies-of-mine"]
    for what in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        assert f"{what}: true" in ACCOUNT  # moto makes the bucket without them
    from_outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
    (ssh,) = from_outside
    assert (ssh["FromPort"], ssh["ToPort"], ssh["IpRanges"][0]["CidrIp"]) == (22, 22, MINE)
    among = [rule for rule in group["IpPermissions"] if rule not in from_outside]
    assert [pair["GroupId"] for rule in among for pair in rule["UserIdGroupPairs"]] == [group["GroupId"]]


def actions_of(role: str) -> set[str]:
    iam = boto3.client("iam")
    assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]  # none of Amazon's broad ones
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    # Of a stack's policies moto keeps the text that Python prints.
    read = [ast.literal_eval(document) if isinstance(document, str) else document for document in documents]
    allowed = [statement["Action"] for document in read for statement in document["Statement"]]
    return {action for actions in allowed for action in ([actions] if isinstance(actions, str) else actions)}


def test_workers_may_use_the_bucket_and_nothing_else(account: None) -> None:
    assert {action.split(":")[0] for action in actions_of("galaxytl-worker")} == {"s3"}
    assert {"ec2:RunInstances", "iam:PassRole", "ssm:GetParameters"} <= actions_of("galaxytl-head")
    assert "*" not in actions_of("galaxytl-head")


def test_bootstrapped_with_the_accounts_group_roles_and_a_new_key(bootstrapped: dict[str, Any]) -> None:
    group = galaxytl_group()
    assert len(group["IpPermissions"]) == 2  # Ray has added none of its own: its port 22 would be open to all
    key = Path(bootstrapped["auth"]["ssh_private_key"])
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.stem in {pair["KeyName"] for pair in boto3.client("ec2").describe_key_pairs()["KeyPairs"]}
    for kind in bootstrapped["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == [group["GroupId"]]
        assert kind["node_config"]["SubnetIds"]


def test_promised_resources_are_those_of_the_machines(bootstrapped: dict[str, Any]) -> None:
    workers = [kind for name, kind in bootstrapped["available_node_types"].items() if name != "head"]
    for kind in workers:
        machine = kind["node_config"]["InstanceType"]
        (found,) = boto3.client("ec2").describe_instance_types(InstanceTypes=[machine])["InstanceTypes"]
        gpus = sum(gpu["Count"] for gpu in found["GpuInfo"]["Gpus"])
        assert kind["resources"] == {"CPU": found["VCpuInfo"]["DefaultVCpus"], "GPU": gpus}
    assert len(workers) == 2


def test_instances_are_requested_as_wanted(bootstrapped: dict[str, Any]) -> None:
    ec2 = boto3.client("ec2")
    image = ec2.register_image(Name="mine", Architecture="x86_64")["ImageId"]  # moto resolves no `resolve:ssm:NAME`
    provider = AWSNodeProvider(bootstrapped["provider"], bootstrapped["cluster_name"])
    for name, kind in bootstrapped["available_node_types"].items():
        tags = {
            TAG_RAY_NODE_KIND: "head" if name == "head" else "worker",
            TAG_RAY_NODE_NAME: f"ray-galaxytl-{name}",
            TAG_RAY_NODE_STATUS: "uninitialized",
            TAG_RAY_LAUNCH_CONFIG: "hash",
            TAG_RAY_USER_NODE_TYPE: name,
        }
        (node_id,) = provider.create_node({**kind["node_config"], "ImageId": image}, tags, 1)
        (reservation,) = ec2.describe_instances(InstanceIds=[node_id])["Reservations"]
        (instance,) = reservation["Instances"]
        assert instance["InstanceType"] == kind["node_config"]["InstanceType"]
        profile = "galaxytl-head" if name == "head" else "galaxytl-worker"
        assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
        assert instance.get("InstanceLifecycle") == ("spot" if name == "gpu-spot" else None)
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert {"Key": "ray-cluster-name", "Value": "galaxytl"} in instance["Tags"]  # by it, the head may end a worker
        assert node_id in provider.non_terminated_nodes({})
        provider.terminate_node(node_id)
        assert node_id not in provider.non_terminated_nodes({})
    assert set(bootstrapped["available_node_types"]) == {"head", "gpu-spot", "gpu-on-demand"}


def launched(available: dict[str, float], num_trials: int = 1) -> dict[str, int]:
    """Workers that Ray's autoscaler starts for trials of a GPU and four CPUs, by node type."""
    config = AutoscalingConfig(prepared(), skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes() - 1,  # without the head, which is there already
        resource_requests=ResourceRequestUtil.group_by_count(
            [ResourceRequestUtil.make({"CPU": 4, "GPU": 1}) for _ in range(num_trials)]
        ),
        recoverable_resource_availabilities=available,
        cloud_resource_availabilities=available,
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch if launch.instance_type != "head"}


def test_spot_first_on_demand_where_there_is_none_and_never_more_workers_than_the_budget() -> None:
    assert launched({}) == {"gpu-spot": 1}
    assert launched({"gpu-spot": 0.0}) == {"gpu-on-demand": 1}
    assert sum(launched({}, num_trials=100).values()) == as_it_is()["max_workers"] == 4


def test_cloudformation_reads_no_aliases_of_yaml_and_does_not_let_the_world_in() -> None:
    """What CloudFormation checks before it makes anything, which moto does not."""
    assert not re.search(r"[:\-] [&*]\w", ACCOUNT)
    assert re.search(r"[:\-] [&*]\w", (ROOT / "cluster.yaml").read_text())
    rule = next(line.split(": ", 1)[1] for line in ACCOUNT.splitlines() if "AllowedPattern" in line)
    assert re.fullmatch(rule, MINE)
    assert not any(re.fullmatch(rule, world) for world in ("0.0.0.0/0", "10.0.0.0/8"))
