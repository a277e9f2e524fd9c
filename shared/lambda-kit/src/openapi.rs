//! The builder of descriptions of REST operations (OpenAPI 3.1). Each context describes its routes in the file that
//! declares them; `cargo ops openapi` writes all descriptions to one document. No function links this.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::{http::Deprecation, limits::LimitClass};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Public,
    /// Any user, about what is the user's own.
    User,
    /// The customer whose thing it is: for others it is not there.
    Owner,
    OwnerOrAdmin,
    /// The customer whose thing it is, the support, or an administrator.
    OwnerOrSupport,
    /// The customer whose thing it is, the support, the warehouse, or an administrator.
    OwnerOrStaff,
    Admin,
    /// The warehouse, or an administrator.
    Fulfillment,
    /// The support, or an administrator.
    Support,
    /// A sender that signs the body, as Stripe does.
    Signed,
}

impl Who {
    /// Whether a caller sends an access token.
    pub const fn needs_a_token(self) -> bool {
        !matches!(self, Self::Public | Self::Signed)
    }
}

/// Makes the schema of one type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A body: its media type, its schema, and one that is valid.
#[derive(Debug, Clone)]
pub struct Content {
    pub media_type: &'static str,
    pub schema: SchemaOf,
    pub example: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Query,
    Header,
}

/// A parameter beside those in the path.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub required: bool,
    pub description: &'static str,
    pub schema: Value,
}

/// What is answered with one status.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub description: &'static str,
    /// Nothing where the body is empty, and in problems, which are all of one type.
    pub content: Option<Content>,
    pub headers: Vec<&'static str>,
}

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Operation {
    pub method: &'static str,
    /// As the router has it: `/v1/orders/{id}`.
    pub path: &'static str,
    /// `operationId`: a verb and its object in camel case, unique in the API. Generated clients name the call so.
    pub id: &'static str,
    /// A title of a few words.
    pub summary: &'static str,
    /// What the caller must know before the first call.
    pub description: &'static str,
    pub who: Who,
    /// The limit of one caller. Without it, only the gateway's limit for all callers applies.
    pub limit: Option<&'static LimitClass>,
    /// What replaces it, and until when it is there.
    pub deprecation: Option<&'static Deprecation>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Content>,
    pub replies: Vec<Reply>,
}

macro_rules! methods {
    ($($name:ident $method:literal),+) => {
        $(pub fn $name(
            path: &'static str,
            id: &'static str,
            who: Who,
            summary: &'static str,
            description: &'static str,
        ) -> Self {
            let (parameters, replies) = (Vec::new(), Vec::new());
            Self {
                method: $method, path, id, summary, description, who, limit: None, deprecation: None, parameters,
                body: None, replies
            }
            .with_problems()
        })+
    };
}

impl Operation {
    methods!(get "get", post "post", put "put", patch "patch", delete "delete");

    /// With the problems that follow from who may call it and from its path.
    fn with_problems(self) -> Self {
        let mut operation = self;
        if operation.who.needs_a_token() {
            operation = operation.problem(401, "There is no token, or it is not good.");
        }
        if matches!(operation.who, Who::Admin | Who::Fulfillment | Who::Support) {
            operation = operation.problem(403, "The caller's role does not allow it.");
        }
        if operation.path.contains('{') {
            operation = operation.problem(404, "It does not exist, or it belongs to another user.");
        }
        operation
    }

    /// Takes a JSON body, and refuses what is none.
    #[must_use]
    pub fn takes<T: JsonSchema>(self, example: Value) -> Self {
        let refused = self
            .problem(400, "The body is not JSON, or a header is missing.")
            .problem(413, "The body is too large.")
            .problem(415, "The body is not sent as JSON.")
            .problem(422, "The request cannot be accepted: `errors` says why.");
        Self { body: Some(Content::json::<T>(example)), ..refused }
    }

    /// Takes a JSON object in the format of another company, which describes it.
    #[must_use]
    pub fn takes_any(self, example: Value) -> Self {
        let refused = self.problem(413, "The body is too large.");
        Self { body: Some(Content::json::<Map<String, Value>>(example)), ..refused }
    }

