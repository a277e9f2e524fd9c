//! Calls go to the alias of a function, and a new version behind it can be rolled back.

use super::*;

mod every_caller_calls_the_alias {
    use contracts::FUNCTION_ALIAS;

    use super::*;

    /// The resources that call a function, and the property that names it.
    const CALLERS: [(&str, &str); 5] = [
        (MAPPING, "/FunctionName"),
        (SCHEDULE, "/Target/Arn"),
        ("AWS::Lambda::Permission", "/FunctionName"),
        ("AWS::ApiGatewayV2::Integration", "/IntegrationUri"),
        ("AWS::ApiGatewayV2::Authorizer", "/AuthorizerUri"),
    ];

    /// Whether a value names a function's alias: one of this template, or by its ARN that of another.
    fn is_alias(template: &Template, value: &Value) -> bool {
        let text = value["Fn::Sub"].as_str().unwrap_or_default();
        let names = |id: &str| {
            let own = text.contains(&format!("functions/${{{id}}}/invocations"));
            template.is(id, ALIAS) && (target(value) == Some(id) || own)
        };
        text.contains(":function:ordersaga-") && text.ends_with(&format!(":{FUNCTION_ALIAS}"))
            || template.of_type(ALIAS).any(|(id, _)| names(id))
    }

    fn rule(template: &Template) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, _) in template.of_type(FUNCTION) {
            let has_alias = template.of_type(ALIAS).any(|(_, alias)| {
                alias["Properties"]["Name"] == FUNCTION_ALIAS
                    && target(&alias["Properties"]["FunctionName"]) == Some(id)
            });
            if !has_alias {
                wrong.push(format!("{id}: has no alias {FUNCTION_ALIAS}"));
            }
        }
        for (kind, property) in CALLERS {
            for (id, caller) in template.of_type(kind) {
                let named = caller["Properties"].pointer(property).unwrap_or(&Value::Null);
                if !is_alias(template, named) {
                    wrong.push(format!("{id}: calls {named}"));
                }
            }
        }
        for (id, config) in template.of_type("AWS::Lambda::EventInvokeConfig") {
            if config["Properties"]["Qualifier"] != FUNCTION_ALIAS {
                wrong.push(format!("{id}: is not about the alias"));
            }
        }
        for (id, machine) in template.of_type("AWS::StepFunctions::StateMachine") {
            let substitutions = machine["Properties"]["DefinitionSubstitutions"].as_object().into_iter();
            for (name, value) in substitutions.flatten().filter(|(name, _)| name.ends_with("CommandsArn")) {
                if !is_alias(template, value) {
                    wrong.push(format!("{id}: {name} is {value}"));
                }
            }
        }
        // The platform's check calls the versions that no alias names yet.
        for (id, role) in template.of_type(ROLE).filter(|_| template.name != "platform") {
            let invokes = |it: &&Value| one_or_more(&it["Action"]).contains(&&json!("lambda:InvokeFunction"));
            for resource in statements(role).filter(invokes).flat_map(|it| one_or_more(&it["Resource"])) {
                if !is_alias(template, resource) {
                    wrong.push(format!("{id}: may invoke {resource}"));
                }
            }
        }
        wrong
    }

    #[test]
    fn kept() {
        kept_by_all(rule);
    }

    #[test]
    fn seen_when_broken() {
        let mapping = r#""FunctionName":{"Ref":"InventoryRelayAliaslive"}"#;
        let function = r#""FunctionName":{"Ref":"InventoryRelay"}"#;
        sees(rule, "inventory", mapping, function, r#"calls {"Ref":"InventoryRelay"}"#);
        let schedule = r#""Arn":{"Ref":"InventorySweeperAliaslive"}"#;
        sees(rule, "inventory", schedule, r#""Arn":{"Ref":"InventorySweeper"}"#, "calls");
        sees(rule, "realtime", "/${RealtimeAuthorizerAliaslive}/", "/${RealtimeAuthorizer.Arn}/", "calls");
        sees(rule, "orders", "/${OrdersApiAliaslive}/", "/${OrdersApi.Arn}/", "OrdersApiIntegration: calls");
        let permission = r#""FunctionName":{"Ref":"OrdersApiAliaslive"}"#;
        sees(rule, "orders", permission, r#""FunctionName":{"Ref":"OrdersApi"}"#, "QuotesPermission: calls");
        sees(rule, "orders", "payments-commands:live", "payments-commands", "PaymentsCommandsArn is");
        sees(rule, "orders", "payments-commands:live", "payments-commands", "may invoke");
        sees(rule, "orders", r#""Qualifier":"live""#, r#""Qualifier":"other""#, "not about the alias");
        sees(rule, "users", r#""Name":"live""#, r#""Name":"other""#, "UsersApi: has no alias");
    }
}

mod a_new_version_can_be_rolled_back {
    use super::*;

    const GROUP: &str = "AWS::CodeDeploy::DeploymentGroup";

    /// Whether an alarm sees that this version fails: by Lambda's metrics of it, or by the context's own, which name no
    /// version.
    fn sees_failures(template: &Template, alarm: &Value, version: &Value) -> bool {
        let alarm = &alarm["Properties"];
        let is_of_version = one_or_more(&alarm["Dimensions"])
            .iter()
            .any(|one| one["Name"] == "ExecutedVersion" && one["Value"] == *version);
        let is_own = |part: &&Value| {
            let metric = &part["MetricStat"]["Metric"];
            metric["MetricName"] == metrics::ERRORS.name
                && one_or_more(&metric["Dimensions"]).iter().any(|one| one["Value"] == *template.name)
        };
        alarm["MetricName"] == "Errors" && is_of_version || one_or_more(&alarm["Metrics"]).iter().any(is_own)
    }

    fn wrong_with(template: &Template, id: &str, alias: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let update = &alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"];
        if update["BeforeAllowTrafficHook"] != json!({"Fn::Sub": "ordersaga-${Stage}-platform-canary"}) {
            wrong.push(format!("{id}: is not checked before it gets calls"));
        }
        let group = &template.root()["Resources"][target(&update["DeploymentGroupName"]).unwrap_or_default()];
        let group = &group["Properties"];
        if !group["DeploymentConfigName"].to_string().contains("Canary10Percent5Minutes") {
            wrong.push(format!("{id}: gets all calls at once"));
        }
        if group["ServiceRoleArn"] != json!({"Ref": "DeploymentRoleArn"}) {
            wrong.push(format!("{id}: is deployed by another role"));
        }
        let events = one_or_more(&group["AutoRollbackConfiguration"]["Events"]);
        let alarms = one_or_more(&group["AlarmConfiguration"]["Alarms"]);
        let version = &alias["Properties"]["FunctionVersion"];
        let is_seen = alarms.iter().filter_map(|alarm| target(&alarm["Name"])).any(|alarm| {
            template.is(alarm, ALARM)
                && sees_failures(template, &template.root()["Resources"][alarm], version)
        });
        if !is_seen || !events.contains(&&json!("DEPLOYMENT_STOP_ON_ALARM")) {
            wrong.push(format!("{id}: no alarm rolls it back"));
        }
        if id == "OrdersApiAliaslive" && alarms.len() < 2 {
            wrong.push(format!("{id}: is not rolled back when it is slow"));
        }
        wrong
    }

    fn rule(template: &Template) -> Vec<String> {
        let aliases = template.of_type(ALIAS).filter(|_| template.name != "platform");
        aliases.flat_map(|(id, alias)| wrong_with(template, id, alias)).collect()
    }

    #[test]
    fn kept() {
        let wrong: Vec<String> = WITH_CANARY.iter().flat_map(rule).collect();
        assert_eq!(wrong, Vec::<String>::new());
        let groups = WITH_CANARY.iter().flat_map(|template| template.of_type(GROUP)).count();
        let functions = ALL.iter().flat_map(|template| template.of_type(FUNCTION)).count();
        assert_eq!(groups, functions - 1, "all but the function that checks the others");
    }

    #[test]
    fn seen_when_broken() {
        let sees = |from: &str, to: &str, complaint: &str| {
            sees_in(&WITH_CANARY, rule, "orders", from, to, complaint);
        };
        sees("platform-canary", "orders-api", "OrdersApiAliaslive: is not checked");
        sees("Canary10Percent5Minutes", "AllAtOnce", "OrdersApiAliaslive: gets all calls at once");
        sees("DeploymentRoleArn", "AlarmActionArn", "is deployed by another role");
        sees("DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST", "no alarm rolls it back");
        sees("ExecutedVersion", "Version", "OrdersRelayAliaslive: no alarm rolls it back");
        let own = r#""MetricName":"Errors","Namespace":{"Fn::Sub""#;
        let other = r#""MetricName":"Other","Namespace":{"Fn::Sub""#;
        sees(own, other, "OrdersCommandsAliaslive: no alarm rolls it back");
        let slow = r#",{"Name":{"Ref":"OrdersApiCanarySlowAlarm"}}"#;
        sees(slow, "", "OrdersApiAliaslive: is not rolled back when it is slow");
    }

    /// The emulator refuses CodeDeploy's resources, and takes every parameter's default for the transform.
    #[test]
    fn without_the_parameter_there_is_no_codedeploy() {
        let resources = ALL.iter().flat_map(|template| template.section("Resources"));
        let by_codedeploy = resources.filter(|(_, resource)| {
            resource["Type"].as_str().is_some_and(|kind| kind.starts_with("AWS::CodeDeploy::"))
                || !resource["UpdatePolicy"].is_null()
        });
        assert_eq!(by_codedeploy.count(), 0);
    }

    #[test]
    fn another_fingerprint_publishes_a_version_of_every_function_and_deletes_the_last() {
        let versions = |templates: &[Template]| -> Vec<String> {
            let versions = templates.iter().flat_map(|template| template.of_type("AWS::Lambda::Version"));
            let named = versions.inspect(|(id, it)| assert_eq!(it["DeletionPolicy"], "Delete", "{id}"));
            named.map(|(id, _)| id.to_owned()).collect()
        };
        let other = transformed(&json!({"Canary": "true", "Fingerprint": "2c3d"}));
        let (one, other) = (versions(&WITH_CANARY), versions(&other));
        assert!(one.len() > 30 && one.len() == other.len());
        assert!(one.iter().all(|version| !other.contains(version)), "{one:?} {other:?}");
    }
}
