//! The page. Its text is made of the files in `page/`. Besides the spans, it shows facts about the trace.

use serde_json::{Map, Value, json};
use tracer_model::Resource;

use crate::{
    analysis::{Tree, sum},
    argument::Arguments,
    by::By,
    causes::Causes,
    columns::Columns,
    command_line::command_line,
    json::json_value,
    row::{About, Kind, Rows, Run},
    text::runs::missing,
    untrusted::Untrusted,
};

/// The page without a trace. In a file, the trace follows the page. A live page gets the trace from the server that sent the
/// page. The table of costs first shows sums by the property `by`.
pub(crate) fn page(by: Option<&By>) -> String {
    let by = by.map_or("", By::name).replace('&', "&amp;").replace('"', "&quot;");
    [("<!--BY-->", by), ("/*STYLE*/", include_str!("page/page.css").to_owned()), ("/*SCRIPT*/", SCRIPTS.join("\n"))]
        .into_iter()
        .fold(include_str!("page/page.html").to_owned(), |page, (mark, text)| page.replacen(mark, &text, 1))
}

/// All scripts, in the order of their names.
const SCRIPTS: &[&str] = &[
    include_str!("page/costs.js"),
    include_str!("page/details.js"),
    include_str!("page/dom.js"),
    include_str!("page/format.js"),
    include_str!("page/head.js"),
    include_str!("page/keys.js"),
    include_str!("page/lanes.js"),
    include_str!("page/outline.js"),
    include_str!("page/overview.js"),
    include_str!("page/page.js"),
    include_str!("page/panel.js"),
    include_str!("page/query.js"),
    include_str!("page/source.js"),
    include_str!("page/tables.js"),
    include_str!("page/tools.js"),
    include_str!("page/trace.js"),
    include_str!("page/tree.js"),
    include_str!("page/view.js"),
];

/// The facts about a finished trace.
pub(crate) fn about(rows: &Rows, columns: &Columns, resource: &Resource) -> Value {
    let tree = Tree::grow(&rows.rows);
    let tree = tree.as_ref();
    let end = tree.map_or(0, |tree| rows.rows[tree.root].end);
    let critical = tree.iter().flat_map(|tree| tree.critical_path(&rows.rows));
    let mut critical: Vec<_> = critical
        .filter_map(|stretch| Some((columns.known(rows.rows[stretch.row].id)?, stretch.start, stretch.end)))
        .map(|(number, start, end)| json!([number, columns.since(start), columns.since(end)]))
        .collect();
    critical.reverse();
    let count = |kind| rows.rows.iter().filter(|row| row.kind == kind).count();
    let hidden = sum(rows.rows.iter().map(|row| row.folded.processes));
    let processes = count(Kind::Process).saturating_add(usize::try_from(hidden).unwrap_or(usize::MAX));
    let counts = (processes, count(Kind::Connection));
    let mut about = about_now(&rows.about, columns, counts, end, resource);
    about["critical"] = critical.into();
    if let Some(tree) = &tree {
        about["arguments"] = arguments(rows, columns);
        let numbers = |chain: &[usize]| -> Value {
            chain.iter().filter_map(|row| columns.known(rows.rows[*row].id)).collect::<Vec<_>>().into()
        };
        let Causes { causes, earlier } = Causes::new(rows, tree);
        let causes = causes.iter().map(
            |cause| json!({"chain": numbers(&cause.chain), "before": numbers(&cause.before), "times": cause.times}),
        );
        about["causes"] = causes.collect();
        about["earlier_causes"] = earlier.into();
        let crashed: Vec<_> = (0..rows.rows.len()).filter(|row| rows.rows[*row].crash.is_some()).collect();
        about["crashed"] = numbers(&crashed);
    }
    about["no_root"] = rows.root_is_missing.into();
    about["complete"] = rows.about.certificate.is_complete.into();
    about["problems"] = problems(rows).into();
    about["hidden"] = hidden.into();
    if !rows.about.runs.is_empty() {
        about["command"] = tree.map_or("", |tree| rows.text(rows.rows[tree.root].name).exact()).into();
        about["runs"] = runs(rows, columns);
    }
    about
}

/// The runs, if there are several, in order of their start: the number, the command and the verdict of each. An empty verdict
/// is good.
fn runs(rows: &Rows, columns: &Columns) -> Value {
    let mut runs: Vec<_> = rows.about.runs.iter().collect();
    runs.sort_by_key(|run| rows.rows[run.row].start);
    let run = |run: &Run| {
        let row = &rows.rows[run.row];
        let command = command_line(None, &run.arguments, true);
        let command = command.as_ref().unwrap_or(rows.text(row.name)).exact();
        let failure = row.failure.map(|failure| rows.text(failure).exact().to_owned());
        let missing = missing(run).map(|missing| missing.exact().to_owned());
        let verdict: Vec<_> = failure.into_iter().chain(missing).collect();
        json!({"number": columns.known(row.id), "command": command, "verdict": verdict.join(", ")})
    };
    runs.into_iter().map(run).collect()
}

