package web

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// serviceMap is a drawing of who calls whom. Callers are on the left.
type serviceMap struct {
	Width, Height int
	Nodes         []mapNode
	Edges         []mapEdge
	More          int // edges that are not shown
}

type mapNode struct {
	collector.Node
	X, Y  int
	Query string // of the list with its traces, for services

	layer int
	rank  float64 // orders a layer
}

func (n mapNode) title() string { return cmp.Or(n.Name, n.System, "unnamed "+string(n.Kind)) }

// Label is the name, cut to the width of a node.
func (n mapNode) Label() string {
	label := []rune(n.title())
	const most = 20
	if len(label) > most {
		label = append(label[:most-1], '…')
	}
	return string(label)
}

type mapEdge struct {
	Client, Server string
	Path           string
	X, Y           int // of the label
	Rate           string
	Errors         string
	P99            time.Duration
	Weight         int // of the line, 1 to 4

	from, to int
	count    float64
}

// Sizes in the drawing.
const (
	nodeWidth  = 168
	nodeHeight = 44
	layerGap   = 118
	nodeGap    = 26
	mapMargin  = 8

	maxMapEdges = 60
)

// serviceMap draws the edges of a window. It returns nil if there are none.
func (h *handler) serviceMap(ctx context.Context, scan collector.OperationScan, in time.Duration) (*serviceMap, error) {
	m := &serviceMap{}
	err := h.store.Edges(ctx, scan, func(e *collector.Edge) bool {
		if e.Other {
			return true
		}
		edge := mapEdge{from: m.node(e.Client), to: m.node(e.Server), count: e.Total.Spans, Rate: formatRate(e.Total.Spans, in), P99: e.Total.Durations.Quantile(.99)}
		if e.Total.Errors > 0 {
			edge.Errors = fmt.Sprintf("%.1f %%", 100*e.Total.Errors/e.Total.Spans)
		}
		m.Edges = append(m.Edges, edge)
		return true
	})
	if err != nil || len(m.Edges) == 0 {
		return nil, err
	}
	m.busiest()
	m.layers()
	m.order()
	m.place()
	return m, nil
}

func (m *serviceMap) node(n collector.Node) int {
	for i := range m.Nodes {
		if m.Nodes[i].Node == n {
			return i
		}
	}
	node := mapNode{Node: n}
	if n.Kind == collector.NodeService && n.Name != "" {
		node.Query = "?" + url.Values{"q": {"{ resource.service.name " + is(n.Name) + " }"}}.Encode()
	}
	m.Nodes = append(m.Nodes, node)
	return len(m.Nodes) - 1
}

// busiest drops the edges with the fewest calls if there are too many, and nodes without edges.
func (m *serviceMap) busiest() {
	slices.SortStableFunc(m.Edges, func(a, b mapEdge) int { return cmp.Compare(b.count, a.count) })
	if n := len(m.Edges); n > maxMapEdges {
		m.Edges, m.More = m.Edges[:maxMapEdges], n-maxMapEdges
	}
	used := map[int]int{}
	var nodes []mapNode
	for i := range m.Edges {
		e := &m.Edges[i]
		for _, end := range []*int{&e.from, &e.to} {
			at, ok := used[*end]
			if !ok {
				at = len(nodes)
				used[*end] = at
				nodes = append(nodes, m.Nodes[*end])
			}
			*end = at
		}
		most := m.Edges[0].count
		e.Weight = 1 + int(3*e.count/most)
		e.Client, e.Server = nodes[e.from].title(), nodes[e.to].title()
	}
	m.Nodes = nodes
}

// layers puts each node to the right of its callers. Calls in a circle are cut where a walk from
// the first node closes it.
func (m *serviceMap) layers() {
	const unseen, open, done = 0, 1, 2
	state := make([]int, len(m.Nodes))
	var order []int // callers last
	back := map[int]bool{}
	var walk func(n int)
	walk = func(n int) { // as deep as there are nodes
		state[n] = open
		for i := range m.Edges {
			switch e := &m.Edges[i]; {
			case e.from != n:
			case state[e.to] == open:
				back[i] = true
			case state[e.to] == unseen:
				walk(e.to)
			}
		}
		state[n] = done
		order = append(order, n)
	}
	called := map[int]bool{}
	for _, e := range m.Edges {
		called[e.to] = called[e.to] || e.from != e.to
	}
	for _, again := range []bool{false, true} { // first from those that nobody calls
		for n := range m.Nodes {
			if state[n] == unseen && (again || !called[n]) {
				walk(n)
			}
		}
	}
	for _, n := range slices.Backward(order) {
		for i, e := range m.Edges {
			if e.from == n && !back[i] {
				m.Nodes[e.to].layer = max(m.Nodes[e.to].layer, m.Nodes[n].layer+1)
			}
		}
	}
}

// order moves the nodes of a layer next to those that they are connected with, which avoids most
// crossings (Sugiyama's method with barycenters).
func (m *serviceMap) order() {
	for i := range m.Nodes {
		m.Nodes[i].rank = float64(i)
	}
	for range 4 {
		sums, counts := make([]float64, len(m.Nodes)), make([]float64, len(m.Nodes))
		for _, e := range m.Edges {
			sums[e.to] += m.Nodes[e.from].rank
			counts[e.to]++
			sums[e.from] += m.Nodes[e.to].rank
			counts[e.from]++
		}
		for i := range m.Nodes {
			if counts[i] > 0 {
				m.Nodes[i].rank = (m.Nodes[i].rank + sums[i]/counts[i]) / 2
			}
		}
	}
}

// place sets the positions.
func (m *serviceMap) place() {
	byLayer := map[int][]int{}
	tallest, last := 0, 0
	for i, n := range m.Nodes {
		byLayer[n.layer] = append(byLayer[n.layer], i)
		tallest, last = max(tallest, len(byLayer[n.layer])), max(last, n.layer)
	}
	m.Width = 2*mapMargin + (last+1)*nodeWidth + last*layerGap
	m.Height = 2*mapMargin + tallest*nodeHeight + (tallest-1)*nodeGap
	for layer, nodes := range byLayer {
		slices.SortStableFunc(nodes, func(a, b int) int { return cmp.Compare(m.Nodes[a].rank, m.Nodes[b].rank) })
		top := (m.Height - len(nodes)*nodeHeight - (len(nodes)-1)*nodeGap) / 2
		for at, i := range nodes {
			m.Nodes[i].X = mapMargin + layer*(nodeWidth+layerGap)
			m.Nodes[i].Y = top + at*(nodeHeight+nodeGap)
		}
	}
	for i := range m.Edges {
		e := &m.Edges[i]
		from, to := &m.Nodes[e.from], &m.Nodes[e.to]
		x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
		bend := layerGap / 2
		if to.layer <= from.layer { // a circle: around the bottom
			e.Path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1+nodeHeight, x2-bend, y2+nodeHeight, x2, y2)
		} else {
			e.Path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2)
		}
		// In the gap before the server, where edges of one node have spread.
		e.X, e.Y = x2-layerGap/2, y2-(y2-y1)/8
		if to.layer <= from.layer+1 {
			e.Y = (y1 + 3*y2) / 4
		}
	}
}
