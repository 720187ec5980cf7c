-- Which commit made a step slower? For each run of a step, the query compares two medians: that of the 5 runs before, and that
-- of this run and the 4 runs after it. A step that got slower has one row: the run with the largest change. A new step has no
-- history.
WITH
    by_run AS (
        SELECT
            steps.service AS service,
            steps.job AS job,
            steps.name AS name,
            steps.command AS command,
            steps.started_by AS started_by,
            runs.started AS started,
            runs.revision AS revision,
            sum(steps.own_seconds) AS seconds
        FROM steps
        JOIN runs ON steps.trace = runs.trace
        GROUP BY steps.service, steps.job, steps.name, steps.command, steps.started_by, runs.started, runs.revision
    ),
    around AS (
        SELECT
            service,
            job,
            name,
            command,
            started_by,
            revision,
            median(seconds) OVER (
                PARTITION BY service, job, name, command, started_by
                ORDER BY started ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS before,
            median(seconds) OVER (
                PARTITION BY service, job, name, command, started_by
                ORDER BY started ROWS BETWEEN CURRENT ROW AND 4 FOLLOWING) AS after,
            row_number() OVER (PARTITION BY service, job, name, command, started_by ORDER BY started) AS place,
            count(*) OVER (PARTITION BY service, job, name, command, started_by) AS times
        FROM by_run
    ),
    ranked AS (
        SELECT
            service,
            job,
            name,
            command,
            started_by,
            revision,
            before,
            after,
            row_number() OVER (PARTITION BY service, job, name, command, started_by ORDER BY after - before DESC) AS rank
        FROM around
        WHERE place > 5 AND place <= times - 4
    )
SELECT
    revision,
    service,
    job,
    name,
    substr(command, 1, 100) AS step,
    substr(started_by, 1, 100) AS starter,
    round(before, 3) AS before_s,
    round(after, 3) AS after_s,
    round(after - before, 3) AS change_s
FROM ranked
WHERE rank = 1 AND after > before * 1.5 AND after - before > 0.05
ORDER BY after - before DESC
LIMIT 20;
