//! Secrets that can be recognised without a name: the tokens of well-known issuers, and private keys.

use super::cut::Cut;

/// Finds them in any text.
pub(super) fn search(text: &str, cuts: &mut Vec<Cut>) {
    tokens(text, cuts);
    private_key(text, cuts);
}

/// A web token's header has at most this many bytes.
const LONGEST_HEADER: usize = 1024;

/// The characters of a token after its issuer's prefix.
#[derive(Clone, Copy)]
enum Alphabet {
    /// Capital letters and digits.
    Upper,
    Alphanumeric,
    /// Letters, digits, `-` and `_`.
    Url,
    /// All of these, `.`, `=`, `/` and `+`.
    Base64,
}

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
            Self::Base64 => byte.is_ascii_alphanumeric() || b"-_.=/+".contains(&byte),
        }
    }
}

/// The prefixes of issuers, the least length of the rest, and its characters.
const TOKENS: [(&str, usize, Alphabet); 51] = {
    use Alphabet::{Alphanumeric, Base64, Upper, Url};
    [
        ("ghp_", 10, Alphanumeric),
        ("gho_", 10, Alphanumeric),
        ("ghu_", 10, Alphanumeric),
        ("ghs_", 10, Alphanumeric),
        ("ghr_", 10, Alphanumeric),
        ("github_pat_", 10, Url),
        ("glpat-", 10, Base64),
        ("glptt-", 10, Base64),
        ("glrt-", 10, Base64),
        ("glcbt-", 10, Base64),
        ("gldt-", 10, Base64),
        ("glft-", 10, Base64),
        ("glsoat-", 10, Base64),
        ("xoxa-", 10, Base64),
        ("xoxb-", 10, Base64),
        ("xoxe-", 10, Base64),
        ("xoxp-", 10, Base64),
        ("xoxr-", 10, Base64),
        ("xoxs-", 10, Base64),
        ("xapp-", 10, Base64),
        ("sk-ant-", 10, Base64),
        ("sk-proj-", 10, Base64),
        ("sk-", 20, Alphanumeric),
        ("sk_live_", 10, Alphanumeric),
        ("sk_test_", 10, Alphanumeric),
        ("rk_live_", 10, Alphanumeric),
        ("rk_test_", 10, Alphanumeric),
        ("npm_", 30, Alphanumeric),
        ("pypi-AgE", 10, Base64),
        ("dckr_pat_", 10, Base64),
        ("hvs.", 10, Base64),
        ("hvb.", 10, Base64),
        ("shpat_", 10, Alphanumeric),
        ("shpca_", 10, Alphanumeric),
        ("shppa_", 10, Alphanumeric),
        ("shpss_", 10, Alphanumeric),
        ("ya29.", 10, Base64),
        ("SG.", 20, Base64),
        ("hf_", 20, Alphanumeric),
        ("dop_v1_", 10, Alphanumeric),
        ("doo_v1_", 10, Alphanumeric),
        ("figd_", 10, Base64),
        ("lin_api_", 10, Alphanumeric),
        ("PMAK-", 10, Base64),
        ("ATATT3", 10, Base64),
        ("rubygems_", 10, Alphanumeric),
        // crates.io: `cargo login TOKEN`.
        ("cio", 30, Alphanumeric),
        ("AKIA", 12, Upper),
        ("ASIA", 12, Upper),
        ("AIza", 30, Url),
        // A JSON web token: an object in base64.
        ("eyJ", 17, Base64),
    ]
};

/// The length of the token at the beginning of a text.
pub(super) fn token(text: &str) -> Option<usize> {
    // Most words begin with another letter.
    let first = text.as_bytes().first()?;
    if !b"AEPSacdefghlnprsxy".contains(first) {
        return None;
    }
    TOKENS.iter().find_map(|(prefix, least, alphabet)| {
        let rest = text.strip_prefix(prefix)?;
        let is_jwt = || rest.bytes().take(LONGEST_HEADER).find(|byte| !Alphabet::Url.has(*byte)) == Some(b'.');
        if *prefix == "eyJ" && !is_jwt() {
            return None;
        }
        let length = rest.bytes().take_while(|byte| alphabet.has(*byte)).count();
        (length >= *least).then_some(prefix.len() + length)
    })
}

/// The prefixes of tokens, for the first look at all arguments.
pub(super) fn prefixes() -> impl Iterator<Item = &'static str> {
    TOKENS.iter().map(|(prefix, ..)| *prefix)
}

fn tokens(text: &str, cuts: &mut Vec<Cut>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_start = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if is_start
            && bytes[at].is_ascii_alphabetic()
            && let Some(length) = token(&text[at..])
        {
            cuts.push(Cut::new(at..at + length));
            at += length;
        } else {
            at += 1;
        }
    }
}

/// The body of a private key in PEM, up to its end.
fn private_key(text: &str, cuts: &mut Vec<Cut>) {
    const END: &str = "PRIVATE KEY-----";
    let Some(begin) = text.find("-----BEGIN ") else { return };
    let Some(body) = text[begin..].find(END).map(|at| begin + at + END.len()) else { return };
    let end = text[body..].find("-----END").map_or(text.len(), |at| body + at);
    cuts.push(Cut::new(body..end));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prefix_is_found_by_its_first_letter() {
        for (prefix, least, _) in TOKENS {
            let rest = if prefix == "eyJ" { "a.".repeat(least) } else { "A".repeat(least) };
            assert_eq!(token(&format!("{prefix}{rest}")), Some(prefix.len() + rest.len()), "{prefix}");
        }
    }
}
