//! Configurations like those in the documentation of the three tools, with other values.

use super::*;

/// Converts a configuration, compares the rules file, and checks that process-tracer can read that file.
#[track_caller]
fn check(configuration: &str, rules: &str, untranslated: &[&str]) {
    let conversion = convert(configuration).unwrap();
    assert_eq!(conversion.text.trim_end(), rules.trim());
    assert_eq!(conversion.untranslated, untranslated);
    usable(&conversion.text);
}

/// The rules file can be read. Its expressions, patterns and templates are valid.
#[track_caller]
fn usable(text: &str) {
    crate::Book::read(text, &|_| None).unwrap_or_else(|error| panic!("{error} {:?}\n{text}", error.place));
}

#[track_caller]
fn refused(configuration: &str, reason: &str) {
    let error = convert(configuration).unwrap_err();
    let place = error.place.map(|place| format!("{place}: ")).unwrap_or_default();
    assert!(format!("{place}{error}").contains(reason), "{place}{error}");
}

#[test]
fn groups_of_process_exporter() {
    check(
        r#"
process_names:
  # the names of the kernel
  - comm:
    - zsh
    - tmux: server
  - exe:
    - redis-server
    - /opt/bin/collector
  - name: "{{.ExeFull}}:{{ .Matches.Port }}"
    exe: [/opt/bin/gateway]
    cmdline:
    - --port\s+(?P<Port>\d+)
    - -v
  - cmdline: [--user]
    exe: [/sbin/session]
    name: session:-user
  - comm: []
  - name: "{{.Comm}}"
    cmdline: ['.+']
"#
        .replace("tmux: server", "'tmux: server'")
        .as_str(),
        r#"
# Converted from process-exporter. process-exporter ignores processes outside of all groups. Here such processes stay
# in the trace, without a group. To leave them out, add 'default: drop'.
rules:
  # process_names[0]
  - comm: [zsh, 'tmux: server']
    group: '{{.ExeBase}}'
  # process_names[1]
  - exe: [redis-server, '/opt/bin/collector']
    group: '{{.ExeBase}}'
  # process_names[2]
  - exe: ['/opt/bin/gateway']
    cmdline: ['--port\s+(?P<Port>\d+)', '-v']
    group: '{{.ExeFull}}:{{.Matches.Port}}'
  # process_names[3]
  - exe: ['/sbin/session']
    cmdline: ['--user']
    group: 'session:-user'
  # process_names[5]
  - cmdline: ['.+']
    group: '{{.Comm}}'
"#,
        &[],
    );
}

#[test]
fn a_template_of_go_that_is_no_field_is_reported() {
    check(
        "process_names:\n- {comm: [a], name: '{{if .Comm}}x{{end}}', owner: me}\n- {comm: [b]}\nports: [1]\n",
        r"
# Converted from process-exporter. process-exporter ignores processes outside of all groups. Here such processes stay
# in the trace, without a group. To leave them out, add 'default: drop'.
rules:
  # process_names[0]
  - comm: [a]
    accept: true
  # process_names[1]
  - comm: [b]
    group: '{{.ExeBase}}'
",
        &[
            "ports: process-exporter has no such key",
            "process_names[0].owner: process-exporter has no such key",
            "process_names[0].name: the template '{{if .Comm}}' is not a field of a process; the rule names no group",
        ],
    );
    refused("process_names:\n- name: a\n", "process_names[0] has none of comm, exe and cmdline");
    refused("process_names:\n- comm: a\n", "process_names[0].comm is no list of texts");
    refused("process_names: 5\n", "process_names is no list");
    refused("process_names:\n- comm: [a\n", "line ");
    refused("nothing: here\n", "no configuration of process-exporter");
}

#[test]
fn flags_of_process_exporter() {
    let rules = r#"
# Converted from process-exporter. process-exporter ignores processes outside of all groups. Here such processes stay
# in the trace, without a group. To leave them out, add 'default: drop'.
rules:
  # -namemapping ruby,(\w+)\.rb|-e (\w+)
  - comm: [ruby]
    cmdline: ['(\w+)\.rb|-e (\w+)']
    when: 'captures["1"] != ""'
    group: 'ruby:${1}'
    children: false
  # -namemapping ruby,(\w+)\.rb|-e (\w+)
  - comm: [ruby]
    cmdline: ['(\w+)\.rb|-e (\w+)']
    when: 'captures["2"] != ""'
    group: 'ruby:${2}'
    children: false
  # -namemapping login,(--user)
  - comm: [login]
    cmdline: ['(--user)']
    when: 'captures["1"] != ""'
    group: 'login:${1}'
    children: false
  # -procnames
  - comm: [zsh, vim]
    group: '{{.Comm}}'
    children: false
"#;
    for configuration in [
        r#"process-exporter -namemapping "ruby,(\w+)\.rb|-e (\w+),login,(--user)" \
             --procnames=zsh,login,,vim -children=false -web.listen-address :9256"#,
        "# OPTS=\"-procnames other\"\nOPTS='-namemapping \"ruby,(\\w+)\\.rb|-e (\\w+),login,(--user)\" -children=false -procnames zsh,vim'",
    ] {
        check(configuration, rules, &[]);
    }
    refused("process-exporter -namemapping a,b,c", "-namemapping is no list");
    refused("process-exporter -namemapping 'a,('", "-namemapping a,(");
    refused("process-exporter -procnames 'a", "a quote is missing");
}

