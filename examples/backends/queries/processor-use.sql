-- Which jobs leave processors unused? The share of the processors that each job keeps busy.
SELECT
    service,
    job,
    count(*) AS runs,
    round(median(seconds), 1) AS median_s,
    round(median(cpu_seconds), 1) AS median_cpu_s,
    max(processors) AS most_processors,
    round(100 * sum(cpu_seconds) / sum(seconds * processors), 1) AS busy_percent
FROM runs
WHERE processors > 0
GROUP BY service, job
ORDER BY sum(seconds * processors) - sum(cpu_seconds) DESC
LIMIT 20;
