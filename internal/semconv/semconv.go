// Package semconv pins the OpenTelemetry semantic conventions that this module
// writes and reads: the names of attributes and the form of their values.
//
// Names are those of version 1.37: HTTP and database stable.
package semconv

// SchemaURL names the version.
const SchemaURL = "https://opentelemetry.io/schemas/1.37.0"

// Resource.
const (
	ServiceName = "service.name"
)

// General.
const (
	ErrorType              = "error.type"
	ClientAddress          = "client.address"
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

// The phases of a request, as events. The conventions have none; the first four
// are called as OpenTelemetry's otelhttptrace calls them.
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
	// DBQueryParameter is followed by the name or the number of a parameter.
	DBQueryParameter     = "db.query.parameter."
	DBResponseStatusCode = "db.response.status_code"
	// DBResponseReturnedRows counts rows read.
	DBResponseReturnedRows = "db.response.returned_rows"
)

// Source code.
const (
	CodeFunctionName = "code.function.name"
	CodeFilePath     = "code.file.path"
	CodeLineNumber   = "code.line.number"
)

// Exceptions, as an event.
const (
	ExceptionEvent      = "exception"
	ExceptionType       = "exception.type"
	ExceptionMessage    = "exception.message"
	ExceptionStacktrace = "exception.stacktrace"
)

// Names of dendro itself.
const (
	// FirstByteEvent is when the first byte of a streamed response goes.
	FirstByteEvent = "first byte"
	// HTTPResponseFlushes counts how often a handler has flushed: the messages
	// of an event stream.
	HTTPResponseFlushes = "dendro.http.response.flushes"
	// HTTPHijacked says that the handler has taken the connection over.
	HTTPHijacked = "dendro.http.hijacked"
	// DBRepeatedEvent is of a span below which a statement was executed many times.
	DBRepeatedEvent = "repeated statement"
	// EventDuration is how long an event took, in nanoseconds.
	EventDuration = "dendro.event.duration_ns"
)