#[test]
fn older_matchers_of_deepflow() {
    check(
        r#"
vtap_group_id: g-1
static_config:
  os-proc-regex:
    - match-regex: ruby3 (.*)\.rb
      match-type: cmdline
      action: accept
      rewrite-name: $1-rb-%HOSTNAME%
    - match-regex: (?P<SERVER>haproxy)
      match-type: process_name
      rewrite-name: ${SERVER}-x
    - match-regex: "haproxy"
      match-type: parent_process_name
      rewrite-name: ignored
    - match-regex: .*sleep.*
      action: drop
    - match-regex: .+
      match-type: tag
      action: accept
  os-app-tag-exec: ["cat", "/run/tags.yaml"]
  os-app-tag-exec-user: tagger
  os-proc-sync-tagged-only: true
"#,
        r"
# Converted from DeepFlow.
rules:
  # os-proc-regex[0]
  - cmdline: ['ruby3 (.*)\.rb']
    rewrite: '${1}-rb-%HOSTNAME%'
    tagged_only: true
    accept: true
  # os-proc-regex[1]
  - process: '(?P<SERVER>haproxy)'
    rewrite: '${SERVER}-x'
    tagged_only: true
    accept: true
  # os-proc-regex[2]
  - parent: haproxy
    tagged_only: true
    accept: true
  # os-proc-regex[3]
  - process: '.*sleep.*'
    drop: always
  # os-proc-regex[4]
  - attribute: '.+'
    tagged_only: true
    accept: true
  # os-proc-sync-tagged-only
  - tagged_only: true
    accept: true
tags:
  # os-app-tag-exec
  command: [cat, '/run/tags.yaml']
  interval: 10s
  user: tagger
",
        &[],
    );
    let untagged = "# Converted from DeepFlow.\nrules: []\n";
    check("os-proc-sync-tagged-only: true\n", untagged, &["os-proc-sync-tagged-only: no command prints tags"]);
    refused("os-proc-regex:\n- {match-regex: a, match-type: pid}\n", "there is no match-type 'pid'");
    refused("os-proc-regex:\n- {match-regex: a, action: maybe}\n", "there is no action 'maybe'");
}

#[test]
fn the_format_of_a_configuration_in_one_line_is_recognised() {
    let blacklist = "# Converted from DeepFlow.\nrules:\n  # process_blacklist\n  - comm: [sleep]\n    drop: always";
    check("{inputs: {proc: {process_blacklist: [sleep]}}}\n", blacklist, &[]);
    check("{\"process_blacklist\": [sleep]}\n", blacklist, &[]);
}

#[test]
fn newer_matchers_of_deepflow() {
    check(
        r"
inputs:
  proc:
    process_blacklist: [sleep, cat]
    tag_extraction:
      script_command: [tags, --all]
    process_matcher:
    - match_regex: \bruby( +\S+)* +(\S*/)*([^ /]+\.rb)
      match_type: cmdline_with_args
      only_in_container: false
      rewrite_name: $3
      enabled_features: [ebpf.profile.on_cpu, proc.gprocess_info]
    - match_regex: ruby3 (.*)\.rb
      match_type: cmdline
      match_languages: []
      match_usernames: [web]
      only_in_container: true
      only_with_tag: true
      ignore: false
      rewrite_name: $1-rb
    - match_regex: haproxy
      match_type: parent_process_name
      ignore: true
    - match_regex: app:.+
      match_type: tag
      only_in_container: false
    - match_regex: java
      match_languages: [java]
      ignore: true
    - match_regex: .*
      enabled_features: [ebpf.profile.on_cpu]
",
        r"
# Converted from DeepFlow.
rules:
  # process_blacklist
  - comm: [sleep, cat]
    drop: always
  # process_matcher[0]
  - cmdline: ['\bruby( +\S+)* +(\S*/)*([^ /]+\.rb)']
    name: '${3}'
    accept: true
  # process_matcher[1]
  - user: [web]
    process: 'ruby3 (.*)\.rb'
    attribute: '^process_tracer\.tag\.'
    name: '${1}-rb'
    container: true
    accept: true
  # process_matcher[2]
  - parent: haproxy
    drop: always
    container: true
  # process_matcher[3]
  - attribute: 'app:.+'
    accept: true
  # process_matcher: all other processes
  - drop: always
tags:
  # tag_extraction
  command: [tags, '--all']
  interval: 10s
  user: deepflow
",
        &[
            "process_matcher[4].match_languages: process-tracer does not know the language of a program",
            "process_matcher[5]: it only enables ebpf.profile.on_cpu, which process-tracer does not have",
        ],
    );
}

