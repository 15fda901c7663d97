CREATE TABLE IF NOT EXISTS {{counted}} {{on_cluster}} (
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
) ENGINE = Null
