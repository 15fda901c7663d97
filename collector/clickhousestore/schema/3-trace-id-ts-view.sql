CREATE MATERIALIZED VIEW IF NOT EXISTS {{trace_id_ts_mv}} {{on_cluster}}
TO {{trace_id_ts}}
AS SELECT
    TraceId,
    min(Timestamp) AS Start,
    max(Timestamp) AS End
FROM {{traces}}
WHERE TraceId != ''
GROUP BY TraceId
