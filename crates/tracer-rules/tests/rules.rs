//! Rules over processes: each test is a file and the rulings that it gives.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use tracer_model::{
    Value,
    event::{Image, Names as Accounts, Strings},
    judge::{Fate, Judge, Lineage, Ruling, Subject},
};
use tracer_rules::{Book, Names, RulesJudge};

fn environment(name: &str) -> Option<String> {
    (name == "STAGE").then(|| "test".to_owned())
}

fn judge(file: &str) -> RulesJudge {
    let book = Book::read(file, &environment).unwrap_or_else(|error| panic!("{file}: {:?} {error}", error.place));
    RulesJudge::new(book, Names::Plain)
}

/// The ruling of a rules file for a process with these arguments, these variables, and these names of processes above it.
fn ruling_of(file: &str, arguments: &[&str], variables: &[&str], above: &[&str]) -> Ruling {
    let mut judge = judge(file);
    let image = Image {
        file: format!("/usr/bin/{}", arguments[0].rsplit('/').next().unwrap()),
        arguments: arguments.iter().collect(),
        user_id: 1000,
        names: Accounts { user: Some("builder".into()), ..Accounts::default() },
        directory: Some("/src".into()),
        cgroup: Some(
            "0::/system.slice/docker-4b825dc642cb6eb9a060e54bf8d69288fbee4904a1b2c3d4e5f60718293a4b5c.scope".into(),
        ),
        ..Image::default()
    };
    let environment: Strings = variables.iter().collect();
    let above: Vec<String> = above.iter().map(|&name| name.to_owned()).collect();
    let lineage = judge.lineage_of(&above);
    judge.judge(&Subject {
        environment: Some(&environment),
        attributes: &[("team".to_owned(), Value::String("core".to_owned()))],
        ..subject(&image, &lineage)
    })
}

/// A process without an environment, attributes and tags.
fn subject<'a>(image: &'a Image, lineage: &'a Lineage) -> Subject<'a> {
    Subject {
        pid: 7,
        parent_pid: 6,
        start: UNIX_EPOCH,
        at: UNIX_EPOCH,
        image,
        environment: None,
        attributes: &[],
        tags: None,
        lineage,
    }
}

fn python(file: &str) -> Ruling {
    ruling_of(file, &["/opt/python3", "-u", "setup.py"], &["JOB=build", "STAGE=prod-1"], &["systemd", "make"])
}

const DROP: Fate = Fate::Drop { always: false, shorter_than: None };

#[test]
fn the_example_of_the_documentation() {
    let file = "
default: accept
rules:
  - comm: [sh, dash]
    drop: true
  - exe: [python3]
    cmdline: ['(?P<script>\\w+)\\.py']
    name: '${script}-py'
    group: '{{.ExeBase}}:{{.Matches.script}}'
    attributes: {team: '\"platform\"', level: 3}
";
    let ruling = python(file);
    assert_eq!(ruling.name.as_deref(), Some("setup-py"));
    let group = ruling.group.unwrap();
    assert_eq!((group.name.as_ref(), group.has_children), ("python3:setup", true));
    let attributes = [("team".to_owned(), Value::String("platform".to_owned())), ("level".to_owned(), Value::Int(3))];
    assert_eq!(ruling.attributes, attributes);
    assert_eq!(ruling.fate, Fate::Keep);
    assert_eq!(ruling_of(file, &["sh", "-c", "x"], &[], &[]).fate, DROP);
    assert_eq!(ruling_of(file, &["ls"], &[], &[]), Ruling::default());
}

