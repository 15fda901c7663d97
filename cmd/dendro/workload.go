package main

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// The services and operations of a shop, which "dendro load" imitates.

// serviceNames are the services. An operation has the index of its service.
var serviceNames = []string{
	"gateway", "catalog", "pricing", "search", "cart", "inventory",
	"orders", "payment", "shipping", "notification", "auth", "recommendation",
}

// rootService is the index of the service that has the root span of each trace.
const rootService = 0

// operation is work of a service, and what it calls.
type operation struct {
	service string // "": that of its caller
	name    string
	kind    dendro.Kind
	attrs   []slog.Attr
	micros  float64 // median duration, without its calls
	steps   []step  // one after the other
}

// step is a number of calls that one operation makes.
type step struct {
	calls    []*operation
	chance   float64 // that the step happens
	most     int     // the step happens up to that often
	parallel bool    // all calls begin together
}

func calls(ops ...*operation) step    { return step{ops, 1, 1, false} }
func together(ops ...*operation) step { return step{ops, 1, 1, true} }

func (s step) withChance(p float64) step { s.chance = p; return s }
func (s step) upTo(n int) step           { s.most = n; return s }

// Values of attributes that are different for each trace. Others of the same length take their
// place.
const (
	anyNumber = "#DIGITS#"         // eight digits
	anyTenant = "#TENANT#TENANT##" // see tenantKey
)

// userKey is an attribute of each span that handles a request.
const userKey = "enduser.id"

// tenantKey is an attribute of each root span. A few traces have a value that no others have.
const tenantKey = "shop.tenant"

// handle returns the handling of a request.
func handle(service, method, route string, micros float64, steps ...step) *operation {
	return &operation{service, method + " " + route, dendro.KindServer, []slog.Attr{
		slog.String("http.request.method", method), slog.String("http.route", route),
		slog.String("url.path", strings.ReplaceAll(route, "{id}", anyNumber)), slog.String("url.scheme", "http"),
		slog.Int("http.response.status_code", 200), slog.String("network.protocol.version", "1.1"),
		slog.String("server.address", service+".shop.svc.cluster.example"), slog.Int("server.port", 8080),
		slog.String("client.address", "10.4.17.23"), slog.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"),
		slog.String(userKey, "user-"+anyNumber),
	}, micros, steps}
}

// request returns a request to another service, which handles it.
func request(to *operation) *operation {
	method, route, _ := strings.Cut(to.name, " ")
	address := to.service + ".shop.svc.cluster.example"
	return &operation{"", method, dendro.KindClient, []slog.Attr{
		slog.String("http.request.method", method), slog.String("url.full", "http://"+address+":8080"+strings.ReplaceAll(route, "{id}", anyNumber)+"?locale=en-GB&currency=EUR"),
		slog.String("url.template", route), slog.String("server.address", address), slog.Int("server.port", 8080),
		slog.Int("http.response.status_code", 200), slog.String("network.protocol.version", "1.1"),
		slog.String("network.peer.address", "2001:db8:4:9:f816:3eff:fe17:2a01"), slog.Int("network.peer.port", 8080), slog.Int("http.response.body.size", 1412),
	}, 400, []step{calls(to)}}
}

// query returns a statement.
func query(database, summary, text string, micros float64) *operation {
	verb, table, _ := strings.Cut(summary, " ")
	return &operation{"", summary, dendro.KindClient, []slog.Attr{
		slog.String("db.system.name", "postgresql"), slog.String("db.namespace", database), slog.String("db.query.summary", summary),
		slog.String("db.query.text", text), slog.String("db.operation.name", verb), slog.String("db.collection.name", table),
		slog.Int("db.response.returned_rows", 12), slog.String("server.address", "postgresql-primary-1.databases.shop.example"), slog.Int("server.port", 5432),
		slog.String("network.peer.address", "2001:db8:4:200:f816:3eff:fe17:5"),
	}, micros, nil}
}

// cache returns a command of a cache.
func cache(command, key string) *operation {
	return &operation{"", command, dendro.KindClient, []slog.Attr{
		slog.String("db.system.name", "redis"), slog.String("db.namespace", "0"), slog.String("db.operation.name", command),
		slog.String("db.query.text", command+" "+key+":"+anyNumber), slog.String("server.address", "redis-sessions-1.databases.shop.example"),
		slog.Int("server.port", 6379), slog.String("network.peer.address", "2001:db8:4:200:f816:3eff:fe17:9"), slog.Int("network.peer.port", 6379),
		slog.Bool("cache.hit", true), slog.String("cache.item.key", key+":"+anyNumber),
	}, 300, nil}
}

