//! Names that somebody may have meant.

/// The reason to ignore a variable that does not exist. If the name of a known variable is similar, the text has it.
pub(super) fn no_such_variable(name: &str, known: impl IntoIterator<Item = String>) -> String {
    // The first words of most names are the same. So the last word decides how many letters can be wrong.
    let most = (name.rsplit('_').next().unwrap_or_default().len() / 3).max(1);
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, &known), known));
    let nearest = distances.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= most);
    let hint = nearest.map(|(_, nearest)| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("there is no such variable{hint}")
}

/// Whether one name becomes the other with at most this number of typos.
pub(super) fn is_near(name: &str, known: &str, typos: usize) -> bool {
    // One typo changes the length by one at most. It removes at most one letter of the known name. These two tests are
    // much faster than the distance.
    name.chars().count().abs_diff(known.chars().count()) <= typos
        && known.chars().filter(|letter| !name.contains(*letter)).count() <= typos
        && strsim::damerau_levenshtein(name, known) <= typos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_few_typos_is_near() {
        assert!(is_near("OTEL_SERVCIE_NAM", "OTEL_SERVICE_NAME", 2));
        assert!(!is_near("OTEL_SERVCIE_NA", "OTEL_SERVICE_NAME", 2));
        // Letters count, not bytes.
        assert!(is_near("OTEL_SERVICE_N€ME", "OTEL_SERVICE_NAME", 1));
    }

    #[test]
    fn the_nearest_variable_is_named() {
        let known = || ["PROCESS_TRACER_ATTRIBUTE", "PROCESS_TRACER_ATTRIBUTES_ON"].map(str::to_owned);
        let reason = no_such_variable("PROCESS_TRACER_ATTRIBUTES", known());
        assert_eq!(reason, "there is no such variable; did you mean PROCESS_TRACER_ATTRIBUTE?");
        assert!(no_such_variable("PROCESS_TRACER_ATTRIBUTE_ON", known()).ends_with("PROCESS_TRACER_ATTRIBUTES_ON?"));
    }

    #[test]
    fn no_variable_is_named_if_none_is_near() {
        for (name, known) in [("OTEL_BSP_FOO", "OTEL_PROPAGATORS"), ("PROCESS_TRACER_FOO", "PROCESS_TRACER_LOG")] {
            assert_eq!(no_such_variable(name, [known.to_owned()]), "there is no such variable");
        }
    }
}
