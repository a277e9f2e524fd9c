//! The rules that every template in infra/ keeps, and for each rule, that it sees a template that breaks it.

#[path = "templates/contexts.rs"]
mod contexts;
#[path = "templates/document.rs"]
mod document;
#[path = "templates/integrations.rs"]
mod integrations;
#[path = "templates/limits.rs"]
mod limits;
#[path = "templates/rules.rs"]
mod rules;
#[path = "templates/runbook.rs"]
mod runbook;
#[path = "templates/transformed.rs"]
mod transformed;

use document::{CONTEXTS, Template, repository};
use rules::{CROSSING, Rule};

#[track_caller]
fn kept_by_all(rule: Rule) {
    let templates = Template::all();
    assert!(templates.iter().any(|template| template.name == "platform"), "infra/ was not found");
    let wrong: Vec<String> = templates
        .iter()
        .flat_map(|template| {
            rule(template).into_iter().map(|what| format!("infra/{}.yaml: {what}", template.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Breaks a valid template by one replacement, and expects `complaint` from the rule.
#[track_caller]
fn sees(rule: Rule, template: (&str, &str), from: &str, to: &str, complaint: &str) {
    let (name, yaml) = template;
    assert_eq!(rule(&Template::parse(name, yaml)), Vec::<String>::new(), "unbroken, it keeps the rule");
    assert!(yaml.contains(from), "there is no {from:?} to break");
    let wrong = rule(&Template::parse(name, &yaml.replace(from, to)));
    assert!(wrong.iter().any(|what| what.contains(complaint)), "{from:?} as {to:?} gave {wrong:?}");
}

const CATALOG: (&str, &str) = ("catalog", include_str!("../../infra/catalog.yaml"));
const PLATFORM: (&str, &str) = ("platform", include_str!("../../infra/platform.yaml"));

mod a_context_names_only_its_own_table {
    use super::*;
    const RULE: Rule = rules::names_only_its_own_table;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "TABLE_NAME: !Ref Table",
            "TABLE_NAME: ordersaga-dev-orders",
            "not a table of this",
        );
        let foreign = "Resource: !Sub arn:aws:dynamodb:us-east-1:1:table/ordersaga-${Stage}-orders";
        sees(RULE, CATALOG, "Resource: !GetAtt Table.Arn", foreign, "outside this template");
        sees(
            RULE,
            CATALOG,
            "LOG_LEVEL: !Ref LogLevel",
            "OTHER: !Sub 'ordersaga-${Stage}-orders'",
            "table of orders",
        );
    }

    #[test]
    fn anothers_function_is_not_its_table() {
        let calls = (
            "catalog",
            "Resources:\n  A:\n    Type: X\n    Name: !Sub 'ordersaga-${Stage}-orders-commands'\n",
        );
        assert_eq!(RULE(&Template::parse(calls.0, calls.1)), Vec::<String>::new());
    }
}

mod policies_say_what_on_which {
    use super::*;
    const RULE: Rule = rules::policies_say_what_on_which;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "Resource: !Split [',', !Ref JwtKeyArn]",
            "Resource: '*'",
            "kms:GetPublicKey on '*'",
        );
        sees(RULE, CATALOG, "dynamodb:PutItem", "dynamodb:*", "more than one action");
        sees(
            RULE,
            CATALOG,
            "        - Version: '2012-10-17'\n",
            "        - AmazonSNSFullAccess\n        - Version: '2012-10-17'\n",
            "not written out",
        );
    }
}

mod queues_have_dead_letters {
    use super::*;
    const RULE: Rule = rules::queues_have_dead_letters;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "deadLetterTargetArn: !GetAtt ConsumerDeadLetters.Arn",
            "x: y",
            "no dead-letter queue",
        );
        sees(RULE, CATALOG, "maxReceiveCount: 5", "maxReceiveCount: 500", "gives up after 500");
        sees(RULE, CATALOG, "SqsManagedSseEnabled: true", "SqsManagedSseEnabled: false", "not encrypted");
        sees(RULE, CATALOG, "ConsumerDeadLetters.QueueName", "ConsumerQueue.QueueName", "nobody is told");
        let name = "events\n      # SQS's";
        sees(RULE, CATALOG, name, "events.fifo\n      FifoQueue: true\n      # SQS's", "must be FIFO");
        sees(
            RULE,
            CATALOG,
            "${Stage}-catalog-events\n      #",
            "${Stage}-events\n      #",
            "carry its context",
        );
    }
}

mod queues_and_topics_deny_plain_http {
    use super::*;
    const RULE: Rule = rules::queues_and_topics_deny_plain_http;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(RULE, CATALOG, "aws:SecureTransport: 'false'", "aws:SecureTransport: 'true'", "plain HTTP");
        sees(
            RULE,
            CATALOG,
            "Action: sqs:*\n              Resource: [!GetAtt ConsumerQueue.Arn,",
            "Action: sqs:*\n              Resource: [",
            "ConsumerQueue: its policy",
        );
        sees(
            RULE,
            PLATFORM,
            "- OnAws\n            - Effect: Deny",
            "- OnEmulator\n            - Effect: Deny",
            "EventsTopic",
        );
    }
}

