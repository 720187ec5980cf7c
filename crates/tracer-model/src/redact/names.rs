//! Names of options, variables, parameters and headers whose value is a secret.
//!
//! A name is split into words. Its last words decide: `DB_PASSWORD` and `apiKey` name secrets, `password-file` and
//! `tokenizer` do not.

/// The meaning of a name for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value is not a secret.
    Harmless,
    /// The value is a secret.
    Secret,
    /// The value is a secret, unless it is the path of a file or a word such as `none`.
    SecretOrFile,
    /// The value is a secret, unless it is an absolute path, as in `PWD=/src`, or a word such as `none`.
    SecretOrDirectory,
    /// The value is a secret, unless it is a small number, as in `-pass 1`, or a word such as `none`.
    SecretOrNumber,
}

impl Kind {
    /// Whether this value must be hidden.
    pub(super) fn hides(self, value: &str) -> bool {
        match self {
            Self::Harmless => false,
            _ if value.is_empty() || value == "-" => false,
            Self::Secret => true,
            Self::SecretOrFile => !is_file(value) && !is_method(value),
            Self::SecretOrDirectory => !value.starts_with('/') && !is_method(value),
            Self::SecretOrNumber => {
                let is_small = value.len() <= 2 && value.bytes().all(|digit| digit.is_ascii_digit());
                !is_small && !is_method(value)
            }
        }
    }
}

/// Values that name a way to authenticate, or that mean yes or no.
const METHODS: [&str; 16] = [
    "none",
    "basic",
    "bearer",
    "digest",
    "ntlm",
    "negotiate",
    "kerberos",
    "oauth",
    "oauth2",
    "default",
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
];

/// Extensions of files with keys, certificates and signatures.
const FILES: [&str; 16] = [
    ".pem", ".key", ".crt", ".cer", ".der", ".json", ".yaml", ".yml", ".p12", ".pfx", ".pub", ".asc", ".sig", ".txt",
    ".jks", ".gpg",
];

fn is_method(value: &str) -> bool {
    METHODS.iter().any(|method| value.eq_ignore_ascii_case(method))
}

/// The longest path that the kernel accepts.
const LONGEST_PATH: usize = 4096;

/// Whether it is a path. Base64 text may also begin with a slash.
fn is_file(value: &str) -> bool {
    if value.len() > LONGEST_PATH {
        return false;
    }
    // `@` means the content of a file. A secret may begin with a slash, but it rarely has a second one.
    let path = value.strip_prefix('@').unwrap_or(value);
    let is_relative = ["./", "../", "~/"].iter().any(|start| path.starts_with(start));
    let is_path = is_relative || path.strip_prefix('/').is_some_and(|rest| rest.contains('/'));
    (is_path && !value.contains(['+', '='])) || FILES.iter().any(|ending| value.ends_with(ending))
}

/// Ends of a last word that make it the name of a secret, as in `PGPASSWORD`.
pub(super) const ENDS: [&str; 20] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "encryptionkey",
    "licensekey",
    "accountkey",
    "masterkey",
    "sharedkey",
    "connectionstring",
    "authorization",
    "rootpw",
];

/// Last words that are the name of a secret only as a whole.
pub(super) const WORDS: [(&str, Kind); 25] = [
    ("pass", Kind::SecretOrNumber),
    ("userpass", Kind::Secret),
    ("dbpass", Kind::Secret),
    ("sshpass", Kind::Secret),
    ("keypass", Kind::Secret),
    ("storepass", Kind::Secret),
    ("srcstorepass", Kind::Secret),
    ("deststorepass", Kind::Secret),
    ("pwd", Kind::Secret),
    ("pw", Kind::Secret),
    ("psk", Kind::Secret),
    ("jwt", Kind::Secret),
    ("bearer", Kind::Secret),
    ("passkey", Kind::Secret),
    ("requirepass", Kind::Secret),
    ("masterauth", Kind::Secret),
    ("credential", Kind::SecretOrFile),
    ("credentials", Kind::SecretOrFile),
    ("creds", Kind::SecretOrFile),
    ("signature", Kind::SecretOrFile),
    ("sig", Kind::SecretOrFile),
    ("auth", Kind::SecretOrFile),
    ("pat", Kind::SecretOrFile),
    ("key", Kind::SecretOrFile),
    ("keys", Kind::SecretOrFile),
];

/// Pairs of last words that are the name of a secret only together.
pub(super) const PAIRS: [(&str, &str); 19] = [
    ("secret", "id"),
    ("secret", "string"),
    ("connection", "string"),
    ("conn", "string"),
    ("api", "tokens"),
    ("auth", "tokens"),
    ("access", "tokens"),
    ("pass", "phrase"),
    // These keys are never files, although base64 text that begins with `/` looks like a path.
    ("access", "key"),
    ("secret", "key"),
    ("api", "key"),
    ("account", "key"),
    ("license", "key"),
    ("master", "key"),
    ("encryption", "key"),
    ("auth", "key"),
    ("shared", "key"),
    ("signing", "key"),
    ("sonar", "login"),
];

