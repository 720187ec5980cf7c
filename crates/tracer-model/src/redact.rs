//! Secrets in argument vectors: what is taken for one does not leave the machine.
//!
//! All rules stand here, as tables, from the most certain to the least: what a whole argument is by its option's name; what
//! an option means to a particular program; what text looks like a secret wherever it stands.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex, RegexSet, bytes};

use crate::event::{Strings, base_name};

/// What stands in a secret's place.
pub const REDACTED: &str = "***";

/// Parts of names whose value is a secret: of options, variables, and parameters of URLs. Compared without case, `-` and `_`.
const SECRET_NAMES: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "credential",
    "authorization",
    "connectionstring",
    "signature",
];

/// Names that are secret only as a whole.
const SECRET_WORDS: [&str; 6] = ["pwd", "pass", "auth", "sig", "pat", "bearer"];

/// Endings that make a name one of where a secret is, or of something about it, not of the secret itself.
const HARMLESS_ENDINGS: [&str; 20] = [
    "file", "files", "path", "dir", "stdin", "fd", "name", "names", "url", "uri", "endpoint", "type", "length",
    "policy", "id", "prompt", "ttl", "provider", "helper", "expiry",
];

/// A program, an option of it, and which part of the option's value is a secret.
type Rule = (&'static str, &'static str, Value);

/// Programs with options of their own for secrets.
const OF_PROGRAMS: [Rule; 22] = [
    ("mysql", "-p", Value::Attached),
    ("mysqldump", "-p", Value::Attached),
    ("mysqladmin", "-p", Value::Attached),
    ("mariadb", "-p", Value::Attached),
    ("mariadb-dump", "-p", Value::Attached),
    ("sshpass", "-p", Value::All),
    ("redis-cli", "-a", Value::All),
    ("docker", "-p", Value::OfLogin),
    ("podman", "-p", Value::OfLogin),
    ("helm", "-p", Value::OfLogin),
    ("az", "-p", Value::OfLogin),
    ("oc", "-p", Value::OfLogin),
    ("curl", "-u", Value::BehindColon),
    ("curl", "--user", Value::BehindColon),
    ("curl", "-U", Value::BehindColon),
    ("curl", "--proxy-user", Value::BehindColon),
    ("wget", "--http-passwd", Value::All),
    ("ldapsearch", "-w", Value::All),
    ("ldapmodify", "-w", Value::All),
    ("smbclient", "-U", Value::BehindPercent),
    ("zip", "-P", Value::All),
    ("unzip", "-P", Value::All),
];

/// Which part of an option's value is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// All of it, in the same argument or the next.
    All,
    /// All of it, in the same argument only: alone the option asks for it.
    Attached,
    /// All of it, if the program is told to `login`.
    OfLogin,
    /// What follows the first colon.
    BehindColon,
    /// What follows the first percent sign.
    BehindPercent,
}

/// Text that is a secret wherever it stands. The group `keep`, if there is one, stays.
const PATTERNS: [&str; 6] = [
    // A header, in HTTP's form, to the end of its line or of its quotes.
    r#"(?i)(?P<keep>(?:\b|-H)(?:(?:proxy-)?authorization|(?:set-)?cookie|[a-z-]*(?:token|api-?key|secret))\s*:\s*(?:(?:basic|bearer|token)\s+)?)[^\s'"][^'"\r\n]*"#,
    // A password in a URL.
    r"(?P<keep>\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*:)[^\s/?#@]+(?P<end>@)",
    // Tokens by what their issuers put before them.
    r"\b(?:gh[pousr]_|github_pat_|glpat-|gl(?:ptt|rt|cbt|dt|ft|soat)-|xox[abeprs]-|xapp-|sk-(?:ant-|proj-)?|[sr]k_(?:live|test)_|npm_|pypi-|dckr_pat_|hv[bs]\.|shp(?:at|ca|pa|ss)_|ya29\.|SG\.|hf_|dop_v1_|doo_v1_|figd_|lin_api_|PMAK-|ATATT3|rubygems_)[A-Za-z0-9_.=/+-]{10,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[A-Za-z0-9_-]{30,}",
    // A JSON web token.
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
    // A private key.
    r"(?s)(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----).*",
];

/// `NAME=VALUE` within text, such as a shell's script or a URL, and `--NAME VALUE`: secrets if their names are.
const NAMED: [&str; 2] = [
    r#"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)=(?P<value>'[^']*'|"[^"]*"|[^\s'"&;|()]+)"#,
    r#"(?P<name>--[A-Za-z][A-Za-z0-9_-]*)\s+(?P<value>'[^']*'|"[^"]*"|[^\s'"&;|()-][^\s'"&;|()]*)"#,
];

