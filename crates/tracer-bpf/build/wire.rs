//! Generates Rust structures from `wire.h`. Total over the small language that file is written in: whatever it does not
//! understand is an error, so the two sides cannot drift apart.

use std::fmt::Write;

/// The Rust text for a wire header, or what in it is not understood.
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
        } else {
            return Err(format!("not understood: {line}"));
        }
    }
    Ok(rust)
}

/// The names of the kernel types that a header declares: `struct NAME {` and `} NAME;` of a typedef.
pub(crate) fn type_names(header: &str) -> Vec<&str> {
    // Behind three underscores stands which of several versions it is; to the kernel they have the same name.
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
    // Write to a String cannot fail.
    let _ = writeln!(rust, "pub(crate) const {name}: u32 = {value};");
    Ok(())
}

/// A decimal number. One that begins with zero would be octal in C.
fn number(text: &str) -> Option<u32> {
    if text.len() > 1 && text.starts_with('0') { None } else { text.parse().ok() }
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
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name(field.split('[').next().unwrap_or_default()) {
            return Err(format!("not a field: {line}"));
        }
        let _ = match field.split_once('[') {
            Some((field, length)) => {
                let length =
                    length.strip_suffix(']').and_then(number).ok_or_else(|| format!("not an array: {line}"))?;
                writeln!(rust, "    pub(crate) {field}: [{kind}; {length}],")
            }
            None => writeln!(rust, "    pub(crate) {field}: {kind},"),
        };
    }
    Err(format!("struct {name} does not end"))
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect::<String>()
        })
        .collect()
}
