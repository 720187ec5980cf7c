//! What an exec adds to a span: arguments, names, users, attributes.

use std::sync::Arc;

use tracer_model::{
    Event, Identity, Ktime, Losses, Tracer, Value,
    event::{Image, Names, Namespaces, Visibility},
    redact::{Extent, Policy},
    semconv::{KeyValues, describe},
};

use crate::story::{Story, string};

#[test]
fn long_arguments_are_complete_on_the_span_and_cut_on_its_event() {
    let trace = Story::new().exec_with(2, "/bin/cc", &["cc", &"x".repeat(10_000)]).exit(2, 0).finish();
    let lengths = |attributes: &KeyValues| {
        let arguments = attributes.iter().find(|(key, _)| key == "process.command_args").map(|(_, value)| value);
        let Some(Value::Strings(arguments)) = arguments else { panic!("no arguments in {attributes:?}") };
        arguments.iter().map(String::len).collect::<Vec<_>>()
    };
    let description = trace.describe("sh");
    assert_eq!(lengths(&description.attributes), [2, 10_000]);
    assert_eq!(lengths(&description.events[1].attributes), [2, 4096 - 3]);
}

#[test]
fn an_image_executed_by_descriptor_has_the_name_of_its_file() {
    for (file, name) in [
        ("/dev/fd/7", "dash"),
        ("/dev/fd/7/bin/tool", "tool"),
        ("/proc/self/exe", "dash"),
        ("/proc/17/exe", "dash"),
        ("/proc/self/fd/7", "dash"),
        ("./exe", "exe"),
        ("/proc/17/task/18/exe", "dash"),
        ("/proc/17/root/bin/exe", "exe"),
        ("/proc/self/fd/3/tool", "tool"),
    ] {
        let image = Image { file: file.into(), executable: Some("/usr/bin/dash".into()), ..Image::default() };
        let story = Story::new().fork(2, 3).exec_image(3, image).exit(3, 0).exit(2, 0);
        story.expect_tree(&format!("sh exit=0\n└─ {name} exit=0"));
    }
}

#[test]
fn a_script_keeps_its_name_when_env_executes_its_interpreter() {
    let script = Image {
        file: "/x/tsc".into(),
        executable: Some("/usr/bin/env".into()),
        arguments: ["/usr/bin/env", "node", "/x/tsc"].into_iter().collect(),
        is_script: true,
        ..Image::default()
    };
    let story = Story::new().fork(2, 4).exec_image(4, script).exec_with(4, "/usr/bin/node", &["node", "/x/tsc"]);
    // A child that calls the interpreter itself is not the script.
    let story = story.fork(4, 3).exec_with(3, "/usr/bin/node", &["node", "/x/tsc"]).exit(3, 0).exit(4, 0);
    let trace = story.exit(2, 0).finish();
    assert_eq!(trace.tree(), "sh exit=0\n└─ tsc exit=0\n   └─ node exit=0");
    assert_eq!(trace.attribute("tsc", "process_tracer.script"), string("/x/tsc"));
    assert_eq!(trace.attribute("tsc", "process.executable.path"), string("/mapped/usr/bin/node"));
    assert_eq!(trace.attribute("node", "process_tracer.script"), None);
}

#[test]
fn a_script_keeps_its_name_if_no_arguments_are_exported() {
    let mut settings = crate::story::settings(&[]);
    settings.arguments = Policy { extent: Extent::None, ..Policy::default() };
    let mut tracer = Tracer::new(settings);
    let process = Identity { tgid: 2, start: Ktime(10) };
    let parent = Identity { tgid: 1, start: Ktime(5) };
    tracer.handle(Event::Fork { process, parent, is_root: true });
    for (at, file, is_script, arguments) in [
        (20, "/x/tsc", true, &["/usr/bin/env", "node", "/x/tsc"][..]),
        (30, "/usr/bin/node", false, &["node", "/x/tsc"]),
    ] {
        let image = Image { file: file.into(), is_script, arguments: arguments.iter().collect(), ..Image::default() };
        let (image, environment) = (Arc::new(image), None);
        tracer.handle(Event::Exec { at: Ktime(at), process, parent, image, environment, context: None });
    }
    tracer.finish(Ktime(40), Losses::default());
    let span = tracer.poll_span().unwrap();
    let described = describe(&span).attributes;
    assert_eq!(span.name(), "tsc");
    assert!(described.contains(&("process_tracer.script".into(), Value::String("/x/tsc".to_owned()))));
    assert!(described.iter().all(|(key, _)| key != "process.command_args"), "{described:?}");
}

