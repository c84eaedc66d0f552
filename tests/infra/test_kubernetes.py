"""The manifests: valid, hardened, bounded, no secret inside; and every edge that the network policies leave open."""

import ipaddress
import re
from itertools import product

import kubernetes_validate
import pytest
import yaml
from infra_files import BASE, INFRA, OURS, OVERLAYS, base_documents, matches, of_kind, pods, rendered, settings_of

KUBERNETES = "1.33"  # the oldest release that the manifests are checked against
PODS = pods(base_documents())
BY_NAME = {pod.name: pod for pod in PODS}
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
SECRETS = {"database": {"password"}, "api": {"auth-string"}, "store": KEYS, "dask-store": KEYS}
each_pod = pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.name)
each_overlay = pytest.mark.parametrize("overlay", ["small", "gpu"])


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def check_schema(document):
    """Strictly: an unknown field is an error. The parts of a DaskCluster are checked as what they become."""
    if document["kind"] != "DaskCluster":
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    assert document["apiVersion"] == "kubernetes.dask.org/v1"
    scheduler, worker = document["spec"]["scheduler"], document["spec"]["worker"]
    assert set(document["spec"]) == {"scheduler", "worker"}
    assert (set(scheduler), set(worker)) == ({"spec", "service"}, {"spec", "replicas"})
    assert worker["replicas"] >= 1
    for pod in pods([document]):
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name}, "spec": pod.spec}
        kubernetes_validate.validate(made, KUBERNETES, strict=True)
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dask"}, "spec": scheduler["service"]}
    kubernetes_validate.validate(made, KUBERNETES, strict=True)


@pytest.mark.parametrize("document", base_documents(), ids=name_of)
def test_schema(document):
    check_schema(document)


def test_every_file_of_the_base_is_used():
    files = {path.name for path in BASE.iterdir()} - {"kustomization.yaml"}
    generated = {name for generator in KUSTOMIZATION["configMapGenerator"] for name in generator["envs"]}
    assert files == set(KUSTOMIZATION["resources"]) | generated


def test_overlays_refer_to_what_is_there():
    for path in OVERLAYS.glob("*/kustomization.yaml"):
        overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert [(path.parent / base).resolve() for base in overlay["resources"]] == [BASE]
        used = {patch["path"] for patch in overlay["patches"] if "path" in patch}
        assert used == {other.name for other in path.parent.iterdir()} - {"kustomization.yaml"}
        for patch in overlay["patches"]:
            target = patch["target"]
            assert any(name_of(document) == f"{target['kind']} {target['name']}" for document in base_documents())


@each_overlay
def test_overlays_are_put_together_and_valid(overlay):
    documents = rendered(overlay)
    assert {name_of(document) for document in base_documents()} <= {name_of(document) for document in documents}
    for document in documents:
        check_schema(document)
        assert name_of(document) == "Namespace hybridscreen" or document["metadata"]["namespace"] == "hybridscreen"


@each_overlay
def test_one_image_for_all_roles(overlay):
    """Flow, scheduler and workers refuse each other where a package differs."""
    images = {pod.container["image"] for pod in pods(rendered(overlay))}
    assert {image for image in images if image.split(":")[0] in OURS} == {
        {"small": "hybridscreen:0.1.0", "gpu": "hybridscreen-cuda:0.1.0"}[overlay]
    }


def test_gpu_workers_have_and_offer_a_gpu():
    (worker,) = [pod for pod in pods(rendered("gpu")) if pod.name == "dask-worker"]
    assert worker.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--resources=GPU=1" in worker.command
    assert worker.spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


@each_pod
def test_no_rights(pod):
    inside, outside = pod.container["securityContext"], pod.spec["securityContext"]
    assert outside["runAsNonRoot"] is True
    assert outside["runAsUser"] > 0
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod.spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)


@each_pod
def test_no_variables_of_services(pod):
    """Kubernetes would add PREFECT_SERVER_PORT=tcp://… and DASK_SCHEDULER_…, where settings are read from."""
    assert pod.spec["enableServiceLinks"] is False


@each_pod
def test_limits(pod):
    resources = pod.container["resources"]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}
    assert resources["limits"]["memory"] == resources["requests"]["memory"]  # what is promised is there
    for volume in pod.spec["volumes"]:
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@each_pod
def test_probes(pod):
    probes = {name for name in pod.container if name.endswith("Probe")}
    assert probes == (set() if pod.kind == "Job" else {"startupProbe", "readinessProbe", "livenessProbe"})
    names = {port["name"] for port in pod.container.get("ports", [])}
    for name in probes:
        probe = pod.container[name]
        assert "exec" in probe or probe["httpGet"]["port"] in names


@each_pod
def test_image_is_pinned(pod):
    assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-\w+)?", pod.container["image"])


@each_pod
def test_every_mount_has_its_volume(pod):
    volumes = {volume["name"] for volume in pod.spec["volumes"]}
    if pod.kind == "StatefulSet":
        volumes.add("data")
    assert {mount["name"] for mount in pod.container["volumeMounts"]} == volumes


