"""Prints the resources of the account and region that the environment names, one `kind name` a line."""

import boto3


def pages(service, operation, key, **arguments):
    client = boto3.client(service)
    if client.can_paginate(operation):
        return client.get_paginator(operation).paginate(**arguments).build_full_result().get(key, [])
    return getattr(client, operation)(**arguments).get(key, [])


def everything():
    for stack in pages("cloudformation", "list_stacks", "StackSummaries"):
        if stack["StackStatus"] != "DELETE_COMPLETE":
            yield "stack", stack["StackName"]
    for name in pages("dynamodb", "list_tables", "TableNames"):
        yield "table", name
    for url in pages("sqs", "list_queues", "QueueUrls"):
        yield "queue", url.rsplit("/", 1)[1]
    for topic in pages("sns", "list_topics", "Topics"):
        yield "topic", topic["TopicArn"]
    for subscription in pages("sns", "list_subscriptions", "Subscriptions"):
        yield "subscription", subscription["TopicArn"] + " to " + subscription["Endpoint"]
    for function in pages("lambda", "list_functions", "Functions"):
        yield "function", function["FunctionName"]
    for mapping in pages("lambda", "list_event_source_mappings", "EventSourceMappings"):
        yield "mapping", mapping["FunctionArn"] + " of " + mapping["EventSourceArn"]
    for group in pages("logs", "describe_log_groups", "logGroups"):
        yield "log group", group["logGroupName"]
    for parameter in pages("ssm", "describe_parameters", "Parameters"):
        yield "parameter", parameter["Name"]
    for secret in pages("secretsmanager", "list_secrets", "SecretList", IncludePlannedDeletion=True):
        yield "secret", secret["Name"]
    for schedule in pages("scheduler", "list_schedules", "Schedules"):
        yield "schedule", schedule["Name"]
    for machine in pages("stepfunctions", "list_state_machines", "stateMachines"):
        yield "state machine", machine["name"]
    for api in pages("apigatewayv2", "get_apis", "Items"):
        yield "api", api["Name"]
    for alias in pages("kms", "list_aliases", "Aliases"):
        yield "key alias", alias["AliasName"]
    for role in pages("iam", "list_roles", "Roles"):
        yield "role", role["RoleName"]
    for alarm in pages("cloudwatch", "describe_alarms", "MetricAlarms"):
        yield "alarm", alarm["AlarmName"]
    for name in pages("sesv2", "list_configuration_sets", "ConfigurationSets"):
        yield "configuration set", name
    for bucket in boto3.client("s3").list_buckets()["Buckets"]:
        for thing in pages("s3", "list_object_versions", "Versions", Bucket=bucket["Name"]):
            yield "object", bucket["Name"] + "/" + thing["Key"]


for kind, name in sorted(set(everything())):
    print(kind, name)
