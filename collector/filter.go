package collector

// filter is a set of hashes that may seem to have one that it has not.
type filter [8]uint64

func (f *filter) place(hash uint64) (word *uint64, bit uint64) {
	n := hash % (64 * uint64(len(f)))
	return &f[n/64], 1 << (n % 64)
}

// add reports whether hash seems to have been there.
func (f *filter) add(hash uint64) bool {
	word, bit := f.place(hash)
	had := *word&bit != 0
	*word |= bit
	return had
}

func (f *filter) has(hash uint64) bool {
	word, bit := f.place(hash)
	return *word&bit != 0
}
