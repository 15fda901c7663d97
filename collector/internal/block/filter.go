package block

// Filter is a Bloom filter: a set of hashes that may report a hash that was never
// added.
type Filter [8]uint64

func (f *Filter) place(hash uint64) (word *uint64, bit uint64) {
	n := hash % (64 * uint64(len(f)))
	return &f[n/64], 1 << (n % 64)
}

// Add adds hash and reports whether it may have been added before.
func (f *Filter) Add(hash uint64) bool {
	word, bit := f.place(hash)
	had := *word&bit != 0
	*word |= bit
	return had
}

// Has reports whether hash may have been added.
func (f *Filter) Has(hash uint64) bool {
	word, bit := f.place(hash)
	return *word&bit != 0
}
