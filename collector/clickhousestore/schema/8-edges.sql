CREATE TABLE IF NOT EXISTS {{edges}} {{on_cluster}} (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ClientKind LowCardinality(String) CODEC(ZSTD(1)),
    ClientName LowCardinality(String) CODEC(ZSTD(1)),
    ClientSystem LowCardinality(String) CODEC(ZSTD(1)),
    ServerKind LowCardinality(String) CODEC(ZSTD(1)),
    ServerName LowCardinality(String) CODEC(ZSTD(1)),
    ServerSystem LowCardinality(String) CODEC(ZSTD(1)),
    Spans SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Errors SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Buckets SimpleAggregateFunction(sumMap, Tuple(Array(UInt16), Array(Float64))) CODEC(ZSTD(1))
) ENGINE = {{aggregating_engine}}
PARTITION BY toDate(Minute)
ORDER BY (Minute, ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem)
{{ttl_minute}}
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
CREATE MATERIALIZED VIEW IF NOT EXISTS {{edges_mv}} {{on_cluster}}
TO {{edges}}
AS SELECT
    Minute,
    if(SpanKind = 'Consumer', PeerKind, 'service') AS ClientKind,
    if(SpanKind = 'Consumer', PeerName, ServiceName) AS ClientName,
    if(SpanKind = 'Consumer', PeerSystem, '') AS ClientSystem,
    if(SpanKind = 'Consumer', 'service', PeerKind) AS ServerKind,
    if(SpanKind = 'Consumer', ServiceName, PeerName) AS ServerName,
    if(SpanKind = 'Consumer', '', PeerSystem) AS ServerSystem,
    sum(Weight) AS Spans,
    sum(Weight * Failed) AS Errors,
    sumMap([Bucket], [Weight]) AS Buckets
FROM {{counted}}
WHERE PeerKind IN ('database', 'messaging') AND Weight > 0
GROUP BY Minute, ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem;
CREATE TABLE IF NOT EXISTS {{calls}} {{on_cluster}} (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    PeerName LowCardinality(String) CODEC(ZSTD(1)),
    Weight Float64 CODEC(ZSTD(1)),
    Failed UInt8 CODEC(ZSTD(1)),
    Bucket UInt16 CODEC(ZSTD(1)),
    Call UInt64
) ENGINE = {{engine}}
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, PeerName, Weight, Failed, Bucket)
{{ttl_minute}}
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
CREATE MATERIALIZED VIEW IF NOT EXISTS {{calls_mv}} {{on_cluster}}
TO {{calls}}
AS SELECT Minute, ServiceName, PeerName, Weight, Failed, Bucket, Call
FROM {{counted}}
WHERE PeerKind = 'peer' AND NOT IsLate;
CREATE TABLE IF NOT EXISTS {{answers}} {{on_cluster}} (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Failed UInt8 CODEC(ZSTD(1)),
    Call UInt64
) ENGINE = {{engine}}
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, Failed)
{{ttl_minute}}
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
CREATE MATERIALIZED VIEW IF NOT EXISTS {{answers_mv}} {{on_cluster}}
TO {{answers}}
AS SELECT Minute, ServiceName, Failed, Call
FROM {{counted}}
WHERE PeerKind = 'client' AND NOT IsLate