@each_pod
def test_secrets_by_reference_to_those_that_are_asked_for(pod):
    generated = {generator["name"] for generator in KUSTOMIZATION["configMapGenerator"]}
    for source in pod.container.get("envFrom", []):
        assert source.get("configMapRef", {}).get("name", "store") in generated
        assert source.get("secretRef", {}).get("name", "store") in SECRETS
    for variable in pod.container.get("env", []):
        if re.search(r"PASSWORD|AUTH|SECRET|KEY", variable["name"]):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in SECRETS[reference["name"]]
    for volume in pod.spec["volumes"]:
        assert volume.get("configMap", {}).get("name", "campaigns") == "campaigns"


def test_who_has_which_key_of_the_store():
    """Pieces of work run with fewer rights than what publishes."""
    found = {}
    for pod in PODS:
        for source in pod.container.get("envFrom", []):
            if "secretRef" in source:
                found.setdefault(source["secretRef"]["name"], set()).add(pod.name)
    assert found == {"store": {"prefect-worker"}, "dask-store": {"dask-worker"}}


def test_no_secret_in_any_file():
    assert not of_kind(base_documents(), "Secret")
    for path in BASE.glob("*.env"):
        for name in settings_of(path):
            assert not re.search(r"PASSWORD|AUTH|SECRET|KEY", name)


def test_the_readme_makes_the_secrets_that_are_asked_for():
    text = (INFRA / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    made = dict(re.findall(r"create secret generic (\S+) (.+)", text))
    assert {name: set(re.findall(r"--from-file=([\w-]+)", rest)) for name, rest in made.items()} == SECRETS
    assert "create configmap campaigns " in text


def test_services_lead_to_pods():
    services = [(document["metadata"]["name"], document["spec"]) for document in of_kind(base_documents(), "Service")]
    (cluster,) = of_kind(base_documents(), "DaskCluster")
    services.append((f"{cluster['metadata']['name']}-scheduler", cluster["spec"]["scheduler"]["service"]))
    for name, spec in services:
        (pod,) = [pod for pod in PODS if matches({"matchLabels": spec["selector"]}, pod.labels)]
        assert pod.name == name
        names = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        for port in spec["ports"]:
            assert names[port.get("targetPort", port["name"])] == port["port"]


def policies(pod, direction):
    return [
        policy["spec"]
        for policy in of_kind(base_documents(), "NetworkPolicy")
        if direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], pod.labels)
    ]


def peers(pod, direction):
    """(peer, port) of every rule for a pod; direction is Ingress or Egress."""
    word = "from" if direction == "Ingress" else "to"
    for spec in policies(pod, direction):
        for rule in spec.get(direction.lower(), []):
            assert rule[word]
            assert rule["ports"]
            yield from ((peer, port["port"]) for peer, port in product(rule[word], rule["ports"]))


def open_ports(pod, direction, other):
    return {
        port
        for peer, port in peers(pod, direction)
        if "podSelector" in peer and matches(peer["podSelector"], other.labels)
    }


def test_nothing_is_open_unless_said():
    deny, *_ = of_kind(base_documents(), "NetworkPolicy")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_who_reaches_whom_inside():
    """An edge needs both ends to allow it. The list is what the stack needs; both ends agree on it."""
    edges = set()
    for source, target in product(PODS, PODS):
        out, into = open_ports(source, "Egress", target), open_ports(target, "Ingress", source)
        assert out == into, f"{source.name} to {target.name}: one end allows what the other does not"
        assert out <= target.ports
        edges |= {(source.name, target.name, port) for port in out}
    assert edges == {
        ("prefect-migrate", "postgres", 5432),
        ("prefect-server", "postgres", 5432),
        ("prefect-services", "postgres", 5432),
        ("prefect-server", "redis", 6379),
        ("prefect-services", "redis", 6379),
        ("prefect-deploy", "prefect-server", 4200),
        ("prefect-worker", "prefect-server", 4200),
        ("prefect-worker", "dask-scheduler", 8786),
        ("dask-worker", "dask-scheduler", 8786),
        ("dask-scheduler", "dask-worker", 8789),
        ("dask-scheduler", "dask-worker", 8790),
        ("dask-worker", "dask-worker", 8789),
    }


def test_who_is_reached_from_outside():
    found = {}
    for pod in PODS:
        for peer, port in peers(pod, "Ingress"):
            if "namespaceSelector" in peer:
                found.setdefault(pod.name, set()).add((*peer["namespaceSelector"]["matchLabels"].values(), port))
    assert found == {
        "prefect-server": {("true", 4200)},
        "dask-scheduler": {("dask-operator", 8786), ("dask-operator", 8787)},
    }


def test_who_reaches_outside():
    found = {pod.name: {port for peer, port in peers(pod, "Egress") if "ipBlock" in peer} for pod in PODS}
    assert {name: ports for name, ports in found.items() if ports} == {"prefect-worker": {443}, "dask-worker": {443}}
    for pod in PODS:
        assert {port for peer, port in peers(pod, "Egress") if "namespaceSelector" in peer} == {53}
        for block in (peer["ipBlock"] for peer, _ in peers(pod, "Egress") if "ipBlock" in peer):
            whole = ipaddress.ip_network(block["cidr"])
            assert all(ipaddress.ip_network(part).subnet_of(whole) for part in block["except"])
