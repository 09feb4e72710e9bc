"""The examples under deploy/: valid by schema, of one mind with the package, and honest on top."""

import json
import re
import shlex
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CLUSTERS = ("ray-cluster.yaml", "ray-onprem.yaml")
FILES = ("Dockerfile", "kuberay.yaml", *CLUSTERS)


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def kuberay() -> dict[str, Any]:
    return {document["kind"]: document for document in documents("kuberay.yaml")}


def pods() -> list[Any]:
    cluster = kuberay()["RayCluster"]["spec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def ray_schema() -> Any:
    return json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text())


def kuberay_schema() -> Any:
    return json.loads((Path(__file__).parent / "kuberay.schema.json").read_text())


def version_in_lock(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", FILES)
def test_each_file_begins_with_what_cost_and_command(name: str) -> None:
    text = (DEPLOY / name).read_text()
    head = [line[2:9].strip() for line in text.splitlines() if re.match(r"# [A-Z]\w+:", line)]
    assert [word for word in head if word in ("What:", "Cost:", "Use:")] == [
        "What:",
        "Cost:",
        "Use:",
    ]


@pytest.mark.parametrize("name", CLUSTERS)
def test_rays_own_schema_takes_the_clusters(name: str) -> None:
    (config,) = documents(name)
    jsonschema.validate(config, ray_schema())
    with pytest.raises(jsonschema.ValidationError, match="'max_worker' was unexpected"):
        jsonschema.validate({**config, "max_worker": 4}, ray_schema())


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_up_takes_the_clusters(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (config,) = documents(name)
    whole = prepare_config(config)
    validate_config(whole)
    types = whole["available_node_types"].values()
    # slots are counted once: nodes that come later would idle
    assert {t["min_workers"] - t["max_workers"] for t in types} == {0}
    assert sum(t["max_workers"] for t in types) == whole["max_workers"] > 0


def test_the_kubernetes_objects_have_the_fields_that_kuberay_knows() -> None:
    validator = jsonschema.Draft7Validator(kuberay_schema())
    validator.check_schema(kuberay_schema())
    for document in documents("kuberay.yaml"):
        validator.validate(document)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("headGroupSpec", "templates"), {}),
        (("workerGroupSpecs", 0, "replicas"), "4"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("workerGroupSpecs", 0, "template", "spec", "containers", 0, "image"), ""),
    ],
)
def test_the_schema_refuses_what_the_api_server_would(where: tuple[Any, ...], value: Any) -> None:
    spoilt = kuberay()["RayCluster"]
    at = spoilt["spec"]
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    assert not jsonschema.Draft7Validator(kuberay_schema()).is_valid(spoilt)


def test_kubernetes_names_point_at_each_other() -> None:
    found = kuberay()
    job, cluster = found["RayJob"]["spec"], found["RayCluster"]
    assert job["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    claims = {
        document["metadata"]["name"]
        for document in documents("kuberay.yaml")
        if document["kind"] == "PersistentVolumeClaim"
    }
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = [mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]]
        assert sorted(mounts) == sorted(volumes)
        held = [v["persistentVolumeClaim"] for v in volumes.values() if "emptyDir" not in v]
        assert {claim["claimName"] for claim in held} <= claims


def test_every_node_runs_the_same_image_and_the_locks_ray() -> None:
    (aws,) = documents("ray-cluster.yaml")
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert images == {aws["docker"]["image"]}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert images.pop().endswith(f"cmt-search:{version}")
    assert kuberay()["RayCluster"]["spec"]["rayVersion"] == version_in_lock("ray")


def commands() -> list[list[str]]:
    """Every cmt-search command in the examples and in docs/cluster.md."""
    texts = [kuberay()["RayJob"]["spec"]["entrypoint"]]
    for path in (*(DEPLOY / name for name in CLUSTERS), ROOT / "docs" / "cluster.md"):
        text = path.read_text()
        joined = re.sub(r"\\\n[#\s]*", "", text)
        texts += re.findall(r"(?<!/)cmt-search (?:run|resume) [^\"`\n(]*", joined)
        texts += re.findall(r"bin/cmt-search (?:run|resume) [^\"`\n(]*", joined)
    return [shlex.split(text, comments=True) for text in texts]


def test_the_commands_and_their_options_exist() -> None:
    from typer.main import get_command

    from cmt_search.cli.app import build_app

    known = {name: command.params for name, command in get_command(build_app()).commands.items()}
    found = commands()
    assert len(found) >= 6
    for words in found:
        start = next(i for i, word in enumerate(words) if word.endswith("cmt-search"))
        name, rest = words[start + 1], words[start + 2 :]
        options = {option for param in known[name] for option in param.opts}
        assert {word for word in rest if word.startswith("--")} <= options, words


def test_the_image_installs_within_the_lock_and_nothing_is_uploaded_later() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r'uv pip install [^\n]*-c requirements\.lock "\.\[cluster\]"', text)
    copied = re.findall(r"^COPY (.*) \S+$", text, re.M)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    for name in ("kuberay.yaml", *CLUSTERS):
        assert "working_dir" not in (DEPLOY / name).read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras["optional-dependencies"]["cluster"] == ["ray[default]"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_dashboards_listen_to_their_own_machine(name: str) -> None:
    (config,) = documents(name)
    start = next(c for c in config["head_start_ray_commands"] if "--head" in c)
    assert "--dashboard-host=127.0.0.1" in start


def test_every_cluster_asks_for_rays_token() -> None:
    assert kuberay()["RayCluster"]["spec"]["authOptions"]["mode"] == "token"
    (aws,), (own,) = documents("ray-cluster.yaml"), documents("ray-onprem.yaml")
    assert "-e RAY_AUTH_MODE=token" in aws["docker"]["run_options"]
    for config in (aws, own):
        assert any(where.endswith("/.ray/auth_token") for where in config["file_mounts"])
    starts = own["head_start_ray_commands"][-1:] + own["worker_start_ray_commands"][-1:]
    assert all(command.startswith("RAY_AUTH_MODE=token ") for command in starts)
