//! Response files: files with arguments, which a compiler reads in place of `@FILE`.

use std::{
    iter,
    path::{Path, PathBuf},
};

/// A response file can name others. This is the largest number of files. GCC has the same limit: libiberty, argv.c.
const FILES: usize = 2000;

/// Bytes of all response files of a call. The traced command writes these files, so they could fill our memory.
pub const RESPONSE_BYTES: usize = 16 << 20;

/// Arguments of all response files of a call. A short argument takes much more memory than its bytes.
const ARGUMENTS: usize = 1 << 18;

/// The response files of a call are larger than [`RESPONSE_BYTES`], or have more than [`ARGUMENTS`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Puts the content of response files in their places. A file that cannot be read stays as `@FILE`, as compilers do it.
pub(super) fn expand(
    arguments: Vec<String>,
    directory: &Path,
    read: &mut dyn FnMut(&Path) -> Option<Vec<u8>>,
) -> Result<Vec<String>, TooLarge> {
    let (mut expanded, mut files, mut bytes, mut count) = (Vec::new(), 0, 0, 0);
    // In reverse order, so that `pop` takes the next argument.
    let mut rest: Vec<String> = arguments.into_iter().rev().collect();
    while let Some(argument) = rest.pop() {
        let file = argument.strip_prefix('@').filter(|file| !file.is_empty() && files < FILES);
        let content = file.and_then(|file| read(&directory.join(PathBuf::from(file))));
        let Some(content) = content.and_then(|content| String::from_utf8(content).ok()) else {
            expanded.push(argument);
            continue;
        };
        files += 1;
        bytes += content.len();
        if bytes > RESPONSE_BYTES {
            return Err(TooLarge);
        }
        let before = rest.len();
        rest.extend(words(&content).take(ARGUMENTS - count + 1));
        count += rest.len() - before;
        if count > ARGUMENTS {
            return Err(TooLarge);
        }
        rest[before..].reverse();
    }
    Ok(expanded)
}

/// The arguments in a text, as GCC splits it: libiberty, argv.c, buildargv(). A backslash escapes the next character, also
/// between quotes.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut characters = text.chars();
    iter::from_fn(move || {
        let (mut word, mut quote) = (None::<String>, None);
        while let Some(character) = characters.next() {
            match (character, quote) {
                ('\\', _) => word.get_or_insert_default().extend(characters.next()),
                (end, Some(begin)) if end == begin => quote = None,
                (_, Some(_)) => word.get_or_insert_default().push(character),
                ('\'' | '"', None) => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (space, None) if space.is_ascii_whitespace() => {
                    if word.is_some() {
                        break;
                    }
                }
                _ => word.get_or_insert_default().push(character),
            }
        }
        word
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_read_as_gcc_reads_them() {
        let text = "-I'a b' \"-DX=\\\"y z\\\"\"\n\t-DE= '' a\\ b.c 'it\\'s' x\"y\"z";
        let words = |text| words(text).collect::<Vec<_>>();
        assert_eq!(words(text), ["-Ia b", "-DX=\"y z\"", "-DE=", "", "a b.c", "it's", "xyz"]);
        assert_eq!(words(" \n"), [""; 0]);
    }

    #[test]
    fn response_files_can_name_others_and_unreadable_ones_stay() {
        let mut read = |path: &Path| match path.to_str()? {
            "/w/a.rsp" => Some(b"-O2 @/w/b.rsp @none".to_vec()),
            "/w/b.rsp" => Some(b"x.c".to_vec()),
            "/w/circle" => Some(b"-g @circle".to_vec()),
            _ => None,
        };
        let mut expanded = |arguments: &[&str]| {
            expand(arguments.iter().map(|&word| word.to_owned()).collect(), Path::new("/w"), &mut read).unwrap()
        };
        assert_eq!(expanded(&["-c", "@a.rsp", "@", "-o", "x.o"]), ["-c", "-O2", "x.c", "@none", "@", "-o", "x.o"]);
        assert_eq!(expanded(&["@circle"]).len(), FILES + 1);
    }

    #[test]
    fn the_expansion_of_a_call_is_limited() {
        let expand = |content: &str| {
            let mut read = |path: &Path| path.ends_with("bomb").then(|| content.as_bytes().to_vec());
            expand(vec!["@bomb".to_owned()], Path::new("/w"), &mut read).map(|expanded| expanded.len())
        };
        assert_eq!(expand(&"x ".repeat(ARGUMENTS)), Ok(ARGUMENTS));
        assert_eq!(expand(&("@bomb ".to_owned() + &"x ".repeat(ARGUMENTS / 2))), Err(TooLarge));
        assert_eq!(expand(&" ".repeat(RESPONSE_BYTES + 1)), Err(TooLarge));
    }
}
