package main

// benchmark is one work for several libraries.
type benchmark struct {
	name string
	// libraries are names in libraries. Ratios are to those of dendro, which
	// come first.
	libraries []string
	op        func(l library) op
	// base, if not nil, is work that is part of op and not of the library's
	// making: the row is the difference.
	base     func(l library) op
	baseName string
	// per is how many times op does what the row is about; 0 is 1.
	per int
	// cpu is GOMAXPROCS, and how many goroutines do op; 0 is that of the settings.
	cpu int
}

func benchmarks() []benchmark {
	var all []benchmark
	for _, family := range [][]benchmark{spanCases(), serverCases(), clientCases(), databaseCases(), encodeCases()} {
		all = append(all, family...)
	}
	return all
}
