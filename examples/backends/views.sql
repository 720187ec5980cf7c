-- Two views of the last 30 days. The queries in `queries/` need them. They work in ClickHouse and in DuckDB.

-- A row for each run of process-tracer: its root span.
CREATE OR REPLACE VIEW runs AS
SELECT
    TraceId AS trace,
    Timestamp AS started,
    ServiceName AS service,
    coalesce(ResourceAttributes['cicd.pipeline.task.name'], '') AS job,
    coalesce(ResourceAttributes['vcs.ref.head.revision'], '') AS revision,
    SpanName AS name,
    Duration / 1e9 AS seconds,
    StatusCode = 'Error' AS failed,
    coalesce(SpanAttributes['process_tracer.failure.name'], '') AS failed_first,
    toFloat64OrZero(SpanAttributes['process_tracer.tree.cpu.user_time'])
        + toFloat64OrZero(SpanAttributes['process_tracer.tree.cpu.system_time']) AS cpu_seconds,
    toFloat64OrZero(SpanAttributes['process_tracer.cpus']) AS processors
FROM otel_traces
WHERE SpanAttributes['process_tracer.complete'] <> '' AND Timestamp > CAST(now() AS TIMESTAMP) - INTERVAL 30 DAY;

-- A row for each process.
-- `own_seconds` is its time without that of its children. If children run at the same time, it can be too short.
-- Reports compute own time exactly: the time in which no child was alive.
-- Commands have no names of temporary files, so that a step has the same command in each run.
CREATE OR REPLACE VIEW steps AS
WITH
    processes AS (
        SELECT
            TraceId AS trace,
            SpanId AS span,
            ParentSpanId AS parent,
            Timestamp AS started,
            ServiceName AS service,
            coalesce(ResourceAttributes['cicd.pipeline.task.name'], '') AS job,
            coalesce(ResourceAttributes['vcs.ref.head.revision'], '') AS revision,
            SpanName AS name,
            replaceRegexpAll(
                replace(trim(BOTH '["]' FROM SpanAttributes['process.command_args']), '","', ' '),
                '/tmp/[^ ]*', '/tmp/...') AS command,
            Duration / 1e9 AS seconds,
            toFloat64OrZero(SpanAttributes['process_tracer.cpu.user_time'])
                + toFloat64OrZero(SpanAttributes['process_tracer.cpu.system_time']) AS cpu_seconds,
            toFloat64OrZero(SpanAttributes['process_tracer.memory.peak']) / 1e6 AS peak_mb,
            StatusCode = 'Error' AS failed
        FROM otel_traces
        WHERE SpanAttributes['process.pid'] <> '' AND Timestamp > CAST(now() AS TIMESTAMP) - INTERVAL 30 DAY
    ),
    children AS (
        SELECT trace, parent, sum(seconds) AS seconds
        FROM processes
        GROUP BY trace, parent
    )
SELECT
    process.trace AS trace,
    process.span AS span,
    process.started AS started,
    process.service AS service,
    process.job AS job,
    process.revision AS revision,
    process.name AS name,
    process.command AS command,
    coalesce(starter.command, '') AS started_by,
    process.seconds AS seconds,
    greatest(process.seconds - coalesce(children.seconds, 0), 0) AS own_seconds,
    process.cpu_seconds AS cpu_seconds,
    process.peak_mb AS peak_mb,
    process.failed AS failed
FROM processes AS process
LEFT JOIN processes AS starter ON process.trace = starter.trace AND process.parent = starter.span
LEFT JOIN children ON process.trace = children.trace AND process.span = children.parent;