/// The arguments that distinguish processes: the numbers of the spans, and for each the place of its text.
fn arguments(rows: &Rows, columns: &Columns) -> Value {
    let arguments = Arguments::new(rows);
    let (mut spans, mut places) = (Vec::new(), Vec::new());
    for (index, row) in rows.rows.iter().enumerate() {
        if let (Some(place), Some(number)) = (arguments.number(index), columns.known(row.id)) {
            spans.push(number);
            places.push(place.get() - 1);
        }
    }
    let texts: Vec<_> = arguments.texts().map(Untrusted::exact).collect();
    json!({"spans": spans, "places": places, "texts": texts})
}

/// The facts about a trace that is still running, at the time `now`. They include its numbers of processes and
/// connections.
pub(crate) fn about_now(
    about: &About,
    columns: &Columns,
    (processes, connections): (usize, usize),
    now: u64,
    resource: &Resource,
) -> Value {
    let resource: Map<_, _> = resource.iter().map(|(key, value)| (key.to_string(), json_value(value))).collect();
    json!({
        "trace_id": about.trace_id,
        "command": command_line(None, &about.arguments, true).as_ref().map_or("", Untrusted::exact),
        "started": columns.origin() / 1_000_000,
        "elapsed": columns.since(now),
        "cores": about.certificate.cpus,
        "host": resource.get("host.name"),
        "version": about.certificate.version.as_ref().map_or("", Untrusted::exact),
        "complete": null,
        "problems": [],
        "processes": processes,
        "connections": connections,
        "resource": resource,
        "critical": [],
    })
}

/// The missing parts of the trace and of the page, in words.
fn problems(rows: &Rows) -> Vec<String> {
    let left_out = match rows.left_out {
        0 => None,
        1 => Some("1 span was too many for this page".to_owned()),
        count => Some(format!("{count} spans were too many for this page")),
    };
    rows.problems().into_iter().chain(left_out).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{span::Span, story::story};

    #[test]
    fn the_page_has_the_causes_the_crashes_and_the_arguments() {
        let story = story("make", 0, 100)
            .exits(2)
            .starts("cc", 5, 50, |cc| cc.exits(1).arguments(&["cc", "-c", "a.c"]))
            .starts("cc", 6, 30, |cc| cc.dies_by("SIGSEGV").arguments(&["cc", "-c", "b.c"]));
        let (mut rows, mut columns) = (Rows::default(), Columns::default());
        for span in &story.spans() {
            let span = Span::from(span);
            let index = rows.insert(&span).unwrap();
            columns.add(&span, &rows.rows[index], None);
        }
        let about = about(&rows, &columns, &Resource::default());
        // The numbers of the spans, by their names and arguments.
        let [a, b, make] = [0, 1, 2].map(|row: usize| columns.known(rows.rows[row].id).unwrap());
        assert_eq!(
            about["causes"],
            json!([
                {"chain": [make, b], "before": [], "times": 1},
                {"chain": [make, a], "before": [], "times": 1},
            ])
        );
        assert_eq!(about["crashed"], json!([b]));
        assert_eq!(about["arguments"], json!({"spans": [a, b], "places": [0, 1], "texts": ["a.c", "b.c"]}));
    }

    #[test]
    fn the_table_of_costs_first_uses_the_property_that_the_user_gives() {
        let by = |text: &str| text.parse::<By>().unwrap();
        assert!(page(None).contains(r#"<html lang="en" data-by="">"#));
        assert!(page(Some(&by("group"))).contains(r#"<html lang="en" data-by="group">"#));
        assert!(page(Some(&by(r#"a"b"#))).contains(r#"<html lang="en" data-by="a&quot;b">"#));
    }

    #[test]
    fn the_page_contains_all_its_scripts_and_loads_no_other_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let is_in = text.contains("/*SCRIPT*/") || page(None).contains(text.trim_end());
            assert!(is_in, "not in SCRIPTS: {}", text.lines().next().unwrap());
        }
        let page = page(None);
        assert!(page.len() < 300_000 && !page.contains("/*S"), "{}", page.len());
        assert_eq!(page.matches("</script").count(), 1, "a script must not end itself");
        assert!(!page.contains("src=") && !page.contains("@import"));
    }

    #[test]
    fn the_page_finds_the_bytes_of_texts_that_are_not_utf8() {
        for (text, raw) in tracer_model::semconv::RAW {
            assert!(page(None).contains(&format!(r#"["{text}", "{raw}"]"#)), "{text} is missing in trace.js");
        }
    }
}
