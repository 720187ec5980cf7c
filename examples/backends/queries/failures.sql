-- Where do failures begin? For each job: the program that failed first.
SELECT
    service,
    job,
    failed_first,
    count(*) AS runs,
    max(started) AS last_time
FROM runs
WHERE failed
GROUP BY service, job, failed_first
ORDER BY runs DESC, job, failed_first
LIMIT 20;
