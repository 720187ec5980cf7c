//! Secrets in URLs, such as `scheme://USER:PASSWORD@host`.

use std::ops::Range;

use super::{cut::Cut, tokens};

/// The `@` of a URL is searched for in this many bytes.
const LONGEST: usize = 4096;

/// The user name and password of a URL, up to the `@`. `rest` is the text after `://`.
///
/// Passwords should be encoded. If they are not, they may contain `@`, `/`, `?` and `#`.
#[must_use]
pub fn user_info(rest: &str, is_http: bool) -> Option<&str> {
    let rest = &rest[..rest.floor_char_boundary(LONGEST)];
    // Another URL may follow.
    let rest = &rest[..rest.find("://").unwrap_or(rest.len())];
    let rest = &rest[..rest.find(|c: char| c.is_whitespace() || "'\"<>`".contains(c)).unwrap_or(rest.len())];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = rest[..end].rfind('@') {
        // `p@s/s@host.org`: the password continues if no host follows the first `@`, and a host follows a later `@`.
        let mut later = rest.match_indices('@').map(|(later, _)| later).filter(|later| *later > end);
        let later = if is_host(&rest[at + 1..]) { None } else { later.rfind(|later| is_host(&rest[later + 1..])) };
        return Some(&rest[..later.unwrap_or(at)]);
    }
    // `host:8080/a@b` has a port, and `user:p/w@host` has a password.
    let (_, port) = rest[..end].rsplit_once(':')?;
    let is_port = port.bytes().all(|digit| digit.is_ascii_digit());
    if is_port && is_http {
        return None;
    }
    let at = end + rest[end..].find('@')?;
    let host = rest[at..].find(['/', '?', '#']).map_or(rest.len(), |length| at + length);
    Some(&rest[..at + rest[at..host].rfind('@')?])
}

/// Whether a text begins with a host: a domain, a port, or an address in brackets.
fn is_host(rest: &str) -> bool {
    let host = &rest[..rest.find(['/', '?', '#', '@']).unwrap_or(rest.len())];
    host.contains(['.', ':']) || host == "localhost"
}

/// Finds the secrets in URLs: passwords, tokens in the place of a user name, and secrets in the path.
pub(super) fn search(text: &str, cuts: &mut Vec<Cut>) {
    const MARK: &str = "://";
    let mut from = 0;
    while let Some(at) = text[from..].find(MARK).map(|at| from + at) {
        from = at + MARK.len();
        let scheme = text[..at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || "+.-".contains(c))).next();
        let is_http = scheme.is_some_and(|scheme| scheme.ends_with("http") || scheme.ends_with("https"));
        if let Some(info) = user_info(&text[from..], is_http) {
            cuts.extend(secret(info).map(|range| Cut::new(from + range.start..from + range.end)));
            from += info.len();
        } else {
            cuts.extend(path_secret(&text[from..]).map(|range| Cut::new(from + range.start..from + range.end)));
        }
    }
}

/// Services with a secret in the path of their URLs. Each row has the beginning of the URL, a number, and a character.
/// The secret comes after this number of these characters.
const PATHS: [(&str, usize, char); 3] =
    [("hooks.slack.com/services/", 2, '/'), ("discord.com/api/webhooks/", 1, '/'), ("api.telegram.org/bot", 1, ':')];

/// Their hosts, for the first look at all arguments. Only the host is used, because a script can have quotes after a
/// slash.
pub(super) fn hosts_with_secrets() -> impl Iterator<Item = &'static str> {
    PATHS.iter().filter_map(|(start, ..)| start.split('/').next())
}

/// The secret in the path of a URL. `rest` is the text after `://`.
fn path_secret(rest: &str) -> Option<Range<usize>> {
    let (start, count, separator) = PATHS.iter().find(|(start, ..)| rest.starts_with(start))?;
    let path = &rest[start.len()..];
    let path = &path[..path.floor_char_boundary(LONGEST)];
    let path = &path[..path.find(|c: char| c.is_whitespace() || "'\"<>`?#".contains(c)).unwrap_or(path.len())];
    let (before, _) = path.match_indices(*separator).nth(count - 1)?;
    let secret = &path[before + separator.len_utf8()..];
    let begin = start.len() + before + separator.len_utf8();
    let length = secret.find('/').unwrap_or(secret.len());
    (length > 0).then_some(begin..begin + length)
}

/// The secret part of a user name and password.
fn secret(info: &str) -> Option<Range<usize>> {
    let (user, password) = info.split_once(':').unwrap_or((info, ""));
    // GitHub accepts a token as the user name, with this password.
    if password.is_empty() || password == "x-oauth-basic" {
        return is_token(user).then_some(0..user.len());
    }
    Some(user.len() + 1..info.len())
}

/// Whether it is a token: too long for a name, with letters and digits.
fn is_token(user: &str) -> bool {
    let is_plain = user.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
    let is_mixed = user.bytes().any(|c| c.is_ascii_digit()) && user.bytes().any(|c| c.is_ascii_alphabetic());
    tokens::token(user).is_some() || (user.len() >= 20 && is_plain && is_mixed)
}
