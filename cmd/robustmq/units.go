package main

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Durations and sizes as people write them. A duration always has a unit: a bare
// number would be milliseconds to one reader, seconds to another and nanoseconds
// to Go. A size without a unit is bytes, as its key says.

// day and week are of 24 hours: a retention knows no calendar.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

// parseDuration takes what time.ParseDuration takes, and days and weeks: 7d, 1w,
// 1w2d12h, 1.5d. Of numbers without a unit it takes 0 alone.
func parseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		if n == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("%q has no unit: write %sms, %ss, %sh or %sd, whichever it is", s, text, text, text, text)
	}
	rest, sign := text, int64(1)
	if r, ok := strings.CutPrefix(rest, "-"); ok {
		rest, sign = r, -1
	}
	var total time.Duration
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"w", week}, {"d", day}} {
		n, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		d, err := scale(n, int64(u.unit))
		if sum := total + time.Duration(d); err == nil && sum >= total {
			total, rest = sum, after
			continue
		}
		return 0, badDuration(s)
	}
	if rest != "" {
		if strings.ContainsAny(rest[:1], "+-") { // the sign was taken
			return 0, badDuration(s)
		}
		d, err := time.ParseDuration(rest)
		if err != nil || total > math.MaxInt64-d {
			return 0, badDuration(s)
		}
		total += d
	} else if total == 0 && !strings.ContainsAny(text, "wd") {
		return 0, badDuration(s)
	}
	return time.Duration(sign) * total, nil
}

func badDuration(s string) error {
	return fmt.Errorf("%q is no duration: write a number with a unit, as 250ms, 30s, 5m, 12h, 7d or 1w", s)
}

// sizeUnits are as IEC and SI have them: KiB is 1024 bytes, kB and KB are 1000.
var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// parseSize takes a number of bytes, and numbers with a unit: 8MiB, 8MB, 512KiB,
// 1.5GiB. K, M and G alone are refused: they are read as either.
func parseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	i := strings.LastIndexAny(text, "0123456789.") + 1
	unit, ok := sizeUnits[strings.ToLower(strings.TrimSpace(text[i:]))]
	if !ok {
		return 0, badSize(s)
	}
	n, err := scale(text[:i], unit)
	if err != nil {
		return 0, badSize(s)
	}
	return n, nil
}

func badSize(s string) error {
	return fmt.Errorf("%q is no size: write a number of bytes, or one with a unit, as 8MiB, 8MB or 512KiB", s)
}

var errNumber = errors.New("no number")

// scale gives a decimal number times unit, which has to be whole.
func scale(number string, unit int64) (int64, error) {
	if number == "" || strings.Trim(strings.TrimPrefix(number, "-"), "0123456789.") != "" || len(number) > 40 {
		return 0, errNumber
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errNumber
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, errNumber
	}
	return r.Num().Int64(), nil
}

// withUnits gives a section of the configuration with its durations and sizes
// read, for the struct that it is decoded into. Keys that the struct does not
// have are left for the decoder to refuse. prefix is that of the keys in errors.
func withUnits(in map[string]any, to reflect.Type, prefix string) (map[string]any, error) {
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v
	}
	var errs []error
	for i := range to.NumField() {
		f := to.Field(i)
		name := f.Tag.Get("mapstructure")
		v, ok := in[name]
		if name == "" || !ok || v == nil {
			continue
		}
		var err error
		if sub, isMap := v.(map[string]any); isMap && f.Type.Kind() == reflect.Struct {
			out[name], err = withUnits(sub, f.Type, prefix+name+".")
		} else if out[name], err = readValue(v, f); err != nil {
			err = fmt.Errorf("%s%s: %w", prefix, name, err)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// readValue reads one value for the field that it is for.
func readValue(v any, f reflect.StructField) (any, error) {
	number := fmt.Sprint(v)
	switch x := v.(type) {
	case float32, float64:
		number = strconv.FormatFloat(reflect.ValueOf(x).Float(), 'f', -1, 64)
	case bool:
		if f.Type.Kind() == reflect.String && f.Tag.Get("secret") == "" {
			return number, nil
		}
		if isInteger(f.Type.Kind()) {
			return nil, fmt.Errorf("%v is no number", x)
		}
	}
	switch {
	case f.Type == reflect.TypeFor[time.Duration]():
		if d, ok := v.(time.Duration); ok {
			return d, nil
		}
		return parseDuration(number)
	case isSize(f):
		return parseSize(number)
	case f.Tag.Get("secret") != "" && reflect.ValueOf(v).Kind() != reflect.String:
		return nil, errors.New("it was read as a number or as yes or no: put it into quotes")
	case f.Type.Kind() == reflect.Bool && number != "true" && number != "false":
		return readBool(number)
	case isInteger(f.Type.Kind()):
		if strings.Contains(number, ".") {
			return nil, fmt.Errorf("%s is no whole number", number)
		}
		return number, nil
	}
	return v, nil
}

func readBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uint64 }

// sizeNames are the keys of sizes whose names do not end in bytes.
var sizeNames = map[string]bool{"bytes_per_second": true, "max_packet_size": true, "max_payload": true,
	"max_control_line": true, "frame_max": true}

// isSize tells whether a field is a number of bytes, by its name.
func isSize(f reflect.StructField) bool {
	name := f.Tag.Get("mapstructure")
	return isInteger(f.Type.Kind()) && f.Type != reflect.TypeFor[time.Duration]() &&
		(name == "bytes" || strings.HasSuffix(name, "_bytes") || sizeNames[name])
}

// durationFlag and sizeFlag are flags of durations and sizes.
type durationFlag time.Duration

type sizeFlag int64

var _, _ pflag.Value = (*durationFlag)(nil), (*sizeFlag)(nil)

// Set implements pflag.Value.
func (d *durationFlag) Set(s string) error {
	v, err := parseDuration(s)
	*d = durationFlag(v)
	return err
}

// String implements pflag.Value.
func (d *durationFlag) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }

// Set implements pflag.Value.
func (n *sizeFlag) Set(s string) error {
	v, err := parseSize(s)
	*n = sizeFlag(v)
	return err
}

// String implements pflag.Value.
func (n *sizeFlag) String() string { return strconv.FormatInt(int64(*n), 10) }

// Type implements pflag.Value.
func (n *sizeFlag) Type() string { return "size" }

// flagDuration gives the value of a durationFlag, flagSize that of a sizeFlag.
func flagDuration(fs *pflag.FlagSet, name string) time.Duration {
	d, _ := fs.Lookup(name).Value.(*durationFlag)
	return time.Duration(*d)
}

func flagSize(fs *pflag.FlagSet, name string) int64 {
	n, _ := fs.Lookup(name).Value.(*sizeFlag)
	return int64(*n)
}
