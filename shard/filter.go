package shard

import "strings"

// Space tells which of a message's names a filter is held against.
type Space uint8

// The two spaces.
const (
	// SpaceSubject: the subject, tokens separated by '.'.
	SpaceSubject Space = iota
	// SpaceMQTT: the MQTT topic (MQTTNames), levels separated by '/'.
	SpaceMQTT
)

// Separator is the byte between tokens of names in the space.
func (s Space) Separator() byte {
	if s == SpaceMQTT {
		return '/'
	}
	return '.'
}

// TokenKind is what one token of a filter stands for.
type TokenKind uint8

// The token kinds; they cover the wildcards of MQTT, NATS and AMQP.
const (
	// TokenLiteral: this very token.
	TokenLiteral TokenKind = iota
	// TokenOne: any one token (MQTT "+", NATS and AMQP "*").
	TokenOne
	// TokenRest: one or more tokens to the end (NATS ">"); always last.
	TokenRest
	// TokenMany: zero or more tokens, anywhere (AMQP "#"; MQTT "#" is this at the end).
	TokenMany
)

// Token is one token of a filter.
type Token struct {
	Kind TokenKind
	Text string // of a literal
}

// Filter is a parsed subscription, binding or capture pattern. The zero value
// matches nothing.
type Filter struct {
	Space  Space
	Tokens []Token
}

// LiteralFilter matches exactly one subject.
func LiteralFilter(subject string) Filter {
	return Filter{Tokens: literals(nil, subject, '.')}
}

func literals(dst []Token, name string, sep byte) []Token {
	for {
		i := strings.IndexByte(name, sep)
		if i < 0 {
			return append(dst, Token{Text: name})
		}
		dst = append(dst, Token{Text: name[:i]})
		name = name[i+1:]
	}
}

// ParseSubjectFilter reads a NATS pattern: "*" is one token, ">" at the end one
// or more, no token is empty.
func ParseSubjectFilter(s string) (Filter, error) {
	if err := CheckSubject(s); err != nil {
		return Filter{}, err
	}
	f := Filter{Tokens: literals(nil, s, '.')}
	for i, t := range f.Tokens {
		switch t.Text {
		case "":
			return Filter{}, Errorf(KindInvalid, "filter %q has an empty token", s)
		case "*":
			f.Tokens[i] = Token{Kind: TokenOne}
		case ">":
			if i != len(f.Tokens)-1 {
				return Filter{}, Errorf(KindInvalid, "filter %q has '>' before its end", s)
			}
			f.Tokens[i] = Token{Kind: TokenRest}
		}
	}
	return f, nil
}

// ParseMQTTFilter reads an MQTT topic filter: "+" is one level, "#" at the end
// zero or more; both stand alone in their level [MQTT-4.7.1-1] [MQTT-4.7.1-2].
func ParseMQTTFilter(s string) (Filter, error) {
	switch {
	case s == "":
		return Filter{}, Errorf(KindInvalid, "topic filter is empty")
	case len(s) > 65535:
		return Filter{}, Errorf(KindTooLarge, "topic filter is over 65535 bytes")
	case strings.IndexByte(s, 0) >= 0:
		return Filter{}, Errorf(KindInvalid, "topic filter holds a NUL")
	case strings.Count(s, "/") >= MaxSubjectDepth:
		return Filter{}, Errorf(KindTooLarge, "topic filter is over %d levels deep", MaxSubjectDepth)
	}
	f := Filter{Space: SpaceMQTT, Tokens: literals(nil, s, '/')}
	for i, t := range f.Tokens {
		switch {
		case t.Text == "+":
			f.Tokens[i] = Token{Kind: TokenOne}
		case t.Text == "#" && i == len(f.Tokens)-1:
			f.Tokens[i] = Token{Kind: TokenMany}
		case strings.ContainsAny(t.Text, "+#"):
			return Filter{}, Errorf(KindInvalid, "topic filter %q has a wildcard out of place", s)
		}
	}
	return f, nil
}

