//! The examples for backends. Their queries run in DuckDB on traces of ours. The dashboard is made from the queries.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{process_tracer, python as system_python},
    reports::{python, script},
};

/// The folder of the examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The text of each query, by its name.
fn queries() -> BTreeMap<String, String> {
    let files = fs::read_dir(examples().join("backends/queries")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// Traces of CI jobs, in a folder `traces`.
struct Jobs {
    folder: TempDir,
}

impl Jobs {
    fn new() -> Self {
        let jobs = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(jobs.folder.path().join("traces")).unwrap();
        jobs
    }

    /// Runs a job at a commit.
    fn run(&self, number: usize, job: &str, commit: &str, flags: &[&str], command: &[&str]) {
        let file = format!("traces/{number:02}-{job}.jsonl");
        let mut tracer = process_tracer();
        tracer.envs([("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "example/compiler")]);
        tracer.envs([("GITHUB_JOB", job), ("GITHUB_SHA", commit)]);
        tracer.env("CCACHE_DIR", self.folder.path().join("cache")).env("CCACHE_CONFIGPATH", "/dev/null");
        tracer.args(flags).args(["-o", &file, "--"]).args(command).current_dir(&self.folder);
        let output = tracer.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(", complete"), "{stderr}");
    }
}

#[test]
fn every_query_finds_what_happened_in_real_runs() {
    const QUICK: &[&str] = &["--source", "ptrace"];
    const CONNECT: &str = "import socket; server = socket.create_server(('127.0.0.1', 0))
socket.create_connection(server.getsockname())";
    let jobs = Jobs::new();
    // One step sleeps since commit6. Its command line stays the same. A new step sleeps, too.
    for number in 1..=10 {
        let (step, new) = if number < 6 { ("pass", "true") } else { ("import time; time.sleep(0.5)", "sleep 0.1") };
        fs::write(jobs.folder.path().join("step.py"), step).unwrap();
        let script = format!("{} -IS step.py; {new}; true", system_python());
        fs::write(jobs.folder.path().join("build.sh"), script).unwrap();
        jobs.run(number, "build", &format!("commit{number}"), QUICK, &["sh", "build.sh"]);
    }
    // ccache has to compile in the first run. In the next two runs it does not.
    fs::write(jobs.folder.path().join("a.c"), "int a;").unwrap();
    for number in 1..=3 {
        jobs.run(number, "cached", "commit1", QUICK, &["sh", "-c", "ccache cc -c -o a.o a.c; true"]);
    }
    // The same commit fails once.
    jobs.run(1, "test", "commit1", QUICK, &["sh", "-c", "sh -c 'exec grep -q x /dev/null' || exit 1"]);
    jobs.run(2, "test", "commit1", QUICK, &["true"]);
    jobs.run(1, "download", "commit1", &[], &[system_python(), "-IS", "-c", CONNECT]);

    let output = Command::new(python()).arg(script("queries.py")).arg("commit6").current_dir(&jobs.folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut answers: BTreeMap<String, Vec<Value>> = serde_json::from_slice(&output.stdout).unwrap();
    let mut take = |name: &str| answers.remove(name).unwrap_or_else(|| panic!("no query {name}"));
    let some = |rows: &[Value], columns: &[&str]| -> Vec<Value> {
        rows.iter().map(|row| columns.iter().map(|column| row[column].clone()).collect()).collect()
    };

    let step = format!("{} -IS step.py", system_python());
    let slower = take("slower-since-commit");
    let first = some(&slower, &["service", "job", "step", "starter", "times_before", "times_after"]);
    assert_eq!(first[0], json!(["compiler", "build", step, "sh build.sh", 5, 5]), "{slower:#?}");
    assert!(first.contains(&json!(["compiler", "build", "sleep 0.1", "sh build.sh", 0, 5])), "{slower:#?}");
    let regressions = take("regressions");
    let first = some(&regressions, &["revision", "job", "step"]);
    assert_eq!(first[0], json!(["commit6", "build", step]), "{regressions:#?}");
    let slowest = take("slowest-steps");
    assert_eq!(some(&slowest, &["step", "times"])[0], json!([step, 10]), "{slowest:#?}");

    let cached = take("ccache-hit-rate");
    assert_eq!(some(&cached, &["job", "calls", "hits", "hit_percent"]), [json!(["cached", 3, 2, 66.7])]);
    let failures = take("failures");
    assert_eq!(some(&failures, &["job", "failed_first", "runs"]), [json!(["test", "grep", 1])]);
    let flaky = take("flaky-jobs");
    assert_eq!(some(&flaky, &["job", "commits", "flaky_commits"]), [json!(["test", 1, 1])]);
    let hosts = take("hosts");
    assert_eq!(some(&hosts, &["job", "host", "connections", "failed"]), [json!(["download", "127.0.0.1", 1, 0])]);
    let use_of_processors = take("processor-use");
    let runs: BTreeMap<&str, i64> =
        use_of_processors.iter().map(|row| (row["job"].as_str().unwrap(), row["runs"].as_i64().unwrap())).collect();
    assert_eq!(runs, BTreeMap::from([("build", 10), ("cached", 3), ("download", 1), ("test", 2)]));
    assert_eq!(take("run-times").len(), 16);
    let memory = take("memory");
    assert!(memory.iter().any(|row| row["name"] == "cc1" && row["most_mb"].as_f64().unwrap() > 1.0), "{memory:#?}");
    assert!(answers.is_empty(), "no test looks at {:?}", answers.keys());
}

/// The queries of the dashboard, in their order.
const PANELS: [&str; 10] = [
    "run-times",
    "slowest-steps",
    "slower-since-commit",
    "regressions",
    "ccache-hit-rate",
    "processor-use",
    "failures",
    "flaky-jobs",
    "memory",
    "hosts",
];

/// A panel for each query. Its title is the question in the first line of the query.
fn dashboard() -> Value {
    let queries = queries();
    let datasource = json!({ "type": "grafana-clickhouse-datasource", "uid": "${datasource}" });
    let panel = |(place, name): (usize, &&str)| {
        let query = &queries[*name];
        let title = query.lines().next().unwrap().trim_start_matches("-- ");
        let title = title.split_inclusive(['.', '?', ':']).next().unwrap().trim_end_matches(['.', ':']);
        let is_series = *name == "run-times";
        json!({
            "id": place + 1,
            "title": title,
            "type": if is_series { "timeseries" } else { "table" },
            "datasource": datasource,
            "gridPos": { "x": 0, "y": place * 9, "w": 24, "h": 9 },
            "fieldConfig": {
                "defaults": if is_series { json!({ "unit": "s", "custom": { "drawStyle": "points" } }) } else { json!({}) },
                "overrides": [],
            },
            "targets": [{
                "refId": "A",
                "datasource": datasource,
                "editorType": "sql",
                "queryType": if is_series { "timeseries" } else { "table" },
                "format": i32::from(!is_series),
                "rawSql": query.replace("'COMMIT'", "'${commit}'"),
            }],
        })
    };
    json!({
        "title": "Builds traced by process-tracer",
        "uid": "process-tracer-builds",
        "schemaVersion": 39,
        "tags": ["process-tracer"],
        "time": { "from": "now-30d", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "grafana-clickhouse-datasource", "label": "ClickHouse" },
            { "name": "commit", "type": "textbox", "label": "Slower since commit", "query": "" },
        ]},
        "panels": PANELS.iter().enumerate().map(panel).collect::<Vec<_>>(),
    })
}

#[test]
fn the_dashboard_has_each_query() {
    assert_eq!(queries().keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut panels = PANELS;
        panels.sort_unstable();
        panels
    });
    // `expect_file` would compare the order of keys, too. It depends on the features of serde_json, and other crates choose them.
    let (file, wanted) = (examples().join("backends/grafana-dashboard.json"), dashboard());
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&wanted).unwrap() + "\n").unwrap();
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, wanted, "UPDATE_EXPECT=1 writes it again");
}
