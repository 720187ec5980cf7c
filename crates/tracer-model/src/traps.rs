//! The commands of traps. A shell runs them, but ends with the status that it had before.

use crate::event::base_name;

/// Whether a shell runs this command line in a trap, as far as its own command line says: `sh -c "trap 'rm -r x' EXIT; …"`.
/// Both are arguments, with the program first. A trap that calls `exit` changes the status, so it does not count.
///
/// ```
/// use tracer_model::traps::runs_in_trap;
///
/// let shell = ["sh", "-c", "trap 'grep -q x log; rm log' EXIT; make"];
/// assert!(runs_in_trap(shell, &["grep", "-q", "x", "log"]));
/// assert!(!runs_in_trap(shell, &["make"]));
/// ```
pub fn runs_in_trap<'a>(shell: impl IntoIterator<Item = &'a str>, command: &[&str]) -> bool {
    shell.into_iter().filter(|text| text.contains("trap ")).any(|script| {
        let actions = actions(script);
        let has_exit =
            || actions.iter().flat_map(|action| commands(action)).any(|words| words.first() == Some(&"exit"));
        actions.iter().flat_map(|action| commands(action)).any(|words| is_call(&words, command)) && !has_exit()
    })
}

/// The actions of all traps in a script. If an action is the name of a function, its body counts too.
fn actions(script: &str) -> Vec<&str> {
    let mut actions = Vec::new();
    for (at, trap) in script.match_indices("trap ") {
        if script[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c)) {
            continue;
        }
        let rest = script[at + trap.len()..].trim_start();
        let quoted = rest.strip_prefix(['\'', '"']).and_then(|quoted| quoted.split(&rest[..1]).next());
        let Some(action) = quoted.or_else(|| rest.split_whitespace().next()) else { continue };
        actions.push(action);
        let body = script.split_once(&format!("{}()", action.trim())).and_then(|(_, body)| body.split('}').next());
        actions.extend(body);
    }
    actions
}

/// The commands of an action, as words without quotes and redirections.
fn commands(action: &str) -> impl Iterator<Item = Vec<&str>> {
    action.split([';', '|', '\n', '(', ')', '{', '}']).flat_map(|part| part.split("&&")).map(|command| {
        let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"', '\\']));
        let words = words.filter(|word| !word.contains(['<', '>']) && *word != "&");
        words.skip_while(|word| ["if", "then", "else", "do", "while", "!"].contains(word)).collect()
    })
}

/// Whether these words of a script can be this command line.
fn is_call(words: &[&str], command: &[&str]) -> bool {
    let ([name, values @ ..], [program, arguments @ ..]) = (words, command) else { return false };
    let is_expanded = |word: &&str| word.contains(['$', '*', '?', '`', '~']);
    base_name(name) == base_name(program) && (values.iter().any(is_expanded) || values == arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_trapped(script: &str, command: &str) -> bool {
        runs_in_trap(["bash", "-c", script], &command.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn a_command_of_a_trap_is_recognised() {
        assert!(is_trapped("trap \"ls /x 2>/dev/null\" EXIT; make", "ls /x"));
        assert!(is_trapped("set -e; trap 'kill $pid; rm -r \"$tmp\" || true' 0 INT\nmake", "rm -r /tmp/abc"));
        assert!(is_trapped("clean() { umount /mnt; }; trap clean EXIT; make", "/bin/umount /mnt"));
        assert!(is_trapped("trap false ERR; make", "/bin/false"));
    }

    #[test]
    fn other_commands_are_not_taken_for_those_of_a_trap() {
        assert!(!is_trapped("trap 'make clean' EXIT; make", "make"));
        assert!(!is_trapped("trap 'ls /x' EXIT; ls /y", "ls /y"));
        assert!(!is_trapped("trap 'ls /x; exit 2' EXIT; make", "ls /x"), "its status may be that of ls");
        assert!(!is_trapped("bootstrap ls /x", "ls /x") && !is_trapped("trap", "trap") && !is_trapped("trap ", ""));
    }
}
