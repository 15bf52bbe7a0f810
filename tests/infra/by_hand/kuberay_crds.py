"""Check the Ray manifests against KubeRay's own definitions, which do not come with this repository.

    python -m tests.infra.by_hand.kuberay_crds FOLDER

FOLDER is `helm-chart/kuberay-operator/crds` of a checkout of KubeRay.
"""

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.infra.test_kubernetes import ALL


def main(folder: Path) -> int:
    """Print what is wrong with each manifest, and return how many mistakes there are."""
    mistakes = 0
    for document in ALL:
        if document["apiVersion"] == "ray.io/v1":
            schema = definition(folder, document["kind"])
            found = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(document)]
            print(f"{document['kind']} {document['metadata']['name']}: {'; '.join(found) or 'valid'}")
            mistakes += len(found)
    return mistakes


def definition(folder: Path, kind: str) -> jsonschema.Draft202012Validator:
    """The schema of a kind's version v1, which takes no field that it does not name."""
    text = (folder / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8")
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]  # safe, and fast enough for 1 MB
    [version] = [version for version in versions if version["name"] == "v1"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def _closed(schema: Any) -> Any:
    """The schema as the server of Kubernetes applies it in strict mode."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        closed.setdefault("additionalProperties", False)
    return closed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
