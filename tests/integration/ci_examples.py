"""Runs the script parts of examples/ci as their CI systems do: once with a build that succeeds, once with one that fails.

Usage: ci_examples.py PROCESS_TRACER

For each run it checks the exit status, the page, the saved trace, the spans at the endpoint, and what the CI system shows.
The exit status is 1 if something differs.
"""

import gzip
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading

import yaml

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples/ci"
MAKEFILE = "all: a b\na b:\n\tsh -c 'exit $(STATUS)'\n"
MAKE_FAILED = 2


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps the bodies of OTLP/HTTP requests. The names of the spans are in them."""

    received = b""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        Collector.received += body
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Place:
    """A folder with a project, and the variables that a CI system sets."""

    def __init__(self, tracer, status):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        (self.folder / "Makefile").write_text(MAKEFILE)
        bin = self.folder / "bin"
        bin.mkdir()
        # A copy and not a link, because `setcap` must not change the binary of other tests.
        shutil.copy(tracer, bin)
        (bin / "sudo").write_text("#!/bin/sh\necho \"$@\" >> sudo.log\n")
        (bin / "buildkite-agent").write_text('#!/bin/sh\necho "$@" > annotate.log\ncat > annotation.md\n')
        for stub in ("sudo", "buildkite-agent"):
            (bin / stub).chmod(0o755)
        (self.folder / "examples").symlink_to(EXAMPLES.parent)
        of_ci = re.compile("^(CI|GITHUB_|GITLAB_|BUILDKITE|JENKINS|OTEL_|PROCESS_TRACER|TRACE|SUDO_|STATUS|MAKE)")
        self.environment = {name: value for name, value in os.environ.items() if not of_ci.match(name)}
        self.environment |= {"STATUS": str(status), "XDG_STATE_HOME": str(self.folder)}
        self.environment["PATH"] = f"{bin}:{self.environment['PATH']}"

    def run(self, command, **environment):
        """Runs a command. Returns its exit status."""
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        self.log = run.stdout + run.stderr
        return run.returncode

    def script(self, shell, text, **environment):
        """Runs a script with a shell."""
        (self.folder / "script").write_text(text)
        return self.run([*shell, self.folder / "script"], **environment)


def github(place, endpoint):
    action = yaml.safe_load((EXAMPLES / "github/action.yml").read_text())
    used = yaml.safe_load((EXAMPLES / "github/workflow.yml").read_text())["jobs"]["build"]["steps"][1]["with"]
    assert set(used) <= set(action["inputs"]), used
    inputs = {name: str(facts.get("default", "")) for name, facts in action["inputs"].items()}
    inputs |= {"run": used["run"], "endpoint": endpoint, "trace-id": "expr:env.GITHUB_RUN_ID", "options": '-a\nteam="ci build"\n'}
    values = {f"inputs.{name}": value for name, value in inputs.items()} | {"github.action_path": str(EXAMPLES / "github")}
    expand = lambda text: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], text)
    files = {name: str(place.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    variables = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "RUNNER_TEMP": str(place.folder)} | files
    install, trace = action["runs"]["steps"]
    for step in (install, trace):
        assert step["shell"] == "bash"
        environment = {name: expand(value) for name, value in step["env"].items()}
        status = place.script(["bash", "--noprofile", "--norc", "-eo", "pipefail"], step["run"], **variables, **environment)
        if step is install:
            assert status == 0, place.log
            assert (place.folder / "sudo.log").read_text().startswith("setcap cap_bpf,cap_perfmon=ep /"), place.log
    outputs = dict(line.split("=", 1) for line in (place.folder / "GITHUB_OUTPUT").read_text().splitlines())
    assert set(outputs) == set(action["outputs"]), outputs
    assert "make -j2" in (place.folder / "GITHUB_STEP_SUMMARY").read_text()
    spans = saved(pathlib.Path(outputs["trace"]))
    assert {span["traceId"] for span in spans} == {outputs["trace-id"]}, outputs
    assert any(attribute["key"] == "team" for attribute in spans[-1]["attributes"]), spans[-1]
    return status, pathlib.Path(outputs["page"]), pathlib.Path(outputs["trace"])


def gitlab(job):
    def run(place, endpoint):
        jobs = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
        job_of_file = jobs[jobs[job]["extends"]] | jobs[job]
        script = "\n".join(job_of_file["before_script"] + job_of_file["script"])
        status = place.script(["bash", "-eo", "pipefail"], script, CI_PIPELINE_ID="7", GITLAB_CI="true", OTLP_ENDPOINT=endpoint)
        return status, *(place.folder / path for path in job_of_file["artifacts"]["paths"])

    return run


def jenkins(place, endpoint):
    text = (EXAMPLES / "Jenkinsfile").read_text()
    (script,) = re.findall(r"sh '''\n(.*?)'''", text, re.DOTALL)
    paths = re.search("artifacts: '(.*)'", text)[1].split(", ")
    status = place.script(["sh", "-xe"], textwrap.dedent(script), OTLP_ENDPOINT=endpoint, JENKINS_URL="http://127.0.0.1/")
    return status, *(place.folder / path for path in paths)


def tekton(place, endpoint):
    spec = yaml.safe_load((EXAMPLES / "tekton.yaml").read_text())["spec"]
    values = {f"params.{each['name']}": each.get("default") for each in spec["params"]}
    values |= {"params.endpoint": endpoint, "workspaces.source.path": str(place.folder)}
    values |= {f"results.{each['name']}.path": str(place.folder / each["name"]) for each in spec["results"]}
    expand = lambda text: re.sub(r"\$\(([a-z.-]+)\)", lambda found: values[found[1]], text)
    (step,) = spec["steps"]
    assert expand(step["workingDir"]) == str(place.folder)
    assert step["script"].startswith("#!/bin/sh\n")

    def trace_id(**labels):
        """Runs the step in a pod with these labels. If the pod does not have a label, its variable is empty."""
        field = lambda each: each["valueFrom"]["fieldRef"]["fieldPath"]
        label = lambda each: re.match(r"metadata\.labels\['tekton\.dev/(.*)'\]", field(each))
        value = lambda each: expand(each["value"]) if "value" in each else labels.get(label(each)[1], "") if label(each) else field(each)
        nonlocal status
        status = place.script(["sh"], expand(step["script"]), **{each["name"]: value(each) for each in step["env"]})
        id = (place.folder / "trace-id").read_text()
        assert saved(place.folder / "trace.jsonl")[0]["traceId"] == id
        return id

    status = None
    alone = [trace_id(taskRun=run) for run in ("a", "b")]
    of_pipeline = [trace_id(taskRun=run, pipelineRun="build-7") for run in ("a", "b")]
    assert alone[0] != alone[1] and of_pipeline[0] == of_pipeline[1] not in alone, (alone, of_pipeline)
    return status, place.folder / "trace.html", place.folder / "trace.jsonl"


def buildkite(place, endpoint):
    (step,) = yaml.safe_load((EXAMPLES / "buildkite.yml").read_text())["steps"]
    # `pipeline upload` replaces variables. `$$` is a `$` for the shell.
    assert not re.search(r"(?<!\$)\$(?!\$)", step["command"]), "a single $"
    command = step["command"].replace("$$", "$")
    status = place.run(["bash", "-e", "-c", command], OTLP_ENDPOINT=endpoint, BUILDKITE="true", BUILDKITE_STEP_KEY=step["key"])
    style = "error" if status else "success"
    assert (place.folder / "annotate.log").read_text() == f"annotate --context trace-build --style {style}\n"
    assert "make -j2" in (place.folder / "annotation.md").read_text()
    return status, *(place.folder / path for path in step["artifact_paths"])


def kubernetes(place, endpoint):
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value", each["name"]) for each in container["env"]} | {"OTLP_ENDPOINT": endpoint}
    status = place.run(container["command"] + container["args"], **environment, KUBERNETES_SERVICE_HOST="192.0.2.1")
    return status, None, None


def dockerfile(place, _):
    lines = (EXAMPLES / "Dockerfile").read_text().split("AS build\n")[1].splitlines()
    (command,) = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
    assert place.run(["sh", "-c", command]) == 0, "the image must have the trace of a build that failed"
    (copied,) = [line.split()[2:4] for line in lines if line.startswith("COPY --from=build")]
    page, trace = (place.folder / path.removeprefix("/source/") for path in copied)
    return MAKE_FAILED if saved(trace)[-1]["status"]["code"] else 0, page, trace


SYSTEMS = {
    "github/action.yml": github,
    "gitlab-ci.yml, shell": gitlab("build-in-shell"),
    "gitlab-ci.yml, container": gitlab("build-in-container"),
    "Jenkinsfile": jenkins,
    "tekton.yaml": tekton,
    "buildkite.yml": buildkite,
    "kubernetes.yaml": kubernetes,
    "Dockerfile": dockerfile,
}
WITHOUT_SCRIPT = {"github/workflow.yml", "install.sh", "docker-run.sh"}


def saved(trace):
    """The spans of a saved trace, in the order of the file. The root is the last one."""
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    resources = [resource for line in lines for resource in line["resourceSpans"]]
    return [span for resource in resources for scope in resource["scopeSpans"] for span in scope["spans"]]


def check_system(run, tracer, endpoint, fails):
    Collector.received = b""
    place = Place(tracer, 3 if fails else 0)
    status, page, trace = run(place, endpoint)
    assert status == (MAKE_FAILED if fails else 0), f"exit status {status}\n{place.log}"
    assert "make -j2" in place.log and ", complete" in place.log, f"no summary\n{place.log}"
    if run is not dockerfile:
        assert b"make" in Collector.received and b"sh" in Collector.received, f"no spans\n{place.log}"
    if page:
        assert page.stat().st_size > 10_000
        names = sorted(span["name"].split(": ")[-1] for span in saved(trace))
        # After a failure, make starts no further step.
        assert {"bash", "make"} & set(names) and names.count("sh") >= (1 if fails else 2), names
    shutil.rmtree(place.folder)


def check_installer():
    folder = pathlib.Path(tempfile.mkdtemp())
    name = f"process-tracer-0.2.0-{os.uname().machine}-linux-gnu"
    program = folder / "process-tracer"
    program.write_text("#!/bin/sh\necho process-tracer 0.2.0\n")
    program.chmod(0o755)
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(program, f"{name}/process-tracer")
    sums = subprocess.run(["sha256sum", f"{name}.tar.gz"], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "bin").mkdir()
    environment = {"PATH": "/usr/bin:/bin", "PROCESS_TRACER_RELEASE": folder.as_uri()}
    install = lambda: subprocess.run([EXAMPLES / "install.sh", folder / "bin"], env=environment, capture_output=True, text=True)
    (folder / "SHA256SUMS").write_text(sums.replace(sums[:8], "00000000"))
    run = install()
    assert run.returncode != 0 and not (folder / "bin/process-tracer").exists(), f"a wrong checksum: {run}"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  another.tar.gz\n" + sums)
    run = install()
    assert run.returncode == 0, run.stderr
    assert subprocess.check_output([folder / "bin/process-tracer"], text=True) == "process-tracer 0.2.0\n"
    shutil.rmtree(folder)


def main():
    tracer = sys.argv[1]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    known = {name.split(",")[0] for name in SYSTEMS} | WITHOUT_SCRIPT
    files = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file()}
    assert files == known, f"no test runs {files - known}, and {known - files} do not exist"
    failures = 0
    checks = {f"{name}, {'fails' if fails else 'succeeds'}": (run, fails) for name, run in SYSTEMS.items() for fails in (False, True)}
    for name, (run, fails) in checks.items():
        try:
            check_system(run, tracer, endpoint, fails)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}")
            failures += 1
    check_installer()
    sys.exit(failures > 0)


main()
