//! The built-in names of processes. They are rules files that users can print and copy.

use std::borrow::Cow;

use tracer_model::expression::Failure;

use crate::Book;

const SMART: &str = include_str!("smart.yaml");
const COMPILERS: &str = include_str!("compilers.yaml");

/// How processes are named if no rule of the user names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Interpreters also have the name of the script, such as `python3 setup.py`.
    #[default]
    Smart,
    /// The name of the program alone.
    Plain,
    /// The same as `Smart`, and names of compilers also have the name of the source.
    Detailed,
}

impl Names {
    /// The rules file.
    #[must_use]
    pub fn file(self) -> Cow<'static, str> {
        match self {
            Self::Smart => Cow::Borrowed(SMART),
            Self::Plain => Cow::Borrowed("rules: []\n"),
            Self::Detailed => {
                let (_, smart) = SMART.split_once("\nrules:\n").unwrap_or_default();
                Cow::Owned(format!("{COMPILERS}{smart}"))
            }
        }
    }

    /// The compiled rules.
    #[must_use]
    pub fn book(self) -> Book {
        // This cannot fail: a test compiles all these files.
        Book::read(&self.file(), &|_| None).unwrap_or_default()
    }
}

/// The built-in names of a trace. They are compiled only when they may name a process, because the compilation takes more
/// instructions than the rest of the start of process-tracer.
#[derive(Debug)]
pub(crate) struct BuiltIn {
    names: Names,
    /// The rules apply only to programs whose names begin with one of these words. `None`: they apply to all programs.
    programs: Option<Vec<&'static str>>,
    book: Option<Book>,
}

impl BuiltIn {
    pub(crate) fn new(names: Names) -> Self {
        let programs = match names {
            Names::Smart => Some(words_of_patterns(SMART).collect()),
            Names::Plain => Some(Vec::new()),
            Names::Detailed => None,
        };
        Self { names, programs, book: None }
    }

    /// The rules, if they may name a process of this program.
    pub(crate) fn book_for(&mut self, program: &str) -> Option<&mut Book> {
        let is_named = self.programs.as_ref().is_none_or(|known| known.iter().any(|known| program.starts_with(known)));
        is_named.then(|| self.book.get_or_insert_with(|| self.names.book()))
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.book.iter().flat_map(Book::failures)
    }
}

