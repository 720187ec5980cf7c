//! The sources and the output in the arguments of a compiler.

use std::path::Path;

/// What a call of a compiler compiles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The places of the sources in the arguments, in ascending order. At least one.
    pub(super) sources: Vec<usize>,
    output: Output,
}

/// The output of a call.
#[derive(Debug, PartialEq, Eq)]
enum Output {
    /// `-o` names it.
    Named(String),
    /// A file for each source, with this suffix.
    Suffix(&'static str),
    /// A program.
    Linked,
    /// There is none, or its name is not known.
    Unknown,
}

/// Options whose value is the next argument. An option that is missing here does no harm, unless its value looks like a source.
const WITH_VALUE: &[&str] = &[
    // GCC and clang.
    "-A",
    "-B",
    "-D",
    "-F",
    "-I",
    "-L",
    "-MF",
    "-MJ",
    "-MQ",
    "-MT",
    "-T",
    "-U",
    "-Xanalyzer",
    "-Xassembler",
    "-Xclang",
    "-Xlinker",
    "-Xpreprocessor",
    "-arch",
    "-aux-info",
    "-cxx-isystem",
    "-dumpbase",
    "-dumpbase-ext",
    "-dumpdir",
    "-e",
    "-framework",
    "-idirafter",
    "-iframework",
    "-imacros",
    "-imultilib",
    "-include",
    "-include-pch",
    "-iprefix",
    "-iquote",
    "-isysroot",
    "-isystem",
    "-ivfsoverlay",
    "-iwithprefix",
    "-iwithprefixbefore",
    "-l",
    "-mllvm",
    "-target",
    "-u",
    "-working-directory",
    "-wrapper",
    "-z",
    "--include",
    "--param",
    "--serialize-diagnostics",
    "--sysroot",
    "-serialize-diagnostics",
    // nvcc.
    "-Xarchive",
    "-Xcompiler",
    "-Xfatbin",
    "-Xnvlink",
    "-Xptxas",
    "-ccbin",
    "-code",
    "-gencode",
    "-maxrregcount",
    "-odir",
    "--compiler-bindir",
    "--compiler-options",
    "--generate-code",
    "--include-path",
    "--linker-options",
    "--output-directory",
    "--pre-include",
];

/// Options with which a compiler compiles nothing.
const COMPILES_NOTHING: &[&str] = &[
    "-E",
    "-M",
    "-MM",
    "-###",
    "-cc1",
    "-cc1as",
    "-dumpmachine",
    "-dumpversion",
    "-dumpfullversion",
    "-dumpspecs",
    "--help",
    "--version",
    "--preprocess",
    "--dryrun",
    "-dryrun",
    "--generate-dependencies",
    "-dlink",
    "--device-link",
];

/// Suffixes of sources: GCC, gcc/doc/invoke.texi, "Overall Options"; clang, Types.cpp; nvcc.
const SOURCES: &[&str] = &[
    "c", "i", "ii", "m", "mi", "mm", "M", "mii", "cc", "cp", "cxx", "cpp", "CPP", "c++", "C", "CC", "CXX", "s", "S",
    "sx", "asm", "cu", "hip", "cl", "ixx", "cppm", "ccm", "cxxm", "c++m", "mpp", "f", "for", "ftn", "F", "FOR", "FTN",
    "fpp", "FPP", "f77", "F77", "f90", "F90", "f95", "F95", "f03", "F03", "f08", "F08",
];

/// Suffixes of headers. A compiler compiles one in advance if it is the only operand.
const HEADERS: &[&str] = &["h", "hh", "H", "hp", "hxx", "hpp", "HPP", "h++", "tcc"];

impl Compiled {
    /// Reads the arguments of a compiler, without its name. `None`: the call compiles nothing.
    pub(super) fn of(arguments: &[String]) -> Option<Self> {
        let (mut sources, mut headers) = (Vec::new(), Vec::new());
        let (mut output, mut stage, mut has_language, mut are_operands) = (None, Output::Linked, false, false);
        let mut words = arguments.iter().map(String::as_str).enumerate();
        while let Some((place, word)) = words.next() {
            match word {
                _ if are_operands || word == "-" || !word.starts_with('-') => {
                    let suffix = Path::new(word).extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
                    if has_language && word != "-" || SOURCES.contains(&suffix) {
                        sources.push(place);
                    } else if HEADERS.contains(&suffix) {
                        headers.push(place);
                    }
                }
                "--" => are_operands = true,
                "-c" | "-dc" | "-dw" | "--compile" | "--device-c" => stage = Output::Suffix("o"),
                "-S" => stage = Output::Suffix("s"),
                "-fsyntax-only" => stage = Output::Unknown,
                "-o" | "--output" | "--output-file" => output = Some(words.next()?.1),
                "-x" | "--x" => has_language = is_language(words.next()?.1)?,
                _ if COMPILES_NOTHING.contains(&word) || word.starts_with("-print-") || word.starts_with("--help=") => {
                    return None;
                }
                _ if WITH_VALUE.contains(&word) => {
                    words.next();
                }
                _ => {
                    if let Some(language) = word.strip_prefix("-x") {
                        has_language = is_language(language)?;
                    }
                    // GCC reads `-ofile` too. Some compilers have options such as `-openmp`.
                    let joined = word.strip_prefix("-o").filter(|file| file.contains(['.', '/']));
                    output = joined.or_else(|| word.strip_prefix("--output=")).or(output);
                }
            }
        }
        if sources.is_empty() {
            (sources, stage) = (headers, Output::Unknown);
        }
        let output = output.map_or(stage, |output| Output::Named(output.to_owned()));
        (!sources.is_empty()).then_some(Self { sources, output })
    }

