CREATE TABLE IF NOT EXISTS `otel`.`otel_traces` (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_trace_id_ts` (
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_trace_id_ts_mv`
TO `otel`.`otel_traces_trace_id_ts`
AS SELECT
    TraceId,
    min(Timestamp) AS Start,
    max(Timestamp) AS End
FROM `otel`.`otel_traces`
WHERE TraceId != ''
GROUP BY TraceId;

ALTER TABLE `otel`.`otel_traces`
    ADD COLUMN IF NOT EXISTS DendroFlags UInt32 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroTypes LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroResource LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroScope LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS DendroSpan String CODEC(ZSTD(1));

ALTER TABLE `otel`.`otel_traces` MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE `otel`.`otel_traces_trace_id_ts` MODIFY SETTING non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_counted` (
    Minute DateTime,
    ServiceName LowCardinality(String),
    SpanName LowCardinality(String),
    SpanKind LowCardinality(String),
    Weight Float64,
    IsLate UInt8,
    Failed UInt8,
    Bucket UInt16,
    PeerKind LowCardinality(String),
    PeerName LowCardinality(String),
    PeerSystem LowCardinality(String),
    Call UInt64
) ENGINE = Null;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_operations` (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    Spans SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Errors SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)),
    Buckets SimpleAggregateFunction(sumMap, Tuple(Array(UInt16), Array(Float64))) CODEC(ZSTD(1)),
    Late SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1))
) ENGINE = AggregatingMergeTree
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, SpanName, SpanKind)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_operations_mv`
TO `otel`.`otel_traces_operations`
AS SELECT
    Minute,
    ServiceName,
    SpanName,
    SpanKind,
    sum(Weight) AS Spans,
    sum(Weight * Failed) AS Errors,
    sumMap([Bucket], [Weight]) AS Buckets,
    sum(IsLate) AS Late
FROM `otel`.`otel_traces_counted`
WHERE Weight > 0 OR IsLate
GROUP BY Minute, ServiceName, SpanName, SpanKind;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_edges` (
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
) ENGINE = AggregatingMergeTree
PARTITION BY toDate(Minute)
ORDER BY (Minute, ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_edges_mv`
TO `otel`.`otel_traces_edges`
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
FROM `otel`.`otel_traces_counted`
WHERE PeerKind IN ('database', 'messaging') AND Weight > 0
GROUP BY Minute, ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_calls` (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    PeerName LowCardinality(String) CODEC(ZSTD(1)),
    Weight Float64 CODEC(ZSTD(1)),
    Failed UInt8 CODEC(ZSTD(1)),
    Bucket UInt16 CODEC(ZSTD(1)),
    Call UInt64
) ENGINE = MergeTree
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, PeerName, Weight, Failed, Bucket)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_calls_mv`
TO `otel`.`otel_traces_calls`
AS SELECT Minute, ServiceName, PeerName, Weight, Failed, Bucket, Call
FROM `otel`.`otel_traces_counted`
WHERE PeerKind = 'peer' AND NOT IsLate;

CREATE TABLE IF NOT EXISTS `otel`.`otel_traces_answers` (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Failed UInt8 CODEC(ZSTD(1)),
    Call UInt64
) ENGINE = MergeTree
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, Failed)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_answers_mv`
TO `otel`.`otel_traces_answers`
AS SELECT Minute, ServiceName, Failed, Call
FROM `otel`.`otel_traces_counted`
WHERE PeerKind = 'client' AND NOT IsLate;

CREATE MATERIALIZED VIEW IF NOT EXISTS `otel`.`otel_traces_counted_mv`
TO `otel`.`otel_traces_counted`
AS WITH
    intDiv(toInt128(toUnixTimestamp64Nano(Timestamp)) + Duration, 60000000000) AS ended,
    toInt64(intDiv(toUnixTimestamp(now()), 60)) AS current,
    ended < current - 1440 AS late,
    ResourceAttributes['dendro.counted'] = 'true' AS counted,
    if(startsWith(SpanKind, 'SPAN_KIND_'), initcap(substring(SpanKind, 11)), SpanKind) AS kind,
    extract(extract(TraceState, '(?:^|,)[ \\t]*ot=([^,]*?)[ \\t]*(?:,|$)'), '(?:^|;)th:([^;]*)') AS digits,
    reinterpretAsUInt64(reverse(unhex(rightPad(digits, 14, '0')))) AS threshold,
    greatest(least(Duration, toUInt64(9223372036854775807)), toUInt64(1)) AS nanoseconds,
    toUInt8(floor(log2(nanoseconds))) AS octave,
    bitShiftLeft(nanoseconds, toUInt8(63 - octave)) AS mantissa,
    if(kind = 'Client', arrayFirst(v -> v != '', [SpanAttributes['db.system.name'], SpanAttributes['db.system']]), '') AS database,
    if(kind = 'Client', arrayFirst(v -> v != '', [SpanAttributes['db.namespace'], SpanAttributes['db.name']]), '') AS namespace,
    if(kind = 'Client', arrayFirst(v -> v != '', [SpanAttributes['server.address'], SpanAttributes['net.peer.name']]), '') AS address,
    if(kind = 'Client', toUInt64OrZero(arrayFirst(v -> v != '', [SpanAttributes['server.port'], SpanAttributes['net.peer.port']])), 0) AS port
SELECT
    toDateTime(toUInt32(60 * if(late, current, least(ended, current)))) AS Minute,
    ServiceName,
    SpanName,
    kind AS SpanKind,
    multiIf(late OR counted, 0, match(digits, '^[0-9a-f]{1,14}$'), least(72057594037927936 / (72057594037927936 - threshold), 1048576), 1) AS Weight,
    late AND NOT counted AS IsLate,
    StatusCode IN ('Error', 'STATUS_CODE_ERROR') AS Failed,
    8 * octave + arrayCount(bound -> mantissa > bound, [
        9223372036854775808, 10058158527438641152, 10968499650544838656, 11961233684655323136,
        13043817825332781056, 14224384202002325504, 15511800964685066240, 16915738899553466368
    ]) AS Bucket,
    multiIf(
        kind = 'Client', if(database != '', 'database', 'peer'),
        kind = 'Server' AND ParentSpanId != '', 'client',
        kind IN ('Producer', 'Consumer') AND SpanAttributes['messaging.destination.name'] != '', 'messaging',
        '') AS PeerKind,
    multiIf(
        PeerKind = 'database', if(namespace != '', namespace, address),
        PeerKind = 'messaging', SpanAttributes['messaging.destination.name'],
        PeerKind != 'peer', '',
        SpanAttributes['peer.service'] != '', SpanAttributes['peer.service'],
        address != '' AND port > 0, concat(address, ':', toString(port)),
        address) AS PeerName,
    multiIf(PeerKind = 'database', database, PeerKind = 'messaging', SpanAttributes['messaging.system'], '') AS PeerSystem,
    multiIf(PeerKind = 'peer', cityHash64(TraceId, SpanId), PeerKind = 'client', cityHash64(TraceId, ParentSpanId), 0) AS Call
FROM `otel`.`otel_traces`;

