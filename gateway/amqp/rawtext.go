package amqp

import (
	"encoding/json"
	"unicode/utf8"
)

// rawText is a name or key as it is stored: a JSON string or, since clients may use any
// bytes and JSON would replace what is no UTF-8, {"b": its bytes in base64}.
type rawText string

// MarshalJSON implements json.Marshaler.
func (t rawText) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(struct {
		B []byte `json:"b"`
	}{[]byte(t)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *rawText) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var v struct{ B []byte }
		err := json.Unmarshal(b, &v)
		*t = rawText(v.B)
		return err
	}
	var s string
	err := json.Unmarshal(b, &s)
	*t = rawText(s)
	return err
}
