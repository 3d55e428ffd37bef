package shard

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var filterWords = rapid.SampledFrom([]string{"a", "b", "", "*", ">", "**", `\`, `\*`, "#", "+", "$x"})

func drawFilter(t *rapid.T, space Space, words *rapid.Generator[string]) Filter {
	f := Filter{Space: space}
	n := rapid.IntRange(1, 4).Draw(t, "tokens")
	for i := range n {
		k := TokenKind(rapid.IntRange(0, 3).Draw(t, "kind"))
		if k == TokenRest && i != n-1 {
			k = TokenMany
		}
		tok := Token{Kind: k}
		if k == TokenLiteral {
			tok.Text = words.Draw(t, "text")
		}
		f.Tokens = append(f.Tokens, tok)
	}
	return f
}

func TestFilterTextIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t, Space(rapid.IntRange(0, 1).Draw(t, "space")), filterWords)
		back, err := ParseFilter(f.String())
		if err != nil || !reflect.DeepEqual(back, f) {
			t.Fatalf("%v -> %q -> %v, %v", f, f.String(), back, err)
		}
	})
}

// naive is the meaning of a filter, by trying everything.
func naive(ts []Token, name []string) bool {
	if len(ts) == 0 {
		return len(name) == 0
	}
	switch ts[0].Kind {
	case TokenRest:
		return len(name) > 0
	case TokenMany:
		return naive(ts[1:], name) || len(name) > 0 && naive(ts, name[1:])
	case TokenOne:
		return len(name) > 0 && naive(ts[1:], name[1:])
	}
	return len(name) > 0 && name[0] == ts[0].Text && naive(ts[1:], name[1:])
}

var plainWords = rapid.SampledFrom([]string{"a", "b", ""})

func TestMatchAsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t, SpaceSubject, plainWords)
		name := rapid.SliceOfN(plainWords, 1, 5).Draw(t, "name")
		if got, want := f.Match(strings.Join(name, ".")), naive(f.Tokens, name); got != want {
			t.Fatalf("%s over %q: %v", f, name, got)
		}
		if lit, ok := f.Literal(); ok && (!f.Match(lit) || f.String() != "."+lit) {
			t.Fatalf("%v is literally %q", f, lit)
		}
	})
}

// TestOverlapsAsBruteForce compares with all names of up to 5 tokens over an
// alphabet that has one letter more than the filters.
func TestOverlapsAsBruteForce(t *testing.T) {
	var names [][]string
	var grow func([]string)
	grow = func(p []string) {
		if len(p) > 0 {
			names = append(names, slices.Clone(p))
		}
		if len(p) < 5 {
			for _, w := range []string{"a", "b", "z"} {
				grow(append(p, w))
			}
		}
	}
	grow(nil)
	words := rapid.SampledFrom([]string{"a", "b"})
	rapid.Check(t, func(t *rapid.T) {
		f, o := drawFilter(t, SpaceSubject, words), drawFilter(t, SpaceSubject, words)
		f.Tokens, o.Tokens = f.Tokens[:min(3, len(f.Tokens))], o.Tokens[:min(3, len(o.Tokens))]
		want := slices.ContainsFunc(names, func(n []string) bool { return naive(f.Tokens, n) && naive(o.Tokens, n) })
		// Both may match the empty name alone, which no message has.
		empty := naive(f.Tokens, nil) && naive(o.Tokens, nil)
		if got := f.Overlaps(o); got != want && !(got && empty) || got != o.Overlaps(f) {
			t.Fatalf("%s and %s: %v, want %v", f, o, got, want)
		}
	})
}

func TestOverlapsOfSpacesMissesNothing(t *testing.T) {
	words := rapid.SampledFrom([]string{"a", "b", "a.b"})
	rapid.Check(t, func(t *rapid.T) {
		m := drawFilter(t, SpaceMQTT, words)
		levels := rapid.SliceOfN(words, 1, 4).Draw(t, "topic")
		topic := strings.Join(levels, "/")
		subject, exact := SubjectOfMQTT(topic)
		r := &Record{Headers: []Header{{Name: HeaderMQTT, Value: []byte("0")}}}
		if !exact {
			r.Headers = append(r.Headers, Header{Name: HeaderMQTTTopic, Value: []byte(topic)})
		}
		if m.MatchMessage(subject, r) != m.Match(topic) {
			t.Fatalf("%s does not see %q under its name", m, topic)
		}
		if m.MatchMessage(subject, r) && !m.Overlaps(LiteralFilter(subject)) {
			t.Fatalf("%s matches %q but does not overlap %q", m, topic, subject)
		}
	})
}

// TestEveryNameIsFound: under whatever name MQTT is offered a message, a filter of
// that name, and one with a wildcard in it, matches the message and overlaps what
// captures its subject. So who may match is never left out for the sake of speed.
func TestEveryNameIsFound(t *testing.T) {
	words := rapid.SampledFrom([]string{"a", "b", "dd", "$x", ""})
	seps := rapid.SampledFrom([]string{".", "/"})
	rapid.Check(t, func(t *rapid.T) {
		subject := words.Draw(t, "word")
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			subject += seps.Draw(t, "sep") + words.Draw(t, "word")
		}
		if subject == "" {
			return
		}
		r := &Record{}
		if rapid.Bool().Draw(t, "by MQTT") {
			topic := subject
			var exact bool
			subject, exact = SubjectOfMQTT(topic)
			r.Headers = []Header{{Name: HeaderMQTT, Value: []byte("0")}}
			if !exact {
				r.Headers = append(r.Headers, Header{Name: HeaderMQTTTopic, Value: []byte(topic)})
			}
		}
		captures := []Filter{LiteralFilter(subject), {Tokens: []Token{{Kind: TokenRest}}}}
		for i := range captures[0].Tokens {
			one, rest := LiteralFilter(subject), LiteralFilter(subject)
			one.Tokens[i] = Token{Kind: TokenOne}
			rest.Tokens = append(rest.Tokens[:i:i], Token{Kind: TokenRest})
			captures = append(captures, one, rest)
		}
		topic, verbatim := MQTTNames(subject, r)
		for _, name := range []string{topic, verbatim} {
			if name == "" {
				continue
			}
			if Flat(name) != Flat(subject) {
				t.Fatalf("%q and its name %q are not the same", subject, name)
			}
			filters := []string{name}
			for i := range strings.Split(name, "/") {
				levels := strings.Split(name, "/")
				levels[i] = "+"
				if i > 0 || !strings.HasPrefix(name, "$") {
					filters = append(filters, strings.Join(levels, "/"), strings.Join(append(levels[:i:i], "#"), "/"))
				}
			}
			for _, text := range filters {
				f, err := ParseMQTTFilter(text)
				if err != nil {
					t.Fatal(err)
				}
				if !f.MatchMessage(subject, r) {
					t.Fatalf("%q does not match %q, offered as %q", text, subject, name)
				}
				for _, c := range captures {
					if c.Match(subject) && (!f.Overlaps(c) || !c.Overlaps(f)) {
						t.Fatalf("%q matches %q, but does not overlap its capture %s", text, subject, c)
					}
				}
			}
		}
	})
}

func TestSpecificityIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, o := drawFilter(t, SpaceSubject, plainWords), drawFilter(t, SpaceSubject, plainWords)
		if f.Specificity(o) != -o.Specificity(f) || f.Specificity(f) != 0 {
			t.Fatalf("%s and %s", f, o)
		}
		p := drawFilter(t, SpaceSubject, plainWords)
		if f.Specificity(o) > 0 && o.Specificity(p) > 0 && f.Specificity(p) <= 0 {
			t.Fatalf("%s, %s, %s", f, o, p)
		}
	})
	for _, c := range [][2]string{{"a.b", "a.*"}, {"a.*", "a.>"}, {"a.*.c", "*.b.c"}, {"a.b.>", "a.>"}, {"a.*.b", "a.*.*"}} {
		a, b := mustSubject(t, c[0]), mustSubject(t, c[1])
		if a.Specificity(b) != 1 || b.Specificity(a) != -1 {
			t.Errorf("%s is not narrower than %s", a, b)
		}
	}
}

func mustSubject(t testing.TB, s string) Filter {
	t.Helper()
	f, err := ParseSubjectFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParseFilters(t *testing.T) {
	deep := strings.Repeat("a.", MaxSubjectDepth)
	for s, ok := range map[string]bool{"a": true, "*.>": true, ">": true, "": false, "a..b": false, ">.a": false, "a.": false,
		deep + "a": false, strings.Repeat("a", MaxSubjectBytes): true, strings.Repeat("a", MaxSubjectBytes+1): false, "a\x00": false} {
		if _, err := ParseSubjectFilter(s); (err == nil) != ok {
			t.Errorf("subject filter %.20q: %v", s, err)
		}
	}
	for s, ok := range map[string]bool{"a/b": true, "/": true, "+": true, "#": true, "a/#": true, "+/+/#": true, "": false, "a#": false, "#/a": false,
		"a+/b": false, "a\x00": false, strings.Repeat("a/", MaxSubjectDepth) + "a": false, strings.Repeat("a", 65536): false} {
		if _, err := ParseMQTTFilter(s); (err == nil) != ok {
			t.Errorf("mqtt filter %.20q: %v", s, err)
		}
	}
}

// TestMQTTRules are the examples of the specification, 4.7.1 and 4.7.2.
func TestMQTTRules(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/#", "sport", true}, {"#", "a/b", true}, {"+", "finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"+/+", "/finance", true}, {"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"#", "$SYS/x", false}, {"+/monitor", "$SYS/monitor", false}, {"$SYS/#", "$SYS/", true}, {"$SYS/monitor/+", "$SYS/monitor/x", true},
	} {
		f, err := ParseMQTTFilter(c.filter)
		if err != nil || f.Match(c.topic) != c.want {
			t.Errorf("%s over %s: want %v (%v)", c.filter, c.topic, c.want, err)
		}
	}
}

// TestAMQPRules: 0-9-1, 3.1.3.3.
func TestAMQPRules(t *testing.T) {
	for _, c := range []struct {
		prefix, pattern, key string
		want                 bool
	}{
		{"", "*.stock.#", "usd.stock", true}, {"", "*.stock.#", "eur.stock.db", true}, {"", "*.stock.#", "stock.nasdaq", false},
		{"", "#", "", true}, {"", "#", "a.b", true}, {"", "#.b", "b", true}, {"", "a.#.b", "a.b", true}, {"", "a.#.b", "a.x.y.b", true},
		{"x", "#", "x", true}, {"x", "", "x", true}, {"x", "", "x.a", false}, {"x", "a.*", "x.a.b", true}, {"x", "a.*", "a.b", false},
		{"", "a.>", "a.>", true}, {"", "a.>", "a.b", false}, {"", "+", "b", false},
	} {
		f, err := ParseAMQPFilter(c.prefix, c.pattern)
		if err != nil || f.Match(c.key) != c.want {
			t.Errorf("%q %q over %q: want %v (%v)", c.prefix, c.pattern, c.key, c.want, err)
		}
	}
}

func TestMatchOfManyIsFast(t *testing.T) {
	f, err := ParseAMQPFilter("", strings.Repeat("#.a.", 60)+"z")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("a.", 4000) + "a"
	if n := testing.AllocsPerRun(3, func() {
		if f.Match(name) {
			t.Fatal("matched")
		}
	}); n != 0 {
		t.Fatal(n, "allocations")
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{".a.*.>", "/a/**/b", `.\*.\\`, "..", "/", ".>.a", "", `.\a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := ParseFilter(s)
		if err != nil {
			return
		}
		if x.String() != s {
			t.Fatalf("%q became %q", s, x.String())
		}
		x.Match(s)
		x.Overlaps(x)
	})
}

func FuzzGatewayFilters(f *testing.F) {
	for _, s := range []string{"a/+/#", "a.*.>", "#.a.*", "$share/x", "a//b"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		parse := []func(string) (Filter, error){ParseSubjectFilter, ParseMQTTFilter, func(s string) (Filter, error) { return ParseAMQPFilter("p", s) }}
		for _, p := range parse {
			x, err := p(s)
			if err != nil {
				continue
			}
			back, err := ParseFilter(x.String())
			if err != nil || !reflect.DeepEqual(back, x) {
				t.Fatalf("%q -> %v -> %q -> %v, %v", s, x, x.String(), back, err)
			}
			if len(s) < 200 && len(name) < 40 && x.Match(name) != back.Match(name) {
				t.Fatal("they differ")
			}
		}
	})
}
