package otlp

// The known fields of each message, at their protobuf field numbers, from
// opentelemetry-proto 1.11: trace/v1/trace.proto, common/v1/common.proto,
// resource/v1/resource.proto and collector/trace/v1/trace_service.proto.

// ExportTraceServiceRequest has the same fields as TracesData.
const requestResourceSpans = 1

var requestFields = message{
	requestResourceSpans: {"resourceSpans", repeated},
}

const (
	resourceSpansResource   = 1
	resourceSpansScopeSpans = 2
	resourceSpansSchemaURL  = 3
)

var resourceSpansFields = message{
	resourceSpansResource:   {name: "resource"},
	resourceSpansScopeSpans: {"scopeSpans", repeated},
	resourceSpansSchemaURL:  {name: "schemaUrl"},
}

const (
	resourceAttributes        = 1
	resourceDroppedAttributes = 2
)

var resourceFields = message{
	resourceAttributes:        {"attributes", repeated},
	resourceDroppedAttributes: {name: "droppedAttributesCount"},
}

const (
	scopeSpansScope     = 1
	scopeSpansSpans     = 2
	scopeSpansSchemaURL = 3
)

var scopeSpansFields = message{
	scopeSpansScope:     {name: "scope"},
	scopeSpansSpans:     {"spans", repeated},
	scopeSpansSchemaURL: {name: "schemaUrl"},
}

// InstrumentationScope.
const (
	scopeName              = 1
	scopeVersion           = 2
	scopeAttributes        = 3
	scopeDroppedAttributes = 4
)

var scopeFields = message{
	scopeName:              {name: "name"},
	scopeVersion:           {name: "version"},
	scopeAttributes:        {"attributes", repeated},
	scopeDroppedAttributes: {name: "droppedAttributesCount"},
}

const (
	spanTraceID           = 1
	spanSpanID            = 2
	spanTraceState        = 3
	spanParentSpanID      = 4
	spanName              = 5
	spanKind              = 6
	spanStart             = 7
	spanEnd               = 8
	spanAttributes        = 9
	spanDroppedAttributes = 10
	spanEvents            = 11
	spanDroppedEvents     = 12
	spanLinks             = 13
	spanDroppedLinks      = 14
	spanStatus            = 15
	spanFlags             = 16
)

var spanFields = message{
	spanTraceID:           {name: "traceId"},
	spanSpanID:            {name: "spanId"},
	spanTraceState:        {name: "traceState"},
	spanParentSpanID:      {name: "parentSpanId"},
	spanName:              {name: "name"},
	spanKind:              {name: "kind"},
	spanStart:             {name: "startTimeUnixNano"},
	spanEnd:               {name: "endTimeUnixNano"},
	spanAttributes:        {"attributes", repeated},
	spanDroppedAttributes: {name: "droppedAttributesCount"},
	spanEvents:            {"events", repeated},
	spanDroppedEvents:     {name: "droppedEventsCount"},
	spanLinks:             {"links", repeated},
	spanDroppedLinks:      {name: "droppedLinksCount"},
	spanStatus:            {name: "status"},
	spanFlags:             {name: "flags"},
}

// spanKinds are the names of Span.SpanKind. Their values are those of dendro.Kind plus
// one, except for the first, which is dendro.KindUnspecified.
var spanKinds = []string{
	"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER",
	"SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER",
}

// Bits of the flags of spans and links above the 8 of W3C Trace Context (SpanFlags).
const (
	flagHasIsRemote = 1 << 8
	flagIsRemote    = 1 << 9
)

const (
	eventTime              = 1
	eventName              = 2
	eventAttributes        = 3
	eventDroppedAttributes = 4
)

var eventFields = message{
	eventTime:              {name: "timeUnixNano"},
	eventName:              {name: "name"},
	eventAttributes:        {"attributes", repeated},
	eventDroppedAttributes: {name: "droppedAttributesCount"},
}

const (
	linkTraceID           = 1
	linkSpanID            = 2
	linkTraceState        = 3
	linkAttributes        = 4
	linkDroppedAttributes = 5
	linkFlags             = 6
)

var linkFields = message{
	linkTraceID:           {name: "traceId"},
	linkSpanID:            {name: "spanId"},
	linkTraceState:        {name: "traceState"},
	linkAttributes:        {"attributes", repeated},
	linkDroppedAttributes: {name: "droppedAttributesCount"},
	linkFlags:             {name: "flags"},
}

const (
	statusMessage = 2
	statusCode    = 3
)

var statusFields = message{
	statusMessage: {name: "message"},
	statusCode:    {name: "code"},
}

// statusCodes are the names of Status.StatusCode, in the order of dendro.StatusCode.
var statusCodes = []string{"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"}

const (
	keyValueKey   = 1
	keyValueValue = 2
)

var keyValueFields = message{
	keyValueKey:   {name: "key"},
	keyValueValue: {name: "value"},
}

const (
	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyArray  = 5
	anyKvlist = 6
	anyBytes  = 7
)

var anyValueFields = message{
	anyString: {name: "stringValue"},
	anyBool:   {name: "boolValue"},
	anyInt:    {name: "intValue"},
	anyDouble: {name: "doubleValue"},
	anyArray:  {name: "arrayValue"},
	anyKvlist: {name: "kvlistValue"},
	anyBytes:  {name: "bytesValue"},
}

// ArrayValue and KeyValueList.
const listValues = 1

var listFields = message{
	listValues: {"values", repeated},
}

// ExportTraceServiceResponse.
const responsePartialSuccess = 1

var responseFields = message{
	responsePartialSuccess: {name: "partialSuccess"},
}

// ExportTracePartialSuccess.
const (
	partialRejectedSpans = 1
	partialErrorMessage  = 2
)

var partialSuccessFields = message{
	partialRejectedSpans: {name: "rejectedSpans"},
	partialErrorMessage:  {name: "errorMessage"},
}

// google.rpc.Status.
const (
	rpcStatusCode    = 1
	rpcStatusMessage = 2
	rpcStatusDetails = 3
)

// google.protobuf.Any, google.rpc.RetryInfo and google.protobuf.Duration.
const (
	anyTypeURL      = 1
	anyMessage      = 2
	retryInfoDelay  = 1
	durationSeconds = 1
	durationNanos   = 2
)

var rpcStatusFields = message{
	rpcStatusCode:    {name: "code"},
	rpcStatusMessage: {name: "message"},
}
