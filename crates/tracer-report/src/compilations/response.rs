//! Response files: files with arguments, which a compiler reads in place of `@FILE`.

use std::path::{Path, PathBuf};

/// A response file can name others. GCC gives up after so many files too: libiberty, argv.c.
const FILES: usize = 2000;

/// Puts the content of response files in their places. A file that cannot be read stays as `@FILE`, as compilers do it.
pub(super) fn expand(
    arguments: Vec<String>,
    directory: &Path,
    read: &mut dyn FnMut(&Path) -> Option<Vec<u8>>,
) -> Vec<String> {
    let (mut expanded, mut files) = (Vec::new(), 0);
    // The next argument is the last one.
    let mut rest: Vec<String> = arguments.into_iter().rev().collect();
    while let Some(argument) = rest.pop() {
        let file = argument.strip_prefix('@').filter(|file| !file.is_empty() && files < FILES);
        let content = file.and_then(|file| read(&directory.join(PathBuf::from(file))));
        match content.and_then(|content| String::from_utf8(content).ok()) {
            Some(content) => {
                files += 1;
                rest.extend(words(&content).into_iter().rev());
            }
            None => expanded.push(argument),
        }
    }
    expanded
}

/// The arguments in a text, as GCC splits it: libiberty, argv.c, buildargv(). A backslash escapes the next character, also
/// between quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (end, Some(begin)) if end == begin => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(character),
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (space, None) if space.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_read_as_gcc_reads_them() {
        let text = "-I'a b' \"-DX=\\\"y z\\\"\"\n\t-DE= '' a\\ b.c 'it\\'s' x\"y\"z";
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
            expand(arguments.iter().map(|&word| word.to_owned()).collect(), Path::new("/w"), &mut read)
        };
        assert_eq!(expanded(&["-c", "@a.rsp", "@", "-o", "x.o"]), ["-c", "-O2", "x.c", "@none", "@", "-o", "x.o"]);
        assert_eq!(expanded(&["@circle"]).len(), FILES + 1);
    }
}