#[test]
fn each_selector_decides() {
    for (selector, matches) in [
        ("comm: [sh, python3]", true),
        ("comm: [python]", false),
        ("comm: [python3], exe: [python3]", true),
        ("exe: [/opt/python3]", true),
        ("exe: [/usr/bin/python3]", false),
        ("cmdline: ['-u', 'setup']", true),
        ("cmdline: ['-u', 'nothing']", false),
        ("process: '^python'", true),
        ("process: 'setup'", false),
        ("parent: '^make$'", true),
        ("parent: '^systemd$'", true),
        ("parent: '^python3$'", false),
        ("user: [root, builder]", true),
        ("user: [1000]", true),
        ("user: [root]", false),
        ("cgroup: '^/system.slice/docker-'", true),
        ("cgroup: '^0::'", false),
        ("container: true", true),
        ("container: false", false),
        ("env: [NONE, JOB]", true),
        ("env: ['STAGE=prod-*']", true),
        ("env: ['STAGE=prod']", false),
        ("attribute: '^team:co'", true),
        ("attribute: '^core'", false),
        ("when: 'ppid == 6 and comm == \"python3\" and exe == \"/opt/python3\" and cwd == \"/src\"'", true),
        ("when: 'user == \"builder\" and len(container) == 64 and env.JOB == \"build\" and len(args) == 3'", true),
        ("cmdline: ['(?P<s>\\w+)\\.py'], when: 'captures.s == \"setup\" and captures.none == \"\"'", true),
        (
            "cmdline: ['(\\w+)\\.(py)|(x)', '(s)'], when: 'captures[\"1\"] == \"setup\" and captures[\"3\"] == \"\"'",
            true,
        ),
        ("when: 'false'", false),
        ("when: 'args[9] == \"\"'", false),
    ] {
        let ruling = python(&format!("rules: [{{{selector}, drop: true}}]"));
        assert_eq!(ruling.fate == DROP, matches, "{selector}");
    }
}

#[test]
fn the_first_match_decides_and_a_rule_that_continues_adds() {
    let fate = |rules: &str| python(rules).fate;
    assert_eq!(fate("rules: [{accept: true}, {drop: true}]"), Fate::Keep);
    assert_eq!(fate("rules: [{name: x}, {drop: true}]"), Fate::Keep);
    assert_eq!(fate("rules: [{name: x, continue: true}, {drop: true}]"), DROP);
    assert_eq!(fate("rules: [{drop: true, continue: true}, {name: x}]"), DROP);
    assert_eq!(fate("rules: [{drop: true, continue: true}, {accept: true}]"), Fate::Keep);
    assert_eq!(fate("default: drop"), DROP);
    assert_eq!(fate("{default: drop, rules: [{name: x, continue: true}]}"), DROP);
    assert_eq!(fate("{default: drop, rules: [{name: x}]}"), Fate::Keep);
    let limited = Fate::Drop { always: true, shorter_than: Some(Duration::from_millis(5)) };
    assert_eq!(fate("rules: [{drop: always, shorter_than: 5ms}]"), limited);
    let ruling = python(
        "rules: [{attributes: {a: 1, b: 1}, group: x, continue: true}, {attribute: '^a:1$', attributes: {b: 2}, name: n}]",
    );
    assert_eq!(ruling.attributes, [("a".to_owned(), Value::Int(1)), ("b".to_owned(), Value::Int(2))]);
    assert_eq!((ruling.group.unwrap().name.as_ref(), ruling.name.as_deref()), ("x", Some("n")));
}

#[test]
fn a_rewrite_replaces_each_match() {
    let name = |rule: &str| python(&format!("rules: [{rule}]")).name.unwrap().to_string();
    assert_eq!(name("{process: '([a-z]+)\\d', rewrite: 'my-$1'}"), "my-python");
    assert_eq!(name("{process: 'o|y', rewrite: '_'}"), "p_th_n3");
    assert_eq!(name("{cmdline: ['/opt/(\\w+) -u'], rewrite: '%STAGE%:$1'}"), "test:python3 setup.py");
}

#[test]
fn a_group_without_a_name_is_the_program() {
    for rule in ["group: ''", "group:", "group: '{{.ExeBase}}'"] {
        let group = python(&format!("rules:\n  - {rule}\n    children: false\n")).group.unwrap();
        assert_eq!((group.name.as_ref(), group.has_children), ("python3", false), "{rule}");
    }
}

