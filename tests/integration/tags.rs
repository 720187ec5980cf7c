//! Rules files: tags of a command, rules for connections, and converted configurations.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use crate::harness::{PROCESS_TRACER, process_tracer, python, trace_script};

/// The script of the command for tags. It prints the tags that the traced command has written. The tenth call with tags
/// lets the traced command end. By then, the tags of the first call have arrived, even on a busy machine. process-tracer
/// can kill a call at any time. So the script writes `user` and `stdin` under other names, and then renames them.
const TAGS: &str = r#"
cd "$1" || exit
id -un >new-user && mv new-user user
readlink /proc/self/fd/0 >new-stdin && mv new-stdin stdin
[ -e tags ] || exit 0
cat tags
echo >>runs
[ "$(wc -l <runs)" -lt 10 ] || : >done
"#;

const TRACED: &str = r#"
cd FOLDER || exit
sh -c 'while [ ! -e done ]; do sleep 0.02; done' & child=$!
echo "- {pid: $$, tags: [{key: team, value: a}, {key: app, value: none}]}" >new
echo "- {pid: $child, tags: [{key: app, value: shop}]}" >>new
mv new tags
wait
PYTHON -c '
import socket, sys
for port in sys.argv[1:]:
    socket.create_connection(("127.0.0.1", int(port))).close()
' PORTS
"#;

#[test]
fn tags_and_rules_for_connections_shape_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().to_str().unwrap();
    let script = folder.path().join("tags.sh");
    fs::write(&script, TAGS).unwrap();
    let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = servers.each_ref().map(|server| server.local_addr().unwrap().port().to_string());
    let rules = folder.path().join("rules.yaml");
    let text = format!(
        "rules:\n\
         - {{comm: [sleep], drop: true}}\n\
         - {{attribute: '^app:shop$', name: 'shop {{{{.ExeBase}}}}'}}\n\
         connections:\n\
         - {{when: 'tcp && ipnet_contains(\"127.0.0.0/8\", peer_address) && peer_port == {}', drop: true}}\n\
         tags:\n\
        \x20 command: [sh, {}, {path}]\n\
        \x20 interval: 100ms\n\
        \x20 user: nobody\n",
        ports[0],
        script.display()
    );
    fs::write(&rules, text).unwrap();

    let traced = TRACED.replace("FOLDER", path).replace("PYTHON", python()).replace("PORTS", &ports.join(" "));
    let run = trace_script(&["--rules", rules.to_str().unwrap()], &traced);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("tags"), "{}", run.stderr);
    run.trace.assert_complete();

    let child = run.trace.named("shop sh");
    assert_eq!(child.attribute("process_tracer.tag.app"), "shop");
    assert_eq!(child.attribute("process_tracer.tag.team"), "a");
    let root = run.trace.root();
    assert_eq!((root.attribute("process_tracer.tag.team"), root.attribute("process_tracer.tag.app")), ("a", "none"));
    let names: Vec<_> = run.trace.processes().map(|span| span.name.as_str()).collect();
    assert!(!names.contains(&"sleep") && !names.contains(&"id") && !names.contains(&"wc"), "{names:?}");
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    assert_eq!((read("user").trim(), read("stdin").trim()), ("nobody", "/dev/null"));

    // Rules for tags apply when a process ends, also in `rules check`.
    for file in ["tags", "runs", "done"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    let check =
        process_tracer().args(["rules", "check"]).arg(&rules).args(["--", "sh", "-c", &traced]).output().unwrap();
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.lines().any(|line| line.ends_with(" sh: rule 2 (line 3); name 'shop sh'")), "{check}");

    let peers: Vec<_> = run.trace.connections().map(|span| span.attribute("network.peer.port")).collect();
    assert_eq!(peers, [&ports[1]]);
}

