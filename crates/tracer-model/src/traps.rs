//! The commands of traps. A shell runs them, but ends with the status that it had before.

use crate::event::base_name;

/// Whether a shell runs this command line in a trap, as far as its own command line says: `sh -c "trap 'rm -r x' EXIT; …"`.
/// `shell` and `command` are arguments that begin with the program. A trap that can pass on the status of its command does not
/// count: see `can_pass_on`.
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
        let runs_it = || actions.iter().flat_map(|action| commands(action)).any(|words| is_call(&words, command));
        runs_it() && !actions.iter().any(|action| can_pass_on(action))
    })
}

/// Whether the command line of a shell has its script: `sh -ec '…'`. Otherwise the script is in a file, or comes from stdin.
///
/// ```
/// use tracer_model::traps::has_script;
///
/// assert!(has_script(["bash", "-o", "pipefail", "-ec", "make"]));
/// assert!(!has_script(["bash", "-e", "build.sh", "-c"]));
/// ```
pub fn has_script<'a>(shell: impl IntoIterator<Item = &'a str>) -> bool {
    let mut words = shell.into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.strip_prefix(['-', '+']) {
            None | Some("-") => return false,
            Some(long) if long.starts_with('-') => {}
            Some(letters) if word.starts_with('-') && letters.contains('c') => return true,
            // The name of an option follows.
            Some(letters) if letters.ends_with(['o', 'O']) => drop(words.next()),
            Some(_) => {}
        }
    }
    false
}

/// Whether the status of a command in this action can become the status of the shell: `exit $?`, or `rm x || exit 1`. A plain
/// `exit 1` does not depend on a command, and `exit` alone ends with the status before the trap.
fn can_pass_on(action: &str) -> bool {
    action.match_indices("exit").any(|(at, exit)| {
        let (before, after) = (&action[..at], &action[at + exit.len()..]);
        let is_end = |c: char| c.is_whitespace() || ";|&(){}'\"".contains(c);
        let is_word = before.chars().next_back().is_none_or(is_end) && after.chars().next().is_none_or(is_end);
        let is_conditional = ["&&", "||", "then", "else", "do"].iter().any(|word| before.trim_end().ends_with(word));
        let value = after.split([';', '\n', '|', '&', ')', '}']).next().unwrap_or_default();
        is_word && (is_conditional || value.contains('$'))
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
    fn other_commands_do_not_count_as_commands_of_a_trap() {
        assert!(!is_trapped("trap 'make clean' EXIT; make", "make"));
        assert!(!is_trapped("trap 'ls /x' EXIT; ls /y", "ls /y"));
        assert!(!is_trapped("trap 'ls /x; exit $?' EXIT; make", "ls /x"), "its status may be that of ls");
        for action in ["ls /x || exit 2", "ls /x && exit 2", "if ! ls /x; then exit 2; fi", "ls /x; exit \"$code\""] {
            assert!(!is_trapped(&format!("trap '{action}' EXIT; make"), "ls /x"), "{action}");
        }
        for action in ["ls /x; exit 2", "ls /x; exit", "ls /x\n(exit 0)", "ls /x; reexit $?"] {
            assert!(is_trapped(&format!("trap '{action}' EXIT; make"), "ls /x"), "{action}");
        }
        assert!(!is_trapped("bootstrap ls /x", "ls /x") && !is_trapped("trap", "trap") && !is_trapped("trap ", ""));
    }
}
