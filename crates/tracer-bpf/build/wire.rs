//! Generates the Rust side of `wire.h`. The file is written in a small part of C. Any other C is an error, so the two
//! sides cannot become different.

use std::fmt::Write;

/// Returns the Rust text for a wire header.
///
/// # Errors
///
/// The first line that is not part of the small language.
pub(crate) fn generate(header: &str) -> Result<String, String> {
    let code = without_comments(header)?;
    let mut rust = String::new();
    let mut lines = code.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        if let Some(define) = line.strip_prefix("#define ") {
            constant(define, &mut rust)?;
        } else if line.starts_with("#ifndef ") || line == "#endif" {
            // the include guard
        } else if let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
            structure(name, &mut lines, &mut rust)?;
        } else if let Some(name) = line.strip_prefix("enum ").and_then(|rest| rest.strip_suffix(" {")) {
            enumeration(name, &mut lines, &mut rust)?;
        } else {
            return Err(format!("not understood: {line}"));
        }
    }
    Ok(rust)
}

/// The names of the kernel types that a header declares: `struct NAME {` and `} NAME;` of a typedef.
pub(crate) fn type_names(header: &str) -> Vec<&str> {
    // Three underscores separate the name from a version. For the kernel all versions have the same name.
    header.lines().filter_map(declared).map(|name| name.split("___").next().unwrap_or(name)).collect()
}

fn declared(line: &str) -> Option<&str> {
    let named = line.strip_prefix("struct ").or_else(|| line.strip_prefix("enum "));
    let structure = named.and_then(|rest| rest.strip_suffix(" {"));
    structure.or_else(|| line.strip_prefix("} ")?.strip_suffix(';'))
}

fn without_comments(header: &str) -> Result<String, String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").ok_or("a comment does not end")?.1;
    }
    code.push_str(rest);
    Ok(code)
}

fn constant(define: &str, rust: &mut String) -> Result<(), String> {
    let Some((name, value)) = define.split_once(char::is_whitespace) else {
        return Ok(()); // the include guard has no value
    };
    let value = number(value.trim()).ok_or_else(|| format!("not a number: #define {define}"))?;
    // Writing to a String cannot fail.
    let _ = writeln!(rust, "pub(crate) const {name}: u32 = {value};");
    Ok(())
}

/// A decimal number. A number with a leading zero is refused, because it is octal in C.
fn number(text: &str) -> Option<u32> {
    if text.len() > 1 && text.starts_with('0') { None } else { text.parse().ok() }
}

/// `enum record_kind { RECORD_FORK, RECORD_KINDS };` has the variant `Fork` and the constant `RECORD_KINDS`.
fn enumeration<'a>(name: &str, lines: &mut impl Iterator<Item = &'a str>, rust: &mut String) -> Result<(), String> {
    let (kind, prefix) = (camel_case(name), name.split('_').next().unwrap_or_default().to_uppercase() + "_");
    let mut names = Vec::new();
    loop {
        let line = lines.next().ok_or_else(|| format!("enum {name} does not end"))?;
        let (text, is_last) = line.strip_suffix(',').map_or((line, true), |text| (text, false));
        let suffix = text.strip_prefix(&prefix).filter(|suffix| is_name(suffix));
        let suffix = suffix.ok_or_else(|| format!("not a name of enum {name}: {line}"))?;
        if is_last {
            let count = names.len();
            let _ = writeln!(
                rust,
                "#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n\
                 pub enum {kind} {{ {variants} }}\n\
                 impl {kind} {{\n\
                 pub(crate) const ALL: [Self; {count}] = [{all}];\n\
                 pub(crate) fn of(value: u32) -> Option<Self> {{ Self::ALL.get(value as usize).copied() }}\n\
                 }}\n\
                 pub(crate) const {text}: u32 = {count};",
                variants = names.join(", "),
                all = names.iter().map(|name| format!("Self::{name}")).collect::<Vec<_>>().join(", "),
            );
            break;
        }
        names.push(camel_case(&suffix.to_lowercase()));
    }
    match lines.next() {
        Some("};") => Ok(()),
        _ => Err(format!("enum {name} does not end after its count")),
    }
}

fn structure<'a>(name: &str, lines: &mut impl Iterator<Item = &'a str>, rust: &mut String) -> Result<(), String> {
    let _ = writeln!(
        rust,
        "#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]\n\
         #[repr(C)]\n\
         pub(crate) struct {} {{",
        camel_case(name)
    );
    for line in lines {
        if line == "};" {
            rust.push_str("}\n");
            return Ok(());
        }
        let declaration = line.strip_suffix(';').ok_or_else(|| format!("not a field: {line}"))?;
        let (kind, field) = declaration.rsplit_once(' ').ok_or_else(|| format!("not a field: {line}"))?;
        let kind = match kind {
            "__u8" => "u8".to_owned(),
            "__u16" => "u16".to_owned(),
            "__u32" => "u32".to_owned(),
            "__u64" => "u64".to_owned(),
            other => camel_case(other.strip_prefix("struct ").ok_or_else(|| format!("not a type: {other}"))?),
        };
        if !is_name(field.split('[').next().unwrap_or_default()) {
            return Err(format!("not a field: {line}"));
        }
        let _ = match field.split_once('[') {
            Some((field, length)) => {
                let length = length.strip_suffix(']').and_then(array_length);
                let length = length.ok_or_else(|| format!("not an array: {line}"))?;
                writeln!(rust, "    pub(crate) {field}: [{kind}; {length}],")
            }
            None => writeln!(rust, "    pub(crate) {field}: {kind},"),
        };
    }
    Err(format!("struct {name} does not end"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A number, or the name of a constant. If there is no such constant, the Rust side does not compile.
fn array_length(text: &str) -> Option<String> {
    let is_constant = is_name(text) && text.starts_with(|c: char| c.is_ascii_uppercase());
    number(text).map(|number| number.to_string()).or_else(|| is_constant.then(|| format!("{text} as usize")))
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect::<String>()
        })
        .collect()
}