#[test]
fn check_sees_the_tags_of_a_saved_trace() {
    let folder = tempfile::tempdir().unwrap();
    let [rules, trace] = ["rules.yaml", "t.jsonl"].map(|file| folder.path().join(file).display().to_string());
    let tags = "tags: {command: [cat, tags.yaml], user: no-such-user}";
    fs::write(&rules, format!("rules:\n- {{attribute: '^app:shop$', name: shop}}\n- {{tagged_only: true}}\n{tags}\n"))
        .unwrap();
    let process = |id: u32, parent: u32, tag: &str| {
        format!(
            r#"{{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"{id:016x}","parentSpanId":"{parent:016x}","name":"p","kind":1,"startTimeUnixNano":"{id}","endTimeUnixNano":"9","attributes":[{{"key":"process.pid","value":{{"intValue":"{id}"}}}}{tag}]}}"#
        )
    };
    let shop = process(2, 1, r#",{"key":"process_tracer.tag.app","value":{"stringValue":"shop"}}"#);
    let spans = [shop, process(3, 1, ""), process(1, 9, "")].join(",");
    fs::write(&trace, format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)).unwrap();
    let check = |more: &[&str]| {
        let output = process_tracer().args(["rules", "check", &rules]).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let [shown, _] = check(&["--trace", &trace]);
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[1].starts_with("2 ") && lines[1].ends_with(": rule 1 (line 2); name 'shop'"), "{shown}");
    assert!(
        lines[2].starts_with("3 ") && lines[2].ends_with(": rule 2 (line 3); left out, unless it fails"),
        "{shown}"
    );
    // The file is correct, but a run on this machine would refuse it.
    let [shown, told] = check(&[]);
    assert!(
        shown.ends_with("2 rules, no mistakes\n") && told.contains("there is no user 'no-such-user'"),
        "{shown}{told}"
    );
}

#[test]
fn a_command_for_tags_that_fails_only_causes_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    fs::write(
        &rules,
        format!("tags:\n  command: [sh, -c, 'echo oops >&2; : >{}/ran; exit 3']\n", folder.path().display()),
    )
    .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // When the command runs for the second time, process-tracer has noticed that the first run failed.
    let text = fs::read_to_string(&rules).unwrap().replace("ran;", "ran; [ -e ran2 ];") + "  interval: 100ms\n";
    fs::write(&rules, text).unwrap();
    let wait = format!(
        "cd {}; while [ ! -e ran ]; do sleep 0.02; done; rm ran; while [ ! -e ran ]; do sleep 0.02; done",
        folder.path().display()
    );
    let run = trace_script(&["--rules", rules.to_str().unwrap()], &wait);
    assert_eq!(run.code(), Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("warning: tags: 'sh': exit status: 3: oops"), "{}", run.stderr);
    run.trace.assert_complete();
}

#[test]
fn a_command_for_tags_of_another_user_has_few_of_our_variables() {
    for (user, has_all) in [("root", true), ("nobody", false)] {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (path, rules) = (folder.path().display(), folder.path().join("rules.yaml"));
        let command = format!("env | sort >{path}/new; mv {path}/new {path}/env; echo []");
        fs::write(&rules, format!("tags: {{command: [sh, -c, '{command}'], user: {user}}}\n")).unwrap();
        let mut run = process_tracer();
        run.args(["-q", "-o"]).arg(folder.path().join("t.jsonl")).arg("--rules").arg(&rules);
        run.args(["--", "sh", "-c", &format!("while [ ! -e {path}/env ]; do sleep 0.02; done")]);
        run.env("API_TOKEN", "s3cret").env("TRACESTATE", "a=b").env("OTEL_PROPAGATORS", "tracecontext,b3,b3multi");
        let output = run.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let variables = fs::read_to_string(folder.path().join("env")).unwrap();
        assert_eq!(variables.contains("API_TOKEN=s3cret"), has_all, "{variables}");
        assert!(variables.contains(&format!("USER={user}\n")) && variables.contains("PATH="), "{variables}");
        let is_context = |line: &str| ["TRACE", "B3", "X_B3"].iter().any(|start| line.starts_with(start));
        assert!(!variables.lines().any(is_context), "{variables}");
    }
}

#[test]
fn a_configuration_of_another_tool_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    let convert = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = Command::new(PROCESS_TRACER).args(["rules", "convert"]).arg(&file).output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), texts)
    };
    let (code, [rules, told]) = convert("process_names:\n- comm: [sh]\n  name: shells\n");
    assert_eq!((code, told.as_str()), (Some(0), ""));
    fs::write(&file, rules).unwrap();
    let run = trace_script(&["--rules", file.to_str().unwrap()], "/bin/true");
    assert_eq!(run.trace.named("true").attribute("process_tracer.group"), "shells");

    let (code, [rules, told]) = convert("process_names:\n- comm: [sh]\n  name: '{{if .Comm}}x{{end}}'\n");
    assert_eq!(code, Some(1));
    assert!(rules.contains("comm: [sh]") && told.contains("not translated: process_names[0].name"), "{rules}{told}");
    let (code, [rules, told]) = convert("a: b\n");
    assert_eq!((code, rules.as_str()), (Some(125), ""));
    assert!(told.contains("no configuration of process-exporter"), "{told}");
}
