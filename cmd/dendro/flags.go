package main

import (
	"flag"
	"fmt"
	"io"
)

// newFlags returns the flags of a command, which may have none, whose usage has the operands and an
// example.
func newFlags(name, operands, example string, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("dendro "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		of := name
		flags.VisitAll(func(*flag.Flag) { of = name + " [flags]" })
		fmt.Fprintf(stderr, "Usage: dendro %s %s\n\nExample:\n\n  dendro %s %s\n", of, operands, name, example)
		if of != name {
			fmt.Fprint(stderr, "\nFlags:\n\n")
			flags.PrintDefaults()
		}
	}
	return flags
}

// misplaced returns an argument that is a flag after the files, or "". A file of such a name has a
// path.
func misplaced(flags *flag.FlagSet) string {
	for _, arg := range flags.Args() {
		if len(arg) > 1 && arg[0] == '-' {
			return arg
		}
	}
	return ""
}

// usageError prints what is wrong with the arguments and returns the exit code.
func usageError(flags *flag.FlagSet, format string, args ...any) int {
	fmt.Fprintf(flags.Output(), flags.Name()+": "+format+"\n", args...)
	flags.Usage()
	return exitUsage
}

// failed prints the error of a command and returns the exit code.
func failed(flags *flag.FlagSet, err error) int {
	fmt.Fprintf(flags.Output(), "%s: %v\n", flags.Name(), err)
	return exitError
}
