CREATE MATERIALIZED VIEW IF NOT EXISTS {{counted_mv}} {{on_cluster}}
TO {{counted}}
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
FROM {{traces}}
