//! Resource attributes of a CI job, by the semantic conventions for CI/CD and VCS. They come from the variables that each
//! system documents. One table has a row for each system with all its facts.

use sha2::{Digest, Sha256};
use tracer_model::{SpanId, TraceId, context::SpanContext, redact};

/// A CI system, and the attributes from its variables. If several have the same key, the first variable that is set counts.
struct System {
    /// The variable that the system sets, and its value if the value matters.
    sign: (&'static str, Option<&'static str>),
    /// `None`: the system works with repositories of several providers.
    provider: Option<&'static str>,
    attributes: &'static [(&'static str, Source)],
}

/// The source of a value.
enum Source {
    Variable(&'static str),
    /// Text with variables in braces. All of them must be set.
    Text(&'static str),
    /// The number of a pull request in the variable, such as `refs/pull/7/merge`.
    PullRequest(&'static str),
    /// The type of a reference: `tag` if the first variable is set, `branch` if only the second is.
    Type(&'static str, &'static str),
}

use Source::{PullRequest, Text, Type, Variable};

const PIPELINE_NAME: &str = "cicd.pipeline.name";
const RUN_ID: &str = "cicd.pipeline.run.id";
const RUN_URL: &str = "cicd.pipeline.run.url.full";
const TASK_NAME: &str = "cicd.pipeline.task.name";
const TASK_RUN_ID: &str = "cicd.pipeline.task.run.id";
const TASK_RUN_URL: &str = "cicd.pipeline.task.run.url.full";
const WORKER_ID: &str = "cicd.worker.id";
const WORKER_NAME: &str = "cicd.worker.name";
const PROVIDER: &str = "vcs.provider.name";
const OWNER: &str = "vcs.owner.name";
const REPOSITORY: &str = "vcs.repository.name";
const REPOSITORY_URL: &str = "vcs.repository.url.full";
const REF_NAME: &str = "vcs.ref.head.name";
const REF_REVISION: &str = "vcs.ref.head.revision";
const REF_TYPE: &str = "vcs.ref.head.type";
const BASE_NAME: &str = "vcs.ref.base.name";
const CHANGE_ID: &str = "vcs.change.id";

const SYSTEMS: [System; 10] = [
    System {
        sign: ("GITHUB_ACTIONS", Some("true")),
        provider: Some("github"),
        attributes: &[
            (PIPELINE_NAME, Variable("GITHUB_WORKFLOW")),
            (RUN_ID, Variable("GITHUB_RUN_ID")),
            (RUN_URL, Text("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}")),
            (TASK_NAME, Variable("GITHUB_JOB")),
            // No variable has the number of the runner. Its name is unique among the runners of a repository.
            (WORKER_ID, Variable("RUNNER_NAME")),
            (WORKER_NAME, Variable("RUNNER_NAME")),
            (OWNER, Variable("GITHUB_REPOSITORY_OWNER")),
            (REPOSITORY, Variable("GITHUB_REPOSITORY")),
            (REPOSITORY_URL, Text("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}")),
            (REF_NAME, Variable("GITHUB_HEAD_REF")),
            (REF_NAME, Variable("GITHUB_REF_NAME")),
            (REF_REVISION, Variable("GITHUB_SHA")),
            (REF_TYPE, Variable("GITHUB_REF_TYPE")),
            (BASE_NAME, Variable("GITHUB_BASE_REF")),
            (CHANGE_ID, PullRequest("GITHUB_REF")),
        ],
    },
    System {
        sign: ("GITLAB_CI", Some("true")),
        provider: Some("gitlab"),
        attributes: &[
            (PIPELINE_NAME, Variable("CI_PIPELINE_NAME")),
            (PIPELINE_NAME, Variable("CI_PROJECT_PATH")),
            (RUN_ID, Variable("CI_PIPELINE_ID")),
            (RUN_URL, Variable("CI_PIPELINE_URL")),
            (TASK_NAME, Variable("CI_JOB_NAME")),
            (TASK_RUN_ID, Variable("CI_JOB_ID")),
            (TASK_RUN_URL, Variable("CI_JOB_URL")),
            (WORKER_ID, Variable("CI_RUNNER_ID")),
            (WORKER_NAME, Variable("CI_RUNNER_DESCRIPTION")),
            (OWNER, Variable("CI_PROJECT_NAMESPACE")),
            (REPOSITORY, Variable("CI_PROJECT_NAME")),
            (REPOSITORY_URL, Variable("CI_PROJECT_URL")),
            (REF_NAME, Variable("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")),
            (REF_NAME, Variable("CI_COMMIT_REF_NAME")),
            (REF_REVISION, Variable("CI_COMMIT_SHA")),
            (REF_TYPE, Type("CI_COMMIT_TAG", "CI_COMMIT_REF_NAME")),
            (BASE_NAME, Variable("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")),
            (CHANGE_ID, Variable("CI_MERGE_REQUEST_IID")),
        ],
    },
    System {
        sign: ("BUILDKITE", Some("true")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("BUILDKITE_PIPELINE_SLUG")),
            (RUN_ID, Variable("BUILDKITE_BUILD_ID")),
            (RUN_URL, Variable("BUILDKITE_BUILD_URL")),
            (TASK_NAME, Variable("BUILDKITE_LABEL")),
            (TASK_RUN_ID, Variable("BUILDKITE_JOB_ID")),
            (WORKER_ID, Variable("BUILDKITE_AGENT_ID")),
            (WORKER_NAME, Variable("BUILDKITE_AGENT_NAME")),
            (REPOSITORY_URL, Variable("BUILDKITE_REPO")),
            (REF_NAME, Variable("BUILDKITE_BRANCH")),
            (REF_REVISION, Variable("BUILDKITE_COMMIT")),
            (REF_TYPE, Type("BUILDKITE_TAG", "BUILDKITE_BRANCH")),
            (BASE_NAME, Variable("BUILDKITE_PULL_REQUEST_BASE_BRANCH")),
            (CHANGE_ID, Variable("BUILDKITE_PULL_REQUEST")),
        ],
    },
    System {
        sign: ("JENKINS_URL", None),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("JOB_NAME")),
            (RUN_ID, Variable("BUILD_NUMBER")),
            (RUN_URL, Variable("BUILD_URL")),
            (TASK_NAME, Variable("STAGE_NAME")),
            (WORKER_NAME, Variable("NODE_NAME")),
            (REPOSITORY_URL, Variable("GIT_URL")),
            (REF_NAME, Variable("CHANGE_BRANCH")),
            (REF_NAME, Variable("BRANCH_NAME")),
            (REF_NAME, Variable("GIT_BRANCH")),
            (REF_REVISION, Variable("GIT_COMMIT")),
            (BASE_NAME, Variable("CHANGE_TARGET")),
            (CHANGE_ID, Variable("CHANGE_ID")),
        ],
    },
    System {
        sign: ("CIRCLECI", Some("true")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("CIRCLE_PROJECT_REPONAME")),
            (RUN_ID, Variable("CIRCLE_WORKFLOW_ID")),
            (TASK_NAME, Variable("CIRCLE_JOB")),
            (TASK_RUN_ID, Variable("CIRCLE_BUILD_NUM")),
            (TASK_RUN_URL, Variable("CIRCLE_BUILD_URL")),
            (OWNER, Variable("CIRCLE_PROJECT_USERNAME")),
            (REPOSITORY, Variable("CIRCLE_PROJECT_REPONAME")),
            (REPOSITORY_URL, Variable("CIRCLE_REPOSITORY_URL")),
            (REF_NAME, Variable("CIRCLE_BRANCH")),
            (REF_NAME, Variable("CIRCLE_TAG")),
            (REF_REVISION, Variable("CIRCLE_SHA1")),
            (REF_TYPE, Type("CIRCLE_TAG", "CIRCLE_BRANCH")),
            (CHANGE_ID, Variable("CIRCLE_PR_NUMBER")),
        ],
    },
    System {
        sign: ("TF_BUILD", Some("True")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("BUILD_DEFINITIONNAME")),
            (RUN_ID, Variable("BUILD_BUILDID")),
            (
                RUN_URL,
                Text("{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}"),
            ),
            (TASK_NAME, Variable("SYSTEM_JOBDISPLAYNAME")),
            (TASK_RUN_ID, Variable("SYSTEM_JOBID")),
            (WORKER_ID, Variable("AGENT_ID")),
            (WORKER_NAME, Variable("AGENT_NAME")),
            (REPOSITORY, Variable("BUILD_REPOSITORY_NAME")),
            (REPOSITORY_URL, Variable("BUILD_REPOSITORY_URI")),
            (REF_NAME, Variable("SYSTEM_PULLREQUEST_SOURCEBRANCH")),
            (REF_NAME, Variable("BUILD_SOURCEBRANCH")),
            (REF_REVISION, Variable("BUILD_SOURCEVERSION")),
            (BASE_NAME, Variable("SYSTEM_PULLREQUEST_TARGETBRANCH")),
            (CHANGE_ID, Variable("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER")),
            (CHANGE_ID, Variable("SYSTEM_PULLREQUEST_PULLREQUESTID")),
        ],
    },
    System {
        sign: ("BITBUCKET_BUILD_NUMBER", None),
        provider: Some("bitbucket"),
        attributes: &[
            (PIPELINE_NAME, Variable("BITBUCKET_REPO_FULL_NAME")),
            (RUN_ID, Variable("BITBUCKET_PIPELINE_UUID")),
            (TASK_RUN_ID, Variable("BITBUCKET_STEP_UUID")),
            (OWNER, Variable("BITBUCKET_WORKSPACE")),
            (REPOSITORY, Variable("BITBUCKET_REPO_SLUG")),
            // BITBUCKET_GIT_HTTP_ORIGIN is not used, because it begins with http://.
            (REPOSITORY_URL, Text("https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}")),
            (REF_NAME, Variable("BITBUCKET_BRANCH")),
            (REF_NAME, Variable("BITBUCKET_TAG")),
            (REF_REVISION, Variable("BITBUCKET_COMMIT")),
            (REF_TYPE, Type("BITBUCKET_TAG", "BITBUCKET_BRANCH")),
            (BASE_NAME, Variable("BITBUCKET_PR_DESTINATION_BRANCH")),
            (CHANGE_ID, Variable("BITBUCKET_PR_ID")),
        ],
    },
    // Older versions of Woodpecker also set DRONE, for compatibility. So Woodpecker comes first.
    System {
        sign: ("CI", Some("woodpecker")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("CI_WORKFLOW_NAME")),
            (RUN_ID, Variable("CI_PIPELINE_NUMBER")),
            (RUN_URL, Variable("CI_PIPELINE_URL")),
            (TASK_NAME, Variable("CI_STEP_NAME")),
            (TASK_RUN_URL, Variable("CI_STEP_URL")),
            (OWNER, Variable("CI_REPO_OWNER")),
            (REPOSITORY, Variable("CI_REPO_NAME")),
            (REPOSITORY_URL, Variable("CI_REPO_URL")),
            (REF_NAME, Variable("CI_COMMIT_SOURCE_BRANCH")),
            (REF_NAME, Variable("CI_COMMIT_BRANCH")),
            (REF_REVISION, Variable("CI_COMMIT_SHA")),
            (REF_TYPE, Type("CI_COMMIT_TAG", "CI_COMMIT_BRANCH")),
            (BASE_NAME, Variable("CI_COMMIT_TARGET_BRANCH")),
            (CHANGE_ID, Variable("CI_COMMIT_PULL_REQUEST")),
        ],
    },
    System {
        sign: ("DRONE", Some("true")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("DRONE_STAGE_NAME")),
            (RUN_ID, Variable("DRONE_BUILD_NUMBER")),
            (RUN_URL, Variable("DRONE_BUILD_LINK")),
            (TASK_NAME, Variable("DRONE_STEP_NAME")),
            (WORKER_NAME, Variable("DRONE_STAGE_MACHINE")),
            (OWNER, Variable("DRONE_REPO_OWNER")),
            (REPOSITORY, Variable("DRONE_REPO_NAME")),
            (REPOSITORY_URL, Variable("DRONE_REPO_LINK")),
            (REF_NAME, Variable("DRONE_SOURCE_BRANCH")),
            (REF_NAME, Variable("DRONE_BRANCH")),
            (REF_REVISION, Variable("DRONE_COMMIT_SHA")),
            (REF_TYPE, Type("DRONE_TAG", "DRONE_BRANCH")),
            (BASE_NAME, Variable("DRONE_TARGET_BRANCH")),
            (CHANGE_ID, Variable("DRONE_PULL_REQUEST")),
        ],
    },
    System {
        sign: ("TRAVIS", Some("true")),
        provider: None,
        attributes: &[
            (PIPELINE_NAME, Variable("TRAVIS_REPO_SLUG")),
            (RUN_ID, Variable("TRAVIS_BUILD_ID")),
            (RUN_URL, Variable("TRAVIS_BUILD_WEB_URL")),
            (TASK_NAME, Variable("TRAVIS_JOB_NAME")),
            (TASK_RUN_ID, Variable("TRAVIS_JOB_ID")),
            (TASK_RUN_URL, Variable("TRAVIS_JOB_WEB_URL")),
            (REPOSITORY, Variable("TRAVIS_REPO_SLUG")),
            (REF_NAME, Variable("TRAVIS_PULL_REQUEST_BRANCH")),
            (REF_NAME, Variable("TRAVIS_BRANCH")),
            (REF_REVISION, Variable("TRAVIS_COMMIT")),
            (REF_TYPE, Type("TRAVIS_TAG", "TRAVIS_BRANCH")),
            (CHANGE_ID, Variable("TRAVIS_PULL_REQUEST")),
        ],
    },
];

