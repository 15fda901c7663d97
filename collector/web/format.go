package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// formatDuration formats d with three digits, like format.js.
func formatDuration(d time.Duration) string {
	ns := float64(d)
	switch {
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case ns < 999.5e3:
		return threeDigits(ns/1e3) + " µs"
	case ns < 999.5e6:
		return threeDigits(ns/1e6) + " ms"
	case ns < 59.95e9:
		return threeDigits(ns/1e9) + " s"
	}
	s := int64(math.Round(ns / 1e9))
	if s < 3600 {
		return fmt.Sprintf("%dm %02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh %02dm", s/3600, s/60%60)
}

func threeDigits(x float64) string {
	switch {
	case x < 9.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

// formatBytes formats n in binary units.
func formatBytes(n int64) string {
	x, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for x >= 1023.5 && len(units) > 1 {
		x, units = x/1024, units[1:]
	}
	if units[0] == "B" {
		return strconv.FormatInt(n, 10) + " B"
	}
	return threeDigits(x) + " " + units[0]
}

// formatCount formats an integer with a separator between thousands.
func formatCount(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // narrow no-break space
	}
	return s
}

// formatNumber formats a count that may have a fraction.
func formatNumber(n float64) string {
	return formatCount(strconv.FormatFloat(math.Round(n), 'f', 0, 64))
}

// maxShown bounds the length of a text on a page, in bytes.
const maxShown = 2 << 10

// short returns s, or its beginning if it is longer than maxShown.
func short(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// formatShare formats a share from 0 to 1, or returns "" for 0.
func formatShare(x float64) string {
	switch {
	case x == 0:
		return ""
	case x < .001:
		return "< 0.1 %"
	}
	return strconv.FormatFloat(100*x, 'f', 1, 64) + " %"
}

// percent returns part in percent of whole, as a length in SVG.
func percent(part, whole time.Duration) string {
	if whole <= 0 {
		return "0%"
	}
	return formatPercent(float64(part), float64(whole))
}

// formatPercent is percent for numbers. whole is not zero.
func formatPercent(part, whole float64) string {
	return strconv.FormatFloat(100*part/whole, 'f', 2, 64) + "%"
}

// clock and moment format Unix nanoseconds, for people whose browser runs no scripts
// and for programs.
func clock(ns int64) string  { return time.Unix(0, ns).UTC().Format("15:04:05.000 UTC") }
func moment(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// sum returns the sum of the counts.
func sum(byReason map[string]uint64) (n uint64) {
	for _, count := range byReason {
		n += count
	}
	return n
}