    #[must_use]
    pub fn query(self, name: &'static str, description: &'static str, schema: Value) -> Self {
        let parameter = Parameter { name, place: Place::Query, required: false, description, schema };
        self.with(parameter).problem(422, "The request cannot be accepted: `errors` says why.")
    }

    /// A parameter that every request must have.
    #[must_use]
    pub fn required_query(self, name: &'static str, description: &'static str, schema: Value) -> Self {
        let mut operation = self.query(name, description, schema);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter.required = true;
        }
        operation
    }

    /// `limit` and `cursor`, as all lists take them.
    #[must_use]
    pub fn paged(self) -> Self {
        self.query(
            "limit",
            "How many at most.",
            serde_json::json!({"type": "integer", "minimum": 1, "maximum": 100}),
        )
        .query("cursor", "`next_cursor` of the page before.", serde_json::json!({"type": "string"}))
    }

    #[must_use]
    pub fn header(self, name: &'static str, required: bool, description: &'static str) -> Self {
        let schema = match name {
            "Idempotency-Key" => serde_json::json!({"type": "string", "pattern": "^[!-~]{1,255}$"}),
            _ => serde_json::json!({"type": "string"}),
        };
        self.with(Parameter { name, place: Place::Header, required, description, schema })
    }

    /// Wants the client's own name for the request.
    #[must_use]
    pub fn idempotent(self) -> Self {
        self.header(
            "Idempotency-Key",
            true,
            "The client's own name for the request: repeated, it has no second effect.",
        )
        .problem(400, "The body is not JSON, or a header is missing.")
    }

    /// Answers 304 to who has the current version.
    #[must_use]
    pub fn conditional(self) -> Self {
        let mut operation = self.header("If-None-Match", false, "The ETag of what the client has.");
        operation.reply(304, "The client has the current version.", None, &["ETag", "Cache-Control"]);
        operation
    }

    /// Refuses callers that exceed the limit of this class.
    #[must_use]
    pub fn limited(self, class: &'static LimitClass) -> Self {
        let mut operation = Self { limit: Some(class), ..self };
        operation.reply(
            429,
            "Too many requests: try again after `Retry-After`.",
            None,
            &["Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"],
        );
        operation
    }

    /// Will be removed: the route has this deprecation, too.
    #[must_use]
    pub fn deprecated(self, deprecation: &'static Deprecation) -> Self {
        Self { deprecation: Some(deprecation), ..self }
    }

    #[must_use]
    pub fn problem(mut self, status: u16, description: &'static str) -> Self {
        self.reply(status, description, None, &[]);
        self
    }

    /// A problem that comes with these headers.
    #[must_use]
    pub fn problem_with_headers(
        mut self,
        status: u16,
        description: &'static str,
        headers: &[&'static str],
    ) -> Self {
        self.reply(status, description, None, headers);
        self
    }

    #[must_use]
    pub fn answers<T: JsonSchema>(
        mut self,
        status: u16,
        description: &'static str,
        headers: &[&'static str],
        example: Value,
    ) -> Self {
        self.reply(status, description, Some(Content::json::<T>(example)), headers);
        self
    }

    #[must_use]
    pub fn answers_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.reply(status, description, None, &[]);
        self
    }

    /// Answers text of another type than JSON.
    #[must_use]
    pub fn answers_text(mut self, status: u16, description: &'static str, media_type: &'static str) -> Self {
        let content = Content { media_type, schema: String::json_schema, example: Value::Null };
        self.reply(status, description, Some(content), &[]);
        self
    }

    fn with(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// The last one of a status counts, so that an operation can say more than what follows from its parts.
    fn reply(
        &mut self,
        status: u16,
        description: &'static str,
        content: Option<Content>,
        headers: &[&'static str],
    ) {
        self.replies.retain(|reply| reply.status != status);
        self.replies.push(Reply { status, description, content, headers: headers.to_vec() });
    }
}

impl Content {
    fn json<T: JsonSchema>(example: Value) -> Self {
        Self { media_type: "application/json", schema: |generator| generator.subschema_for::<T>(), example }
    }
}
