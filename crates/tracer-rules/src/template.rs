//! Texts with captures and facts about the process: `${script}-py`, `{{.ExeBase}}:{{.Matches.script}}`.

use std::fmt::Write;

use regex::bytes::Captures;

use crate::{
    facts::{Facts, Field},
    pattern::Pattern,
};

/// A compiled text.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// Groups of patterns: each has the number of its pattern and its own number. The text is from the first group that takes
    /// part in the match.
    Capture(Vec<(usize, usize)>),
    Field(Field),
}

const FIELDS: [(&str, Field); 8] = [
    ("ExeBase", Field::ExeBase),
    ("ExeFull", Field::ExeFull),
    ("Comm", Field::Comm),
    ("Username", Field::Username),
    ("PID", Field::Pid),
    ("StartTime", Field::StartTime),
    ("Cgroups", Field::Cgroups),
    ("Cwd", Field::Cwd),
];

/// A text that is no template: the number of characters before the mistake, and the reason.
#[derive(Debug, PartialEq)]
pub(crate) struct Mistake {
    pub(crate) offset: usize,
    pub(crate) reason: String,
}

impl Template {
    /// Reads a text. `patterns` are those of its rule. `environment` is our own.
    pub(crate) fn compile(
        text: &str,
        patterns: &[Pattern],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Mistake> {
        let mut reader = Reader { text, at: 0, patterns, parts: Vec::new() };
        while let Some(next) = reader.rest().chars().next() {
            match next {
                '$' => reader.capture()?,
                '%' => reader.variable(environment),
                '{' if reader.rest().starts_with("{{") => reader.field()?,
                _ => reader.text(next.len_utf8()),
            }
        }
        Ok(Self(reader.parts))
    }

    /// The text for a process. `captures` has those of each pattern of the rule.
    pub(crate) fn render(&self, facts: &Facts<'_>, captures: &[Option<Captures<'_>>]) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => facts.write(*field, &mut text),
                Part::Capture(groups) => {
                    let group = |(pattern, group): &(usize, usize)| captures.get(*pattern)?.as_ref()?.get(*group);
                    if let Some(found) = groups.iter().find_map(group) {
                        let _ = write!(text, "{}", String::from_utf8_lossy(found.as_bytes()));
                    }
                }
            }
        }
        text
    }

    /// Whether a process and its fork can get different texts.
    pub(crate) fn differs_in_forks(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(Field::Pid | Field::StartTime)))
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes that are read.
    at: usize,
    patterns: &'a [Pattern],
    parts: Vec<Part>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn mistake(&self, reason: impl Into<String>) -> Mistake {
        let before = self.text.get(..self.at).unwrap_or_default();
        Mistake { offset: before.chars().count(), reason: reason.into() }
    }

    /// Takes some bytes as text.
    fn text(&mut self, bytes: usize) {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(taken),
            _ => self.parts.push(Part::Text(taken.to_owned())),
        }
        self.at += bytes;
    }

    /// `$1` or `${NAME}`, or `$$` for a single `$`.
    fn capture(&mut self) -> Result<(), Mistake> {
        let rest = &self.rest()[1..];
        let digits = rest.len() - rest.trim_start_matches(|next: char| next.is_ascii_digit()).len();
        if rest.starts_with('$') {
            self.at += 1;
            self.text(1);
        } else if digits > 0 {
            self.group(&rest[..digits])?;
            self.at += 1 + digits;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some((name, _)) = inner.split_once('}') else {
                return Err(self.mistake("'${' has no '}'"));
            };
            self.group(name)?;
            self.at += 3 + name.len();
        } else if rest.starts_with(|next: char| next.is_alphabetic() || next == '_') {
            return Err(self.mistake("a capture is $1 or ${NAME}, and $$ is a single $"));
        } else {
            self.text(1);
        }
        Ok(())
    }

    fn group(&mut self, name: &str) -> Result<(), Mistake> {
        let groups: Vec<_> = match name.parse::<usize>() {
            // Numbers are those of the first pattern.
            Ok(number) => {
                self.patterns.iter().take(1).filter(|first| number < first.groups()).map(|_| (0, number)).collect()
            }
            Err(_) => {
                let group = |(index, pattern): (usize, &Pattern)| Some((index, pattern.group(name)?));
                self.patterns.iter().enumerate().filter_map(group).collect()
            }
        };
        if groups.is_empty() {
            return Err(self.mistake(format!("the expressions of this rule have no capture '{name}'")));
        }
        self.parts.push(Part::Capture(groups));
        Ok(())
    }

    /// `%HOSTNAME%`, a variable of our own environment. Any other `%` is text.
    fn variable(&mut self, environment: &dyn Fn(&str) -> Option<String>) {
        let name = self.rest()[1..].split_once('%').map(|(name, _)| name);
        let is_name = |name: &&str| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|next| next.is_ascii_alphanumeric() || next == '_')
        };
        match name.filter(is_name) {
            Some(name) => {
                self.parts.push(Part::Text(environment(name).unwrap_or_default()));
                self.at += 2 + name.len();
            }
            None => self.text(1),
        }
    }

    /// `{{.ExeBase}}` and so on, as process-exporter writes them.
    fn field(&mut self) -> Result<(), Mistake> {
        let Some((inner, _)) = self.rest()[2..].split_once("}}") else {
            return Err(self.mistake("'{{' has no '}}'"));
        };
        let name = inner.trim();
        let known = FIELDS.iter().find(|(field, _)| name.strip_prefix('.') == Some(*field));
        match (known, name.strip_prefix(".Matches.")) {
            (Some((_, field)), _) => self.parts.push(Part::Field(*field)),
            (None, Some(capture)) => self.group(capture)?,
            (None, None) => {
                let fields: Vec<_> = FIELDS.iter().map(|(field, _)| format!("{{{{.{field}}}}}")).collect();
                return Err(self.mistake(format!(
                    "'{{{{{inner}}}}}' is not one of {} and {{{{.Matches.NAME}}}}",
                    fields.join(", ")
                )));
            }
        }
        self.at += 4 + inner.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::{event::Image, judge::Lineage};

    use super::*;
    use crate::facts::tests::subject;

    fn environment(name: &str) -> Option<String> {
        (name == "STAGE").then(|| "test".to_owned())
    }

    fn render(text: &str) -> Result<String, Mistake> {
        let patterns = [r"(?P<script>\w+)\.py", r"-(x)?(?P<flag>\w)"].map(|pattern| Pattern::compile(pattern).unwrap());
        let image = Image {
            file: "/usr/bin/python3".into(),
            arguments: ["/opt/python3", "setup.py", "-v"].into_iter().collect(),
            directory: Some("/src".into()),
            cgroup: Some("0::/a.slice".into()),
            ..Image::default()
        };
        let lineage = Lineage::default();
        let subject = subject(&image, &lineage);
        let facts = Facts::new(&subject);
        let template = Template::compile(text, &patterns, &environment)?;
        let line = facts.command_line();
        let captures: Vec<_> = patterns.iter().map(|pattern| pattern.captures(line)).collect();
        Ok(template.render(&facts, &captures))
    }

    #[test]
    fn a_template_has_captures_facts_and_variables() {
        for (text, expected) in [
            ("${script}-py", "setup-py"),
            ("$1.$0", "setup.setup.py"),
            ("{{.ExeBase}}:{{ .Matches.script }}", "python3:setup"),
            ("{{.ExeFull}} {{.Comm}} {{.PID}} {{.Cwd}} {{.Username}}", "/opt/python3 python3 7 /src 0"),
            ("{{.Cgroups}} {{.StartTime}}", "[/a.slice] 1970-01-01T00:00:01Z"),
            ("%STAGE%%NONE%-%a b% 100%", "test-%a b% 100%"),
            ("$$1 $ ${flag}", "$1 $ v"),
            ("ü{x}", "ü{x}"),
        ] {
            assert_eq!(render(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_has_its_place() {
        for (text, offset, reason) in [
            ("ü ${none}", 2, "no capture 'none'"),
            ("$2", 0, "no capture '2'"),
            ("a{{.Nope}}", 1, "'{{.Nope}}' is not one of {{.ExeBase}}, "),
            ("{{if .Comm}}x{{end}}", 0, "is not one of"),
            ("{{.Matches.none}}", 0, "no capture 'none'"),
            ("{{.Comm", 0, "has no '}}'"),
            ("${script", 0, "has no '}'"),
            ("$script", 0, "a capture is $1 or ${NAME}"),
        ] {
            let mistake = render(text).unwrap_err();
            assert_eq!(mistake.offset, offset, "{text}");
            assert!(mistake.reason.contains(reason), "{text}: {}", mistake.reason);
        }
    }
}
