package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxConfigBytes bounds the configuration file.
const maxConfigBytes = 1 << 20

// configure sets flags from a file, whose name may be in the environment instead, and then from
// the environment. A variable that is empty counts as not set, as OpenTelemetry's do. An error has a
// line for each setting that is wrong, without its value, which may be a secret.
func configure(flags *flag.FlagSet, file string) error {
	var errs []error
	if name := cmp.Or(file, os.Getenv(variable("config"))); name != "" {
		errs = append(errs, setFromFile(flags, name))
	}
	flags.VisitAll(func(f *flag.Flag) {
		if value := os.Getenv(variable(f.Name)); value != "" {
			if err := setUnquoted(flags, f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", variable(f.Name), err))
			}
		}
	})
	return errors.Join(errs...)
}

// variable returns the name of the environment variable of a flag.
func variable(flagName string) string {
	return "DENDRO_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// setUnquoted sets a flag to a value from which no shell has taken the quotes.
func setUnquoted(flags *flag.FlagSet, name, value string) error {
	if last := len(value) - 1; last > 0 && (value[0] == '"' || value[0] == '\'') && value[last] == value[0] {
		return errors.New("the quotes would be part of the value: leave them out")
	}
	return flags.Set(name, value)
}

func setFromFile(flags *flag.FlagSet, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxConfigBytes:
		return fmt.Errorf("%s: a configuration file has at most %d bytes", name, maxConfigBytes)
	}
	var errs []error
	for at, err := range setAll(flags, data) {
		errs = append(errs, fmt.Errorf("%s:%d: %w", name, at, err))
	}
	return errors.Join(errs...)
}

// setAll sets flags from lines "flag = value". It yields an error with the number of its line for
// each that it cannot set. A line is skipped if it is blank or its first character is #. So is a
// byte order mark, with which some editors begin a file.
func setAll(flags *flag.FlagSet, data []byte) func(yield func(int, error) bool) {
	return func(yield func(int, error) bool) {
		seen := map[string]int{}
		at := 0
		for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
			at++
			text := strings.TrimSpace(string(line))
			if text == "" || text[0] == '#' {
				continue
			}
			key, value, ok := strings.Cut(text, "=")
			key = strings.TrimSpace(key)
			var err error
			switch {
			case !ok:
				err = errors.New("want flag = value")
			case flags.Lookup(key) == nil || key == "config":
				err = fmt.Errorf("there is no flag %q to set", key)
			case seen[key] > 0:
				err = fmt.Errorf("%s is set in line %d, too", key, seen[key])
			default:
				seen[key] = at
				if err = setUnquoted(flags, key, strings.TrimSpace(value)); err != nil {
					err = fmt.Errorf("%s: %w", key, err)
				}
			}
			if err != nil && !yield(at, err) {
				return
			}
		}
	}
}
