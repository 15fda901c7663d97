// Sends the spans that TestOTelJSSends expects: node send.mjs PROTOCOL COMPRESSION URL
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GRPC } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JSONOverHTTP } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufOverHTTP } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [protocol, compression, url] = process.argv.slice(2);
const Exporter = { "http/protobuf": ProtobufOverHTTP, "http/json": JSONOverHTTP, grpc: GRPC }[protocol];

let spans = 0;
const provider = new BasicTracerProvider({
	spanProcessors: [new BatchSpanProcessor(new Exporter({ url, compression }))],
	resource: resourceFromAttributes({ "service.name": "shop", "process.pid": 42 }, { schemaUrl: "https://example.com/resource" }),
	spanLimits: { attributeCountLimit: 20, eventCountLimit: 3, linkCountLimit: 1, attributePerEventCountLimit: 1, attributePerLinkCountLimit: 1 },
	idGenerator: {
		generateTraceId: () => { throw new Error("every span has a parent"); },
		generateSpanId: () => (++spans).toString(16).padStart(16, "0"),
	},
});
const tracer = provider.getTracer("library", "1.2.3", { schemaUrl: "https://example.com/scope" });

const at = (ms) => [1_700_000_000, 123_456_789 + ms * 1_000_000]; // seconds and nanoseconds
const caller = {
	traceId: "01020300000000000000000000000010", spanId: "0100000000000008", isRemote: true,
	traceFlags: TraceFlags.SAMPLED, traceState: createTraceState("vendor=1,other=2"),
};
const root = tracer.startSpan("GET /ünï/{id}", {
	kind: SpanKind.SERVER, startTime: at(0),
	links: [{ context: { ...caller, spanId: "0000000000000009" } }, { context: caller, attributes: { why: "queued", over: 1 } }],
}, trace.setSpanContext(ROOT_CONTEXT, caller));
root.setAttributes({
	string: "wörld \u0001 \" \\ \u{1f333}", empty: "", int: -Number.MAX_SAFE_INTEGER, zero: 0, float: 1e-300, true: true, false: false,
	strings: ["a", "", "ö"], ints: [Number.MAX_SAFE_INTEGER, 0, -1], floats: [0.5, -2.25], bools: [true, false], none: [], holes: ["a", null],
});
root.addEvent("lost", at(1));
root.addEvent("cache miss", { key: "k", over: 1 }, at(2));
root.recordException({ name: "NoRow", message: "no row" }, at(3));
root.addEvent("bare", at(4));
root.setStatus({ code: SpanStatusCode.ERROR, message: "it broke" });

const within = trace.setSpan(ROOT_CONTEXT, root);
const kinds = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];
kinds.forEach((kind, i) => {
	const child = tracer.startSpan(SpanKind[kind], { kind, startTime: at(10 + i) }, within);
	if (kind === SpanKind.CLIENT) {
		child.setStatus({ code: SpanStatusCode.OK });
	}
	child.end(at(20 + i));
});
const busy = provider.getTracer("other").startSpan("busy", { startTime: at(30) }, within);
for (let i = 0; i < 22; i++) {
	busy.setAttribute(`n${i}`, i);
}
busy.end(at(31));
root.end(at(100));
await provider.shutdown();
