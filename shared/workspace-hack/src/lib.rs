//! Compiles to nothing: the manifest is what this package is for.
