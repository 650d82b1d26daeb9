//! Verdict of the rules: which rule speaks for a request, and what it says.

mod access;
mod class;
mod index;
mod matcher;
mod mount;
mod name;
pub mod normalise;
mod pattern;
mod policy;
mod shadow;
mod template;
mod version;
mod why_not;

pub use access::{Access, Asked, Signed, SignedKind, SigningKey};
pub use class::Class;
pub use matcher::{Facts, LONGEST_EXTENSION, RuleError, RuleProblem, RuleSet, is_extension};
pub use mount::Mount;
pub use name::Names;
pub use pattern::{Pattern, PatternError, spelling};

pub use policy::{Match, Policy, QueryRule, Rule, ValidatorRule, Verdict};
pub use shadow::shadowed;
pub use template::{Template, TemplateError};
pub use version::{Said, UrlVersion, VersionRule};
pub use why_not::{WhyNot, why_not};
