//! `process-tracer rules convert`: translates a configuration of another tool into a rules file.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use tracer_rules::convert::{Conversion, convert as translate};

use crate::console;

/// The exit status if something could not be translated.
const INCOMPLETE: u8 = 1;

/// Prints the rules file on stdout. Returns the exit status.
///
/// # Errors
///
/// The file cannot be read, or the other tool would not accept it.
pub(crate) fn convert(file: &Path) -> Result<u8> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read '{}'", file.display()))?;
    let Conversion { text, untranslated } = translate(&text).map_err(|error| {
        let place = error.place.map(|place| format!(", {place}")).unwrap_or_default();
        anyhow!("'{}'{place}: {error}", file.display())
    })?;
    console::print(text)?;
    for part in &untranslated {
        console::say(format_args!("not translated: {part}"));
    }
    Ok(if untranslated.is_empty() { 0 } else { INCOMPLETE })
}
