INSERT INTO otel_traces (
    Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes,
    Duration, StatusCode, StatusMessage, `Events.Timestamp`, `Events.Name`, `Events.Attributes`, `Links.TraceId`, `Links.SpanId`, `Links.TraceState`, `Links.Attributes`
) VALUES
    (fromUnixTimestamp64Nano(1700000000000000000), '0102030405060708090a0b0c0d0e0f10', '0102030405060708', '', 'a=b', 'GET /cart', 'Server', 'shop',
     {'host.name': 'a', 'process.pid': '4711', 'service.name': 'shop'}, 'otelhttp', '0.63.0',
     {'http.response.status_code': '500', 'http.route': '/cart', 'ratio': '0.5', 'retry': 'true', 'list': '["a","b"]', 'zero': '007'},
     25000000, 'Error', 'no cart', [fromUnixTimestamp64Nano(1700000000001000000)], ['exception'], [{'exception.type': 'E', 'n': '1'}],
     ['100f0e0d0c0b0a090807060504030201'], ['0807060504030201'], ['c=d'], [{'kind': 'follows'}]),
    (fromUnixTimestamp64Nano(1700000000002000000), '0102030405060708090a0b0c0d0e0f10', '0102030405060709', '0102030405060708', '', 'SELECT carts', 'Client', 'shop',
     {'host.name': 'a', 'process.pid': '4711', 'service.name': 'shop'}, 'otelsql', '0.40.0', {'db.system.name': 'postgresql'},
     20000000, 'STATUS_CODE_ERROR', '', [], [], [], [], [], [], [])
