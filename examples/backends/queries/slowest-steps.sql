-- The slowest steps of 30 days: the commands that take the most time of their own over all runs.
SELECT
    service,
    job,
    name,
    substr(command, 1, 100) AS step,
    substr(started_by, 1, 100) AS starter,
    count(*) AS times,
    round(median(own_seconds), 3) AS median_s,
    round(max(own_seconds), 3) AS longest_s,
    round(sum(own_seconds), 1) AS total_s
FROM steps
GROUP BY service, job, name, command, started_by
ORDER BY sum(own_seconds) DESC
LIMIT 20;
