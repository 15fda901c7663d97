// Package semconv defines the OpenTelemetry semantic conventions that this module
// uses: the names of attributes and the format of their values.
//
// The names are those of version 1.37, in which HTTP and databases are stable.
package semconv

// SchemaURL identifies the version.
const SchemaURL = "https://opentelemetry.io/schemas/1.37.0"

// Resource.
const (
	ServiceName = "service.name"
)

// General.
const (
	ErrorType              = "error.type"
	ClientAddress          = "client.address"
	NetworkLocalAddress    = "network.local.address"
	NetworkLocalPort       = "network.local.port"
	NetworkPeerAddress     = "network.peer.address"
	NetworkPeerPort        = "network.peer.port"
	NetworkProtocolName    = "network.protocol.name"
	NetworkProtocolVersion = "network.protocol.version"
	ServerAddress          = "server.address"
	ServerPort             = "server.port"
	UserAgentOriginal      = "user_agent.original"
)

// HTTP.
const (
	HTTPRequestMethod         = "http.request.method"
	HTTPRequestMethodOriginal = "http.request.method_original"
	HTTPRequestBodySize       = "http.request.body.size"
	HTTPRequestResendCount    = "http.request.resend_count"
	HTTPResponseStatusCode    = "http.response.status_code"
	HTTPResponseBodySize      = "http.response.body.size"
	HTTPRoute                 = "http.route"
	URLFull                   = "url.full"
	URLPath                   = "url.path"
	URLQuery                  = "url.query"
	URLScheme                 = "url.scheme"
)

// Phases of a request, as events. The conventions do not define any. The names of the
// first four are those of OpenTelemetry's otelhttptrace.
const (
	HTTPDNSEvent     = "http.dns"
	HTTPConnectEvent = "http.connect"
	HTTPTLSEvent     = "http.tls"
	HTTPGetConnEvent = "http.getconn"
	HTTPWaitEvent    = "http.wait"

	DNSQuestionName    = "dns.question.name"
	HTTPConnReused     = "http.conn.reused"
	HTTPConnIdleTime   = "http.conn.idletime_ns"
	TLSProtocolVersion = "tls.protocol.version"
	TLSResumed         = "tls.resumed"
)

// Database clients.
const (
	DBSystemName     = "db.system.name"
	DBNamespace      = "db.namespace"
	DBCollectionName = "db.collection.name"
	DBOperationName  = "db.operation.name"
	DBQuerySummary   = "db.query.summary"
	DBQueryText      = "db.query.text"
	// DBQueryParameter is followed by the name or number of a parameter.
	DBQueryParameter     = "db.query.parameter."
	DBResponseStatusCode = "db.response.status_code"
	// DBResponseReturnedRows is the number of rows read.
	DBResponseReturnedRows = "db.response.returned_rows"
	// DBAffectedRows is the number of rows changed, for which OpenTelemetry has no name.
	DBAffectedRows = "dendro.db.affected_rows"
)

// Databases, in the names before version 1.30, and peers and messaging, which other senders have.
const (
	OldDBSystem              = "db.system"
	OldDBName                = "db.name"
	OldDBStatement           = "db.statement"
	OldNetPeerName           = "net.peer.name"
	OldNetPeerPort           = "net.peer.port"
	PeerService              = "peer.service"
	MessagingSystem          = "messaging.system"
	MessagingDestinationName = "messaging.destination.name"
)

// Tags for what other formats have no field for (OpenTelemetry specification, "OpenTelemetry
// Transformation to non-OTLP Formats"). The old ones are those before version 1.15 of it.
const (
	OtelScopeName         = "otel.scope.name"
	OtelScopeVersion      = "otel.scope.version"
	OldOtelLibraryName    = "otel.library.name"
	OldOtelLibraryVersion = "otel.library.version"
	OtelStatusCode        = "otel.status_code"
	OtelStatusDescription = "otel.status_description"

	OtelDroppedAttributes      = "otel.dropped_attributes_count"
	OtelDroppedEvents          = "otel.dropped_events_count"
	OtelDroppedLinks           = "otel.dropped_links_count"
	OtelEventDroppedAttributes = "otel.event.dropped_attributes_count"
)

// Source code.
const (
	CodeFunctionName = "code.function.name"
	CodeFilePath     = "code.file.path"
	CodeLineNumber   = "code.line.number"
)

// Exception events.
const (
	ExceptionEvent      = "exception"
	ExceptionType       = "exception.type"
	ExceptionMessage    = "exception.message"
	ExceptionStacktrace = "exception.stacktrace"
)

// Names that only dendro uses.
const (
	// FirstByteEvent is when the first byte of a streamed response is sent.
	FirstByteEvent = "first byte"
	// HTTPResponseFlushes is the number of flushes by a handler, which is the number
	// of messages of an event stream.
	HTTPResponseFlushes = "dendro.http.response.flushes"
	// HTTPHijacked is true if the handler hijacked the connection.
	HTTPHijacked = "dendro.http.hijacked"
	// DBRepeatedEvent is an event of a span below which a statement was repeated.
	DBRepeatedEvent = "repeated statement"
	// PoolWaitEvent is the time in which a call waited for a connection.
	PoolWaitEvent = "pool wait"
	// EventDuration is the duration of an event in nanoseconds.
	EventDuration = "dendro.event.duration_ns"
	// Counted is an attribute of a resource. It is true if the process counts its spans itself and
	// sends the counts.
	Counted = "dendro.counted"
)
