package keep

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Paths of the protocol, below the address of the collector.
//
// A process POSTs a [Message] to Path whenever it decides to keep a trace, and every ten seconds. It GETs
// Path?next=…&wait=25 and receives [News] in JSON: the answer comes when there is news, or after so many seconds.
// It POSTs snapshots of package collector/operations to OperationsPath. The requests have the headers of
// those with spans.
const (
	Path           = "/v1/dendro/keep"
	OperationsPath = "/v1/dendro/operations"
)

const (
	// MaxMessageBytes bounds a [Message] in JSON.
	MaxMessageBytes = 1 << 20
	// MaxAnnouncements bounds the announcements of a message.
	MaxAnnouncements = 4096
	// MaxNewsBytes bounds [News] in JSON.
	MaxNewsBytes = 4 << 20
	// MaxOperationsBytes bounds a snapshot of operations.
	MaxOperationsBytes = 1 << 20
	// MaxWait bounds how long a process waits for news.
	MaxWait = time.Minute
	// MaxRules bounds the rules of the collector, each of which every process evaluates for every trace.
	MaxRules = 64
	// maxName bounds the name of a service and an instance.
	maxName = 256
)

// Message is what a process tells the collector.
type Message struct {
	Service  string `json:"service"`
	Instance string `json:"instance"` // a random text
	// Keep are traces that this process has decided to keep.
	Keep []Announcement `json:"keep,omitempty"`
	// Report describes the process, if it is not nil.
	Report *Report `json:"report,omitempty"`
}

// DecodeMessage decodes a message in JSON. It returns an error if the message is not valid or exceeds its bounds.
func DecodeMessage(data []byte) (m Message, err error) {
	if len(data) > MaxMessageBytes {
		return m, fmt.Errorf("keep: %d bytes in one message: send at most %d", len(data), MaxMessageBytes)
	}
	if err = json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("keep: %w", err)
	}
	if len(m.Keep) > MaxAnnouncements {
		return Message{}, fmt.Errorf("keep: %d announcements in one message: send at most %d", len(m.Keep), MaxAnnouncements)
	}
	if r := m.Report; r != nil && len(r.Kept)+len(r.Lost) > 2*maxReasons+2 {
		return Message{}, fmt.Errorf("keep: the report has more than %d reasons", 2*maxReasons)
	}
	m.Service, m.Instance = short(m.Service, maxName), short(m.Instance, maxName)
	if m.Instance == "" {
		return Message{}, fmt.Errorf("keep: the message has no instance")
	}
	return m, checkAnnouncements(m.Keep)
}

// DecodeNews decodes news in JSON.
func DecodeNews(data []byte) (n News, err error) {
	if err = json.Unmarshal(data, &n); err != nil {
		return News{}, fmt.Errorf("keep: %w", err)
	}
	if len(n.Rules) > MaxRules {
		return News{}, fmt.Errorf("keep: %d rules: at most %d are possible", len(n.Rules), MaxRules)
	}
	return n, checkAnnouncements(n.Keep)
}

func checkAnnouncements(as []Announcement) error {
	for i := range as {
		if !as[i].TraceID.IsValid() {
			return fmt.Errorf("keep: announcement %d has no trace id", i)
		}
		as[i].Reason = short(as[i].Reason, maxReason)
	}
	return nil
}

// short returns at most n bytes of s, and no part of a character.
func short(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
