"""The files under cluster/ against the configurations, the pins and Ray's own schema."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2d_loop.config import Config, load

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
# Where the image has the repository.
IN_IMAGE = "/opt/s2d-loop/"
# Fields of KubeRay's API, ray.io/v1 (its generated reference for 1.6 and the Go types).
RAYJOB = {
    "entrypoint", "submissionMode", "backoffLimit", "submitterConfig", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "runtimeEnvYAML", "rayClusterSpec", "activeDeadlineSeconds", "jobId",
    "metadata", "clusterSelector", "suspend", "entrypointNumCpus", "entrypointNumGpus",
    "entrypointResources", "submitterPodTemplate", "managedBy", "deletionStrategy",
}  # fmt: skip
RAYCLUSTER = {
    "rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling",
    "autoscalerOptions", "headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions",
}  # fmt: skip
GROUP = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template",
    "scaleStrategy", "idleTimeoutSeconds", "suspend",
}  # fmt: skip


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(name: str) -> str:
    extras = project()["optional-dependencies"].values()
    everything = [*project()["dependencies"], *(each for extra in extras for each in extra)]
    found = {m[1] for each in everything if (m := re.match(rf"{name}(?:\[.*\])?==([\w.*]+)$", each))}
    assert len(found) == 1, f"{name}: {found}"
    return found.pop()


def documents() -> dict[str, dict[str, Any]]:
    """What the manifest creates, by kind."""
    made = list(yaml.safe_load_all((CLUSTER / "rayjob-llama2-70b.yaml").read_text()))
    assert [each["kind"] for each in made] == ["PersistentVolumeClaim", "NetworkPolicy", "RayJob"]
    return {each["kind"]: each for each in made}


def rayjob() -> tuple[dict[str, Any], dict[str, Any]]:
    made = documents()
    assert made["RayJob"]["apiVersion"] == "ray.io/v1"
    return made["PersistentVolumeClaim"], made["RayJob"]["spec"]


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def config_of(entrypoint: str) -> Config:
    """The configuration that an entrypoint runs, with its overrides."""
    shell, option, command = shlex.split(entrypoint)
    assert (shell, option) == ("bash", "-c")
    words = shlex.split(command.split("||")[0])
    assert words[:4] == ["python", "-m", "s2d_loop.cli", "run"]
    assert words[4].startswith(IN_IMAGE)
    path = ROOT / words[4].removeprefix(IN_IMAGE)
    assert path.is_file()
    return load(str(path), words[5:])


def gpus_wanted(config: Config) -> tuple[int, float]:
    """For one engine, which is on one node, and for everything."""
    engine, train = config.engine, config.train
    one = engine.tensor_parallel_size * engine.pipeline_parallel_size
    return one, engine.num_engines * one + train.num_workers * train.gpus_per_worker


def test_rayjob_has_only_fields_that_kuberay_knows() -> None:
    _, job = rayjob()
    cluster = job["rayClusterSpec"]
    assert set(job) <= RAYJOB
    assert set(cluster) <= RAYCLUSTER
    assert cluster["authOptions"] == {"mode": "token"}
    assert set(cluster["headGroupSpec"]) <= {"rayStartParams", "template", "serviceType", "headService"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # KubeRay passes rayStartParams on as text.
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert job["shutdownAfterJobFinishes"] is True
    assert isinstance(yaml.safe_load(job["runtimeEnvYAML"])["env_vars"], dict)


def test_rayjob_has_gpus_for_engines_and_training_at_once() -> None:
    _, job = rayjob()
    one_engine, all_of_it = gpus_wanted(config_of(job["entrypoint"]))
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    resources = container["resources"]
    assert resources["limits"] == resources["requests"]
    a_node = int(resources["limits"]["nvidia.com/gpu"])
    assert one_engine <= a_node
    assert all_of_it <= a_node * group["replicas"]


def test_rayjob_has_cpus_for_its_workers() -> None:
    _, job = rayjob()
    train = config_of(job["entrypoint"]).train
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert train.cpus_per_worker * int(limits["nvidia.com/gpu"]) <= int(limits["cpu"])


def test_rayjob_mounts_what_the_run_shares_everywhere() -> None:
    claim, job = rayjob()
    config = config_of(job["entrypoint"])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    paths = [config.run.dir, config.model.path, *(source.path for source in config.sources)]
    paths += [task.heldout.path for task in config.tasks.values()]
    for pod in pods(job):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        claimed = [path for path, volume in mounts.items() if "persistentVolumeClaim" in volume]
        assert claimed == ["/shared"]
        assert mounts["/shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert all(path.startswith("/shared/") for path in paths)
        names = {each["name"]: each["value"] for each in container["env"]}
        assert names["RAY_worker_niceness"] == "0"


def test_rayjob_runs_as_a_plain_user_who_can_gain_nothing() -> None:
    """What Kubernetes' `restricted` standard asks of a pod."""
    _, job = rayjob()
    for pod in pods(job):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_network_policy_lets_in_what_the_job_needs_and_nobody_else() -> None:
    made = documents()
    policy, job = made["NetworkPolicy"]["spec"], made["RayJob"]
    assert made["NetworkPolicy"]["apiVersion"] == "networking.k8s.io/v1"
    cluster = job["spec"]["rayClusterSpec"]
    ours = policy["podSelector"]["matchLabels"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert ours.items() <= group["template"]["metadata"]["labels"].items(), (
            "the policy is about these pods"
        )
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    among_themselves, to_dashboard = policy["ingress"]
    assert among_themselves == {"from": [{"podSelector": policy["podSelector"]}]}
    submitter, operator = to_dashboard["from"]
    # Each of them is named: an empty selector would be everybody.
    assert submitter == {"podSelector": {"matchLabels": {"job-name": job["metadata"]["name"]}}}
    assert operator["podSelector"]["matchLabels"]
    assert to_dashboard["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert {"to": [{"podSelector": policy["podSelector"]}]} in policy["egress"]
    others = [rule for rule in policy["egress"] if "to" not in rule]
    assert {port["port"] for rule in others for port in rule["ports"]} == {53}


def test_rayjob_has_room_for_the_run() -> None:
    claim, job = rayjob()
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert size.endswith("Ti")
    assert int(size.removesuffix("Ti")) * 1024 > config_of(job["entrypoint"]).run.min_free_gb


def test_one_image_of_the_pinned_versions() -> None:
    lines = (CLUSTER / "Containerfile").read_text().splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert base == f"rayproject/ray:{pinned('ray')}-py311-gpu"
    assert project()["requires-python"].startswith(">=3.11")
    assert pinned("vllm").startswith("0.32.")
    _, job = rayjob()
    assert job["rayClusterSpec"]["rayVersion"] == pinned("ray")
    launcher = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    images = {pod["containers"][0]["image"] for pod in pods(job)} | {launcher["docker"]["image"]}
    assert images == {f"s2d-loop:{project()['version']}"}


def test_image_copies_what_it_installs() -> None:
    lines = (CLUSTER / "Containerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]}
    assert {"pyproject.toml", "s2d_loop", "configs", project()["readme"]} <= copied
    assert all((ROOT / each).exists() for each in copied - {project()["readme"]})
    assert f"WORKDIR {IN_IMAGE.rstrip('/')}" in lines


def test_launcher_file_is_right_to_ray() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    launcher = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    prepared = prepare_config(launcher)
    validate_config(prepared)
    assert prepared["max_workers"] == len(launcher["provider"]["worker_ips"])
    starts = [*launcher["head_start_ray_commands"], *launcher["worker_start_ray_commands"]]
    for command in starts:
        if "ray start" in command:
            assert "RAY_AUTH_MODE=token" in command
            assert "RAY_worker_niceness=0" in command


@pytest.mark.parametrize("name", ["last_letters", "coin_flip"])
def test_launcher_has_gpus_for_the_configuration(name: str) -> None:
    launcher = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    config = load(str(ROOT / "configs/paper" / f"{name}.yaml"))
    one_engine, all_of_it = gpus_wanted(config)
    assert one_engine <= 8
    assert all_of_it <= 8 * len(launcher["provider"]["worker_ips"])


def test_configurations_have_the_papers_settings() -> None:
    letters, coin = (
        load(str(ROOT / "configs/paper" / f"{task}.yaml")) for task in ("last_letters", "coin_flip")
    )
    for config, steps in ((letters, 3), (coin, 100)):
        train = config.train
        assert (train.steps, train.tokens_per_step, train.count_tokens) == (steps, 65536, "all")
        assert (train.learning_rate, train.dropout, train.warmup_steps) == (5.5e-6, 0.1, 1)
        assert (train.start, train.zero_stage, train.bf16) == ("current", 3, True)
        assert (config.run.iterations, config.engine.tensor_parallel_size) == (1, 8)
        # A step is one row a worker: with fewer tokens in a row it would be two, half of them empty.
        assert (
            train.tokens_per_step < train.num_workers * train.micro_batch_tokens < 2 * train.tokens_per_step
        )
    (letters_task,), (coin_task,) = letters.tasks.values(), coin.tasks.values()
    assert (letters_task.method.name, letters_task.method.samples) == ("rar_2step", 8)
    assert letters_task.method.options == {}
    assert (coin_task.method.samples, coin_task.method.options) == (8, {"answers": 8})
    assert letters_task.curate.vote == coin_task.curate.vote == "unique_plurality"
