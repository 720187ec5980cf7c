//! The names of compilers.

use tracer_model::event::base_name;

/// A program that takes part in a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// It takes the arguments of a compiler.
    Compiler,
    /// The name of a compiler is its first operand.
    Wrapper,
}

/// Names of compilers, without a prefix of the target and without a version.
const COMPILERS: &[&str] = &[
    "cc", "c++", "cxx", "CC", "c89", "c99", "gcc", "g++", "clang", "clang++", "tcc", "gfortran", "flang", "ifort",
    "ifx", "icc", "icpc", "icx", "icpx", "pgcc", "pgc++", "nvc", "nvc++", "nvcc", "hipcc", "emcc", "em++", "mpicc",
    "mpic++", "mpicxx", "mpiCC", "mpifort",
];

/// Programs that run the compiler whose name follows.
const WRAPPERS: &[&str] = &["ccache", "sccache", "distcc", "icecc", "gomacc", "buildcache"];

/// Thread models at the end of the names of MinGW's compilers.
const ENDS: &[&str] = &["-posix", "-win32"];

impl Program {
    /// The program with this path.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = base_name(path);
        if WRAPPERS.contains(&name) {
            return Some(Self::Wrapper);
        }
        let name = ENDS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        // The name can be `x86_64-linux-gnu-gcc-12`, and `clang14` on FreeBSD. But GCC's `cc1` is a part of the compiler, and
        // `c99` is no version of `c`.
        let versionless = name.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
        let versionless = versionless.strip_suffix('-').or(Some(versionless).filter(|name| *name != "cc"));
        let is_compiler = |name: &str| name.rsplit('-').next().is_some_and(|last| COMPILERS.contains(&last));
        (is_compiler(name) || versionless.is_some_and(is_compiler)).then_some(Self::Compiler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_have_prefixes_of_targets_and_versions() {
        for compiler in [
            "cc",
            "c++",
            "gcc",
            "g++",
            "clang",
            "clang++",
            "c99",
            "/usr/bin/gcc-12",
            "clang-14",
            "clang++-19",
            "g++-4.9.2",
            "clang14",
            "x86_64-linux-gnu-gcc-12",
            "arm-none-eabi-g++",
            "aarch64-linux-android21-clang++",
            "x86_64-w64-mingw32-gcc-12-posix",
            "x86_64-w64-mingw32-g++-win32",
            "musl-gcc",
            "/usr/local/cuda/bin/nvcc",
            "mpicc",
            "/a b/gcc",
        ] {
            assert_eq!(Program::of(compiler), Some(Program::Compiler), "{compiler}");
        }
        for other in [
            "",
            "-",
            "12",
            "cc1",
            "cc1plus",
            "collect2",
            "ld",
            "as",
            "gcc-ar",
            "gcc-ranlib-12",
            "clang-tidy",
            "clang-format-14",
            "clangd",
            "c++filt",
            "x86_64-linux-gnu-as",
            "gccgo",
            "make",
            "success",
        ] {
            assert_eq!(Program::of(other), None, "{other}");
        }
        assert_eq!(Program::of("/usr/bin/ccache"), Some(Program::Wrapper));
    }
}