/// The attributes of this CI job. Outside of CI, the list is empty. `variable` returns a variable that is not empty.
pub(crate) fn attributes(variable: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    let is_it = |system: &&System| {
        let (name, wanted) = system.sign;
        variable(name).is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
    };
    let Some(system) = SYSTEMS.iter().find(is_it) else { return Vec::new() };
    let mut attributes = Vec::new();
    attributes.extend(system.provider.map(|provider| (PROVIDER, provider.to_owned())));
    for (key, source) in system.attributes {
        if attributes.iter().all(|(known, _)| known != key)
            && let Some(value) = value(source, &variable)
            && let Some(value) = conventional(key, &value)
        {
            attributes.push((*key, value));
        }
    }
    // Some systems know the repository only by its URL.
    if find(&attributes, REPOSITORY).is_none()
        && let Some(name) = find(&attributes, REPOSITORY_URL).and_then(|url| conventional(REPOSITORY, url))
    {
        attributes.push((REPOSITORY, name));
    }
    attributes
}

fn find<'a>(attributes: &'a [(&'static str, String)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
}

/// The value as the semantic conventions want it. `None`: the value has no information.
fn conventional(key: &str, value: &str) -> Option<String> {
    let value = match key {
        // The name has no organisation or group before it.
        REPOSITORY => value.rsplit('/').next().unwrap_or(value).to_owned(),
        REPOSITORY_URL => return repository_url(value),
        RUN_URL | TASK_RUN_URL => without_password(value),
        REF_NAME | BASE_NAME => {
            let name = ["refs/heads/", "refs/tags/"].into_iter().find_map(|prefix| value.strip_prefix(prefix));
            name.unwrap_or(value).to_owned()
        }
        // Some systems say `false` outside of pull requests.
        CHANGE_ID if value == "false" => return None,
        _ => value.to_owned(),
    };
    (!value.is_empty()).then_some(value)
}

/// The address of a repository in a browser, from any address that git accepts. `None`: it has no such address.
fn repository_url(remote: &str) -> Option<String> {
    let remote = without_password(remote);
    let (scheme, place) = match remote.split_once("://") {
        Some((scheme @ ("http" | "https"), place)) => (scheme, place.to_owned()),
        // The port of ssh or git is not that of the web server.
        Some(("ssh" | "git+ssh" | "git", place)) => {
            let (host, path) = place.split_once('/')?;
            ("https", format!("{}/{path}", host.split(':').next()?))
        }
        Some(_) => return None,
        // `USER@HOST:PATH`, as for scp.
        None => {
            let is_scp = |(host, path): &(&str, &str)| !host.contains('/') && !path.contains('@');
            let (host, path) = remote.split_once(':').filter(is_scp)?;
            let host = host.rsplit('@').next()?;
            ("https", format!("{host}/{}", path.trim_start_matches('/')))
        }
    };
    if let Some(path) = AZURE_SSH.iter().find_map(|host| place.strip_prefix(host)) {
        let [organisation, project, repository] = path.split('/').collect::<Vec<_>>()[..] else { return None };
        return Some(format!("https://dev.azure.com/{organisation}/{project}/_git/{repository}"));
    }
    // These hosts only speak ssh: ssh.github.com, altssh.gitlab.com.
    if ["ssh.", "altssh."].iter().any(|prefix| place.starts_with(prefix)) {
        return None;
    }
    let place = place.trim_end_matches('/');
    let place = place.strip_suffix(".git").unwrap_or(place);
    Some(format!("{scheme}://{place}"))
}

/// The beginnings of the addresses at which Azure Repos speaks ssh. Its web server has other paths.
const AZURE_SSH: [&str; 2] = ["ssh.dev.azure.com/v3/", "vs-ssh.visualstudio.com/v3/"];

/// The name of the service if the user gives none: the repository, as the OpenTelemetry Collector's receiver for GitHub writes
/// it. `attributes` are those of this job.
pub(crate) fn service_name(attributes: &[(&'static str, String)]) -> Option<String> {
    find(attributes, REPOSITORY).map(|name| name.replace('_', "-").to_lowercase())
}

/// The name of this CI job.
pub(crate) fn job_name(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    find(&attributes(variable), TASK_NAME).map(str::to_owned)
}

fn value(source: &Source, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    match source {
        Variable(name) => variable(name),
        Text(text) => {
            let mut value = String::new();
            for (index, part) in text.split(['{', '}']).enumerate() {
                // Every other part is a variable's name.
                value += &if index % 2 == 0 { part.to_owned() } else { variable(part)? };
            }
            Some(value)
        }
        PullRequest(name) => {
            let reference = variable(name)?;
            Some(reference.strip_prefix("refs/pull/")?.split('/').next()?.to_owned())
        }
        Type(tag, branch) => match (variable(tag), variable(branch)) {
            (Some(_), _) => Some("tag".to_owned()),
            (None, Some(_)) => Some("branch".to_owned()),
            (None, None) => None,
        },
    }
}

/// The URL of a repository can contain a token for cloning.
fn without_password(url: &str) -> String {
    let without = url.split_once("://").and_then(|(scheme, rest)| {
        let user = redact::user_info(rest, scheme.starts_with("http"))?;
        Some(format!("{scheme}://{}", rest.get(user.len() + 1..)?))
    });
    without.unwrap_or_else(|| url.to_owned())
}

/// The span of the CI run of this job, if the variables are enough to know its ids.
pub(crate) fn run_span(variable: impl Fn(&str) -> Option<String>) -> Option<SpanContext> {
    // Source: the OpenTelemetry Collector's receiver for GitHub. It hashes the run's id and attempt, with `t` for the trace
    // and `s` for the span.
    let (run, attempt) = (variable("GITHUB_RUN_ID")?, variable("GITHUB_RUN_ATTEMPT")?);
    let hash = |suffix| -> [u8; 32] { Sha256::digest(format!("{run}{attempt}{suffix}")).into() };
    let (trace, span) = (hash("t"), hash("s"));
    Some(SpanContext { trace_id: TraceId(*trace.first_chunk()?), span_id: SpanId(*span.get(8..)?.first_chunk()?) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        attributes(variable).into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn a_github_job_has_its_attributes() {
        let job = found(&[
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_WORKFLOW", "Build"),
            ("GITHUB_RUN_ID", "42"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "octo/hello"),
            ("GITHUB_JOB", "test"),
            ("GITHUB_REF_NAME", "7/merge"),
            ("GITHUB_HEAD_REF", "feature"),
            ("GITHUB_REF", "refs/pull/7/merge"),
            ("GITHUB_SHA", "abc"),
            ("RUNNER_NAME", "runner-3"),
        ]);
        assert_eq!((job["vcs.repository.name"].as_str(), job["vcs.change.id"].as_str()), ("hello", "7"));
        assert_eq!(job["vcs.repository.url.full"], "https://github.com/octo/hello");
        assert_eq!((job["cicd.worker.id"].as_str(), job["cicd.worker.name"].as_str()), ("runner-3", "runner-3"));
        assert_eq!(job["cicd.pipeline.name"], "Build");
        assert_eq!(job["cicd.pipeline.run.url.full"], "https://github.com/octo/hello/actions/runs/42");
        assert_eq!((job["vcs.ref.head.name"].as_str(), job["vcs.provider.name"].as_str()), ("feature", "github"));
        assert!(!job.contains_key("vcs.ref.base.name"));
    }

    #[test]
    fn a_tag_is_not_a_branch_and_a_token_is_not_exported() {
        let job = found(&[
            ("GITLAB_CI", "true"),
            ("CI_COMMIT_TAG", "v1"),
            ("CI_COMMIT_REF_NAME", "v1"),
            ("CI_PROJECT_URL", "https://gitlab-ci-token:secret@gitlab.com/a/b"),
        ]);
        assert_eq!(job["vcs.ref.head.type"], "tag");
        assert_eq!(job["vcs.repository.url.full"], "https://gitlab.com/a/b");
    }

    #[test]
    fn in_ci_the_service_is_the_repository() {
        let name = |variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            service_name(&attributes(variable))
        };
        assert_eq!(
            name(&[("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "octo/Hello_World")]).unwrap(),
            "hello-world"
        );
        assert_eq!(name(&[("BUILDKITE", "true"), ("BUILDKITE_REPO", "git@host.org:a/b.git")]).unwrap(), "b");
        assert_eq!(name(&[("JENKINS_URL", "x")]), None);
    }

    #[test]
    fn a_push_on_github_has_no_pull_request() {
        let job = found(&[("GITHUB_ACTIONS", "true"), ("GITHUB_REF", "refs/heads/main")]);
        assert!(!job.contains_key("vcs.change.id"), "{job:?}");
        let job = found(&[("BUILDKITE", "true"), ("BUILDKITE_PULL_REQUEST", "false")]);
        assert!(!job.contains_key("vcs.change.id"), "{job:?}");
    }

    #[test]
    fn a_branch_has_its_whole_name_without_refs() {
        let job = found(&[("TF_BUILD", "True"), ("BUILD_SOURCEBRANCH", "refs/heads/feature/x")]);
        assert_eq!(job["vcs.ref.head.name"], "feature/x");
    }

    #[test]
    fn the_url_of_a_repository_opens_in_a_browser_and_has_no_password() {
        for (remote, expected) in [
            ("https://host.org/a/b.git", "https://host.org/a/b"),
            ("https://me:p@ss@host.org/a/b.git", "https://host.org/a/b"),
            ("https://me:p/ss@host.org/a/b.git", "https://host.org/a/b"),
            ("https://me:p@s/s@host.org/a/b.git", "https://host.org/a/b"),
            ("https://token@host.org/a/b.git/", "https://host.org/a/b"),
            ("http://host.org:8080/a/b.git", "http://host.org:8080/a/b"),
            ("ssh://git:p#w@host.org:22/a", "https://host.org/a"),
            ("git@host.org:a/b.git", "https://host.org/a/b"),
            ("host.org:a/b", "https://host.org/a/b"),
            ("https://host.org:8443/a/b@v1", "https://host.org:8443/a/b@v1"),
            ("https://host.org/a@b", "https://host.org/a@b"),
            ("git@ssh.dev.azure.com:v3/a/b/c", "https://dev.azure.com/a/b/_git/c"),
            ("ssh://git@ssh.dev.azure.com:22/v3/a/b%20x/c", "https://dev.azure.com/a/b%20x/_git/c"),
            ("a@vs-ssh.visualstudio.com:v3/a/b/c", "https://dev.azure.com/a/b/_git/c"),
        ] {
            let job = found(&[("JENKINS_URL", "x"), ("GIT_URL", remote)]);
            assert_eq!(job["vcs.repository.url.full"], expected, "{remote}");
        }
        for remote in [
            "/srv/git/a.git",
            "file:///srv/git/a.git",
            "../a",
            "me:token@host:a/b",
            "git@ssh.github.com:a/b",
            "git@ssh.dev.azure.com:v3/a",
        ] {
            let job = found(&[("JENKINS_URL", "x"), ("GIT_URL", remote)]);
            assert!(!job.contains_key("vcs.repository.url.full"), "{remote}");
        }
        let job = found(&[("BUILDKITE", "true"), ("BUILDKITE_REPO", "git@host.org:group/sub/app.git")]);
        assert_eq!(job["vcs.repository.name"], "app");
    }

    #[test]
    fn a_github_run_has_the_ids_that_the_collectors_github_receiver_uses() {
        let run = |name: &str| match name {
            "GITHUB_RUN_ID" => Some("42".to_owned()),
            "GITHUB_RUN_ATTEMPT" => Some("1".to_owned()),
            _ => None,
        };
        // sha256sum of "421t" and "421s".
        let expected = "00-0330c15a8d3e153086738dd3191a6497-e93171e2ef746fb5-01";
        assert_eq!(run_span(run).unwrap().to_string(), expected);
        assert_eq!(run_span(|_| None), None);
    }

    #[test]
    fn outside_of_ci_there_are_no_attributes() {
        assert!(found(&[("CI", "true"), ("HOME", "/root")]).is_empty());
        assert!(found(&[("GITHUB_ACTIONS", "false")]).is_empty());
    }

    #[test]
    fn each_system_is_found_by_its_variable() {
        for system in &SYSTEMS {
            let (sign, value) = system.sign;
            let variables: Vec<_> = system
                .attributes
                .iter()
                .filter_map(|(_, source)| if let Variable(name) = source { Some((*name, "x")) } else { None })
                .chain([(sign, value.unwrap_or("x"))])
                .collect();
            let job = found(&variables);
            for key in [PIPELINE_NAME, RUN_ID, REF_NAME, REF_REVISION] {
                assert_eq!(job[key], "x", "{sign} {key}");
            }
        }
    }
}
