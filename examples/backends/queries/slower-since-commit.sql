-- What got slower since a commit? Put its hash in place of COMMIT.
-- The runs since the first run of this commit are compared with the runs before it, in the same job. A new step took 0 before.
WITH
    since AS (
        SELECT service, job, min(started) AS first
        FROM runs
        WHERE revision = 'COMMIT'
        GROUP BY service, job
    ),
    compared AS (
        SELECT
            steps.service AS service,
            steps.job AS job,
            steps.name AS name,
            steps.command AS command,
            steps.started_by AS started_by,
            count(*) FILTER (WHERE runs.started < since.first) AS times_before,
            count(*) FILTER (WHERE runs.started >= since.first) AS times_after,
            CASE WHEN count(*) FILTER (WHERE runs.started < since.first) = 0 THEN 0
                ELSE median(steps.own_seconds) FILTER (WHERE runs.started < since.first) END AS before,
            median(steps.own_seconds) FILTER (WHERE runs.started >= since.first) AS after
        FROM steps
        JOIN runs ON steps.trace = runs.trace
        JOIN since ON steps.service = since.service AND steps.job = since.job
        GROUP BY steps.service, steps.job, steps.name, steps.command, steps.started_by
    )
SELECT
    service,
    job,
    name,
    substr(command, 1, 100) AS step,
    substr(started_by, 1, 100) AS starter,
    times_before,
    times_after,
    round(before, 3) AS before_s,
    round(after, 3) AS after_s,
    round(after - before, 3) AS change_s
FROM compared
WHERE times_after >= 3 AND times_before NOT IN (1, 2) AND after > before * 1.2 AND after - before > 0.01
ORDER BY after - before DESC
LIMIT 20;