// work returns work inside a service.
func work(function string, micros float64) *operation {
	return &operation{"", function, dendro.KindInternal, []slog.Attr{
		slog.String("code.function.name", "shop.example/services/internal/handlers."+function), slog.String("code.file.path", "/src/shop/services/internal/handlers/"+strings.ToLower(function)+".go"),
		slog.Int("code.line.number", 118), slog.Int("thread.id", 7), slog.String("shop.item", anyNumber), slog.Int("shop.items", 3),
		slog.String("shop.currency", "EUR"), slog.String("deployment.ring", "stable"), slog.Bool("feature.enabled", true),
	}, micros, nil}
}

// publish returns the sending of a message, and its processing.
func publish(topic string, by ...*operation) *operation {
	attrs := func(operation string) []slog.Attr {
		return []slog.Attr{
			slog.String("messaging.system", "kafka"), slog.String("messaging.destination.name", topic), slog.String("messaging.operation.type", operation),
			slog.String("messaging.message.id", "msg-"+anyNumber), slog.Int("messaging.message.body.size", 812), slog.Int("messaging.kafka.offset", 82231),
			slog.String("messaging.destination.partition.id", "3"), slog.String("server.address", "kafka-1.shop.example"), slog.Int("server.port", 9092),
			slog.String("messaging.client.id", "shop-"+anyNumber),
		}
	}
	for _, op := range by {
		op.name, op.kind, op.attrs = "process "+topic, dendro.KindConsumer, attrs("process")
	}
	return &operation{"", "send " + topic, dendro.KindProducer, attrs("send"), 900, []step{together(by...)}}
}

// entry is a request of a user, and how many of a hundred are like it.
type entry struct {
	*operation
	share int
}

// entries returns the requests of users. Their shares are a hundred.
func entries() []entry {
	price := request(handle("pricing", "GET", "/prices/{id}", 600, calls(cache("GET", "price")), calls(query("pricing", "SELECT prices", "SELECT amount, currency FROM prices WHERE product_id = $1 AND valid_to > $2", 1200)).withChance(.2)))
	stock := request(handle("inventory", "GET", "/stock/{id}", 500, calls(query("inventory", "SELECT stock", "SELECT warehouse, count FROM stock WHERE product_id = $1", 900))))
	session := request(handle("auth", "GET", "/sessions/{id}", 300, calls(cache("GET", "session"))))
	product := handle("catalog", "GET", "/products/{id}", 1500,
		calls(cache("GET", "product")), calls(query("catalog", "SELECT products", "SELECT id, name, description, image FROM products WHERE id = $1", 2500)).withChance(.4),
		together(price, stock), calls(work("RenderProduct", 1800)))
	list := handle("catalog", "GET", "/products", 2500,
		calls(query("catalog", "SELECT products", "SELECT id, name, image FROM products WHERE category = $1 ORDER BY rank LIMIT 24", 6000)), calls(price).upTo(3))
	find := handle("search", "GET", "/search", 3000, calls(work("ParseQuery", 200)), together(cache("MGET", "suggestion"), query("search", "SELECT documents", "SELECT id, ts_rank(body, q) FROM documents, to_tsquery($1) q WHERE body @@ q LIMIT 50", 12_000)), calls(work("Rank", 2500)))
	add := handle("cart", "POST", "/carts/{id}/items", 900, calls(stock), calls(cache("HSET", "cart"), cache("EXPIRE", "cart")))
	show := handle("cart", "GET", "/carts/{id}", 700, calls(cache("HGETALL", "cart")), calls(price).upTo(2))
	charge := request(handle("payment", "POST", "/charges", 4000,
		calls(query("payment", "INSERT charges", "INSERT INTO charges (order_id, amount, currency) VALUES ($1, $2, $3) RETURNING id", 1800)),
		calls(work("SignRequest", 700)), calls(query("payment", "UPDATE charges", "UPDATE charges SET state = $2 WHERE id = $1", 1500))))
	reserve := request(handle("inventory", "POST", "/reservations", 1200, calls(query("inventory", "UPDATE stock", "UPDATE stock SET count = count - $2 WHERE product_id = $1 AND count >= $2", 2200)).upTo(3)))
	place := handle("orders", "POST", "/orders", 3500,
		together(reserve, price), calls(query("orders", "INSERT orders", "INSERT INTO orders (customer_id, total) VALUES ($1, $2) RETURNING id", 2000)),
		calls(query("orders", "INSERT order_items", "INSERT INTO order_items (order_id, product_id, count) VALUES ($1, $2, $3)", 900)).upTo(4), calls(charge),
		calls(publish("orders.placed",
			&operation{service: "shipping", micros: 2500, steps: []step{calls(query("shipping", "INSERT parcels", "INSERT INTO parcels (order_id, address) VALUES ($1, $2)", 1500))}},
			&operation{service: "notification", micros: 1800, steps: []step{calls(work("RenderMail", 2200))}})))
	order := handle("orders", "GET", "/orders/{id}", 900,
		calls(query("orders", "SELECT orders", "SELECT id, customer_id, total, state FROM orders WHERE id = $1", 1300), query("orders", "SELECT order_items", "SELECT product_id, count, price FROM order_items WHERE order_id = $1", 1600)),
		calls(request(handle("shipping", "GET", "/parcels/{id}", 700, calls(query("shipping", "SELECT parcels", "SELECT state, eta FROM parcels WHERE order_id = $1", 1100))))).withChance(.6))
	login := handle("auth", "POST", "/sessions", 1500, calls(query("auth", "SELECT users", "SELECT id, password_hash FROM users WHERE email = $1", 1200)), calls(work("CheckPassword", 60_000)), calls(cache("SETEX", "session")))
	recommend := handle("recommendation", "GET", "/recommendations/{id}", 4000, together(cache("MGET", "viewed"), cache("MGET", "bought"), work("LoadModel", 5000)), calls(work("Score", 9000)))

	through := func(to *operation) *operation { // the gateway
		return handle("gateway", strings.Fields(to.name)[0], strings.Fields(to.name)[1], 800, calls(session).withChance(.5), calls(request(to)))
	}
	return []entry{
		{through(product), 22}, {through(list), 12}, {through(find), 11}, {through(add), 9}, {through(show), 10}, {through(order), 11},
		{through(login), 7}, {through(recommend), 7}, {through(place), 3}, {handle("gateway", "GET", "/healthz", 60), 8},
	}
}