#[test]
fn a_span_has_a_name_even_if_text_was_lost() {
    let mapped = Image { executable: Some("/usr/bin/ls".into()), ..Image::default() };
    Story::new()
        .fork(2, 3)
        .exec_image(3, mapped)
        .fork(2, 4)
        .exec_image(4, Image::default())
        .exit(3, 0)
        .exit(4, 0)
        .exit(2, 0)
        .expect_tree("sh exit=0\n├─ ls exit=0\n└─ unknown exit=0");
    Story::without_root(&[]).root(2).exec_image(2, Image::default()).exit(2, 0).expect_tree("command exit=0");
}

#[test]
fn the_real_user_is_recorded_if_it_differs() {
    let image = |user_id| Image {
        file: format!("/bin/as{user_id}"),
        directory: Some("/".into()),
        user_id,
        real_user_id: 1000,
        ..Image::default()
    };
    let trace =
        Story::new().exec_image(2, image(0)).fork(2, 3).exec_image(3, image(1000)).exit(3, 0).exit(2, 0).finish();
    assert_eq!(trace.attribute("sh", "process.user.id"), Some(Value::Int(0)));
    assert_eq!(trace.attribute("sh", "process.real_user.id"), Some(Value::Int(1000)));
    assert_eq!(trace.attribute("as1000", "process.real_user.id"), None);
}

#[test]
fn users_and_groups_have_names_from_the_mount_namespace_of_the_root_or_from_the_source() {
    let image = |file: &str, mount| Image {
        file: file.into(),
        directory: Some("/".into()),
        user_id: 0,
        real_user_id: 1000,
        group_id: 5,
        real_group_id: 6,
        nice: -3,
        is_script: true,
        namespaces: Namespaces { mount, ..Namespaces::default() },
        ..Image::default()
    };
    let read = Names { user: Some("inner".into()), ..Names::default() };
    let story = Story::new().exec_image(2, image("/bin/here", 0)).fork(2, 3).exec_image(3, image("/bin/there", 70));
    let story = story.fork(2, 4).exec_image(4, Image { names: read, ..image("/bin/inside", 71) });
    let trace = story.exit(3, 0).exit(4, 0).exit(2, 0).finish();
    assert_eq!(trace.attribute("inside", "process.user.name"), string("inner"));
    assert_eq!(trace.attribute("inside", "process.real_user.name"), None);
    let int = |value| Some(Value::Int(value));
    for name in ["sh", "there"] {
        assert_eq!(trace.attribute(name, "process_tracer.group.id"), int(5));
        assert_eq!(trace.attribute(name, "process_tracer.real_group.id"), int(6));
        assert_eq!(trace.attribute(name, "process_tracer.nice"), int(-3));
        assert_eq!(trace.attribute(name, "process_tracer.namespace.pid"), None);
    }
    assert_eq!(trace.attribute("sh", "process.user.name"), string("root"));
    assert_eq!(trace.attribute("sh", "process.real_user.name"), string("someone"));
    assert_eq!(trace.attribute("sh", "process_tracer.group.name"), string("staff"));
    assert_eq!(trace.attribute("sh", "process_tracer.real_group.name"), None);
    assert_eq!(trace.attribute("sh", "process_tracer.script"), string("/bin/here"));
    assert_eq!(trace.attribute("sh", "process_tracer.namespace.mount"), None);
    assert_eq!(trace.attribute("there", "process.user.name"), None);
    assert_eq!(trace.attribute("there", "process_tracer.namespace.mount"), int(70));
}

