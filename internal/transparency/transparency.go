// Package transparency determines what a wrapper of net/http changes for its users.
//
// A [Case] is an exchange over real sockets between a client and a handler. Both
// record what they observe: statuses, headers and, for HTTP/1.1, the exact bytes,
// informational responses, what arrives before the handler continues, whether the
// connection is reused, errors, optional interfaces, what the server logs, and files
// and goroutines that are left behind. The notes of a bare exchange and of one with a
// [Wrapper] must be the same.
package transparency

import "net/http"

// Protocols of a [Case].
const (
	HTTP1 = "HTTP/1.1"
	HTTP2 = "HTTP/2" // with TLS
	H2C   = "h2c"    // HTTP/2 without TLS, known in advance
)

var (
	everywhere = []string{HTTP1, HTTP2, H2C}
	onlyHTTP1  = []string{HTTP1}
	onlyHTTP2  = []string{HTTP2, H2C}
	noTLS      = []string{HTTP1, H2C} // where it would only take time
)

// Wrapper is what is tested. A nil field means that nothing is wrapped.
type Wrapper struct {
	Handler   func(http.Handler) http.Handler
	Transport func(http.RoundTripper) http.RoundTripper
}

// Case is an exchange.
type Case struct {
	Name      string
	Protocols []string
	run       func(*exchange)
}

// Server returns the cases for [Wrapper.Handler].
func Server() []Case {
	var all []Case
	for _, cases := range [][]Case{responseCases, fileCases, requestCases, contextCases, endCases, nestedCases, routerCases, chiCases()} {
		all = append(all, cases...)
	}
	return all
}

// Client returns the cases for [Wrapper.Transport].
func Client() []Case {
	return append(append([]Case(nil), roundTripCases...), clientErrorCases...)
}

// Observe runs the exchange with w and returns the notes. Only one exchange may run at
// a time, because it sets the directory for temporary files and counts goroutines. A
// note that begins with "stuck" reports something that did not happen within some
// seconds.
func (c Case) Observe(protocol string, w Wrapper) []string {
	before := goroutines()
	x := &exchange{protocol: protocol, wrapper: w, notes: map[string][]string{}}
	c.run(x)
	x.close()
	x.noteGoroutines(before)
	x.noteBytes()
	if x.atEnd != nil {
		x.atEnd()
	}
	return x.all()
}

// Diff returns the notes that only one of the two has: with "-" those in bare, and
// with "+" those in wrapped. It returns none if the two are the same.
func Diff(bare, wrapped []string) []string {
	// The longest common subsequence. common[i][j] is its length for bare[i:] and
	// wrapped[j:].
	common := make([][]int, len(bare)+1)
	for i := range common {
		common[i] = make([]int, len(wrapped)+1)
	}
	for i := len(bare) - 1; i >= 0; i-- {
		for j := len(wrapped) - 1; j >= 0; j-- {
			if bare[i] == wrapped[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(bare) || j < len(wrapped) {
		switch {
		case i < len(bare) && j < len(wrapped) && bare[i] == wrapped[j]:
			i, j = i+1, j+1
		case i < len(bare) && (j == len(wrapped) || common[i+1][j] >= common[i][j+1]):
			out = append(out, "- "+bare[i])
			i++
		default:
			out = append(out, "+ "+wrapped[j])
			j++
		}
	}
	return out
}
