"""CloudWatch on this machine: what MiniStack's lacks for the alarms of the templates in infra/.

- Metrics of our own: CloudWatch makes them from log lines in the embedded metric format. MiniStack only stores the lines.
- AWS's metrics of queues and streams, as far as alarms are on them.
- Alarms: MiniStack ignores an alarm's dimensions, its single periods and missing data, and knows no metric math, neither
  in alarms nor in GetMetricData.

On this machine a minute of an alarm lasts MINUTE_SECONDS, and a period at most LONGEST_PERIOD_SECONDS, so that a person
and a test see an alarm ring and end. Thresholds stay as they are.
"""

import ast
import json
import operator
import os
import threading
import time

MINUTE_SECONDS = float(os.environ.get("ORDERSAGA_ALARM_MINUTE_SECONDS", "60"))
LONGEST_PERIOD_SECONDS = 6 * MINUTE_SECONDS
# As often as queues and streams are measured, and alarms are evaluated.
TICK_SECONDS = 1

COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else None,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}


# --- Metrics from log lines


def metrics_of(line):
    """The values in a log line in the embedded metric format: namespace, name, dimensions, Unix time, unit, value."""
    if '"CloudWatchMetrics"' not in line:
        return
    try:
        record = json.loads(line)
        metadata = record["_aws"]
        for directive in metadata["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(record[name]) for name in names}
                for metric in directive["Metrics"]:
                    value = record[metric["Name"]]
                    for each in value if isinstance(value, list) else [value]:
                        at = metadata["Timestamp"] / 1000
                        yield directive["Namespace"], metric["Name"], dimensions, at, metric.get("Unit", "None"), each
    except (KeyError, TypeError, ValueError):
        # CloudWatch ignores a line that is not in the format, too.
        return


def take_metrics_from_logs(lambda_svc, cloudwatch):
    """Stores the metrics in the lines that functions log."""
    emit_logs = lambda_svc._emit_lambda_logs

    def emit(func, request_id, log_text, *args, **kwargs):
        emit_logs(func, request_id, log_text, *args, **kwargs)
        for line in (log_text or "").splitlines():
            for namespace, name, dimensions, at, unit, value in metrics_of(line):
                cloudwatch._store_datum(namespace, name, dimensions, at, unit, value, None, None, None)

    lambda_svc._emit_lambda_logs = emit


# --- AWS's own metrics


class Measurements:
    """Measures queues and streams, as SQS and DynamoDB do."""

    def __init__(self, cloudwatch, sqs, lambda_svc):
        self.cloudwatch, self.sqs, self.lambda_svc = cloudwatch, sqs, lambda_svc
        # The queues that had messages at the last measurement. Empty ones are measured once more.
        self.filled = set()
        self.streams_measured_at = 0

    def measure_queues(self):
        now = time.time()
        for name, queue in list(self.sqs._queues.items()):
            name = name.rsplit("/", 1)[-1]
            visible = [m for m in list(queue["messages"]) if m["visible_at"] <= now]
            if not visible and name not in self.filled:
                continue
            (self.filled.add if visible else self.filled.discard)(name)
            oldest = max((now - m["sent_at"] for m in visible), default=0)
            for metric, value in (("ApproximateNumberOfMessagesVisible", len(visible)), ("ApproximateAgeOfOldestMessage", oldest)):
                self.cloudwatch.record_metric("AWS/SQS", metric, value, "None", {"QueueName": name})

    def measure_streams(self):
        """One read of each stream that an enabled mapping reads."""
        if time.time() < self.streams_measured_at + MINUTE_SECONDS:
            return
        self.streams_measured_at = time.time()
        for mapping in list(self.lambda_svc._esms.values()):
            # arn:…:dynamodb:<region>:<account>:table/<table>/stream/<label>
            _, _, table = mapping.get("EventSourceArn", "").partition(":table/")
            table, _, label = table.partition("/stream/")
            if label and mapping.get("Enabled", True):
                dimensions = {"TableName": table, "Operation": "GetRecords", "StreamLabel": label}
                self.cloudwatch.record_metric("AWS/DynamoDB", "ReturnedBytes", 0, "Bytes", dimensions)


# --- Alarms


def evaluate(expression, values):
    """The value of a metric math expression of one period. `values` has a number or None by each id."""

    def of(node):
        match node:
            case ast.Expression(body=body):
                return of(body)
            case ast.Constant(value=value) if isinstance(value, (int, float)):
                return value
            case ast.Name(id=name):
                return values[name]
            case ast.List(elts=items):
                return [of(item) for item in items]
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                a, b = of(left), of(right)
                return None if a is None or b is None else OPERATORS[type(op)](a, b)
            case ast.Call(func=ast.Name(id="FILL"), args=[metric, otherwise]):
                value = of(metric)
                return of(otherwise) if value is None else value
            case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
                return of(then) if of(condition) else of(otherwise)
            case ast.Call(func=ast.Name(id="MAX" | "SUM" as name), args=[items]):
                numbers = [number for number in of(items) if number is not None]
                return (max if name == "MAX" else sum)(numbers) if numbers else None
        raise ValueError(f"not supported in a metric math expression: {ast.dump(node)}")

    value = of(ast.parse(expression, mode="eval"))
    return None if value is None else float(value)


def state(values, alarm):
    """The state of an alarm by the values of its periods, None where there is none. None when the state stays."""
    compare, threshold = COMPARISONS[alarm["ComparisonOperator"]], alarm["Threshold"]
    missing = alarm.get("TreatMissingData") or "missing"
    needed = alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"]
    breaching = sum(compare(value, threshold) for value in values if value is not None)
    if missing == "breaching":
        breaching += values.count(None)
    if breaching >= needed:
        return "ALARM"
    if all(value is None for value in values) and missing in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if missing == "missing" else None
    return "OK"


class Alarms:
    """Evaluates alarms as CloudWatch does (user guide, "Evaluating an alarm"), except that the last period ends now."""

    def __init__(self, cloudwatch):
        self.cloudwatch = cloudwatch

    def points(self, metric, since):
        namespace, name = metric["Namespace"], metric["MetricName"]
        dimensions = self.cloudwatch._dims_from_list(metric.get("Dimensions") or [])
        if dimensions or not namespace.startswith("AWS/"):
            series = [self.cloudwatch._metrics.get((namespace, name, self.cloudwatch._dims_key(dimensions))) or []]
        else:
            # AWS also publishes the sum of all functions, without a dimension.
            series = [points for key, points in self.cloudwatch._metrics.items() if key[:2] == (namespace, name)]
        return [point for points in series for point in list(points) if point["Timestamp"] > since]

    def periods(self, metric, statistic, period, number, now):
        """The metric's value of each period, the newest first."""
        length = min(period / 60 * MINUTE_SECONDS, LONGEST_PERIOD_SECONDS)
        points = self.points(metric, now - number * length)
        values = []
        for n in range(number):
            ends = now - n * length
            inside = [point for point in points if ends - length < point["Timestamp"] <= ends]
            stats = self.cloudwatch._calc_stats(inside)
            values.append(self.cloudwatch._stat_value(stats, statistic, inside) if inside else None)
        return values

    def values(self, alarm, now):
        number = alarm["EvaluationPeriods"]
        if not alarm.get("Metrics"):
            statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
            return self.periods(alarm, statistic, alarm["Period"], number, now)
        stats = {m["Id"]: m["MetricStat"] for m in alarm["Metrics"] if m.get("MetricStat")}
        series = {
            name: self.periods(stat["Metric"], stat["Stat"], int(stat["Period"]), number, now) for name, stat in stats.items()
        }
        [expression] = [m["Expression"] for m in alarm["Metrics"] if m.get("Expression")]
        return [evaluate(expression, {name: values[n] for name, values in series.items()}) for n in range(number)]

    def evaluate(self, alarm):
        new, old = state(self.values(alarm, time.time()), alarm), alarm["StateValue"]
        if new in (None, old):
            return
        reason = f"Threshold Crossed: {alarm['ComparisonOperator']} {alarm['Threshold']}"
        alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        self.cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
        self.cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
        self.cloudwatch._evaluate_parent_alarms(alarm)

    def evaluate_all(self):
        for alarm in list(self.cloudwatch._alarms.values()):
            self.evaluate(alarm)


def answer_expressions(cloudwatch):
    """Makes GetMetricData answer expressions, too. In its JSON protocol only, which `cargo ops` speaks."""
    get_metric_data = cloudwatch._get_metric_data

    def get(params, data, is_cbor, is_json=False):
        queries = data.get("MetricDataQueries", []) if is_json else []
        if not any(query.get("Expression") for query in queries):
            return get_metric_data(params, data, is_cbor, is_json)
        stored = [{**query, "ReturnData": True} for query in queries if not query.get("Expression")]
        status, headers, body = get_metric_data(params, {**data, "MetricDataQueries": stored}, is_cbor, is_json)
        series = {result["Id"]: dict(zip(result["Timestamps"], result["Values"])) for result in json.loads(body)["MetricDataResults"]}
        times = sorted({time for values in series.values() for time in values})
        results = []
        for query in queries:
            name, values = query["Id"], series.get(query["Id"], {})
            if query.get("Expression"):
                each = {at: evaluate(query["Expression"], {i: points.get(at) for i, points in series.items()}) for at in times}
                values = {at: value for at, value in each.items() if value is not None}
            if query.get("ReturnData", True):
                label = query.get("Label", name)
                found = {"Timestamps": list(values), "Values": list(values.values()), "StatusCode": "Complete"}
                results.append({"Id": name, "Label": label, **found})
        return status, headers, json.dumps({"MetricDataResults": results}).encode()

    cloudwatch._get_metric_data = get


def accept_metric_math(provisioners):
    """Makes CloudFormation accept an alarm on metric math."""
    record = provisioners._cw_metric_alarm_record

    def record_of(name, props):
        if not props.get("Metrics"):
            return record(name, props)
        alarm = record(name, {**props, "Metrics": None, "MetricName": "metric math", "Namespace": "metric math"})
        return {**alarm, "Metrics": props["Metrics"], "MetricName": "", "Namespace": "", "Statistic": ""}

    provisioners._cw_metric_alarm_record = record_of


def start():
    """Changes MiniStack, and measures and evaluates from now on."""
    from ministack.core.responses import _request_account_id, _request_region
    from ministack.services import cloudwatch, lambda_svc, sqs
    from ministack.services.cloudformation import provisioners

    alarms, measurements = Alarms(cloudwatch), Measurements(cloudwatch, sqs, lambda_svc)
    cloudwatch._evaluate_alarm = alarms.evaluate
    take_metrics_from_logs(lambda_svc, cloudwatch)
    answer_expressions(cloudwatch)
    accept_metric_math(provisioners)

    def work():
        while True:
            time.sleep(TICK_SECONDS)
            # An account's region has its own metrics and alarms.
            for account, region in {key[:2] for key in list(cloudwatch._alarms._data)}:
                _request_account_id.set(account)
                _request_region.set(region)
                try:
                    measurements.measure_queues()
                    measurements.measure_streams()
                    alarms.evaluate_all()
                except Exception:
                    cloudwatch.logger.exception("alarms could not be evaluated")

    threading.Thread(target=work, daemon=True).start()