    /// The output for a source, relative to the directory of the call.
    pub(super) fn output(&self, source: &str) -> Option<String> {
        match &self.output {
            Output::Named(output) => Some(output.clone()),
            Output::Suffix(suffix) => {
                let name = Path::new(source).with_extension(suffix);
                name.file_name()?.to_str().map(str::to_owned)
            }
            Output::Linked => Some("a.out".to_owned()),
            Output::Unknown => None,
        }
    }
}

/// Whether this value of `-x` sets a language for the next operands. `None`: a linker plug-in calls the compiler for its
/// own files.
fn is_language(language: &str) -> Option<bool> {
    match language {
        "lto" => None,
        language => Some(language != "none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sources of a call and their outputs.
    fn compiled(call: &str) -> Vec<(String, Option<String>)> {
        let arguments: Vec<_> = call.split(' ').map(str::to_owned).collect();
        let Some(compiled) = Compiled::of(&arguments) else { return Vec::new() };
        let source = |place: &usize| (arguments[*place].clone(), compiled.output(&arguments[*place]));
        compiled.sources.iter().map(source).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, Option<String>)> {
        pairs
            .map(|(source, output)| (source.to_owned(), Some(output.to_owned()).filter(|output| !output.is_empty())))
            .to_vec()
    }

    #[test]
    fn each_source_of_a_call_has_its_output() {
        assert_eq!(compiled("-O2 -c d/a.c b.cc"), pairs([("d/a.c", "a.o"), ("b.cc", "b.o")]));
        assert_eq!(compiled("-c a.c -o x/a.o"), pairs([("a.c", "x/a.o")]));
        assert_eq!(compiled("-ox/a.o -c a.c"), pairs([("a.c", "x/a.o")]));
        assert_eq!(compiled("-S a.c"), pairs([("a.c", "a.s")]));
        assert_eq!(compiled("main.c a.o libb.a -lm -o prog"), pairs([("main.c", "prog")]));
        assert_eq!(compiled("main.c"), pairs([("main.c", "a.out")]));
        assert_eq!(compiled("-fsyntax-only a.c"), pairs([("a.c", "")]));
        assert_eq!(compiled("-c start.S -o start.o"), pairs([("start.S", "start.o")]));
        assert_eq!(compiled("-x c -c generated -o g.o"), pairs([("generated", "g.o")]));
        assert_eq!(compiled("-xc++ -c a.c -x none b.o"), pairs([("a.c", "a.o")]));
        assert_eq!(compiled("-x c++-header all.h -o all.h.gch"), pairs([("all.h", "all.h.gch")]));
        assert_eq!(compiled("all.hpp"), pairs([("all.hpp", "")]));
        assert_eq!(compiled("-c -- -a.c"), pairs([("-a.c", "-a.o")]));
        assert_eq!(compiled("-gencode arch=sm_80 -Xcompiler -fPIC -dc k.cu -o k.o"), pairs([("k.cu", "k.o")]));
    }

    #[test]
    fn values_of_options_are_no_sources() {
        let call = "-MD -MF a.c -MT b.c -include c.c -imacros d.h -D e.c -Xclang f.c -isystem g.c -c h.c";
        assert_eq!(compiled(call), pairs([("h.c", "h.o")]));
    }

    #[test]
    fn calls_that_compile_nothing_have_no_sources() {
        for call in [
            "a.o b.o -o prog",
            "--version",
            "-E a.c",
            "-M a.c",
            "-MM a.c -MF a.d",
            "-print-prog-name=ld",
            "-cc1 a.c",
            "-v",
            "-### -c a.c",
            "-x c -c -",
            "-xlto a.o",
            "-shared -o lib.so a.o",
            "-c -o",
            "-x",
        ] {
            assert_eq!(compiled(call), [], "{call}");
        }
    }
}
