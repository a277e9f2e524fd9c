"""One call of an AWS service as boto3 has it: `call.py <service> <operation> <input as JSON>` prints the answer as JSON."""

import json
import sys

import boto3

service, operation, arguments = sys.argv[1:]
answer = getattr(boto3.client(service), operation)(**json.loads(arguments))
print(json.dumps(answer, default=str))