/// Words before `key` that make it no secret, for example `public key` and `primary key`.
const OTHER_KEYS: [&str; 45] = [
    "public",
    "pub",
    "primary",
    "foreign",
    "sort",
    "partition",
    "cache",
    "hot",
    "row",
    "index",
    "group",
    "map",
    "object",
    "host",
    "hash",
    "range",
    "routing",
    "idempotency",
    "unique",
    "composite",
    "config",
    "registry",
    "context",
    "label",
    "lookup",
    "value",
    "json",
    "attribute",
    "field",
    "column",
    "order",
    "search",
    "shortcut",
    "translation",
    "message",
    "dedup",
    "concurrency",
    "trusted",
    "known",
    "escape",
    "tab",
    "s3",
    "user",
    "restore",
    "parameter",
];

/// Words before `keys` that make them secrets. Most keys in the plural are not.
const SECRET_KEYS: [&str; 5] = ["api", "access", "secret", "private", "license"];

/// Words before `token` that make it no secret, for example the `eos_token` of a language model.
const OTHER_TOKENS: [&str; 15] =
    ["eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "max", "min", "num", "special", "image", "end", "next"];

/// Last words that only qualify a secret, for example `PROD` in `NPM_TOKEN_PROD`. The words before them decide.
const QUALIFIERS: [&str; 30] = [
    "prod",
    "production",
    "staging",
    "stage",
    "dev",
    "development",
    "test",
    "testing",
    "qa",
    "uat",
    "live",
    "sandbox",
    "old",
    "new",
    "current",
    "previous",
    "default",
    "base",
    "value",
    "hash",
    "base64",
    "b64",
    "encoded",
    "encrypted",
    "primary",
    "secondary",
    "admin",
    "ro",
    "rw",
    "ci",
];

/// First words of options that have no value, for example `--no-password` and `--show-token`.
const VERBS: [&str; 18] = [
    "no", "show", "verify", "require", "ask", "prompt", "skip", "disable", "enable", "allow", "print", "is", "has",
    "use", "with", "need", "check", "ignore",
];

/// The rules for names, with the patterns that a user adds and removes.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) added: Vec<Pattern>,
    pub(super) removed: Vec<Pattern>,
}

impl Names {
    /// The meaning of a name for its value.
    pub(super) fn kind(&self, name: &str) -> Kind {
        let words = words(name);
        if !(self.added.is_empty() && self.removed.is_empty()) {
            let plain = words.join("_");
            if self.removed.iter().any(|pattern| pattern.matches(&plain)) {
                return Kind::Harmless;
            }
            if self.added.iter().any(|pattern| pattern.matches(&plain)) {
                return Kind::Secret;
            }
        }
        kind(&words)
    }

    /// The same for an option without an attached value. The result is the kind of the next argument, the option's value.
    pub(super) fn kind_of_option(&self, option: &str) -> Kind {
        let is_asked = words(option).first().is_some_and(|first| VERBS.contains(&first.as_str()));
        if is_asked { Kind::Harmless } else { self.kind(option) }
    }
}

fn kind(words: &[String]) -> Kind {
    let is_number = |word: &str| word.bytes().all(|digit| digit.is_ascii_digit());
    let is_qualifier = |word: &&String| is_number(word) || QUALIFIERS.contains(&word.as_str());
    let qualifiers = words.iter().rev().take_while(is_qualifier).count();
    let decisive = &words[..words.len() - qualifiers];
    let Some((last, before)) = decisive.split_last() else { return Kind::Harmless };
    let (last, before) =
        (last.trim_end_matches(|digit: char| digit.is_ascii_digit()), before.last().map(String::as_str));
    if PAIRS.iter().any(|(first, second)| before.is_some_and(|before| before.ends_with(first)) && last == *second) {
        return Kind::Secret;
    }
    if before.is_some_and(|before| last == "token" && OTHER_TOKENS.contains(&before)) {
        return Kind::Harmless;
    }
    if ENDS.iter().any(|end| last.ends_with(end)) {
        return Kind::Secret;
    }
    let kind = match (last, before) {
        // `key` alone can mean anything, for example the key of a map.
        ("key", None) => Kind::Harmless,
        ("key", Some(before)) if OTHER_KEYS.contains(&before) => Kind::Harmless,
        ("keys", before) if before.is_none_or(|before| !SECRET_KEYS.contains(&before)) => Kind::Harmless,
        // This variable of the shell is the working directory.
        ("pwd", None) => Kind::SecretOrDirectory,
        _ => WORDS.iter().find(|(word, _)| *word == last).map_or(Kind::Harmless, |(_, kind)| *kind),
    };
    // With a qualifier, a weak name is harmless: `auth-test`. The exception is `key`: `STRIPE_KEY_PROD` is a secret.
    let is_weak = matches!(kind, Kind::SecretOrFile | Kind::SecretOrDirectory | Kind::SecretOrNumber) && last != "key";
    let is_qualified = words[decisive.len()..].iter().any(|word| !is_number(word));
    if is_qualified && is_weak { Kind::Harmless } else { kind }
}

