package frame

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Caps of a table tree.
const (
	MaxTableEntries = 8192
	MaxTableDepth   = 16
)

// Kind is a value's type octet, as RabbitMQ and its clients read them (which
// differs from the text of AMQP 4.2.1 for s, l and L).
type Kind uint8

// The kinds.
const (
	KindBool      Kind = 't'
	KindInt8      Kind = 'b'
	KindUint8     Kind = 'B'
	KindInt16     Kind = 's'
	KindUint16    Kind = 'u'
	KindInt32     Kind = 'I'
	KindUint32    Kind = 'i'
	KindInt64     Kind = 'l'
	KindLongLong  Kind = 'L' // signed, as KindInt64
	KindFloat     Kind = 'f'
	KindDouble    Kind = 'd'
	KindDecimal   Kind = 'D'
	KindString    Kind = 'S'
	KindArray     Kind = 'A'
	KindTimestamp Kind = 'T'
	KindTable     Kind = 'F'
	KindVoid      Kind = 'V'
	KindBytes     Kind = 'x'
)

// width is the number of bytes of fixed-width kinds, -1 for the others.
func (k Kind) width() int {
	switch k {
	case KindVoid:
		return 0
	case KindBool, KindInt8, KindUint8:
		return 1
	case KindInt16, KindUint16:
		return 2
	case KindInt32, KindUint32, KindFloat:
		return 4
	case KindDecimal:
		return 5
	case KindInt64, KindLongLong, KindDouble, KindTimestamp:
		return 8
	}
	return -1
}

// Value is one field value.
type Value struct {
	Kind Kind
	// Num holds the bits of fixed-width kinds, not sign-extended.
	Num uint64
	// Str holds KindString and KindBytes.
	Str string
	// List holds the entries of a table, or the elements of an array with
	// empty names.
	List Table
}

// Field is a named value.
type Field struct {
	Name  string
	Value Value
}

// Table is a field table in the order it was sent. Names may repeat.
type Table []Field

// String makes a string value.
func String(s string) Value { return Value{Kind: KindString, Str: s} }

// Bool makes a boolean value.
func Bool(on bool) Value {
	v := Value{Kind: KindBool}
	if on {
		v.Num = 1
	}
	return v
}

// Int makes a signed 64-bit value.
func Int(n int64) Value { return Value{Kind: KindInt64, Num: uint64(n)} }

// Nested makes a table value.
func Nested(t Table) Value { return Value{Kind: KindTable, List: t} }

// Get gives the first value of that name.
func (t Table) Get(name string) (Value, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return Value{}, false
}

// Int gives an integer value of any width; ok is false for other kinds.
func (v Value) Int() (n int64, ok bool) {
	switch v.Kind {
	case KindInt8:
		return int64(int8(v.Num)), true
	case KindInt16:
		return int64(int16(v.Num)), true
	case KindInt32:
		return int64(int32(v.Num)), true
	case KindUint8, KindUint16, KindUint32:
		return int64(v.Num), true
	case KindInt64, KindLongLong, KindTimestamp:
		return int64(v.Num), true
	}
	return 0, false
}

// Bool gives whether the value is a true boolean.
func (v Value) Bool() bool { return v.Kind == KindBool && v.Num != 0 }

// Text gives the value as text: digits, "true", the string itself; tables and
// arrays as JSON. ok is false for void.
func (v Value) Text() (s string, ok bool) {
	switch v.Kind {
	case KindString, KindBytes:
		return v.Str, true
	case KindBool:
		return strconv.FormatBool(v.Num != 0), true
	case KindFloat:
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(v.Num))), 'g', -1, 32), true
	case KindDouble:
		return strconv.FormatFloat(math.Float64frombits(v.Num), 'g', -1, 64), true
	case KindDecimal:
		return decimalText(uint8(v.Num>>32), int32(v.Num)), true
	case KindTable, KindArray:
		j, err := json.Marshal(v.plain())
		return string(j), err == nil
	}
	n, ok := v.Int()
	if !ok {
		return "", false
	}
	return strconv.FormatInt(n, 10), true
}

func decimalText(scale uint8, n int32) string {
	s := strconv.FormatInt(int64(n), 10)
	if scale == 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if pad := int(scale) + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	return sign + s[:len(s)-int(scale)] + "." + s[len(s)-int(scale):]
}

// plain gives a value for JSON.
func (v Value) plain() any {
	switch v.Kind {
	case KindTable:
		m := make(map[string]any, len(v.List))
		for i := range v.List {
			m[v.List[i].Name] = v.List[i].Value.plain()
		}
		return m
	case KindArray:
		a := make([]any, len(v.List))
		for i := range v.List {
			a[i] = v.List[i].Value.plain()
		}
		return a
	case KindBool:
		return v.Num != 0
	case KindVoid:
		return nil
	}
	s, _ := v.Text()
	if _, ok := v.Int(); ok {
		return json.Number(s)
	}
	return s
}

