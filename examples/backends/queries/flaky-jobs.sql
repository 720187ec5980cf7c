-- Flaky jobs: the same commit failed and succeeded.
WITH
    by_revision AS (
        SELECT
            service,
            job,
            revision,
            count(*) FILTER (WHERE failed) AS failures,
            count(*) FILTER (WHERE NOT failed) AS successes
        FROM runs
        WHERE revision <> ''
        GROUP BY service, job, revision
    )
SELECT
    service,
    job,
    count(*) AS commits,
    count(*) FILTER (WHERE failures > 0 AND successes > 0) AS flaky_commits,
    sum(failures) AS failed_runs
FROM by_revision
GROUP BY service, job
HAVING count(*) FILTER (WHERE failures > 0 AND successes > 0) > 0
ORDER BY flaky_commits DESC, job
LIMIT 20;
