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
    /// The type of a reference: `tag` if the first variable is set, `branch` if only the second is.
    Type(&'static str, &'static str),
}

use Source::{Text, Type, Variable};

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
            (WORKER_NAME, Variable("RUNNER_NAME")),
            (OWNER, Variable("GITHUB_REPOSITORY_OWNER")),
            (REPOSITORY, Variable("GITHUB_REPOSITORY")),
            (REPOSITORY_URL, Text("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}")),
            (REF_NAME, Variable("GITHUB_HEAD_REF")),
            (REF_NAME, Variable("GITHUB_REF_NAME")),
            (REF_REVISION, Variable("GITHUB_SHA")),
            (REF_TYPE, Variable("GITHUB_REF_TYPE")),
            (BASE_NAME, Variable("GITHUB_BASE_REF")),
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
            (REF_NAME, Variable("BUILD_SOURCEBRANCHNAME")),
            (REF_REVISION, Variable("BUILD_SOURCEVERSION")),
            (BASE_NAME, Variable("SYSTEM_PULLREQUEST_TARGETBRANCH")),
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
            (REPOSITORY_URL, Variable("BITBUCKET_GIT_HTTP_ORIGIN")),
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
        {
            attributes.push((*key, if key.ends_with("url.full") { without_password(&value) } else { value }));
        }
    }
    attributes
}

/// The name of this CI job.
pub(crate) fn job_name(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    attributes(variable).into_iter().find(|(key, _)| *key == TASK_NAME).map(|(_, name)| name)
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
    // Source: the OpenTelemetry Collector's receiver for GitHub. It hashes the run's number and attempt, with `t` for the
    // trace and `s` for the span.
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
            ("GITHUB_SHA", "abc"),
        ]);
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
    fn a_password_with_any_characters_in_a_remote_is_not_exported() {
        for (remote, expected) in [
            ("https://me:p@ss@host.org/a/b.git", "https://host.org/a/b.git"),
            ("https://me:p/ss@host.org/a/b.git", "https://host.org/a/b.git"),
            ("https://me:p@s/s@host.org/a/b.git", "https://host.org/a/b.git"),
            ("https://token@host.org/a/b.git", "https://host.org/a/b.git"),
            ("ssh://git:p#w@host.org:22/a", "ssh://host.org:22/a"),
            ("https://host.org:8443/a/b@v1", "https://host.org:8443/a/b@v1"),
            ("https://host.org/a@b", "https://host.org/a@b"),
            ("git@host.org:a/b.git", "git@host.org:a/b.git"),
        ] {
            let job = found(&[("JENKINS_URL", "x"), ("GIT_URL", remote)]);
            assert_eq!(job["vcs.repository.url.full"], expected, "{remote}");
        }
    }

    #[test]
    fn a_github_run_has_the_span_ids_of_its_receiver() {
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
