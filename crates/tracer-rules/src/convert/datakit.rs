//! DataKit: `[[inputs.ebpf]]` of its TOML file.
//!
//! `trace_env_list` and `trace_name_list` select processes by a variable of their environment or by name. A process in
//! either list is traced. A process in a black list is not. `netlog_blacklist` drops connections. The tags belong to all
//! data.

use super::{Output, document::Node, filter, located};
use crate::{
    error::Error,
    schema::{ConnectionRule, Drop, Entries, Rule, Scalar},
};

/// Bytes of the kernel's name of a process.
const COMM: usize = 15;

/// Keys that select no process: settings of DataKit itself, and features that process-tracer always or never has.
const OPERATION: [&str; 37] = [
    "args",
    "bearer_token",
    "bearer_token_string",
    "cmd",
    "conv_to_ddtrace",
    "cpu_limit",
    "daemon",
    "election",
    "enable_uprobe",
    "enabled_plugins",
    "envs",
    "ephemeral_port",
    "interval",
    "ipv6_disabled",
    "kubeconfig",
    "kubernetes_url",
    "l7net_disabled",
    "l7net_enabled",
    "mem_limit",
    "name",
    "net_limit",
    "netlog_fallback_blocks",
    "netlog_fallback_sockets",
    "netlog_log",
    "netlog_metric",
    "netlog_metric_only",
    "netlog_protocols",
    "netlog_shared_blocks",
    "operator_url",
    "pprof_host",
    "pprof_port",
    "service",
    "timeout",
    "trace_server",
    "version",
    "workload_label_prefix",
    "workload_labels",
];

pub(super) fn convert(document: &Node, output: &mut Output) -> Result<(), Error> {
    output.draft.head.push("Converted from DataKit.".to_owned());
    let input = match document.at(&["inputs", "ebpf"]) {
        Some(Node::List(inputs)) => {
            for index in 1..inputs.len() {
                output.leave_out(format!("[[inputs.ebpf]] number {}: DataKit runs only the first", index + 1));
            }
            inputs.first()
        }
        input => input,
    };
    let Some(input) = input.filter(|input| matches!(input, Node::Map(_))) else {
        return Err(Error::new(None, "[[inputs.ebpf]] is no table"));
    };
    tags(input, output);
    black_lists(input, output)?;
    white_lists(input, output)?;
    if let Some(filter) = input.get("netlog_blacklist") {
        let filter = filter.text().ok_or_else(|| Error::new(None, "netlog_blacklist is no text"))?;
        connections(&filter, output);
    }
    for (key, _) in input.members() {
        let reason = match &**key {
            "tags"
            | "trace_env_list"
            | "trace_env_blacklist"
            | "trace_name_list"
            | "trace_name_blacklist"
            | "netlog_blacklist"
            | "trace_all_process" => continue,
            key if OPERATION.contains(&key) => continue,
            "sampling_rate" | "sampling_rate_pts_per_min" => {
                "rules do not sample; OTEL_TRACES_SAMPLER=parentbased_traceidratio does"
            }
            "trace_proto_list" | "trace_proto_blacklist" => "process-tracer does not read the protocol of a connection",
            _ => "DataKit has no such key",
        };
        output.leave_out(format!("{key}: {reason}"));
    }
    Ok(())
}

/// A list of names. DataKit ignores space around them, and empty ones.
fn names(input: &Node, key: &str) -> Result<Vec<String>, Error> {
    let texts = match input.get(key) {
        None => Vec::new(),
        Some(list) => list.texts().ok_or_else(|| Error::new(None, format!("{key} is no list of texts")))?,
    };
    Ok(texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
}

fn tags(input: &Node, output: &mut Output) {
    let mut attributes = Vec::new();
    for (key, value) in input.get("tags").map(Node::members).unwrap_or_default() {
        match value.text() {
            Some(_) if key.to_ascii_lowercase().starts_with("process_tracer.") => {
                output
                    .leave_out(format!("tags.{key}: names that begin with 'process_tracer.' are process-tracer's own"));
            }
            // A text is an expression. Quotes make it a plain text.
            Some(text) => attributes.push((key.clone(), Scalar::Text(filter::quoted(&text)).into())),
            None => output.leave_out(format!("tags.{key}: it is no text")),
        }
    }
    if !attributes.is_empty() {
        let rule = Rule { attributes: Entries(attributes), continues: Some(true), ..Rule::default() };
        output.rule("tags", rule);
    }
}

fn black_lists(input: &Node, output: &mut Output) -> Result<(), Error> {
    let dropped = || Rule { drop: Some(Drop::Always.into()), ..Rule::default() };
    let variables = names(input, "trace_env_blacklist")?;
    if !variables.is_empty() {
        output.rule("trace_env_blacklist", Rule { env: located(variables), ..dropped() });
    }
    by_name("trace_name_blacklist", names(input, "trace_name_blacklist")?, &dropped(), output);
    Ok(())
}

fn white_lists(input: &Node, output: &mut Output) -> Result<(), Error> {
    let (variables, programs) = (names(input, "trace_env_list")?, names(input, "trace_name_list")?);
    if input.get("trace_all_process") == Some(&Node::Bool(true)) || (variables.is_empty() && programs.is_empty()) {
        return Ok(());
    }
    let accepted = Rule { accept: Some(true), ..Rule::default() };
    if !variables.is_empty() {
        output.rule("trace_env_list", Rule { env: located(variables), ..accepted.clone() });
    }
    by_name("trace_name_list", programs, &accepted, output);
    output.rule("all other processes", Rule { drop: Some(Drop::Always.into()), ..Rule::default() });
    Ok(())
}

/// Rules for processes with one of these names. The kernel cuts long names. So only the first argument has the whole name.
fn by_name(origin: &str, names: Vec<String>, action: &Rule, output: &mut Output) {
    let (short, long): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.len() <= COMM);
    if !short.is_empty() {
        output.rule(origin, Rule { comm: located(short), ..action.clone() });
    }
    for name in long {
        let comm = name[..name.floor_char_boundary(COMM)].to_owned();
        output.rule(origin, Rule { comm: vec![comm.into()], exe: vec![name.into()], ..action.clone() });
    }
}

fn connections(filter: &str, output: &mut Output) {
    for (source, translated) in filter::translate(filter) {
        match translated {
            Ok(when) => {
                let rule = ConnectionRule { when: Some(when.into()), drop: Some(true), ..ConnectionRule::default() };
                output.draft.connections.push((format!("netlog_blacklist: {source}"), rule));
            }
            Err(reason) => output.leave_out(format!("netlog_blacklist: {source}: {reason}")),
        }
    }
}