#[test]
fn lists_of_datakit() {
    check(
        r#"
[[inputs.ebpf]]
  daemon = true
  name = 'ebpf'
  args = ["--datakit-apiserver", "0.0.0.0:9529"]
  enabled_plugins = ["ebpf-net"]
  netlog_blacklist = "ip_saddr=='192.0.2.7' || ip_daddr=='192.0.2.7'; has_prefix(k8s_src_pod, 'web-')"
  trace_all_process = false
  trace_env_list = ["WEB_SERVICE", " OTEL_SERVICE_NAME "]
  trace_env_blacklist = ["NO_TRACE"]
  trace_name_list = ["firefox", "a-program-with-a-long-name"]
  trace_name_blacklist = ["", "chrome"]
  ipv6_disabled = false
  sampling_rate = "0.50"
  trace_color = "red"
  [inputs.ebpf.tags]
    team = "blue \"one\""
    rank = 1
    "process_tracer.x" = "y"
"#,
        r#"
# Converted from DataKit.
rules:
  # tags
  - attributes:
      rank: '"1"'
      team: '"blue \"one\""'
    continue: true
  # trace_env_blacklist
  - env: [NO_TRACE]
    drop: always
  # trace_name_blacklist
  - comm: [chrome]
    drop: always
  # trace_env_list
  - env: [WEB_SERVICE, OTEL_SERVICE_NAME]
    accept: true
  # trace_name_list
  - comm: [firefox]
    accept: true
  # trace_name_list
  - comm: [a-program-with-]
    exe: [a-program-with-a-long-name]
    accept: true
  # all other processes
  - drop: always
connections:
  # netlog_blacklist: ip_saddr=='192.0.2.7' || ip_daddr=='192.0.2.7'
  - when: 'local_address == "192.0.2.7" || peer_address == "192.0.2.7"'
    drop: true
"#,
        &[
            "tags.process_tracer.x: names that begin with 'process_tracer.' are process-tracer's own",
            "netlog_blacklist: has_prefix(k8s_src_pod, 'web-'): 'k8s_src_pod' is the name of a pod, which \
             process-tracer does not know; the Collector's k8sattributes processor adds it",
            "sampling_rate: rules do not sample; OTEL_TRACES_SAMPLER=parentbased_traceidratio does",
            "trace_color: DataKit has no such key",
        ],
    );
}

#[test]
fn without_white_lists_datakit_traces_all() {
    let rules = "# Converted from DataKit.\nrules:\n  # trace_name_blacklist\n  - comm: [chrome]\n    drop: always\n";
    check("[[inputs.ebpf]]\ntrace_name_blacklist = ['chrome']\ntrace_env_list = []\n", rules, &[]);
    let all = "[[inputs.ebpf]]\ntrace_all_process = true\ntrace_name_list = ['a']\ntrace_name_blacklist = ['chrome']\n";
    check(all, rules, &[]);
    check(
        "[[inputs.ebpf]]\n[[inputs.ebpf]]\n",
        "# Converted from DataKit.\nrules: []\n",
        &["[[inputs.ebpf]] number 2: DataKit runs only the first"],
    );
    refused("[[inputs.ebpf]]\ntrace_env_list = 'A'\n", "trace_env_list is no list of texts");
    refused("[[inputs.ebpf]]\nname = \n", "line 2, column ");
}

#[test]
fn any_text_in_a_configuration_stays_the_same_text() {
    let texts = [
        "it's",
        "a\nb",
        "true",
        "~",
        "- x",
        "a: b",
        "# no comment",
        "\u{1}\u{85}\u{2028}é",
        "null",
        "12",
        "[a]",
        " a ",
    ];
    let list: Vec<String> = texts.iter().map(|text| format!("{text:?}").replace("\\u{", "\\u{")).collect();
    let list =
        list.join(", ").replace("\\u{1}", "\\u0001").replace("\\u{85}", "\\u0085").replace("\\u{2028}", "\\u2028");
    let conversion = convert(&format!("[[inputs.ebpf]]\n[inputs.ebpf.tags]\na = [{list}]\nb = 'x'\n")).unwrap();
    assert_eq!(conversion.untranslated, ["tags.a: it is no text"]);
    let conversion = convert(&format!("process_names:\n- comm: [{list}]\n")).unwrap();
    let file = crate::parse(&conversion.text).unwrap_or_else(|error| panic!("{error}\n{}", conversion.text));
    let comm: Vec<_> = file.rules[0].value.comm.iter().map(|text| text.value.as_str()).collect();
    assert_eq!(comm, texts);
}

/// The blocks of code in the documentation: a configuration, and its rules file right after it.
#[test]
fn the_examples_of_the_documentation_are_what_convert_prints() {
    let page = include_str!("../../../../docs/coming-from.md");
    let blocks: Vec<&str> = page.split("\n```").skip(1).step_by(2).collect();
    let blocks: Vec<&str> = blocks.iter().filter_map(|block| block.split_once('\n')).map(|(_, block)| block).collect();
    let mut checked = 0;
    for pair in blocks.windows(2) {
        if let [configuration, rules] = pair
            && rules.starts_with("# Converted from")
        {
            check(configuration, rules, &[]);
            checked += 1;
        }
    }
    assert_eq!(checked, 5);
}