// resourceOf returns the resource of a service in a run.
func resourceOf(service, run string) *dendro.Resource {
	return &dendro.Resource{Attributes: []slog.Attr{
		slog.String("service.name", service), slog.String("service.version", "4.2.1"), slog.String(runKey, run),
		slog.String("host.name", service+"-7d9f6c5b48-x2v"), slog.String("deployment.environment.name", "production"),
		slog.String("telemetry.sdk.name", "opentelemetry"), slog.String("telemetry.sdk.language", "go"), slog.String("telemetry.sdk.version", "1.38.0"),
	}}
}

// runKey is an attribute of each resource: which run of "dendro load" has made the spans.
const runKey = "service.instance.id"

// draft is a trace that is being laid out. Its spans have no ids.
type draft struct {
	random   *rand.Rand
	spans    []*dendro.SpanData // the root first, parents before children; times are from the start
	services []string
	parents  []int
}

// layOut returns a trace of an operation.
func layOut(op *operation, random *rand.Rand) *draft {
	d := &draft{random: random}
	d.add(op, -1, 0, "")
	d.spans[0].Attributes = append(d.spans[0].Attributes, slog.String(tenantKey, anyTenant))
	return d
}

// add adds an operation that starts at a time, and what it calls. It returns its end.
func (d *draft) add(op *operation, parent int, start int64, service string) (end int64) {
	if op.service != "" {
		service = op.service
	}
	own := int64(1000 * op.micros * math.Exp(.6*d.random.NormFloat64())) // latencies are log-normal
	s := &dendro.SpanData{Name: op.name, Kind: op.kind, Attributes: slices.Clone(op.attrs), Start: start, RemoteUnknown: true}
	s.Flags = dendro.FlagSampled
	n := len(d.spans)
	d.spans, d.services, d.parents = append(d.spans, s), append(d.services, service), append(d.parents, parent)
	at := start + own/3
	for _, step := range op.steps {
		if d.random.Float64() >= step.chance {
			continue
		}
		for range 1 + d.random.IntN(step.most) {
			last := at
			for _, call := range step.calls {
				end := d.add(call, n, at, service)
				last = max(last, end)
				if !step.parallel {
					at = end + own/20
				}
			}
			at = max(at, last)
		}
	}
	s.End = at + own - own/3
	if op.kind == dendro.KindProducer { // does not wait for those that process the message
		s.End = start + own
	}
	return s.End
}

// fail makes one of the last operations fail, and with it those that have called it.
func (d *draft) fail() {
	i := d.random.IntN(len(d.spans))
	for slices.Contains(d.parents, i) {
		i = i + 1 + slices.Index(d.parents[i+1:], i) // the first that it calls
	}
	leaf := d.spans[i]
	leaf.Events = append(leaf.Events, dendro.Event{Name: "exception", Time: leaf.End, Attributes: []slog.Attr{
		slog.String("exception.type", "*errors.timeout"), slog.String("exception.message", "deadline exceeded after "+strconv.FormatInt((leaf.End-leaf.Start)/1000, 10)+" µs"),
	}})
	for ; i >= 0; i = d.parents[i] {
		s := d.spans[i]
		s.Status = dendro.Status{Code: dendro.StatusError, Message: fmt.Sprintf("%s has failed", s.Name)}
		for a := range s.Attributes {
			if s.Attributes[a].Key == "http.response.status_code" {
				s.Attributes[a] = slog.Int("http.response.status_code", 503)
			}
		}
		s.Attributes = append(s.Attributes, slog.String("error.type", "timeout"))
	}
}
