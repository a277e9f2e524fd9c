//! `openapi.json` matches the code, the code serves its routes, and it is valid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use documents::{folder, openapi, operations};
use lambda_kit::{http::Deprecation, limits::LimitClass};
use serde_json::{Value, json};

/// `get /v1/orders`
type Routes = BTreeSet<String>;

fn repository() -> PathBuf {
    folder().join("../..")
}

fn described() -> Routes {
    operations().iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The routes of the contexts' routers. axum cannot list a router's routes, so they are read from the source:
/// `.route("<path>", get(…).post(…))`.
fn routed() -> Routes {
    limits_routed().into_keys().collect()
}

/// The routes of the contexts' routers, each with the constant that is its class of rate limits:
/// `limit::before(&ORDERS, post(…))`.
fn limits_routed() -> BTreeMap<String, Option<String>> {
    context_sources()
        .iter()
        .flat_map(|file| routes_in(&fs::read_to_string(file).expect("a source")))
        .collect()
}

fn context_sources() -> Vec<PathBuf> {
    let contexts = fs::read_dir(repository().join("functions")).expect("the contexts");
    let folders = contexts.map(|context| context.expect("a context").path().join("src"));
    folders.filter(|folder| folder.is_dir()).flat_map(|folder| sources(&folder)).collect()
}

fn routes_in(source: &str) -> Vec<(String, Option<String>)> {
    source
        .split(".route(")
        .skip(1)
        .filter_map(|call| {
            let (path, rest) = call.trim_start().strip_prefix('"')?.split_once('"')?;
            let mut open = 1;
            let end = rest.find(|c| {
                open += i32::from(c == '(') - i32::from(c == ')');
                open == 0
            })?;
            let handlers = &rest[..end];
            let before = |method: &str| {
                let call = format!("{method}(");
                handlers
                    .match_indices(&call)
                    .map(|(at, _)| &handlers[..at])
                    .find(|before| !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
            };
            let class = |before: &str| {
                let (_, class) = before.rsplit_once("(&")?;
                class.split_once(',').map(|(class, _)| class.to_owned())
            };
            let route = |method: &str| Some((format!("{method} {path}"), class(before(method)?)));
            Some(METHODS.into_iter().filter_map(route).collect::<Vec<_>>())
        })
        .flatten()
        .collect()
}

#[test]
fn the_file_is_what_the_code_says() {
    let document = openapi();
    let file = fs::read_to_string(document.file()).unwrap_or_default();
    assert!(file == document.text(), "openapi.json differs: run `cargo ops openapi`");
}

#[test]
fn what_is_routed_is_described_and_what_is_described_is_routed() {
    let (routed, described) = (routed(), described());
    assert!(routed.len() > 15);
    assert_eq!(routed.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");
    assert_eq!(described.difference(&routed).collect::<Vec<_>>(), Vec::<&String>::new(), "not routed");
}

#[test]
fn a_route_has_the_rate_limit_that_its_description_names() {
    let constant = |class: &LimitClass| class.name.to_uppercase().replace('-', "_");
    let described: BTreeMap<String, Option<String>> = operations()
        .iter()
        .map(|operation| (format!("{} {}", operation.method, operation.path), operation.limit.map(constant)))
        .collect();
    assert_eq!(limits_routed(), described);
}

/// These answer without a call of another service, so a limit of their own would cost more than they do.
#[test]
fn only_routes_that_cost_nothing_are_limited_by_the_stage_alone() {
    let unlimited: Routes = operations()
        .iter()
        .filter(|operation| operation.limit.is_none())
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    let free = ["get /", "get /.well-known/jwks.json", "get /health/live", "post /v1/payments/webhook"];
    assert_eq!(unlimited, free.map(str::to_owned).into());
}

#[test]
fn a_deprecated_operation_has_a_successor_and_gives_clients_ninety_days() {
    let described = described();
    let mut deprecated = 0;
    for operation in operations() {
        let Some(Deprecation { since, sunset, successor }) = operation.deprecation else { continue };
        let successor = format!("{} {successor}", operation.method);
        assert!(described.contains(&successor), "there is no operation {successor}");
        let days = since.until(*sunset).expect("two dates").get_days();
        assert!(days >= 90, "{}: {days} days", operation.path);
        deprecated += 1;
    }
    assert!(deprecated > 0, "the guide in functions/README.md shows one");
}

/// The names of a generated client's functions.
#[test]
fn every_operation_has_a_verb_of_its_own_as_its_id() {
    let mut ids = BTreeSet::new();
    for operation in operations() {
        let id = operation.id;
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id} is not in camel case");
        let verb = id.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        assert!(VERBS.contains(&verb), "{id} does not start with one of {VERBS:?}");
        assert!(ids.insert(id), "{id} is the id of two operations");
    }
}

/// A new one is fine, if none of these says the same.
const VERBS: [&str; 21] = [
    "adjust",
    "cancel",
    "confirm",
    "create",
    "delete",
    "discontinue",
    "end",
    "export",
    "get",
    "list",
    "log",
    "place",
    "quote",
    "receive",
    "refresh",
    "register",
    "report",
    "request",
    "resend",
    "set",
    "update",
];

#[test]
fn a_route_is_described_in_the_file_that_declares_it() {
    let mut files = 0;
    for file in context_sources() {
        let source = fs::read_to_string(&file).expect("a source");
        let declared: Routes = routes_in(&source).into_iter().map(|(route, _)| route).collect();
        files += usize::from(!declared.is_empty());
        assert_eq!(declared, described_in(&source), "{}", file.display());
    }
    assert!(files > 8);
}

/// `Operation::get("/v1/orders", …)` in a source, or `audit::operation("/v1/orders/{id}/audit", …)`.
fn described_in(source: &str) -> Routes {
    let route = |method: &str, arguments: &str| {
        let path = arguments.trim_start().strip_prefix('"')?.split('"').next()?;
        Some(format!("{method} {path}"))
    };
    let operation = |call: &str| {
        let (method, arguments) = call.split_once('(')?;
        METHODS.contains(&method).then_some(())?;
        route(method, arguments)
    };
    let trails = source.split("audit::operation(").skip(1).filter_map(|arguments| route("get", arguments));
    source.split("Operation::").skip(1).filter_map(operation).chain(trails).collect()
}

#[test]
fn routes_are_found_however_they_are_written() {
    let source = r#"Router::new().route("/a", get(list).merge(limit::before(&STAFF, post(create)))).route(
        "/b/{id}", axum::routing::put(budget(1)).delete(get_rid)).with_state(post(x))"#;
    let found = |route: &str, class: Option<&str>| (route.to_owned(), class.map(str::to_owned));
    assert_eq!(
        routes_in(source),
        [
            found("get /a", None),
            found("post /a", Some("STAFF")),
            found("put /b/{id}", None),
            found("delete /b/{id}", None)
        ]
    );
}

/// API Gateway hands a context its paths: only the storefront's own may be left to the default route.
#[test]
fn the_gateway_knows_every_path() {
    let mut keys = Vec::new();
    for file in fs::read_dir(repository().join("infra")).expect("the templates") {
        let file = file.expect("a template").path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&file).expect("a template");
            let named = text.lines().filter_map(|line| line.trim().strip_prefix("RouteKey: ANY "));
            keys.extend(named.map(str::to_owned));
        }
    }
    assert!(keys.len() > 10);
    let matches = |key: &str, path: &str| match key.strip_suffix("/{proxy+}") {
        Some(start) => path.strip_prefix(start).is_some_and(|rest| rest.starts_with('/')),
        None => key == path,
    };
    let by_default =
        |path: &str| ["/", "/v1/dashboard", "/v1/audit"].contains(&path) || path.starts_with("/health/");
    for operation in operations() {
        let path = operation.path;
        assert!(by_default(path) || keys.iter().any(|key| matches(key, path)), "no route leads to {path}");
    }
}

#[test]
fn the_description_is_openapi() {
    let schema: Value = serde_json::from_str(include_str!("openapi-3.1.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
    let document = openapi().content;
    let errors: Vec<String> =
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!validator.is_valid(&json!({"openapi": "3.1.0"})));
}

#[test]
fn every_example_is_valid() {
    let document = openapi().content;
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in
            item.as_object().expect("a path").iter().filter(|(name, _)| *name != "parameters")
        {
            let bodies = operation["responses"].as_object().expect("responses").values();
            for body in bodies.chain([&operation["requestBody"]]) {
                for content in body["content"].as_object().into_iter().flat_map(|contents| contents.values())
                {
                    let Some(example) = content.get("example") else { continue };
                    seen += 1;
                    let mut schema = content["schema"].clone();
                    if let Some(schema) = schema.as_object_mut() {
                        schema.insert("components".to_owned(), document["components"].clone());
                    }
                    let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
                    let errors: Vec<String> =
                        validator.iter_errors(example).map(|error| error.to_string()).collect();
                    assert!(errors.is_empty(), "{method} {path}: {errors:?}");
                }
            }
        }
    }
    assert!(seen > 20);
}
