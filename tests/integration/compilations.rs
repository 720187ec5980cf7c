//! The compilation database of a build, compared with that of Bear.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process_tracer;

/// Calls that compilation databases often miss. The password is a secret that every other output masks.
const BUILD: &str = r#"
gcc -DAPI_PASSWORD=s3cret -c a.c b.c
/usr/bin/gcc -O2 '-DTEXT="x y"' -c "in a folder/d.c" -o "in a folder/d.o"
gcc m.c a.o b.o -o prog -lm
gcc a.o b.o m.c c.c -L. -o prog2
cp args.rsp gone.rsp && gcc @gone.rsp && sleep 0.3 && rm gone.rsp
./cc -c c.c -o script.o
gcc -E m.c > /dev/null
gcc -MM m.c > /dev/null
gcc -c s.S -o s.o
gcc -c m.c -o m.o
gcc -MMD -MF m.d -MT m.o -c m.c -o m.o
gcc a.o b.o m.o -o linked
(cd "in a folder" && cc -c d.c -o e.o && gcc -c ../a.c)
gcc --version > /dev/null
echo 'int main(void) { return 0; }' > conftest.c && gcc -c conftest.c && rm conftest.c
"#;

fn project() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("in a folder")).unwrap();
    for name in ["a", "b", "c", "in a folder/d"] {
        let function = name.rsplit('/').next().unwrap();
        write(&format!("{name}.c"), &format!("int f_{function}(void) {{ return 0; }}\n"));
    }
    write("m.c", "int main(void) { return 0; }\n");
    write("s.S", ".globl s\n");
    write("args.rsp", "-DX='a b'\n\"in a folder/d.c\" -c -o response.o");
    crate::harness::write_program(folder.path().join("cc"), "#!/bin/sh -e\nexec gcc -DOF_SCRIPT \"$@\"\n");
    folder
}

/// An entry: file, output and arguments.
type Entry = (String, Option<String>, Vec<String>);

/// The entries of a file, with paths relative to the project.
fn entries(file: &Path, project: &Path) -> BTreeSet<Entry> {
    let entries: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |entry: &Value| {
        let directory = PathBuf::from(text(&entry["directory"]));
        assert!(directory.starts_with(project) && directory.is_dir(), "{entry}");
        let relative = |path: &Value| {
            let mut from_root = PathBuf::new();
            for part in directory.join(text(path)).components() {
                match part {
                    Component::ParentDir => {
                        from_root.pop();
                    }
                    part => from_root.push(part),
                }
            }
            from_root.strip_prefix(project).unwrap().to_str().unwrap().to_owned()
        };
        let arguments = entry["arguments"].as_array().unwrap().iter().map(text).collect();
        (relative(&entry["file"]), entry.get("output").map(relative), arguments)
    };
    entries.iter().map(entry).collect()
}

fn expected() -> BTreeSet<Entry> {
    let entry = |file: &str, output: &str, arguments: &[&str]| {
        (file.to_owned(), Some(output.to_owned()), arguments.iter().map(|&word| word.to_owned()).collect())
    };
    const GCC: &str = "/usr/bin/gcc";
    const D: &str = "in a folder/d.c";
    [
        entry("a.c", "a.o", &[GCC, "-DAPI_PASSWORD=s3cret", "-c", "a.c"]),
        entry("b.c", "b.o", &[GCC, "-DAPI_PASSWORD=s3cret", "-c", "b.c"]),
        entry(D, "in a folder/d.o", &[GCC, "-O2", "-DTEXT=\"x y\"", "-c", D, "-o", "in a folder/d.o"]),
        entry("m.c", "prog", &[GCC, "m.c", "a.o", "b.o", "-o", "prog", "-lm"]),
        entry("m.c", "prog2", &[GCC, "a.o", "b.o", "m.c", "-L.", "-o", "prog2"]),
        entry("c.c", "prog2", &[GCC, "a.o", "b.o", "c.c", "-L.", "-o", "prog2"]),
        entry(D, "response.o", &[GCC, "-DX=a b", D, "-c", "-o", "response.o"]),
        entry("c.c", "script.o", &[GCC, "-DOF_SCRIPT", "-c", "c.c", "-o", "script.o"]),
        entry("s.S", "s.o", &[GCC, "-c", "s.S", "-o", "s.o"]),
        entry("m.c", "m.o", &[GCC, "-MMD", "-MF", "m.d", "-MT", "m.o", "-c", "m.c", "-o", "m.o"]),
        entry(D, "in a folder/e.o", &["/usr/bin/cc", "-c", "d.c", "-o", "e.o"]),
        entry("a.c", "in a folder/a.o", &[GCC, "-c", "../a.c"]),
    ]
    .into()
}

#[test]
fn the_compilation_database_has_each_source_of_a_build() {
    let folder = project();
    let folder = folder.path().canonicalize().unwrap();
    for (source, exported) in [("ebpf", "all"), ("ptrace", "none")] {
        let file = folder.join("compile_commands.json");
        let mut command = process_tracer();
        command.args(["--source", source, "--args", exported, "-o"]).arg(&file).args(["-o", "t.jsonl"]);
        let output = command.args(["--", "sh", "-ec", BUILD]).current_dir(&folder).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(entries(&file, &folder), expected(), "{source}: {stderr}");
        let said = format!("12 entries in {}; left out: 1 source that no longer exists", file.display());
        assert!(stderr.contains(&said), "{stderr}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // No other output has unmasked arguments.
        let others = [fs::read(folder.join("t.jsonl")).unwrap(), output.stderr];
        assert!(others.iter().all(|text| !String::from_utf8_lossy(text).contains("s3cret")));
    }
}

/// Bear misses a source in a response file. If a source is compiled twice without `-o`, Bear writes only one entry. It
/// leaves out arguments of the linker and arguments that write dependencies. It adds `-c`.
#[test]
fn the_database_has_each_entry_of_bear() {
    let folder = project();
    let folder = folder.path().canonicalize().unwrap();
    let output = Command::new("bear").args(["--", "sh", "-ec", BUILD]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut known: Vec<_> = expected().into_iter().collect();
    for (file, output, arguments) in entries(&folder.join("compile_commands.json"), &folder) {
        // Bear names a wrapper script, where process-tracer names the compiler that the script executes.
        let words: BTreeSet<_> = arguments.into_iter().skip(1).filter(|word| word != "-c").collect();
        let fits = |(known, their, own): &&Entry| {
            let own: BTreeSet<_> = own.iter().cloned().collect();
            *known == file && (output.is_none() || *their == output) && words.is_subset(&own)
        };
        let found: Vec<_> = known.iter().filter(fits).cloned().collect();
        assert!(!found.is_empty(), "{file}: {words:?}");
        known.retain(|entry| *entry != found[0]);
    }
    let missed: Vec<_> = known.iter().filter_map(|(_, output, _)| output.as_deref()).collect();
    assert_eq!(missed, ["in a folder/a.o", "response.o"]);
}

#[test]
fn only_a_run_writes_a_compilation_database() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("compile_commands.json");
    fs::write(&file, "old").unwrap();
    let mut run = process_tracer();
    let output = run.arg("-o").arg(&file).args(["--", "/no/such/command"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    let output = process_tracer().args(["report", "t.jsonl", "-o"]).arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("only a run can write a compilation database"), "{stderr}");
}