#[test]
fn a_withheld_process_has_no_facts_from_other_processes() {
    // The command is a setuid program. It runs one program as the user who traces, and another one that is hidden.
    let image = |file: &str, visibility, mount| Image {
        file: file.into(),
        arguments: [file].iter().collect(),
        vpid: 7,
        visibility,
        namespaces: Namespaces { mount, ..Namespaces::default() },
        ..Image::default()
    };
    let trace = Story::without_root(&[])
        .root(2)
        .exec_image(2, Image { cgroup: Some("0::/here".into()), ..image("/bin/sudo", Visibility::Public, 0) })
        .fork(2, 3)
        .exec_image(3, image("/bin/own", Visibility::All, 70))
        .fork(3, 4)
        .exec_image(4, image("/bin/inner", Visibility::All, 71))
        .fork(2, 5)
        .exec_image(5, image("/bin/hidden", Visibility::Ids, 0))
        .exit_withheld(5)
        .finish();
    assert_eq!(trace.attribute("sudo", "process.user.id"), Some(Value::Int(0)));
    assert_eq!(trace.attribute("sudo", "process.user.name"), None);
    assert_eq!(trace.attribute("own", "process_tracer.namespace.mount"), None);
    assert_eq!(trace.attribute("inner", "process_tracer.namespace.mount"), Some(Value::Int(71)));
    for (name, cgroup) in [("sudo", Some("0::/here")), ("own", Some("0::/here")), ("hidden", None)] {
        assert_eq!(trace.attribute(name, "process.linux.cgroup"), cgroup.and_then(string), "{name}");
    }
    assert_eq!(trace.attribute("hidden", "process_tracer.exit.withheld"), Some(Value::Bool(true)));
    assert_eq!(trace.attribute("hidden", "process.exit.code"), None);
    assert!(trace.describe("hidden").error.is_none());
}

#[test]
fn the_attributes_of_the_last_exec_count() {
    let trace = Story::with_attributes(&[r#"pod=env["POD"]"#, "tool=args[0]"])
        .fork(2, 3)
        .environment(&["POD=first"])
        .exec(3, "/bin/a")
        .fork(3, 4)
        .environment(&["POD=second"])
        .exec(3, "/bin/b")
        .environment(&[])
        .fork(2, 5)
        .exec(5, "/bin/c")
        .exit(4, 0)
        .exit(3, 0)
        .exit(5, 0)
        .exit(2, 0)
        .finish();
    assert_eq!((trace.attribute("b", "pod"), trace.attribute("b", "tool")), (string("second"), string("/bin/b")));
    assert_eq!(trace.attribute("a", "pod"), string("first"), "a fork runs its parent's image");
    assert_eq!(trace.attribute("c", "pod"), None, "nil is no attribute");
}

#[test]
fn an_attribute_of_the_user_replaces_ours_with_the_same_key() {
    let trace = Story::with_attributes(&["process.pid=0", "error.type=\"mine\""]).exit(2, 1).finish();
    for (key, value) in [("process.pid", Value::Int(0)), ("error.type", Value::String("mine".to_owned()))] {
        let attributes = trace.describe("sh").attributes;
        let found: Vec<_> = attributes.iter().filter(|(found, _)| found == key).map(|(_, value)| value).collect();
        assert_eq!(found, [&value], "{key}");
    }
}

#[test]
fn failed_expressions_are_in_the_certificate() {
    let trace = Story::with_attributes(&["bad=args[5]"]).exit(2, 0).finish();
    assert_eq!(trace.attribute("sh", "bad"), None);
    assert_eq!(trace.attribute("sh", "process_tracer.failed_expressions"), Some(Value::Int(1)));
}
