//! See the module's README section in SPEC.md.
