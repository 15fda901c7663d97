package main

// benchmark is the same work for several libraries.
type benchmark struct {
	name string
	// libraries are keys of the variable libraries. Ratios are relative to the rows of
	// dendro, which come first.
	libraries []string
	op        func(l library) op
	// base, if not nil, is work in op that is not done by the library. The row is the
	// difference.
	base     func(l library) op
	baseName string
	// per is the number of times that op does the work of the row. 0 means 1.
	per int
	// cpu is GOMAXPROCS and the number of goroutines that run op. 0 means the number
	// in the settings.
	cpu int
}

func benchmarks() []benchmark {
	var all []benchmark
	for _, family := range [][]benchmark{spanCases(), serverCases(), clientCases(), databaseCases(), encodeCases()} {
		all = append(all, family...)
	}
	return all
}
