"""The compose file and the manifests of Kubernetes: what they say fits the image, the configuration and the daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bridge import daemon
from bridge.config import Config, load
from bridge.config_sections import Hooks

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: Folders of the image that are written to, and where its configuration is.
WRITTEN = {"/run/bridge", "/var/lib/bridge", "/tmp"}
CONFIGURED = "/etc/bridge"
#: Seconds that a stop may take until it ends by itself.
STOP = daemon.LEAVE + Hooks().timeout
#: Oldest and newest Kubernetes that the manifests are for; a sidecar that goes on is of 1.29.
RELEASES = ("1.29", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


def manifests(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((CONFIG / "kubernetes" / name).read_text()))


NAMES = ("deployment.yaml", "sidecar.yaml")
compose: Manifest = yaml.safe_load((CONFIG / "compose.yaml").read_text())


def of_kind(name: str, *kinds: str) -> Manifest:
    (found,) = (one for one in manifests(name) if one["kind"] in kinds)
    return found


def pod(name: str) -> Manifest:
    found: Manifest = of_kind(name, "Deployment", "StatefulSet")["spec"]["template"]["spec"]
    return found


def container(name: str) -> Manifest:
    spec = pod(name)
    (found,) = (one for one in [*spec["containers"], *spec.get("initContainers", [])] if one["name"] == "bridge")
    return dict(found)


def checked(text: str, names: set[str], folder: Path) -> Config:
    """The configuration as the daemon would have it, each of these secrets a file in its folder."""
    for name in names:
        (folder / name).write_text(f"secret of {name}: @/#".replace(" ", "-"))
    file = folder / "bridge.yaml"
    file.write_text(text)
    return load(str(file), {"CREDENTIALS_DIRECTORY": str(folder)})


# -- Kubernetes
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_knows_every_field(name: str, release: str) -> None:
    for one in manifests(name):
        kubernetes_validate.validate(one, release, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_has_no_faults(name: str, tmp_path: Path) -> None:
    text = of_kind(name, "ConfigMap")["data"]["bridge.yaml"]
    # What the head of the file says to make the secret of.
    told = (CONFIG / "kubernetes" / name).read_text().partition("\n\n")[0]
    config = checked(text, set(re.findall(r"--from-file=(\w+)", told)), tmp_path)
    assert config.source.amqp[0].password == "secret-of-OLD_PASSWORD:-@/#"


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_is_as_restricted_as_can_be(name: str) -> None:
    """What the Pod Security Standard "restricted" asks for, and a read-only root."""
    found = {**pod(name).get("securityContext", {}), **container(name)["securityContext"]}
    assert found["runAsNonRoot"] is True
    assert f"USER {found['runAsUser']}:{found['runAsGroup']}" in DOCKERFILE
    assert found["allowPrivilegeEscalation"] is False
    assert found["readOnlyRootFilesystem"] is True
    assert found["capabilities"] == {"drop": ["ALL"]}
    assert found["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["resources"]["limits"].keys() == {"memory"}, "a limit of the processor would slow it down"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_to_is_a_volume_and_what_is_mounted_is_there(name: str) -> None:
    mounts = {mount["mountPath"]: mount for mount in container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    assert {mount["name"] for mount in mounts.values()} == volumes.keys()
    assert {path for path, mount in mounts.items() if not mount.get("readOnly")} == WRITTEN
    assert volumes[mounts[CONFIGURED]["name"]]["configMap"]["name"] == of_kind(name, "ConfigMap")["metadata"]["name"]
    (folder,) = (one["value"] for one in container(name)["env"] if one["name"] == "CREDENTIALS_DIRECTORY")
    assert "secret" in volumes[mounts[folder]["name"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_is_waited_for(name: str) -> None:
    assert pod(name)["terminationGracePeriodSeconds"] > STOP


def probes(name: str) -> Iterator[Manifest]:
    found = container(name)
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in found:
            yield found[kind]


def test_the_probes_of_the_deployment_are_questions_that_the_daemon_answers(tmp_path: Path) -> None:
    paths = [probe["httpGet"]["path"] for probe in probes("deployment.yaml")]
    assert paths == ["/livez", "/readyz", "/livez"]
    answered = (ROOT / "bridge" / "daemon.py").read_text()
    assert all(f'"{path}"' in answered for path in paths)
    # On the port where the configuration has it listen for all.
    (port,) = container("deployment.yaml")["ports"]
    assert {probe["httpGet"]["port"] for probe in probes("deployment.yaml")} == {port["name"]}
    text = of_kind("deployment.yaml", "ConfigMap")["data"]["bridge.yaml"]
    config = checked(text.replace("${BRIDGE_TOKEN}", "0123456789abcdef"), {"OLD_PASSWORD", "NEW_PASSWORD"}, tmp_path)
    assert str(config.admin.listen) == f"0.0.0.0:{port['containerPort']}"
    (policy,) = of_kind("deployment.yaml", "NetworkPolicy")["spec"]["ingress"]
    assert policy["ports"] == [{"port": port["containerPort"]}]


def test_the_probe_of_the_sidecar_is_the_image_s_own() -> None:
    (probe,) = probes("sidecar.yaml")
    (words,) = re.findall(r"HEALTHCHECK .*CMD (\[.*\])", DOCKERFILE)
    assert probe["exec"]["command"] == yaml.safe_load(words)


def test_the_deployment_has_a_standby_and_keeps_one_of_the_two() -> None:
    deployment = of_kind("deployment.yaml", "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert of_kind("deployment.yaml", "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        spec = of_kind("deployment.yaml", kind)["spec"]
        assert (spec.get("selector") or spec["podSelector"])["matchLabels"] == labels


# -- compose
# --------------------------------------------------------------------------------------------------------------


def test_compose_runs_two_alike_without_rights() -> None:
    bridge, standby = compose["services"]["bridge"], compose["services"]["standby"]
    assert bridge == standby
    assert bridge["read_only"] is True
    assert (bridge["cap_drop"], bridge["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert {entry.partition(":")[0] for entry in bridge["tmpfs"]} == WRITTEN
    user = re.findall(r"USER (\d+):(\d+)", DOCKERFILE)[0]
    for entry in bridge["tmpfs"][:2]:
        assert f"uid={user[0]},gid={user[1]}" in entry
    assert int(bridge["stop_grace_period"].removesuffix("s")) > STOP
    # The check is the image's; nothing here may turn it off.
    assert "healthcheck" not in bridge


def test_compose_names_what_it_has() -> None:
    bridge = compose["services"]["bridge"]
    assert {one["source"] for one in bridge["configs"]} == compose["configs"].keys()
    assert [one["target"] for one in bridge["configs"]] == [f"{CONFIGURED}/bridge.yaml"]
    assert set(bridge["secrets"]) == compose["secrets"].keys()
    assert bridge["environment"]["CREDENTIALS_DIRECTORY"] == "/run/secrets", "where compose puts secrets"


def test_compose_has_the_secrets_that_the_least_configuration_wants(tmp_path: Path) -> None:
    checked((CONFIG / "bridge.minimal.yaml").read_text(), set(compose["secrets"]), tmp_path)
