package simulation

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"

	"github.com/dendrotrace/dendro"
)

const (
	// levels is how deep calls go: a service of a level calls those of the next one. The first level is the service
	// that requests enter.
	levels = 12
	// entryOperations and innerOperations are the operations of a service, besides a consumer of messages.
	entryOperations = 10
	innerOperations = 3
	// variants is the number of different attributes of the spans of an operation.
	variants = 64
)

// servicesOfLevel is the number of services of each level. Their sum is 50. It is about in proportion to the calls that
// arrive at the level, so that no process has much more to do than others.
var servicesOfLevel = [levels]int{1, 18, 11, 7, 4, 2, 2, 1, 1, 1, 1, 1}

// entryCalls is the number of calls that each operation of the first service makes. The first operations are called most.
var entryCalls = [entryOperations]int{3, 1, 5, 2, 8, 4, 6, 1, 12, 40}

// service is a program.
type service struct {
	name       string
	operations []*operation
	consumer   *operation
	processes  []*process
}

// operation is what a service does for a request or a message.
type operation struct {
	number  int // among all operations
	name    string
	level   int
	calls   int // of operations of the first level
	kind    dendro.Kind
	service *service
	median  float64 // of its own work, in nanoseconds; the logarithm of it is normally distributed
	sigma   float64

	// Names and attributes of its spans.
	attributes, failedAttributes [variants][]slog.Attr // of the root
	query                        [variants][]slog.Attr // of a call of its database
	call, failedCall             [variants][]slog.Attr // of a call of the operation, in the caller
	callName, queryName          string
}

// world is all services.
type world struct {
	services   []*service
	levels     [levels][]*service
	operations []*operation
	consumers  []*operation
	popularity []float64 // of the operations of the first service, summed up
}

func newWorld(seed uint64) *world {
	w := &world{}
	random := rand.New(rand.NewPCG(seed, 0x776f726c64))
	for level, n := range servicesOfLevel {
		for range n {
			s := &service{name: fmt.Sprintf("service-%02d", len(w.services))}
			operations := innerOperations
			if level == 0 {
				operations = entryOperations
			}
			for i := range operations {
				s.operations = append(s.operations, w.newOperation(s, level, dendro.KindServer, i, random))
			}
			s.consumer = w.newOperation(s, level, dendro.KindConsumer, 0, random)
			w.consumers = append(w.consumers, s.consumer)
			w.services = append(w.services, s)
			w.levels[level] = append(w.levels[level], s)
		}
	}
	sum := 0.0
	for i := range entryOperations {
		sum += 1 / float64(i+1)
		w.popularity = append(w.popularity, sum)
	}
	return w
}

// newOperation returns an operation whose work takes 1 to 20 ms in the median.
func (w *world) newOperation(s *service, level int, kind dendro.Kind, i int, random *rand.Rand) *operation {
	o := &operation{
		number: len(w.operations), level: level, kind: kind, service: s,
		median: 1e6 * math.Pow(20, random.Float64()),
		sigma:  0.8 + 0.6*random.Float64(),
	}
	if level == 0 && kind == dendro.KindServer {
		o.calls = entryCalls[i]
	}
	w.operations = append(w.operations, o)
	resource := []string{"orders", "users", "prices", "carts", "items", "reviews", "stock", "offers", "payments", "images"}[i]
	route := "/api/" + s.name + "/" + resource + "/{id}"
	o.name, o.queryName = "GET "+route, "SELECT "+resource
	if kind == dendro.KindConsumer {
		o.name = "process " + s.name + "." + resource
	}
	o.callName = "GET"
	for v := range variants {
		path := fmt.Sprintf("/api/%s/%s/%d", s.name, resource, random.Uint32N(1e9))
		peer := fmt.Sprintf("10.%d.%d.%d", random.IntN(256), random.IntN(256), random.IntN(256))
		with := func(attrs []slog.Attr, more ...slog.Attr) []slog.Attr {
			return append(attrs[:len(attrs):len(attrs)], more...)
		}
		common := []slog.Attr{
			slog.String("http.request.method", "GET"), slog.String("http.route", route), slog.String("url.path", path),
			slog.String("url.scheme", "http"), slog.String("server.address", s.name), slog.Int("server.port", 8080),
			slog.String("client.address", peer), slog.String("user_agent.original", "Go-http-client/2.0"), slog.String("network.protocol.version", "2"),
		}
		if kind == dendro.KindConsumer {
			common = []slog.Attr{
				slog.String("messaging.system", "kafka"), slog.String("messaging.operation.type", "process"),
				slog.String("messaging.destination.name", s.name+"."+resource), slog.Int64("messaging.kafka.offset", int64(random.Uint32())),
			}
		}
		o.attributes[v] = with(common, slog.Int("http.response.status_code", 200))
		o.failedAttributes[v] = with(common, slog.Int("http.response.status_code", 500), slog.String("error.type", "*errors.errorString"))
		o.query[v] = []slog.Attr{
			slog.String("db.system.name", "postgresql"), slog.String("db.namespace", s.name), slog.String("db.operation.name", "SELECT"),
			slog.String("db.query.text", "SELECT id, name, state, created_at FROM "+resource+" WHERE id = $1 AND tenant = $2"), slog.Int("db.response.returned_rows", random.IntN(50)),
		}
		called := []slog.Attr{
			slog.String("http.request.method", "GET"), slog.String("url.full", "http://"+s.name+":8080"+path),
			slog.String("server.address", s.name), slog.Int("server.port", 8080),
		}
		o.call[v] = with(called, slog.Int("http.response.status_code", 200))
		o.failedCall[v] = with(called, slog.Int("http.response.status_code", 500), slog.String("error.type", "500"))
	}
	return o
}