// ParseAMQPFilter reads an AMQP topic binding pattern below a subject prefix
// ("" for none): "*" is one word, "#" zero or more, anywhere (AMQP 0-9-1
// 3.1.3.3). An empty pattern below a prefix is the prefix itself.
func ParseAMQPFilter(prefix, pattern string) (Filter, error) {
	var f Filter
	if prefix != "" {
		f.Tokens = literals(f.Tokens, prefix, '.')
	}
	if pattern == "" && prefix != "" {
		return f, nil
	}
	if len(pattern) > MaxSubjectBytes || strings.Count(pattern, ".") >= MaxSubjectDepth {
		return Filter{}, Errorf(KindTooLarge, "binding pattern of %d bytes", len(pattern))
	}
	n := len(f.Tokens)
	f.Tokens = literals(f.Tokens, pattern, '.')
	for i := n; i < len(f.Tokens); i++ {
		switch f.Tokens[i].Text {
		case "*":
			f.Tokens[i] = Token{Kind: TokenOne}
		case "#":
			f.Tokens[i] = Token{Kind: TokenMany}
		}
	}
	return f, nil
}

// Literal tells whether the filter has no wildcard, and then the one name it
// matches.
func (f Filter) Literal() (name string, ok bool) {
	if len(f.Tokens) == 0 {
		return "", false
	}
	var b strings.Builder
	for i, t := range f.Tokens {
		if t.Kind != TokenLiteral {
			return "", false
		}
		if i > 0 {
			b.WriteByte(f.Space.Separator())
		}
		b.WriteString(t.Text)
	}
	return b.String(), true
}

