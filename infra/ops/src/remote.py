# Calls outside this machine, of AWS or over HTTPS, until standard input ends: one JSON object a line there, where no list
# of processes shows its secrets, and one a line as the answer. Clients are kept: making one costs more than most calls.
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

clients = {}


class NoTerminal(Exception):
    """A profile asks for an MFA code, and there is no terminal to ask on."""


def ask_for_code(text):
    import getpass

    # Without a terminal getpass would read standard input, where the calls are.
    try:
        open("/dev/tty").close()
    except OSError:
        raise NoTerminal(text) from None
    return getpass.getpass(text)


def session():
    import boto3
    import botocore.credentials
    import botocore.session

    core = botocore.session.get_session()
    provider = core.get_component("credential_provider").get_provider("assume-role")
    # Where SAM keeps them, too: a profile that asks for an MFA code asks once.
    provider.cache = botocore.credentials.JSONFileCache()
    provider._prompter = ask_for_code
    return boto3.Session(botocore_session=core)


def client(service, region, patience, attempts):
    key = (service, region, patience, attempts)
    if key not in clients:
        from botocore.config import Config

        config = Config(
            connect_timeout=10, read_timeout=patience, retries={"mode": "standard", "total_max_attempts": attempts}
        )
        clients[key] = session().client(service, region_name=region, config=config)
    return clients[key]


def aws(call):
    from botocore import xform_name

    api = client(call["service"], call["region"], call["patience"], call["attempts"])
    operation = xform_name(call["operation"])
    if call["all_pages"] and api.can_paginate(operation):
        return api.get_paginator(operation).paginate(**call["input"]).build_full_result()
    answer = getattr(api, operation)(**call["input"])
    answer.pop("ResponseMetadata", None)
    # Of Lambda and of S3.
    for name in ("Payload", "Body"):
        if hasattr(answer.get(name), "read"):
            answer[name] = answer[name].read().decode()
    return answer


def https(call):
    form = urllib.parse.urlencode([tuple(field) for field in call["form"]]).encode()
    request = urllib.request.Request(call["url"], method=call["method"], data=form or None)
    request.add_header("authorization", "Bearer " + call["key"])
    request.add_header("stripe-version", call["version"])
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return {"status": response.status, "body": json.load(response)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(errors="replace")}


def refusal(error):
    # AWS's own name of the error, or Python's.
    response = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code") or type(error).__name__
    return {"code": code, "message": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = {"answer": aws(call) if "service" in call else https(call)}
    except Exception as error:
        answer = {"refusal": refusal(error)}
    print(json.dumps(answer, default=str), flush=True)
