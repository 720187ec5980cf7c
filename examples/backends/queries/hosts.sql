-- Which hosts do jobs connect to, and how long do connections last?
SELECT
    ServiceName AS service,
    coalesce(ResourceAttributes['cicd.pipeline.task.name'], '') AS job,
    coalesce(SpanAttributes['server.address'], '') AS host,
    coalesce(SpanAttributes['server.port'], '') AS port,
    count(*) AS connections,
    count(*) FILTER (WHERE StatusCode = 'Error') AS failed,
    round(sum(Duration) / 1e9, 1) AS total_s,
    round(max(Duration) / 1e9, 3) AS longest_s
FROM otel_traces
WHERE SpanKind = 'Client'
    AND SpanAttributes['network.transport'] = 'tcp'
    AND Timestamp > CAST(now() AS TIMESTAMP) - INTERVAL 30 DAY
GROUP BY service, job, host, port
ORDER BY sum(Duration) DESC, host, port
LIMIT 20;