mod topics_are_encrypted {
    use super::*;
    const RULE: Rule = rules::topics_are_encrypted;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(RULE, PLATFORM, "      KmsMasterKeyId: alias/aws/sns\n", "", "EventsTopic: is not encrypted");
    }
}

mod functions_are_named_after_their_binary {
    use super::*;
    const RULE: Rule = rules::functions_are_named_after_their_binary;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        let name = "FunctionName: !Sub ordersaga-${Stage}-catalog-api";
        sees(RULE, CATALOG, name, "FunctionName: catalog-api", "its name is not");
        sees(RULE, CATALOG, name, "FunctionName: !Sub ordersaga-${Stage}-catalog-apis", "does not exist");
        sees(
            RULE,
            CATALOG,
            "CodeUri: ../target/lambda/catalog-api/",
            "CodeUri: ../target/lambda/",
            "under the name",
        );
        sees(
            RULE,
            CATALOG,
            name,
            "FunctionName: !Sub ordersaga-${Stage}-catalog-relay",
            "built and not deployed",
        );
    }
}

mod functions_can_be_invoked_locally {
    use super::*;
    const RULE: Rule = rules::functions_can_be_invoked_locally;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "  CatalogConsumer:\n",
            "  Consumer:\n",
            "not its binary's name, CatalogConsumer",
        );
        sees(RULE, CATALOG, "        AWS_ENDPOINT_URL: ''\n", "", "no empty AWS_ENDPOINT_URL");
    }
}

mod saved_queries_read_the_logs_of_all_functions {
    use super::*;

    fn wrong(templates: &[Template]) -> Vec<String> {
        let functions: Vec<String> = templates.iter().flat_map(rules::log_groups_of_functions).collect();
        let queries = templates.iter().flat_map(|template| template.of_type("AWS::Logs::QueryDefinition"));
        let mut wrong = Vec::new();
        for (id, query) in queries {
            let read = rules::read_log_groups(query);
            wrong.extend(
                functions
                    .iter()
                    .filter(|group| !read.contains(group))
                    .map(|group| format!("{id}: not {group}")),
            );
        }
        wrong
    }

    #[test]
    fn kept() {
        let all = Template::all();
        assert!(all.iter().flat_map(|template| template.of_type("AWS::Logs::QueryDefinition")).count() > 3);
        assert_eq!(wrong(&all), Vec::<String>::new());
    }

    #[test]
    fn seen_when_broken() {
        let group = "/aws/lambda/ordersaga-${Stage}-catalog-api\n";
        let query = include_str!("../../infra/orders.yaml");
        assert!(query.contains(group));
        let orders = Template::parse("orders", &query.replace(group, "/aws/lambda/other\n"));
        let wrong = wrong(&[orders, Template::parse(CATALOG.0, CATALOG.1)]);
        assert!(wrong.iter().any(|what| what.ends_with("catalog-api")), "{wrong:?}");
    }
}

mod functions_are_traced_and_logged {
    use super::*;
    const RULE: Rule = rules::functions_are_traced_and_logged;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "Tracing: !Ref TracingMode",
            "Tracing: PassThrough",
            "CatalogApi: its traces are not",
        );
        sees(RULE, CATALOG, "Tracing: PassThrough", "Tracing: Active", "CatalogRelay: its traces are not");
        sees(RULE, CATALOG, "TRACE_SAMPLING_PERCENT: !Ref TraceSamplingPercent", "X: '1'", "begin a trace");
        sees(RULE, CATALOG, "LogGroup: !Ref CatalogApiLog", "LogFormat: JSON", "has no log group");
        sees(RULE, CATALOG, "SystemLogLevel: WARN", "SystemLogLevel: INFO", "logs each invocation");
        sees(
            RULE,
            CATALOG,
            "/aws/lambda/ordersaga-${Stage}-catalog-api",
            "/aws/lambda/other",
            "does not have its name",
        );
        sees(RULE, CATALOG, "RetentionInDays: !Ref LogRetentionDays", "Tags: []", "for ever");
        sees(RULE, CATALOG, "SERVICE: catalog", "SERVICE: orders", "stage and service");
    }
}

mod timeouts_nest {
    use super::*;
    const RULE: Rule = rules::timeouts_nest;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(RULE, CATALOG, "Timeout: 3\n", "Timeout: 5\n", "not at most 3");
        sees(RULE, CATALOG, "      Timeout: 3\n", "", "not at most 3");
        sees(RULE, CATALOG, "TimeoutInMillis: 4000", "TimeoutInMillis: 30000", "not 4000");
        sees(RULE, CATALOG, "VisibilityTimeout: 180", "VisibilityTimeout: 30", "hands a batch out");
    }
}

