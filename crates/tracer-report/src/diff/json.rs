//! The comparison as JSON, for scripts. `docs/diff-json.md` describes it.

use serde_json::{Value, json};

use super::{
    compare::{ComparedStep, Comparison, Outcome, Presence, Regression},
    sample::{Change, Sample},
    steps::{Run, SEPARATOR},
};
use crate::untrusted::Untrusted;

/// It changes if a key gets another meaning or is removed. A new key does not change it.
const SCHEMA: u64 = 1;

impl Comparison {
    /// The comparison as one JSON object, with a newline at the end.
    pub fn json(&self) -> String {
        let (before, after) = self.runs.split_at(self.runs_before);
        let regressions = self.regressions();
        let steps = self.steps.iter().enumerate().map(|(index, it)| {
            let mut step = step(it);
            step["regression"] = regressions.contains(&Regression::Step(index)).into();
            step
        });
        let names = self.names.iter().map(|name| {
            json!({
                "name": name.name.exact(),
                "processes": change(&name.processes, number),
                "own_seconds": change(&name.own, seconds),
            })
        });
        let value = json!({
            "schema": SCHEMA,
            "before": before.iter().map(run).collect::<Vec<_>>(),
            "after": after.iter().map(run).collect::<Vec<_>>(),
            "wall_seconds": change(&self.wall, seconds),
            "cpu_seconds": change(&self.cpu, seconds),
            "processes": change(&self.processes, number),
            "steps": steps.collect::<Vec<_>>(),
            "names": names.collect::<Vec<_>>(),
            "threshold": self.threshold,
            "regression": self.threshold.map(|_| !regressions.is_empty()),
            "whole_is_regression": self.threshold.map(|_| regressions.contains(&Regression::Whole)),
        });
        format!("{value:#}\n")
    }
}

fn run(run: &Run) -> Value {
    json!({
        "trace_id": run.trace_id,
        "command": run.arguments.iter().map(Untrusted::exact).collect::<Vec<_>>(),
        "complete": run.is_complete,
        "root_missing": run.root_is_missing,
        "wall_seconds": seconds(run.wall),
        "cpu_seconds": seconds(run.cpu),
        "processes": run.processes,
    })
}

fn step(step: &ComparedStep) -> Value {
    let side = |number: usize| {
        step.arguments[number].as_ref().map(|arguments| {
            json!({
                "command": arguments.split(SEPARATOR).collect::<Vec<_>>(),
                "outcomes": step.outcomes[number].iter().map(outcome).collect::<Vec<_>>(),
            })
        })
    };
    json!({
        "place": step.label.place.iter().map(Untrusted::exact).collect::<Vec<_>>(),
        "argument": step.label.argument.as_ref().map(Untrusted::exact),
        "parent": step.parent,
        "on": match step.presence {
            Presence::Both => "both",
            Presence::OnlyBefore => "before",
            Presence::OnlyAfter => "after",
        },
        "before": side(0),
        "after": side(1),
        "processes": change(&step.processes, number),
        "own_seconds": change(&step.own, seconds),
        "cpu_seconds": change(&step.cpu, seconds),
        "critical_path_seconds": change(&step.critical, seconds),
    })
}

/// The failed processes of one run, by reason.
fn outcome(outcome: &Outcome) -> Value {
    outcome.iter().map(|(reason, count)| json!({"failure": reason.exact(), "processes": count})).collect()
}

fn change(change: &Change, unit: fn(u64) -> Value) -> Value {
    let sample = |sample: &Sample| {
        json!({
            "median": unit(sample.median()),
            "spread": sample.spread().map(unit),
            "runs": sample.runs.iter().map(|run| unit(*run)).collect::<Vec<_>>(),
        })
    };
    json!({
        "before": sample(&change.before),
        "after": sample(&change.after),
        "ratio": change.ratio(),
        "beyond_noise": change.noise().map(|_| change.is_beyond_noise()),
    })
}

fn seconds(nanoseconds: u64) -> Value {
    (nanoseconds as f64 / 1e9).into()
}

fn number(count: u64) -> Value {
    count.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::compare::tests::{build, compared},
        *,
    };

    #[test]
    fn json_has_all_facts() {
        let after = [800, 810, 820].map(|slow| build(slow, "-O0", 2));
        let text = compared(&[build(500, "-O2", 0)], &after, Some(0.1)).json();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["before"].as_array().unwrap().len(), 1);
        assert_eq!(json["after"][2]["wall_seconds"], 1.82);
        assert_eq!(json["wall_seconds"]["after"], json!({"median": 1.81, "spread": 0.01, "runs": [1.8, 1.81, 1.82]}));
        assert_eq!(json["wall_seconds"]["before"]["spread"], Value::Null);
        assert_eq!((&json["regression"], &json["whole_is_regression"]), (&json!(true), &json!(true)));
        let step = json["steps"].as_array().unwrap().iter().find(|step| step["argument"] == "b.c").unwrap();
        assert_eq!(step["place"], json!(["make", "cc"]));
        assert_eq!((&step["on"], &step["regression"], &step["parent"]), (&json!("both"), &json!(true), &json!(0)));
        assert_eq!(step["before"], json!({"command": ["cc", "-O2", "-c", "b.c"], "outcomes": [[]]}));
        assert_eq!(step["after"]["outcomes"], json!([[{"failure": "exit 2", "processes": 1}]]));
        let ratio = step["critical_path_seconds"]["ratio"].as_f64().unwrap();
        assert!((ratio - 0.62).abs() < 1e-9, "{ratio}");
        assert_eq!(step["critical_path_seconds"]["beyond_noise"], true);
    }

    #[test]
    fn the_documentation_names_each_key() {
        let after = build(500, "-O2", 1).starts("ld", 900, 9, |ld| ld);
        let json = serde_json::from_str(&compared(&[build(500, "-O2", 0)], &[after], None).json()).unwrap();
        let mut keys = BTreeSet::new();
        collect(&json, &mut keys);
        assert!(keys.len() > 25, "{keys:?}");
        let page = include_str!("../../../../docs/diff-json.md");
        let missing: Vec<_> = keys.into_iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
        assert_eq!(missing, [""; 0]);
    }

    fn collect(value: &Value, keys: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                keys.insert(key.clone());
                collect(value, keys);
            }),
            Value::Array(values) => values.iter().for_each(|value| collect(value, keys)),
            _ => {}
        }
    }
}
