-- Loads traces of process-tracer into DuckDB, as the table `otel_traces`.
--
-- The columns are those of the table that the OpenTelemetry Collector makes in ClickHouse. So each query in `queries/` runs in
-- both engines. The files are `*.jsonl` in the folder `traces`. They can be compressed: `*.jsonl.gz`, `*.jsonl.zst`.

-- A value of OTLP as text. An array becomes JSON.
CREATE OR REPLACE MACRO scalar_of(value) AS
    coalesce(value->>'stringValue', value->>'intValue', value->>'doubleValue', value->>'boolValue');
CREATE OR REPLACE MACRO text_of(value) AS coalesce(
    scalar_of(value),
    to_json([scalar_of(each) for each in (value->'arrayValue'->'values')::JSON[]])::VARCHAR,
    '');
CREATE OR REPLACE MACRO map_of(attributes) AS
    map_from_entries([{'key': each.key, 'value': text_of(each.value)} for each in coalesce(attributes, [])]);
CREATE OR REPLACE MACRO time_of(nanoseconds) AS make_timestamp_ns(nanoseconds::BIGINT);

CREATE OR REPLACE TABLE otel_traces AS
WITH
    lines AS (
        SELECT unnest(resourceSpans) AS one
        FROM read_json('traces/*.jsonl*', format = 'newline_delimited', maximum_object_size = 67108864, columns = {
            resourceSpans: 'STRUCT(
                resource STRUCT(attributes STRUCT("key" VARCHAR, "value" JSON)[]),
                scopeSpans STRUCT(
                    scope STRUCT(name VARCHAR, version VARCHAR),
                    spans STRUCT(
                        traceId VARCHAR, spanId VARCHAR, parentSpanId VARCHAR, traceState VARCHAR, name VARCHAR, kind INTEGER,
                        startTimeUnixNano VARCHAR, endTimeUnixNano VARCHAR, attributes STRUCT("key" VARCHAR, "value" JSON)[],
                        events STRUCT(timeUnixNano VARCHAR, name VARCHAR, attributes STRUCT("key" VARCHAR, "value" JSON)[])[],
                        links STRUCT(traceId VARCHAR, spanId VARCHAR, traceState VARCHAR)[],
                        status STRUCT(message VARCHAR, code INTEGER))[])[])[]'})
    ),
    scopes AS (SELECT map_of(one.resource.attributes) AS resource, unnest(one.scopeSpans) AS scoped FROM lines),
    spans AS (SELECT resource, scoped.scope AS scope, unnest(scoped.spans) AS span FROM scopes)
SELECT
    time_of(span.startTimeUnixNano) AS "Timestamp",
    span.traceId AS TraceId,
    span.spanId AS SpanId,
    coalesce(span.parentSpanId, '') AS ParentSpanId,
    coalesce(span.traceState, '') AS TraceState,
    span.name AS SpanName,
    ['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'][coalesce(span.kind, 0) + 1] AS SpanKind,
    coalesce(resource['service.name'], '') AS ServiceName,
    resource AS ResourceAttributes,
    scope.name AS ScopeName,
    coalesce(scope.version, '') AS ScopeVersion,
    map_of(span.attributes) AS SpanAttributes,
    (span.endTimeUnixNano::BIGINT - span.startTimeUnixNano::BIGINT)::UBIGINT AS Duration,
    ['Unset', 'Ok', 'Error'][coalesce(span.status.code, 0) + 1] AS StatusCode,
    coalesce(span.status.message, '') AS StatusMessage,
    [time_of(each.timeUnixNano) for each in span.events] AS "Events.Timestamp",
    [each.name for each in span.events] AS "Events.Name",
    [map_of(each.attributes) for each in span.events] AS "Events.Attributes",
    [each.traceId for each in span.links] AS "Links.TraceId",
    [each.spanId for each in span.links] AS "Links.SpanId"
FROM spans;
