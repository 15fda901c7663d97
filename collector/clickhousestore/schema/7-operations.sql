CREATE TABLE IF NOT EXISTS {{operations}} {{on_cluster}} (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    Spans SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Errors SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Buckets SimpleAggregateFunction(sumMap, Tuple(Array(UInt16), Array(Float64))) CODEC(ZSTD(1)),
    Late SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1))
) ENGINE = {{aggregating_engine}}
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, SpanName, SpanKind)
{{ttl_minute}}
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
CREATE MATERIALIZED VIEW IF NOT EXISTS {{operations_mv}} {{on_cluster}}
TO {{operations}}
AS SELECT
    Minute,
    ServiceName,
    SpanName,
    SpanKind,
    sum(Weight) AS Spans,
    sum(Weight * Failed) AS Errors,
    sumMap([Bucket], [Weight]) AS Buckets,
    sum(IsLate) AS Late
FROM {{counted}}
WHERE Weight > 0 OR IsLate
GROUP BY Minute, ServiceName, SpanName, SpanKind
