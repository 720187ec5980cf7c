-- Which programs need the most memory?
SELECT
    service,
    job,
    name,
    count(*) AS times,
    round(median(peak_mb), 1) AS median_mb,
    round(max(peak_mb), 1) AS most_mb
FROM steps
GROUP BY service, job, name
ORDER BY most_mb DESC, name
LIMIT 20;