// String is the canonical text of the filter: the separator, then the tokens
// joined by it; wildcards are "*", ">" and "**", literals that would read as
// one are escaped by a backslash. ParseFilter reads it back.
func (f Filter) String() string {
	sep := f.Space.Separator()
	b := []byte{sep}
	for i, t := range f.Tokens {
		if i > 0 {
			b = append(b, sep)
		}
		switch t.Kind {
		case TokenOne:
			b = append(b, '*')
		case TokenRest:
			b = append(b, '>')
		case TokenMany:
			b = append(b, "**"...)
		default:
			if t.Text == "*" || t.Text == ">" || t.Text == "**" || strings.HasPrefix(t.Text, `\`) {
				b = append(b, '\\')
			}
			b = append(b, t.Text...)
		}
	}
	return string(b)
}

// ParseFilter reads what String wrote.
func ParseFilter(s string) (Filter, error) {
	if s == "" || s[0] != '.' && s[0] != '/' || len(s) > 2*MaxSubjectBytes+65536 {
		return Filter{}, Errorf(KindInvalid, "filter %q is not in canonical form", s)
	}
	f := Filter{}
	if s[0] == '/' {
		f.Space = SpaceMQTT
	}
	f.Tokens = literals(nil, s[1:], s[0])
	for i, t := range f.Tokens {
		switch {
		case t.Text == "*":
			f.Tokens[i] = Token{Kind: TokenOne}
		case t.Text == ">":
			if i != len(f.Tokens)-1 {
				return Filter{}, Errorf(KindInvalid, "filter %q has '>' before its end", s)
			}
			f.Tokens[i] = Token{Kind: TokenRest}
		case t.Text == "**":
			f.Tokens[i] = Token{Kind: TokenMany}
		case strings.HasPrefix(t.Text, `\`):
			lit := t.Text[1:]
			if lit != "*" && lit != ">" && lit != "**" && !strings.HasPrefix(lit, `\`) {
				return Filter{}, Errorf(KindInvalid, "filter %q has a needless escape", s)
			}
			f.Tokens[i] = Token{Text: lit}
		}
	}
	return f, nil
}

// Match tells whether a name of the filter's space matches. In SpaceMQTT a
// leading wildcard does not match names that begin with '$' [MQTT-4.7.2-1].
func (f Filter) Match(name string) bool {
	if len(f.Tokens) == 0 {
		return false
	}
	if f.Space == SpaceMQTT && strings.HasPrefix(name, "$") && f.Tokens[0].Kind != TokenLiteral {
		return false
	}
	return matchTokens(f.Tokens, name, f.Space.Separator())
}

// MatchMessage tells whether a message matches under any of the names it is
// offered by in the filter's space.
func (f Filter) MatchMessage(subject string, r *Record) bool {
	if f.Space == SpaceSubject {
		return f.Match(subject)
	}
	topic, verbatim := MQTTNames(subject, r)
	return f.Match(topic) || verbatim != "" && f.Match(verbatim)
}

// matchTokens matches a name in time proportional to tokens times name: only
// the last TokenMany passed ever has to take more.
func matchTokens(ts []Token, name string, sep byte) bool {
	var manyName string
	var manyDone bool
	many, i, done := -1, 0, false
	for {
		if i < len(ts) && ts[i].Kind == TokenMany {
			if i == len(ts)-1 {
				return true
			}
			many, manyName, manyDone = i, name, done
			i++
			continue
		}
		if i == len(ts) && done {
			return true
		}
		if i < len(ts) && !done {
			if ts[i].Kind == TokenRest {
				return true
			}
			tok, rest, last := cutToken(name, sep)
			if ts[i].Kind == TokenOne || tok == ts[i].Text {
				name, done = rest, last
				i++
				continue
			}
		}
		if many < 0 || manyDone {
			return false
		}
		_, manyName, manyDone = cutToken(manyName, sep)
		name, done, i = manyName, manyDone, many+1
	}
}

func cutToken(name string, sep byte) (tok, rest string, last bool) {
	if i := strings.IndexByte(name, sep); i >= 0 {
		return name[:i], name[i+1:], false
	}
	return name, "", true
}

// Overlaps tells whether some name of the space matches both filters. Filters
// of different spaces are compared by what subjects and MQTT names have in common
// (Flat), which may report an overlap that no message has.
func (f Filter) Overlaps(o Filter) bool {
	if f.disjoint(o) {
		return false
	}
	if f.Space == SpaceSubject && o.Space == SpaceSubject {
		return overlap(f.Tokens, o.Tokens)
	}
	return overlap(f.flatTokens(), o.flatTokens())
}

// disjoint tells of most filters that have no name in common that it is so: in
// front of all wildcards they differ in a literal.
func (f Filter) disjoint(o Filter) bool {
	for i := range min(len(f.Tokens), len(o.Tokens)) {
		a, b := &f.Tokens[i], &o.Tokens[i]
		if a.Kind != TokenLiteral || b.Kind != TokenLiteral || strings.ContainsAny(a.Text, "./") || strings.ContainsAny(b.Text, "./") {
			return false
		}
		if a.Text != b.Text {
			return true
		}
	}
	return false
}

// flatTokens gives a filter that matches the Flat form of all that f matches: what
// holds a separator becomes several tokens, and a wildcard may stand for several.
func (f Filter) flatTokens() []Token {
	var ts []Token
	for _, t := range f.Tokens {
		switch t.Kind {
		case TokenLiteral:
			ts = literals(ts, Flat(t.Text), '.')
		case TokenRest:
			return append(ts, t)
		default:
			ts = append(ts, Token{Kind: TokenMany})
		}
	}
	return ts
}

// overlap fills a table from the ends: ok[j] of row i says whether a[i:] and
// b[j:] have a name in common.
func overlap(a, b []Token) bool {
	next := make([]bool, len(b)+1)
	row := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			row[j] = overlapAt(a, b, i, j, row, next)
		}
		row, next = next, row
	}
	return next[0]
}

func overlapAt(a, b []Token, i, j int, row, next []bool) bool {
	switch {
	case i == len(a) && j == len(b):
		return true
	case i < len(a) && a[i].Kind == TokenMany:
		return next[j] || j < len(b) && row[j+1]
	case j < len(b) && b[j].Kind == TokenMany:
		return row[j+1] || i < len(a) && next[j]
	case i == len(a) || j == len(b):
		return false
	case a[i].Kind == TokenRest || b[j].Kind == TokenRest:
		return true // each side has one token at least
	case a[i].Kind == TokenLiteral && b[j].Kind == TokenLiteral && a[i].Text != b[j].Text:
		return false
	}
	return next[j+1]
}

// Specificity compares how narrow two filters are, token by token from the
// left: a literal before one before many; where one ends, the longer is the
// narrower. It returns 1 when f is the more specific, -1 when o is, 0 when
// neither.
func (f Filter) Specificity(o Filter) int {
	for i := 0; i < len(f.Tokens) && i < len(o.Tokens); i++ {
		if a, b := f.Tokens[i].Kind, o.Tokens[i].Kind; a != b {
			if a < b {
				return 1
			}
			return -1
		}
	}
	switch {
	case len(f.Tokens) > len(o.Tokens):
		return 1
	case len(f.Tokens) < len(o.Tokens):
		return -1
	}
	return 0
}
