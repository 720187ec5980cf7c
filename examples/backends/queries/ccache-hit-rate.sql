-- The hit rate of ccache by job.
-- After a hit, ccache starts no compiler. After a miss it does: a child that compiles (`-c`) and not only preprocesses (`-E`).
WITH
    calls AS (
        SELECT
            TraceId AS trace,
            SpanId AS span,
            ServiceName AS service,
            coalesce(ResourceAttributes['cicd.pipeline.task.name'], '') AS job
        FROM otel_traces
        WHERE SpanAttributes['process.executable.name'] = 'ccache'
            AND SpanAttributes['process.command_args'] LIKE '%"-c"%'
            AND Timestamp > CAST(now() AS TIMESTAMP) - INTERVAL 30 DAY
    ),
    compiles AS (
        SELECT TraceId AS trace, ParentSpanId AS parent, count(*) AS times
        FROM otel_traces
        WHERE SpanAttributes['process.command_args'] LIKE '%"-c"%'
            AND SpanAttributes['process.command_args'] NOT LIKE '%"-E"%'
            AND Timestamp > CAST(now() AS TIMESTAMP) - INTERVAL 30 DAY
        GROUP BY TraceId, ParentSpanId
    )
SELECT
    calls.service AS service,
    calls.job AS job,
    count(*) AS calls,
    count(*) FILTER (WHERE coalesce(compiles.times, 0) = 0) AS hits,
    round(100 * count(*) FILTER (WHERE coalesce(compiles.times, 0) = 0) / count(*), 1) AS hit_percent
FROM calls
LEFT JOIN compiles ON calls.trace = compiles.trace AND calls.span = compiles.parent
GROUP BY calls.service, calls.job
ORDER BY hit_percent, job
LIMIT 100;
