//! Names that somebody may have meant.

/// The reason to ignore a variable that does not exist: it names the nearest one that does.
pub(super) fn no_such_variable(name: &str, known: impl IntoIterator<Item = String>) -> String {
    let nearest = known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("there is no such variable{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variable_is_named() {
        let known = || ["PROCESS_TRACER_ATTRIBUTE", "PROCESS_TRACER_ATTRIBUTES_ON"].map(str::to_owned);
        let reason = no_such_variable("PROCESS_TRACER_ATTRIBUTES", known());
        assert_eq!(reason, "there is no such variable; did you mean PROCESS_TRACER_ATTRIBUTE?");
        assert!(no_such_variable("PROCESS_TRACER_ATTRIBUTE_ON", known()).ends_with("PROCESS_TRACER_ATTRIBUTES_ON?"));
    }
}
