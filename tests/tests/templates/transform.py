"""Prints what SAM's transform makes of every template in the folder: {"catalog": {"Resources": …}, …}.

    python transform.py <folder> <parameters as JSON>
"""

import json
import pathlib
import sys

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# What `sam package` does first: the translator takes code and definitions from S3 only.
PACKAGED = {"CodeUri": "s3://bucket/code", "DefinitionUri": "s3://bucket/definition"}


class ManagedPolicies:
    """Names of managed policies that SAM does not know by itself: none is used."""

    def load(self):
        return {}


def translate(file, parameters):
    template = yaml_parse(file.read_text())
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        properties.update({name: uri for name, uri in PACKAGED.items() if name in properties})
    try:
        return transform(template, {"AWS::Region": "eu-central-1", **parameters}, ManagedPolicies())
    except InvalidDocumentException as error:
        sys.exit(f"{file}: {error.message} {[cause.message for cause in error.causes]}")


folder, parameters = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
print(json.dumps({file.stem: translate(file, parameters) for file in sorted(folder.glob("*.yaml"))}))