/// The words of a name, in lower case. Characters such as `-`, `_` and `.` separate words, and so does camelCase.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        let bytes = part.as_bytes();
        let mut start = 0;
        for at in 1..bytes.len() {
            let (before, this) = (bytes[at - 1], bytes[at]);
            // `dbPass` before P, and `APIKey` before K.
            let is_next_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            if this.is_ascii_uppercase() && (!before.is_ascii_uppercase() || is_next_lower) {
                words.push(part[start..at].to_ascii_lowercase());
                start = at;
            }
        }
        words.push(part[start..].to_ascii_lowercase());
    }
    words
}

/// A user's pattern for names: words, and `*` for any text. `db_*key` matches `DB_API_KEY`, `--db-key` and `dbApiKey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A text that is not a pattern for names.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a pattern for names: letters, digits, '-', '_', '.' and '*', such as '*_dsn'")]
pub struct PatternError(String);

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
        let has_content = text.contains(|c: char| c.is_ascii_alphanumeric() || c == '*');
        if !has_content || !text.chars().all(is_allowed) {
            return Err(PatternError(text.to_owned()));
        }
        // The text between stars is like a name, and its words are joined in the same way.
        let text = text.trim_start_matches('-');
        let piece = |piece: &str| {
            let (is_open_before, is_open_after) =
                (piece.starts_with(['-', '_', '.']), piece.ends_with(['-', '_', '.']));
            let words = words(piece).join("_");
            match (is_open_before, is_open_after) {
                _ if words.is_empty() => {
                    if piece.is_empty() {
                        words
                    } else {
                        "_".to_owned()
                    }
                }
                (before, after) => {
                    format!("{}{words}{}", if before { "_" } else { "" }, if after { "_" } else { "" })
                }
            }
        };
        Ok(Self(text.split('*').map(piece).collect::<Vec<_>>().join("*")))
    }
}

impl Pattern {
    /// Whether it matches the words of a name, joined by `_`.
    fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for piece in pieces {
            if let Some(piece) = last.replace(piece) {
                let Some(at) = rest.find(piece) else { return false };
                rest = &rest[at + piece.len()..];
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }

    /// The longest text that all matching names contain, without case. It is empty if there is none.
    pub(super) fn literal(&self) -> &str {
        self.0.split(['*', '_']).max_by_key(|piece| piece.len()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_into_words() {
        for (name, expected) in [
            ("--db-password", &["db", "password"][..]),
            ("MYSQL_PWD", &["mysql", "pwd"]),
            ("AccountKey", &["account", "key"]),
            ("APIKey", &["api", "key"]),
            ("spring.datasource.dbPassword", &["spring", "datasource", "db", "password"]),
            ("X-Amz-Signature", &["x", "amz", "signature"]),
            ("--", &[]),
        ] {
            assert_eq!(words(name), expected, "{name}");
        }
    }

    #[test]
    fn patterns_match_names_in_any_style() {
        let matches = |pattern: &str, name: &str| {
            let names = Names { added: vec![pattern.parse().unwrap()], removed: Vec::new() };
            names.kind(name) == Kind::Secret
        };
        for (pattern, name) in [
            ("*_dsn", "DB_DSN"),
            ("*_dsn", "--db-dsn"),
            ("dbDsn", "db_dsn"),
            ("--db-dsn", "DB_DSN"),
            ("sentry*", "SENTRY_URL"),
            ("*", "anything"),
            ("a*b*c", "a_x_b_y_c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*_pin", "--spin"), ("dsn", "DB_DSN"), ("a*b*c", "a_c_b"), ("ab*ba", "aba")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for wrong in ["", "a b", "a=b", "-", "_", "[x]"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_removed_name_is_harmless() {
        let names = Names { added: Vec::new(), removed: vec!["build_token".parse().unwrap()] };
        assert_eq!(names.kind("BUILD_TOKEN"), Kind::Harmless);
        assert_eq!(names.kind("NPM_TOKEN"), Kind::Secret);
    }
}