#[test]
fn a_mistake_has_its_line_and_column() {
    for (file, expected) in [
        ("rules:\n  - cmdline: ['(a']\n", "line 2, column 15: '(a' is no regular expression"),
        ("rules:\n  - process: '(?=a)'\n", "line 2, column 14: "),
        ("rules:\n  - name: 'x${none}'\n", "line 2, column 13: the expressions of this rule have no capture 'none'"),
        ("rules:\n  - group: a{{.Nope}}\n", "line 2, column 13: '{{.Nope}}' is not one of"),
        ("rules:\n  - when: 'comm == 1'\n", "line 2, column 17: "),
        (
            "rules:\n  - when: 'com == \"a\"'\n",
            "line 2, column 12: the expression does not compile: unknown name 'com'; did you mean 'comm'?",
        ),
        ("rules:\n  - when: 'ppid'\n", "line 2, column 11: the value of 'when' is not true or false"),
        ("rules:\n  - attributes: {a: prod}\n", "line 2, column 21: "),
        ("rules:\n  - attributes: {process_tracer.x: 1}\n", "line 2, column 36: "),
        ("rules:\n  - env: [=x]\n", "line 2, column 11: a variable is NAME or NAME=GLOB"),
        ("rules:\n  - {name: a, rewrite: b}\n", "line 2, column 24: a rule has 'name' or 'rewrite'"),
        ("rules:\n  - rewrite: b\n", "line 2, column 14: 'rewrite' needs 'process' or 'cmdline'"),
        ("rules:\n  - children: false\n", "line 2, column 5: 'children' needs 'group'"),
        ("rules:\n  - shorter_than: 5ms\n", "line 2, column 19: 'shorter_than' needs 'drop: true'"),
        ("rules:\n  - {drop: true, accept: true}\n", "line 2, column 12: a rule has 'drop' or 'accept'"),
        ("rules:\n  - accept: false\n", "line 2, column 5: 'accept: false' has no meaning"),
        ("rules:\n  - comm: []\n", "line 2, column 11: "),
        ("rules:\n  - process:\n", "line 2, column "),
        ("rules:\n  - tagged_only: true\n", "line 2, column 5: 'tagged_only' needs 'tags'"),
    ] {
        let error = Book::read(file, &environment).unwrap_err();
        let place = error.place.map(|place| place.to_string()).unwrap_or_default();
        let shown = format!("{place}: {error}");
        assert!(shown.starts_with(expected), "{file}: {shown}");
    }
}

#[test]
fn forks_are_judged_again_only_if_they_can_differ() {
    let judges_forks = |rule: &str| judge(&format!("rules: [{rule}]")).judges_forks();
    assert!(!judges_forks("{comm: [a], cmdline: [b], name: '$0', group: '{{.ExeBase}}', drop: true}"));
    for rule in ["{parent: a, drop: true}", "{when: 'ppid == 1', drop: true}", "{name: '{{.PID}}'}"] {
        assert!(judges_forks(rule), "{rule}");
    }
}

#[test]
fn the_fate_without_tags_is_known_from_the_beginning() {
    let tags = "\ntags: {command: [/bin/tags]}\n";
    for (rules, expected) in [
        ("rules: [{tagged_only: true}]", [Fate::Keep, DROP, Fate::Keep]),
        ("rules: [{tagged_only: true, continue: true}, {drop: false}]", [Fate::Keep; 3]),
        ("default: drop\nrules: [{attribute: '^app:'}]", [Fate::Keep, DROP, Fate::Keep]),
        ("rules: [{attribute: '^app:', drop: true}]", [Fate::Keep, Fate::Keep, DROP]),
        ("rules: [{comm: [sh], drop: true}, {attribute: '^app:'}]", [DROP; 3]),
    ] {
        let mut judge = judge(&(rules.to_owned() + tags));
        let image = Image { file: "/bin/sh".to_owned(), arguments: ["sh"].iter().collect(), ..Image::default() };
        let lineage = Lineage::default();
        let mut judge = |tags| {
            let ruling = judge.judge(&Subject { tags, ..subject(&image, &lineage) });
            (ruling.fate, ruling.fate_without_tags)
        };
        let (fate, fate_without_tags) = judge(None);
        assert_eq!(judge(Some(&[])).0, fate_without_tags, "{rules}");
        let tagged = judge(Some(&[("process_tracer.tag.app".to_owned(), Value::String("shop".to_owned()))])).0;
        assert_eq!([fate, fate_without_tags, tagged], expected, "{rules}");
    }
}

#[test]
fn a_failed_condition_is_counted_and_matches_nothing() {
    let mut judge = judge("rules:\n  - when: 'args[9] == \"\"'\n    drop: true\n");
    let image = Image::default();
    let lineage = Lineage::default();
    let subject = subject(&image, &lineage);
    assert_eq!([judge.judge(&subject), judge.judge(&subject)].map(|ruling| ruling.fate), [Fate::Keep; 2]);
    let failures = judge.failures();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0]
            .to_string()
            .starts_with("the 'when' of the rule in line 2 failed 2 times and counted as false; the first time: "),
        "{}",
        failures[0]
    );
}