// AppendValue encodes a value with its kind.
func AppendValue(b []byte, v Value) []byte {
	b = append(b, byte(v.Kind))
	switch v.Kind {
	case KindString, KindBytes:
		return append(appendLong(b, uint32(len(v.Str))), v.Str...)
	case KindTable:
		return appendTable(b, v.List)
	case KindArray:
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		for i := range v.List {
			b = AppendValue(b, v.List[i].Value)
		}
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		return b
	}
	for i := v.Kind.width() - 1; i >= 0; i-- {
		b = append(b, byte(v.Num>>(8*i)))
	}
	return b
}

// DecodeValue reads what AppendValue wrote, all of b.
func DecodeValue(b []byte) (Value, error) {
	r := reader{b: b}
	v := r.value(0)
	return v, r.finish()
}

// AppendTable encodes the fields without the length before them.
func AppendTable(b []byte, t Table) []byte {
	for i := range t {
		b = appendShortstr(b, t[i].Name)
		b = AppendValue(b, t[i].Value)
	}
	return b
}

// DecodeTable reads fields without a length before them: an AMQPLAIN response.
func DecodeTable(b []byte) (Table, error) {
	var r reader
	t := r.fields(b, 0)
	return t, r.finish()
}

func appendTable(b []byte, t Table) []byte {
	at := len(b)
	b = AppendTable(append(b, 0, 0, 0, 0), t)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func (r *reader) table() Table { return r.fields(r.longstr(), 0) }

// fields reads a table's content, which has been taken off r.
func (r *reader) fields(body []byte, depth int) (t Table) {
	rest := r.b
	r.b = body
	for len(r.b) > 0 {
		name := r.shortstr()
		if !r.count() {
			return nil
		}
		t = append(t, Field{name, r.value(depth)})
	}
	if r.bad {
		return nil
	}
	r.b = rest
	return t
}

func (r *reader) array(body []byte, depth int) (t Table) {
	rest := r.b
	r.b = body
	for len(r.b) > 0 {
		if !r.count() {
			return nil
		}
		t = append(t, Field{"", r.value(depth)})
	}
	if r.bad {
		return nil
	}
	r.b = rest
	return t
}

func (r *reader) count() bool {
	if r.entries++; r.entries > MaxTableEntries {
		r.fail("table has too many entries")
	}
	return !r.bad
}

func (r *reader) value(depth int) (v Value) {
	v.Kind = Kind(r.octet())
	if r.bad {
		return Value{}
	}
	switch v.Kind {
	case KindString, KindBytes:
		v.Str = string(r.longstr())
		return v
	case KindTable, KindArray:
		if depth >= MaxTableDepth {
			r.fail("table is nested too deeply")
			return v
		}
		if v.Kind == KindTable {
			v.List = r.fields(r.longstr(), depth+1)
		} else {
			v.List = r.array(r.longstr(), depth+1)
		}
		return v
	}
	n := v.Kind.width()
	if n < 0 {
		r.fail("unknown field type " + strconv.QuoteRune(rune(v.Kind)))
		return v
	}
	for _, c := range r.take(n) {
		v.Num = v.Num<<8 | uint64(c)
	}
	return v
}

// ParseValue makes a value of a kind from what Text gave; ok is false for
// tables, arrays and text that does not fit.
func ParseValue(k Kind, text string) (v Value, ok bool) {
	v.Kind = k
	switch k {
	case KindString, KindBytes:
		v.Str = text
		return v, true
	case KindVoid:
		return v, true
	case KindBool:
		on, err := strconv.ParseBool(text)
		return Bool(on), err == nil
	case KindFloat:
		f, err := strconv.ParseFloat(text, 32)
		v.Num = uint64(math.Float32bits(float32(f)))
		return v, err == nil
	case KindDouble:
		f, err := strconv.ParseFloat(text, 64)
		v.Num = math.Float64bits(f)
		return v, err == nil
	case KindDecimal:
		digits := strings.Replace(text, ".", "", 1)
		n, err := strconv.ParseInt(digits, 10, 32)
		scale := 0
		if i := strings.IndexByte(text, '.'); i >= 0 {
			scale = len(text) - i - 1
		}
		v.Num = uint64(scale)<<32 | uint64(uint32(n))
		return v, err == nil && scale <= 255
	}
	width := 8 * k.width()
	if width <= 0 {
		return v, false
	}
	if k == KindUint8 || k == KindUint16 || k == KindUint32 {
		n, err := strconv.ParseUint(text, 10, width)
		v.Num = n
		return v, err == nil
	}
	n, err := strconv.ParseInt(text, 10, width)
	v.Num = uint64(n)
	if width < 64 {
		v.Num &= 1<<width - 1
	}
	return v, err == nil
}
