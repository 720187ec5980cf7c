-- How long do the runs take?
SELECT started AS time, concat(service, ' ', job) AS metric, seconds
FROM runs
ORDER BY time;
