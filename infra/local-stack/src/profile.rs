//! How functions are compiled.

/// The cargo profile that runs on AWS.
pub const RELEASE: &str = "release";
/// The feature by which functions share their dependencies' compilation with the tests.
const LOCAL: [&str; 4] = ["--package", "lambda-kit", "--features", "lambda-kit/local"];

/// The build profile of a stack's functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Quickly: what a stack on one machine runs.
    #[default]
    Local,
    /// As for AWS.
    Release,
}

impl Profile {
    /// Cargo's name of the profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "dev",
            Self::Release => RELEASE,
        }
    }

    /// The folder of what cargo builds.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Local => "debug",
            Self::Release => RELEASE,
        }
    }

    pub(crate) fn options(self) -> Vec<&'static str> {
        let mut options = vec!["--profile", self.name()];
        if self == Self::Local {
            options.extend(LOCAL);
        }
        options
    }
}