/// All of them, each by itself and together: most arguments match none, which takes one look.
static ANY: LazyLock<Option<(RegexSet, Vec<Regex>)>> = LazyLock::new(|| {
    let all = PATTERNS.iter().chain(&NAMED);
    Some((RegexSet::new(all.clone()).ok()?, all.map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>().ok()?))
});

/// What there is in any arguments that have a secret, all of them in a row: few have, and the others take one look. For ASCII,
/// which takes a smaller automaton.
static TRACE: LazyLock<Option<bytes::Regex>> = LazyLock::new(|| {
    let apart = |name: &str| name.chars().map(String::from).collect::<Vec<_>>().join("[^A-Za-z0-9]*");
    let names = SECRET_NAMES.map(|name| format!("(?i:{})", apart(name)));
    let words = SECRET_WORDS.map(|word| format!("(?i:(?:^|[^A-Za-z]){}(?:[^A-Za-z0-9]|$))", apart(word)));
    let all: Vec<_> = PATTERNS.map(str::to_owned).into_iter().chain(names).chain(words).collect();
    let any = all.join("|").replace("(?P<keep>", "(?:").replace("(?P<end>", "(?:");
    bytes::RegexBuilder::new(&any).unicode(false).build().ok()
});

static SECRET_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&SECRET_NAMES.join("|")).ok());

/// Gets ready, which takes a millisecond and would otherwise be done at the first call.
pub fn prepare() {
    LazyLock::force(&TRACE);
}

/// The arguments without secrets; `None` if there are none in them.
#[must_use]
pub fn redact(arguments: &Strings) -> Option<Strings> {
    let program = arguments.iter().next().unwrap_or_default();
    let program = base_name(&program);
    let rules: Vec<_> = OF_PROGRAMS.iter().filter(|(name, ..)| *name == program).collect();
    let has_trace = || TRACE.as_ref().is_none_or(|trace| trace.is_match(&arguments.bytes));
    let may_have_secrets = !rules.is_empty() || !arguments.bytes.is_ascii() || has_trace();
    may_have_secrets.then(|| search(arguments, program, &rules))?
}

fn search(arguments: &Strings, program: &str, rules: &[&Rule]) -> Option<Strings> {
    let given: Vec<_> = arguments.iter().collect();
    let is_login = given.iter().any(|argument| argument == "login");
    let mut redacted: Option<Vec<String>> = None;
    let mut of_next = None;
    for (index, argument) in given.iter().enumerate() {
        let expected: Option<Value> = of_next.take();
        let changed = match expected {
            Some(value) => hide(value, argument),
            None if index == 0 => None,
            None => {
                let (changed, next) = option(program, rules, is_login, argument);
                of_next = next;
                changed.or_else(|| match text(argument) {
                    Cow::Owned(text) => Some(text),
                    Cow::Borrowed(_) => None,
                })
            }
        };
        if let Some(changed) = changed.filter(|changed| changed != argument) {
            redacted.get_or_insert_with(|| given.iter().map(|argument| argument.clone().into_owned()).collect())
                [index] = changed;
        }
    }
    let mut redacted: Strings = redacted?.into_iter().collect();
    // What is missing at the end is still missing.
    redacted.size += arguments.size - arguments.bytes.len() as u64;
    Some(redacted)
}

/// The argument without the secret that its name promises, and what the next one is.
fn option(program: &str, rules: &[&Rule], is_login: bool, argument: &str) -> (Option<String>, Option<Value>) {
    let is_meant = |(_, option, value): &Rule| argument.starts_with(option) && (*value != Value::OfLogin || is_login);
    if let Some((_, option, value)) = rules.iter().find(|rule| is_meant(rule)) {
        let rest = &argument[option.len()..];
        if rest.is_empty() {
            return (None, Some(*value).filter(|value| *value != Value::Attached));
        }
        let is_long = option.starts_with("--");
        if !is_long || rest.starts_with('=') {
            let (equals, rest) = rest.split_at(usize::from(is_long));
            return (hide(*value, rest).map(|rest| format!("{option}{equals}{rest}")), None);
        }
    }
    if let Some((name, value)) = argument.split_once('=')
        && is_name(name)
        && is_secret(name)
        && !value.is_empty()
    {
        return (Some(format!("{name}={REDACTED}")), None);
    }
    // openssl(1), "Pass Phrase Options".
    if let Some(value) = argument.strip_prefix("pass:").filter(|value| !value.is_empty() && program == "openssl") {
        return (Some(argument.replace(value, REDACTED)), None);
    }
    let is_option = argument.starts_with("--") || (argument.starts_with('-') && argument.len() > 2);
    (None, (is_option && is_name(argument) && is_secret(argument)).then_some(Value::All))
}