mod tables_are_kept_safe {
    use super::*;
    const RULE: Rule = rules::tables_are_kept_safe;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "PointInTimeRecoveryEnabled: true",
            "PointInTimeRecoveryEnabled: false",
            "PointInTime",
        );
        sees(RULE, CATALOG, "SSEEnabled: true", "SSEEnabled: false", "SSESpecification");
        sees(RULE, CATALOG, "AttributeName: expires_at", "AttributeName: ttl", "TimeToLive");
        sees(RULE, CATALOG, "!If [IsLocal, false, true]", "false", "DeletionProtection");
        sees(
            RULE,
            CATALOG,
            "IsLocal: !Equals [!Ref Stage, local]",
            "IsLocal: !Equals [a, a]",
            "protection depends",
        );
        sees(RULE, CATALOG, "TableName: !Sub ordersaga-${Stage}-catalog", "TableName: catalog", "TableName");
        sees(RULE, CATALOG, "    DeletionPolicy: RetainExceptOnCreate\n", "", "delete the data");
    }
}

mod event_sources_lose_nothing {
    use super::*;
    const RULE: Rule = rules::event_sources_lose_nothing;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(RULE, CATALOG, "TRIM_HORIZON", "LATEST", "StartingPosition");
        sees(RULE, CATALOG, "MaximumRetryAttempts: -1", "MaximumRetryAttempts: 3", "MaximumRetryAttempts");
        sees(RULE, CATALOG, "MetricName: IteratorAge", "MetricName: Errors", "its stream lags");
        sees(RULE, CATALOG, "[ReportBatchItemFailures]", "[]", "FunctionResponseTypes");
        sees(RULE, CATALOG, "ScalingConfig: {MaximumConcurrency: 5}", "Enabled: true", "no bulkhead");
        sees(RULE, CATALOG, "RawMessageDelivery: true", "RawMessageDelivery: false", "must be raw");
        sees(RULE, CATALOG, "Type: SQS\n", "Type: HttpApi\n", "of the kind HttpApi");
        sees(
            RULE,
            CATALOG,
            "event_type:\n          - inventory.stock_changed",
            "event_type: []",
            "every event",
        );
    }
}

mod filters_name_known_events {
    use super::*;
    const RULE: Rule = rules::filters_name_known_events;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(RULE, CATALOG, "inventory.stock_changed", "inventory.stock_change", "no event is called");
        sees(RULE, CATALOG, "inventory.stock_changed", "{prefix: inventroy.}", "no event is called");
    }
}

mod relays_can_publish_again {
    use super::*;
    const RULE: Rule = rules::relays_can_publish_again;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        let topic = "          TABLE_NAME: !Ref Table\n          EVENTS_TOPIC_ARN";
        sees(RULE, CATALOG, topic, "          EVENTS_TOPIC_ARN", "does not know its table");
        sees(
            RULE,
            CATALOG,
            "Action: [dynamodb:GetItem, dynamodb:Scan]",
            "Action: [dynamodb:GetItem, dynamodb:Query]",
            "may not scan",
        );
    }
}

mod stacks_meet_in_known_parameters {
    use super::*;
    const RULE: Rule = rules::stacks_meet_in_known_parameters;

    #[test]
    fn kept() {
        kept_by_all(RULE);
    }

    #[test]
    fn seen_when_broken() {
        sees(
            RULE,
            CATALOG,
            "/ordersaga/local/jwt-key-arn",
            "/ordersaga/local/jwt-key",
            "must be an SSM parameter",
        );
        sees(RULE, CATALOG, "  JwtKeyArn:\n", "  TableArn:\n", "no stack writes");
        sees(RULE, CATALOG, "!Ref EventsTopicArn", "!ImportValue topic", "not in exports");
        sees(RULE, PLATFORM, "/ordersaga/${Stage}/api-url", "/ordersaga/${Stage}/url", "and should");
        sees(RULE, PLATFORM, "/ordersaga/${Stage}/api-url", "/other/url", "is not called");
    }
}

mod each_stage_is_configured {
    use super::*;

    #[test]
    fn samconfig_gives_every_parameter_of_every_template() {
        let config =
            std::fs::read_to_string(repository().join("infra/samconfig.toml")).expect("infra/samconfig.toml");
        for (section, stage) in [("local", "local"), ("default", "{stage}"), ("dev", "dev"), ("prod", "prod")]
        {
            let (_, list) =
                config.split_once(&format!("[{section}.deploy.parameters]")).expect("a section per stage");
            let list = list.split("\n[").next().unwrap_or_default();
            assert!(list.contains(&format!("\"Stage={stage}\"")), "{section} is for {stage}");
            for (ssm, parameter, _) in CROSSING {
                let line = format!("\"{parameter}=/ordersaga/{stage}/{ssm}\"");
                assert!(list.contains(&line), "{section} lacks {line}");
            }
            for template in Template::all() {
                for (parameter, _) in template.section("Parameters") {
                    let given = list.contains(&format!("\"{parameter}="));
                    assert!(given, "{section} lacks {parameter} of infra/{}.yaml", template.name);
                }
            }
            assert!(!list.contains("=\""), "{section}: SAM refuses an empty value; write Name=''");
        }
    }

    #[test]
    fn every_template_is_a_context_or_the_platform() {
        for template in Template::all() {
            assert!(CONTEXTS.contains(&&*template.name) || template.name == "platform", "{}", template.name);
        }
    }
}