/// The words in the patterns over names of processes. Each name that a pattern matches begins with one of these words.
fn words_of_patterns(file: &str) -> impl Iterator<Item = &str> {
    let patterns = file.lines().filter_map(|line| Some(line.split_once("process: ")?.1));
    patterns.flat_map(|pattern| pattern.split(|next: char| !next.is_ascii_alphabetic())).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use tracer_model::{
        event::Image,
        judge::{Judge as _, Lineage},
    };

    use super::*;
    use crate::{RulesJudge, facts::tests::subject};

    fn name(names: Names, arguments: &[&str]) -> String {
        let image = Image {
            file: format!("/usr/bin/{}", arguments[0].rsplit('/').next().unwrap()),
            arguments: arguments.iter().collect(),
            ..Image::default()
        };
        let lineage = Lineage::default();
        let ruling = RulesJudge::new(Book::default(), names).judge(&subject(&image, &lineage));
        ruling.name.map_or_else(|| image.name().to_owned(), |name| name.to_string())
    }

    #[test]
    fn the_files_compile() {
        for (names, least) in [(Names::Smart, 6), (Names::Plain, 0), (Names::Detailed, 12)] {
            let book = Book::read(&names.file(), &|_| None).unwrap_or_else(|error| panic!("{names:?}: {error:?}"));
            assert!(book.len() >= least, "{names:?}");
        }
    }

    #[test]
    fn the_rules_are_compiled_for_the_first_program_that_they_may_name() {
        let mut names = BuiltIn::new(Names::Smart);
        assert!(["make", "cc", "perf", ""].into_iter().all(|program| names.book_for(program).is_none()));
        assert!(names.book.is_none());
        assert!(names.book_for("python3.11").is_some());
        assert!(BuiltIn::new(Names::Plain).book_for("python3").is_none());
        assert!(BuiltIn::new(Names::Detailed).book_for("x86_64-linux-gnu-gcc").is_some());
    }

    #[test]
    fn the_rules_need_no_environment() {
        assert!(
            [Names::Smart, Names::Plain, Names::Detailed].into_iter().all(|names| !names.book().needs_environment())
        );
    }

    #[test]
    fn a_smart_name_says_what_an_interpreter_runs() {
        for (arguments, expected) in [
            (&["python3", "setup.py", "build"][..], "python3 setup.py"),
            (&["python3.11", "-u", "-W", "error", "/src/tools/setup.py"], "python3.11 setup.py"),
            (&["python3", "-m", "pytest", "-x"], "python3 pytest"),
            (&["python3", "-c", "print(1)"], "python3"),
            (&["python3", "/tmp/abcdef.py"], "python3"),
            (&["python3", "/tmp/build/setup.py"], "python3 setup.py"),
            (&["python3", "job_17.py"], "python3"),
            (&["python3", "/home/a b/setup.py"], "python3"),
            (&["python3"], "python3"),
            (&["node", "--max-old-space-size=4096", "node_modules/.bin/tsc", "-p", "."], "node tsc"),
            (&["java", "-Xmx1g", "-jar", "/opt/app-1.2.3.jar", "--port=1"], "java app.jar"),
            (&["java", "-cp", "a:b", "-Dx=1", "com.example.Main", "x"], "java Main"),
            (&["bash", "deploy.sh"], "bash deploy.sh"),
            (&["sh", "-e", "./configure", "--prefix=/usr"], "sh configure"),
            (&["sh", "-c", "echo deploy.sh"], "sh"),
            (&["sh", "-ec", "make all"], "sh"),
            (&["bash"], "bash"),
            (&["perl", "-w", "/usr/bin/automake-1.16"], "perl automake"),
            (&["perl", "-e", "print 1"], "perl"),
            (&["ruby", "-Ilib", "/usr/bin/rake", "test"], "ruby rake"),
            (&["cc", "-c", "t_hash.c"], "cc"),
        ] {
            assert_eq!(name(Names::Smart, arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_script_has_its_own_name_even_if_it_is_the_name_of_an_interpreter() {
        let script = |file: &str, arguments: &[&str]| {
            let arguments = arguments.iter().collect();
            let image = Image { file: file.to_owned(), is_script: true, arguments, ..Image::default() };
            let lineage = Lineage::default();
            let names = [Names::Smart, Names::Detailed];
            names.map(|names| names.book().judge(&subject(&image, &lineage), |_| {}).name.as_deref().map(str::to_owned))
        };
        let shim = "/shims/python3";
        assert_eq!(script(shim, &["/usr/bin/env", "bash", shim, "setup.py"]), [None, None]);
        assert_eq!(script(shim, &["bash", shim, "setup.py"]), [None, None]);
        assert_eq!(script("/x/node", &["/bin/sh", "/x/node", "app.js"]), [None, None]);
        assert_eq!(script("/x/java", &["/bin/sh", "/x/java", "-jar", "app.jar"]), [None, None]);
        assert_eq!(script("/x/gcc", &["/bin/sh", "/x/gcc", "-c", "a.c"]), [None, Some("gcc a.c".to_owned())]);
    }

    #[test]
    fn a_detailed_name_says_what_a_compiler_compiles() {
        for (arguments, expected) in [
            (&["rustc", "--crate-name", "serde_json", "--edition=2021"][..], "rustc serde_json"),
            (&["/usr/lib/gcc/cc1", "-quiet", "t_hash.c", "-dumpbase", "t_hash.c"], "cc1 t_hash.c"),
            (&["gcc", "-O2", "-c", "src/t_hash.c", "-o", "t_hash.o"], "gcc t_hash.c"),
            (&["x86_64-linux-gnu-gcc", "a.c", "-O2", "-c"], "x86_64-linux-gnu-gcc a.c"),
            (&["/usr/local/go/pkg/tool/linux_amd64/compile", "-o", "a", "-p", "net/http"], "go compile net/http"),
            (&["ld", "-o", "out/redis-server", "a.o"], "ld redis-server"),
            (&["python3", "setup.py"], "python3 setup.py"),
        ] {
            assert_eq!(name(Names::Detailed, arguments), expected, "{arguments:?}");
        }
        assert_eq!(name(Names::Plain, &["python3", "setup.py"]), "python3");
    }
}