/// An option's or a variable's name, not a sentence.
fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn hide(value: Value, text: &str) -> Option<String> {
    let separator = match value {
        // An option in the value's place: there is no value.
        Value::All | Value::Attached | Value::OfLogin if text.starts_with("--") => return None,
        Value::All | Value::Attached | Value::OfLogin => return Some(REDACTED.to_owned()),
        Value::BehindColon => ':',
        Value::BehindPercent => '%',
    };
    let (before, secret) = text.split_once(separator)?;
    (!secret.is_empty()).then(|| format!("{before}{separator}{REDACTED}"))
}

/// The text without what looks like a secret.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    let Some((any, each)) = ANY.as_ref() else { return text };
    for index in any.matches(&text) {
        let without = |found: &Captures<'_>| {
            let group = |name| found.name(name).map_or("", |found| found.as_str());
            match found.name("value") {
                Some(_) if !is_secret(group("name")) => found[0].to_owned(),
                Some(value) => {
                    let whole = found.get_match();
                    format!("{}{REDACTED}", &whole.as_str()[..value.start() - whole.start()])
                }
                None => format!("{}{REDACTED}{}", group("keep"), group("end")),
            }
        };
        if let Cow::Owned(changed) = each[index].replace_all(&text, without) {
            text = Cow::Owned(changed);
        }
    }
    text
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    let is_found = SECRET_NAME.as_ref().is_some_and(|secret| secret.is_match(&plain));
    if !is_found && !SECRET_WORDS.contains(&plain.as_str()) {
        return false;
    }
    let last = name.rsplit(['-', '_', '.']).next().unwrap_or_default();
    let is_harmless = HARMLESS_ENDINGS.iter().any(|ending| last.eq_ignore_ascii_case(ending));
    !is_harmless && !name.to_ascii_lowercase().starts_with("--no-")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn redacted(arguments: &[&str]) -> Vec<String> {
        let arguments: Strings = arguments.iter().copied().collect();
        redact(&arguments).unwrap_or(arguments).iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn every_pattern_is_one() {
        assert!(ANY.is_some() && SECRET_NAME.is_some() && TRACE.is_some());
    }

    #[test]
    fn secrets_do_not_stay() {
        // The arguments after the program, with what becomes of them.
        let github = format!("ghp_{}", "a".repeat(36));
        let cases: &[(&[&str], &[&str])] = &[
            (&["x", "--password=hunter2"], &["--password=***"]),
            (&["x", "--password", "hunter2", "next"], &["--password", "***", "next"]),
            (&["x", "--db-password=a b c"], &["--db-password=***"]),
            (&["x", "-api-key", "k"], &["-api-key", "***"]),
            (&["x", "--api_key=k", "--API-TOKEN=t"], &["--api_key=***", "--API-TOKEN=***"]),
            (&["env", "AWS_SECRET_ACCESS_KEY=abc", "PATH=/bin"], &["AWS_SECRET_ACCESS_KEY=***", "PATH=/bin"]),
            (&["make", "GITHUB_TOKEN=t", "CC=gcc"], &["GITHUB_TOKEN=***", "CC=gcc"]),
            (&["x", "--auth=a", "--pwd", "b"], &["--auth=***", "--pwd", "***"]),
            (&["mysql", "-uroot", "-phunter2", "db"], &["-uroot", "-p***", "db"]),
            (&["/usr/bin/mysqldump", "-p", "db"], &["-p", "db"]),
            (&["sshpass", "-p", "hunter2", "ssh"], &["-p", "***", "ssh"]),
            (&["sshpass", "-phunter2"], &["-p***"]),
            (&["redis-cli", "-a", "x", "get"], &["-a", "***", "get"]),
            (&["docker", "login", "-u", "me", "-p", "x"], &["login", "-u", "me", "-p", "***"]),
            (&["docker", "run", "-p", "80:80"], &["run", "-p", "80:80"]),
            (&["curl", "-u", "me:secret", "http://a/"], &["-u", "me:***", "http://a/"]),
            (&["curl", "--user=me:secret"], &["--user=me:***"]),
            (&["curl", "-ume:secret"], &["-ume:***"]),
            (&["openssl", "-passin", "pass:x"], &["-passin", "pass:***"]),
            (&["curl", "-H", "Authorization: Bearer abc"], &["-H", "Authorization: Bearer ***"]),
            (&["curl", "-HAuthorization: Basic abc="], &["-HAuthorization: Basic ***"]),
            (&["curl", "-H", "X-Api-Key: abc", "-H", "Accept: a/b"], &["-H", "X-Api-Key: ***", "-H", "Accept: a/b"]),
            (&["git", "clone", "https://me:pw@host/a.git"], &["clone", "https://me:***@host/a.git"]),
            (&["psql", "postgres://u:p%40w@h:5432/db"], &["postgres://u:***@h:5432/db"]),
            (&["git", "clone", &format!("https://{github}@host/a")], &["clone", "https://***@host/a"]),
            (&["x", &github], &["***"]),
            (&["x", "AKIAIOSFODNN7EXAMPLE"], &["***"]),
            (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.abcdef"], &["***"]),
            (&["curl", "http://h/?a=1&access_token=t&b=2"], &["http://h/?a=1&access_token=***&b=2"]),
            (
                &["sh", "-c", "curl -H 'Authorization: Bearer abc' --password 'x y' http://h; TOKEN=\"z\" make"],
                &["-c", "curl -H 'Authorization: Bearer ***' --password *** http://h; TOKEN=*** make"],
            ),
            (&["sh", "-c", "mysql --password=hunter2 < a"], &["-c", "mysql --password=*** < a"]),
            (&["x", "-----BEGIN RSA PRIVATE KEY-----\nabc"], &["-----BEGIN RSA PRIVATE KEY-----***"]),
        ];
        for (given, expected) in cases {
            assert_eq!(redacted(given)[1..], **expected, "{given:?}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let cases: &[&[&str]] = &[
            &["cc", "-O2", "-DNAME=value", "-c", "-o", "a.o", "a.c", "-I/usr/include", "-std=gnu11", "-pthread"],
            &["x", "--password-file=/run/secrets/a", "--token-path", "/a", "--secret-name=b", "--key-id", "4"],
            &["x", "--password-stdin", "next"],
            &["x", "--no-password", "next"],
            &["ssh", "git@host", "-p", "22"],
            &["git", "clone", "ssh://git@host:22/a", "https://host:8080/a@b"],
            &["mkdir", "-p", "a"],
            &["python3", "-m", "tokenize", "a.py"],
            &["tokenizer", "--tokenizer", "bert"][..2],
            &["x", "--author=me", "--authors", "you", "passwords.txt", "secret"],
            &["grep", "password", "file"],
            &["sh", "-c", "for i in a b; do echo $i; done"],
            &["x", "12:34:56", "a=b", "--", "-"],
        ];
        for given in cases {
            assert_eq!(redacted(given), **given);
        }
    }

    #[test]
    fn what_is_cut_stays_cut() {
        let whole: Strings = ["x", "--password=hunter2", "rest"].into_iter().collect();
        let cut = Strings { size: whole.size + 100, ..whole };
        let redacted = redact(&cut).unwrap();
        assert_eq!(redacted.size, redacted.bytes.len() as u64 + 100);
        assert!(redacted.is_truncated());
    }
    /// What secrets and their names are made of, and what may stand around them.
    const FRAGMENTS: [&str; 40] = [
        "pass",
        "word",
        "PASS",
        "wd",
        "-",
        "--",
        "_",
        ".",
        "=",
        " ",
        ":",
        "://",
        "@",
        "a",
        "9",
        "user",
        "token",
        "pat",
        "sig",
        "auth",
        "Authorization",
        "api",
        "key",
        "secret",
        "'",
        "\"",
        ";",
        "\n",
        "ä",
        "ghp_0123456789abcdef",
        "AKIA0123456789ABCDEF",
        "eyJhbGciOiJI.eyJzdWIiOiIx",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-H",
        "bearer",
        "cred",
        "ential",
        "mysql",
        "-p",
        "no",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn one_look_misses_nothing(arguments in vec(vec(select(&FRAGMENTS), 0..6), 1..4)) {
            let arguments: Strings = arguments.iter().map(|fragments| fragments.concat()).collect();
            let program = arguments.iter().next().unwrap().into_owned();
            let rules: Vec<_> = OF_PROGRAMS.iter().filter(|(name, ..)| *name == base_name(&program)).collect();
            prop_assert_eq!(redact(&arguments), search(&arguments, base_name(&program), &rules));
        }
    }
}
