package diagnostics

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of the messages Profile, Sample and Label in profile.proto
// (https://github.com/google/pprof/blob/main/proto/profile.proto).
const (
	profileSample      protowire.Number = 2
	profileStringTable protowire.Number = 6
	sampleLabel        protowire.Number = 3
	labelKey           protowire.Number = 1
	labelStr           protowire.Number = 2
)

// maxStrings bounds the string table of a profile.
const maxStrings = 1 << 22

// filterProfile returns a profile with the samples of raw whose operation is the one asked for, or all if that is
// empty. The operation of a sample is what name returns for its labels span_id and operation; the latter is changed to that. All
// else stays as it is. raw is a message Profile, not compressed.
func filterProfile(raw []byte, operation string, name func(span, operation string) string) ([]byte, error) {
	f := filter{operation: operation, name: name, added: map[string]uint64{}}
	err := eachField(raw, func(num protowire.Number, typ protowire.Type, _, value []byte) error {
		if num == profileStringTable && typ == protowire.BytesType {
			if len(f.strings) == maxStrings {
				return fmt.Errorf("more than %d strings", maxStrings)
			}
			f.strings = append(f.strings, string(value))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("diagnostics: profile: %w", err)
	}
	f.table = uint64(len(f.strings))
	out := make([]byte, 0, len(raw))
	err = eachField(raw, func(num protowire.Number, typ protowire.Type, field, value []byte) error {
		if num != profileSample || typ != protowire.BytesType {
			out = append(out, field...)
			return nil
		}
		sample, ok, err := f.sample(value)
		if err != nil {
			return fmt.Errorf("sample: %w", err)
		}
		if ok {
			out = protowire.AppendTag(out, profileSample, protowire.BytesType)
			out = protowire.AppendBytes(out, sample)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("diagnostics: profile: %w", err)
	}
	for _, s := range f.strings[f.table:] {
		out = protowire.AppendTag(out, profileStringTable, protowire.BytesType)
		out = protowire.AppendString(out, s)
	}
	return out, nil
}

type filter struct {
	operation string
	name      func(span, operation string) string
	strings   []string          // of the profile, then those that are added
	table     uint64            // strings of the profile
	added     map[string]uint64 // places of the others
}

// sample returns a message Sample, and whether it belongs to the operation.
func (f *filter) sample(raw []byte) (_ []byte, ok bool, err error) {
	var span, label string
	err = eachField(raw, func(num protowire.Number, typ protowire.Type, _, value []byte) error {
		if num != sampleLabel || typ != protowire.BytesType {
			return nil
		}
		key, text, err := f.label(value)
		switch key {
		case spanIDLabel:
			span = text
		case operationLabel:
			label = text
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	name := label
	if span != "" {
		name = f.name(span, label)
	}
	if f.operation != "" && name != f.operation {
		return nil, false, nil
	}
	if name == label {
		return raw, true, nil
	}
	out := make([]byte, 0, len(raw)+2)
	err = eachField(raw, func(num protowire.Number, typ protowire.Type, field, value []byte) error {
		if num == sampleLabel && typ == protowire.BytesType {
			if key, _, _ := f.label(value); key == operationLabel {
				out = protowire.AppendTag(out, num, typ)
				out = protowire.AppendBytes(out, f.rename(value, name))
				return nil
			}
		}
		out = append(out, field...)
		return nil
	})
	return out, true, err
}

// label returns the key and the text of a message Label.
func (f *filter) label(raw []byte) (key, text string, err error) {
	err = eachField(raw, func(num protowire.Number, typ protowire.Type, _, value []byte) (err error) {
		if typ != protowire.VarintType {
			return nil
		}
		at, _ := protowire.ConsumeVarint(value)
		switch num {
		case labelKey:
			key, err = f.text(at)
		case labelStr:
			text, err = f.text(at)
		}
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("label: %w", err)
	}
	return key, text, nil
}

// text returns the string at a place of the table of the profile.
func (f *filter) text(at uint64) (string, error) {
	if at >= f.table {
		return "", fmt.Errorf("string %d of a table of %d", at, f.table)
	}
	return f.strings[at], nil
}

// rename returns a message Label with another text.
func (f *filter) rename(raw []byte, text string) []byte {
	at, ok := f.added[text]
	if !ok {
		at = uint64(len(f.strings))
		f.added[text], f.strings = at, append(f.strings, text)
	}
	// Of a field that occurs more than once, the last counts.
	out := protowire.AppendTag(append([]byte(nil), raw...), labelStr, protowire.VarintType)
	return protowire.AppendVarint(out, at)
}

// eachField calls do for each field of a message, with the whole field and its value. That of a field of bytes is without the
// length.
func eachField(message []byte, do func(num protowire.Number, typ protowire.Type, field, value []byte) error) error {
	for at := 0; at < len(message); {
		num, typ, tag := protowire.ConsumeTag(message[at:])
		if tag < 0 {
			return fmt.Errorf("byte %d: %w", at, protowire.ParseError(tag))
		}
		n := protowire.ConsumeFieldValue(num, typ, message[at+tag:])
		if n < 0 {
			return fmt.Errorf("field %d at byte %d: %w", num, at, protowire.ParseError(n))
		}
		field := message[at : at+tag+n]
		value := field[tag:]
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if err := do(num, typ, field, value); err != nil {
			return err
		}
		at += tag + n
	}
	return nil
}
