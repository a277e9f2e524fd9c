# One call outside this machine, of AWS or over HTTPS: read from standard input, where no list of processes shows its
# secrets, and answered as JSON.
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

call = json.load(sys.stdin)
if "service" in call:
    import boto3
    from botocore import xform_name
    from botocore.config import Config

    # What has effects is not repeated behind the caller's back: an invocation that takes minutes would run twice.
    config = Config(read_timeout=call["patience"], retries={"total_max_attempts": 1})
    client = boto3.client(call["service"], region_name=call["region"], config=config)
    answer = getattr(client, xform_name(call["operation"]))(**call["input"])
    answer.pop("ResponseMetadata", None)
    if hasattr(answer.get("Payload"), "read"):
        answer["Payload"] = answer["Payload"].read().decode()
else:
    form = urllib.parse.urlencode([tuple(field) for field in call["form"]]).encode()
    request = urllib.request.Request(call["url"], method=call["method"], data=form or None)
    request.add_header("authorization", "Bearer " + call["key"])
    request.add_header("stripe-version", call["version"])
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = {"status": response.status, "body": json.load(response)}
    except urllib.error.HTTPError as error:
        answer = {"status": error.code, "body": error.read().decode(errors="replace")}
json.dump(answer, sys.stdout, default=str)
