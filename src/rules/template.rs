//! A text with names in it that a rule's path pattern captures: `{course}/{module}`.

use super::Pattern;
use std::fmt;

/// A text that each path fills in anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pattern: Pattern,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Name(Box<str>),
}

/// Why a text is no template. Says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// `{` without `}`, or the other way round.
    Brace,
    /// The pattern has no such name.
    Unknown(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Brace => f.write_str("`{` and `}` stand around a name of the rule's path"),
            TemplateError::Unknown(name) => {
                write!(f, "the rule's path has no `{{{name}}}`: write it there in place of a `*`")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template whose names are those of `pattern`.
    ///
    /// # Errors
    /// [`TemplateError`], which says what would be right.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Template, TemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (before, after) = rest.split_once('{').unwrap_or((rest, ""));
            if before.contains('}') || (after.is_empty() && before.len() < rest.len()) {
                return Err(TemplateError::Brace);
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            rest = after;
            if !after.is_empty() {
                let (name, after) = after.split_once('}').ok_or(TemplateError::Brace)?;
                if !pattern.has(name) {
                    return Err(TemplateError::Unknown(name.to_owned()));
                }
                parts.push(Part::Name(name.into()));
                rest = after;
            }
        }
        Ok(Template { pattern: pattern.clone(), parts })
    }

    /// Whether it is the same for all paths.
    pub fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Name(_)))
    }

    /// What the names in it stand for in a path, in their order. Unlike the text that [`Template::fill`] makes of them they
    /// tell any two paths apart that differ in one of them.
    pub fn values<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let names = self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            Part::Text(_) => None,
        });
        names.map(|name| self.pattern.capture(name, path)).collect()
    }

    /// The text for a path.
    pub fn fill(&self, path: &str) -> Option<String> {
        self.parts.iter().try_fold(String::new(), |mut text, part| {
            text.push_str(match part {
                Part::Text(part) => part,
                Part::Name(name) => self.pattern.capture(name, path)?,
            });
            Some(text)
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Name(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Template, TemplateError};
    use crate::rules::Pattern;

    #[test]
    fn a_template_is_filled_in_from_the_path() {
        let pattern = Pattern::parse("/c/{course}/{module}/**").unwrap();
        let template = |text| Template::parse(text, &pattern);
        let filled = template("{course}/{module}").unwrap();
        assert_eq!(filled.fill("/c/7/intro/a.js").as_deref(), Some("7/intro"));
        assert_eq!(filled.values("/c/7/intro/a.js"), Some(vec!["7", "intro"]));
        assert_eq!(filled.to_string(), "{course}/{module}");
        assert!(!filled.is_fixed() && template("/check").unwrap().is_fixed());
        let check = template("/check?c={course}&x").unwrap();
        assert_eq!(check.fill("/c/7/intro/a.js").as_deref(), Some("/check?c=7&x"));
        for (text, wrong) in [
            ("{cours}", TemplateError::Unknown("cours".to_owned())),
            ("{course", TemplateError::Brace),
            ("course}", TemplateError::Brace),
            ("a{", TemplateError::Brace),
        ] {
            assert_eq!(template(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn values_tell_apart_what_the_text_would_not() {
        let pattern = Pattern::parse("/{a}/{b}").unwrap();
        let template = Template::parse("{a}-{b}", &pattern).unwrap();
        assert_eq!(template.fill("/x-y/z"), template.fill("/x/y-z"));
        assert_ne!(template.values("/x-y/z"), template.values("/x/y-z"));
    }
}
